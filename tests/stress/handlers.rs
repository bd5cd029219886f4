//! The handlers of workers. Each records an effect in the table `effects`.

use std::sync::Arc;

use pgherald_core::group::{Batch, BatchHandler, TransactionalHandler};
use pgherald_core::{Attempt, Event, EventHandler, HandlerResult, Resync};
use tokio::sync::Mutex;
use tokio_postgres::{Client, Transaction};

use crate::stage::connect;

const NOTE: &str =
    "INSERT INTO effects (n, id, version, outbox_id, worker) VALUES ($1, $2, $3, $4, $5)";
const NOTE_MANY: &str = "INSERT INTO effects (n, id, version, outbox_id, worker)
    SELECT n, id, version, outbox_id, $5
    FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS e (n, id, version, outbox_id, place)
    ORDER BY place";
const NOTE_RESYNC: &str = "INSERT INTO resyncs (reason, worker) VALUES ($1, $2)";

/// Out of a thousand attempts, this many fail, so that rows are parked.
const FAILURES: u32 = 5;

/// A row of `jobs`.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub(crate) struct Job {
    pub(crate) n: i64,
    pub(crate) id: i32,
    pub(crate) version: i64,
}

impl Job {
    /// The row of an event. The workload never causes an event without a row, so such an event gets a number that no write has.
    pub(crate) fn of(event: &Event) -> Self {
        let unknown = Self {
            n: -1,
            id: -1,
            version: 0,
        };
        event.columns().unwrap().unwrap_or(unknown)
    }
}

fn fails() -> bool {
    fastrand::u32(..1_000) < FAILURES
}

fn fail_sometimes() -> HandlerResult {
    match fails() {
        true => Err("now and then".into()),
        false => Ok(()),
    }
}

/// Records the effects of handlers without a transaction, on one shared connection. A lost connection is replaced.
#[derive(Clone)]
pub(crate) struct Effects {
    url: Arc<str>,
    worker: Arc<str>,
    client: Arc<Mutex<Option<Arc<Client>>>>,
}

impl Effects {
    pub(crate) fn new(url: &str, worker: &str) -> Self {
        Self {
            url: url.into(),
            worker: worker.into(),
            client: Arc::default(),
        }
    }

    async fn client(&self) -> Result<Arc<Client>, tokio_postgres::Error> {
        let mut client = self.client.lock().await;
        match &*client {
            Some(client) if !client.is_closed() => Ok(Arc::clone(client)),
            _ => {
                let new = Arc::new(connect(&self.url).await?);
                *client = Some(Arc::clone(&new));
                Ok(new)
            }
        }
    }

    async fn resynced(&self, resync: &Resync) -> HandlerResult {
        let client = self.client().await?;
        let reason = resync.to_string();
        client
            .execute(NOTE_RESYNC, &[&reason, &&*self.worker])
            .await?;
        Ok(())
    }
}

pub(crate) struct Plain(pub(crate) Effects);

impl EventHandler for Plain {
    type Event = Event;

    async fn handle(&self, event: Event, _: Attempt) -> HandlerResult {
        fail_sometimes()?;
        let Job { n, id, version } = Job::of(&event);
        let client = self.0.client().await?;
        let worker = &*self.0.worker;
        client
            .execute(NOTE, &[&n, &id, &version, &event.outbox_id(), &worker])
            .await?;
        fail_sometimes()
    }

    async fn resync(&self, resync: Resync) -> HandlerResult {
        self.0.resynced(&resync).await
    }
}

pub(crate) struct InBatches(pub(crate) Effects);

impl BatchHandler for InBatches {
    type Event = Event;

    async fn handle(&self, batch: &mut Batch<Event>) -> HandlerResult {
        fail_sometimes()?;
        let (mut numbers, mut ids, mut versions, mut outbox_ids) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for index in 0..batch.events().len() {
            if fails() {
                batch.fail(index, "now and then");
                continue;
            }
            let event = &batch.events()[index];
            let Job { n, id, version } = Job::of(event);
            numbers.push(n);
            ids.push(id);
            versions.push(version);
            outbox_ids.push(event.outbox_id());
        }
        let client = self.0.client().await?;
        let worker = &*self.0.worker;
        client
            .execute(
                NOTE_MANY,
                &[&numbers, &ids, &versions, &outbox_ids, &worker],
            )
            .await?;
        fail_sometimes()
    }

    async fn resync(&self, resync: Resync) -> HandlerResult {
        self.0.resynced(&resync).await
    }
}

/// Handles events without an effect.
pub(crate) struct NoEffect;

impl BatchHandler for NoEffect {
    type Event = Event;

    async fn handle(&self, _: &mut Batch<Event>) -> HandlerResult {
        Ok(())
    }
}

pub(crate) struct InTransaction(pub(crate) Effects);

impl TransactionalHandler for InTransaction {
    type Event = Event;

    async fn handle(
        &self,
        event: Event,
        _: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> HandlerResult {
        fail_sometimes()?;
        let Job { n, id, version } = Job::of(&event);
        let worker = &*self.0.worker;
        transaction
            .execute(NOTE, &[&n, &id, &version, &event.outbox_id(), &worker])
            .await?;
        fail_sometimes()
    }

    async fn resync(&self, resync: Resync, transaction: &mut Transaction<'_>) -> HandlerResult {
        let reason = resync.to_string();
        let worker = &*self.0.worker;
        transaction
            .execute(NOTE_RESYNC, &[&reason, &worker])
            .await?;
        Ok(())
    }
}
