//! Workers that run in processes of their own, which tests can suspend and kill.

use std::time::Duration;

use pgherald_core::group::{Consumer, TransactionalHandler};
use pgherald_core::{
    Attempt, Backoff, DurableOptions, Event, EventHandler, HandlerResult, RetryPolicy,
};
use tokio_postgres::{Client, Transaction};

use crate::process::{self, Process};
use crate::support::connect;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Transactional,
}

/// Starts a process that consumes the group `workers` and records its effects in `effects`.
pub(crate) fn start(url: &str, kind: Kind, number: i32) -> Process {
    Process::start("workers::worker", &format!("{kind:?} {number} {url}"))
}

/// Returns the processor time that a process has used so far.
pub(crate) fn processor_time(process: &Process) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    Duration::from_millis(ticks * 10)
}

#[test]
#[ignore = "the program of another process"]
fn worker() {
    process::run(work);
}

async fn work(arguments: String) {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .init();
    }
    let mut words = arguments.splitn(3, ' ');
    let mut word = || words.next().unwrap();
    let (kind, number, url) = (word(), word().parse().unwrap(), word().to_owned());
    let options = DurableOptions::new("workers")
        .from_beginning()
        .lease(Duration::from_secs(1))
        .retry(RetryPolicy::new(
            1_000,
            Backoff::new(Duration::from_millis(20), Duration::from_millis(200)),
        ));
    let config = url.parse().unwrap();
    let (_handle, consumer) = match kind {
        "Plain" => Consumer::new(config, options, move || Plain {
            url: url.clone(),
            number,
            client: tokio::sync::RwLock::default(),
        }),
        _ => Consumer::transactional(config, options, move || InTransaction { number }),
    }
    .unwrap();
    consumer.run().await;
}

const NOTE: &str = "INSERT INTO effects (id, value, worker) VALUES ($1, $2, $3)";

#[derive(serde::Deserialize)]
struct Job {
    id: i32,
    value: i64,
}

/// The row of an event. An event that names no row is recorded as a row that does not exist: there should be none.
fn job(event: &Event) -> Job {
    let of_none = Job { id: -1, value: 1 };
    event.columns().unwrap().unwrap_or(of_none)
}

/// Fails now and then, so that rows are parked.
fn fail_sometimes() -> HandlerResult {
    match fastrand::u32(..200) {
        0 => Err("now and then".into()),
        _ => Ok(()),
    }
}

struct Plain {
    url: String,
    number: i32,
    client: tokio::sync::RwLock<Option<Client>>,
}

impl EventHandler for Plain {
    type Event = Event;

    async fn handle(&self, event: Event, _: Attempt) -> HandlerResult {
        fail_sometimes()?;
        let is_usable =
            |client: &Option<Client>| client.as_ref().is_some_and(|client| !client.is_closed());
        if !is_usable(&*self.client.read().await) {
            let mut client = self.client.write().await;
            if !is_usable(&client) {
                let (new, connection) =
                    tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await?;
                tokio::spawn(connection);
                *client = Some(new);
            }
        }
        let Job { id, value } = job(&event);
        let client = self.client.read().await;
        client
            .as_ref()
            .unwrap()
            .execute(NOTE, &[&id, &value, &self.number])
            .await?;
        fail_sometimes()
    }
}

struct InTransaction {
    number: i32,
}

impl TransactionalHandler for InTransaction {
    type Event = Event;

    async fn handle(
        &self,
        event: Event,
        _: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> HandlerResult {
        let Job { id, value } = job(&event);
        fail_sometimes()?;
        transaction
            .execute(NOTE, &[&id, &value, &self.number])
            .await?;
        fail_sometimes()
    }
}

/// The recorded values of each row, in order.
pub(crate) async fn effects(url: &str) -> std::collections::BTreeMap<i32, Vec<i64>> {
    let client = connect(url).await;
    let rows = client
        .query("SELECT id, value FROM effects ORDER BY number", &[])
        .await
        .unwrap();
    let mut effects = std::collections::BTreeMap::<i32, Vec<i64>>::new();
    for row in rows {
        effects.entry(row.get(0)).or_default().push(row.get(1));
    }
    effects
}
