//! Writers, whose transactions change one row or several.

use std::sync::Arc;
use std::time::Duration;

use pgherald_core::ConnectConfig;
use tokio::sync::RwLock;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, Row};

use super::confirm::Confirming;
use super::report::Rule;
use super::run::Run;
use super::subject::Subject;
use crate::Error;

/// Raises the versions of some rows. Locks the rows in the order of their keys, so writers do not deadlock.
pub(super) const RAISE: &str = "UPDATE public.coherence SET version = version + 1 WHERE key IN \
     (SELECT key FROM public.coherence WHERE key BETWEEN $1 AND $2 ORDER BY key FOR UPDATE) \
     RETURNING key, version";

/// Writers hold the read lock during each transaction. The write lock pauses them.
pub(super) type Pause = Arc<RwLock<()>>;

pub(super) struct Writer<S> {
    pub(super) run: Arc<Run>,
    pub(super) config: ConnectConfig,
    pub(super) confirming: Confirming<S>,
    pub(super) pause: Pause,
    pub(super) random: fastrand::Rng,
}

impl<S: Subject> Writer<S> {
    pub(super) async fn write_on(mut self) {
        let mut client = None;
        let limit = self.run.settings.deadline;
        while !self.run.is_stopped() {
            let pause = Arc::clone(&self.pause);
            let writing = pause.read().await;
            let outcome = timeout(limit, self.write(&mut client)).await;
            drop(writing);
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::trace!(%error, "a write failed");
                    self.run.tally.failed_writes.add(1);
                    sleep(Duration::from_millis(5)).await;
                }
                Err(_) => self.run.tally.violation(Rule::Deadline, || {
                    format!("a write did not end within {limit:?}")
                }),
            }
            match self.random.u8(..10) {
                0..5 => tokio::task::yield_now().await,
                _ => sleep(Duration::from_micros(self.random.u64(..4_000))).await,
            }
        }
        self.confirming.finished().await;
    }

    /// Runs one transaction. Keeps the connection for the next one only if this one succeeds.
    async fn write(&mut self, slot: &mut Option<Client>) -> Result<(), Error> {
        let failed = "cannot write";
        let mut client = match slot.take() {
            Some(client) => client,
            None => self
                .config
                .client()
                .await
                .map_err(Error::during("cannot connect"))?,
        };
        let first = self.run.random_key(&mut self.random);
        let more = if self.random.u8(..5) == 0 { 7 } else { 0 };
        let last = (first + self.random.i64(0..=more)).min(self.run.settings.keys);
        let transaction = client.transaction().await.map_err(Error::during(failed))?;
        let rows = transaction
            .query(RAISE, &[&first, &last])
            .await
            .map_err(Error::during(failed))?;
        let announced = self.confirming.announce(&transaction).await;
        transaction.commit().await.map_err(Error::during(failed))?;
        let written = acknowledge(&self.run, &rows)?;
        *slot = Some(client);
        if let Some(announced) = announced {
            self.confirming.confirm(announced, written);
        }
        Ok(())
    }
}

/// Records that rows returned by [`RAISE`] are committed.
pub(super) fn acknowledge(run: &Run, rows: &[Row]) -> Result<Vec<(i64, i64)>, Error> {
    let pairs = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect::<Result<Vec<(i64, i64)>, tokio_postgres::Error>>()
        .map_err(Error::during("cannot read a written row"))?;
    for (key, version) in &pairs {
        run.floors.acknowledge(*key, *version);
    }
    run.tally.writes.add(pairs.len() as u64);
    Ok(pairs)
}
