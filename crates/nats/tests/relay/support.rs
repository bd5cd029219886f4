//! A database with an outbox, a NATS server, relays that run in the test's process, and a reader of the stream.

use std::fmt::Debug;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt as _;
use pgherald_core::__private::host::message::{Message, Received};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{ConnectConfig, Operation, TableName};
use pgherald_nats::contract::{Prefix, Subject, headers};
use pgherald_nats::{NatsConfig, Relay, RelayHandle, RelayOptions, StreamOptions};
use pgherald_testkit::nats::NatsServer;
use pgherald_testkit::{FaultProxy, Postgres};
use tokio::task::{JoinHandle, LocalSet};
use tokio_postgres::{Client, NoTls};

pub(crate) const LIMIT: Duration = Duration::from_secs(120);
pub(crate) const STREAM: &str = "CHANGES";

/// A database in which the table `jobs (id, value, note)` is recorded with its values, and a NATS server.
pub(crate) struct Scene {
    pub(crate) url: String,
    pub(crate) client: Arc<Client>,
    pub(crate) nats: NatsServer,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(NatsServer::start().await.unwrap()).await
    }

    pub(crate) async fn with(nats: NatsServer) -> Self {
        let server = Postgres::shared().await.unwrap();
        Self::at(server.create_database().await.unwrap(), nats).await
    }

    pub(crate) async fn at(url: String, nats: NatsServer) -> Self {
        let client = connect(&url).await;
        prepare(&client).await;
        Self {
            url,
            client: Arc::new(client),
            nats,
        }
    }

    pub(crate) fn config(&self) -> ConnectConfig {
        self.url.parse().unwrap()
    }

    pub(crate) fn nats(&self) -> NatsConfig {
        nats(&self.nats.url())
    }

    pub(crate) async fn run(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}: {error:?}");
        }
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        let row = self.client.query_opt(sql, &[]).await.unwrap();
        row.and_then(|row| row.get::<_, Option<String>>(0))
            .unwrap_or_default()
    }

    /// Inserts the rows with these ids, or increments their values.
    pub(crate) async fn write(&self, ids: std::ops::RangeInclusive<i32>) {
        let (first, last) = (ids.start(), ids.end());
        self.run(&format!(
            "INSERT INTO jobs SELECT i, 1 FROM generate_series({first}, {last}) AS i
             ON CONFLICT (id) DO UPDATE SET value = jobs.value + 1"
        ))
        .await;
    }

    /// Starts a relay in this process.
    pub(crate) fn relay(&self, options: RelayOptions) -> Running {
        self.relay_at(self.nats(), options)
    }

    pub(crate) fn relay_at(&self, nats: NatsConfig, options: RelayOptions) -> Running {
        self.run_relay(self.config(), nats, options)
    }

    /// Like [`relay`](Self::relay), with another way to the database.
    pub(crate) fn relay_of(&self, database: ConnectConfig, options: RelayOptions) -> Running {
        self.run_relay(database, self.nats(), options)
    }

    fn run_relay(
        &self,
        database: ConnectConfig,
        nats: NatsConfig,
        options: RelayOptions,
    ) -> Running {
        let (handle, relay) = Relay::new(database, nats, options).unwrap();
        let task = tokio::task::spawn_local(relay.run());
        Running { handle, task }
    }

    /// Returns a proxy before the NATS server, and a configuration that uses no other way.
    pub(crate) async fn behind_proxy(&self) -> (FaultProxy, NatsConfig) {
        let proxy = FaultProxy::start((self.nats.host(), self.nats.port()));
        let proxy = proxy.await.unwrap();
        let config = nats(&proxy.url(&self.nats.url())).only_these_servers();
        (proxy, config)
    }

    pub(crate) async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.nats.url()).await.unwrap())
    }

    pub(crate) async fn stream(&self) -> stream::Stream {
        self.jetstream().await.get_stream(STREAM).await.unwrap()
    }

    /// Returns the messages in the stream.
    pub(crate) async fn stored(&self) -> Vec<Stored> {
        stored(&self.jetstream().await).await
    }

    /// Waits until the stream has messages that meet a condition, and returns them.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&[Stored]) -> bool) -> Vec<Stored> {
        let context = self.jetstream().await;
        eventually(what, async || {
            let stored = match context.get_stream(STREAM).await {
                Ok(_) => stored(&context).await,
                Err(_) => Vec::new(),
            };
            if is(&stored) { Ok(stored) } else { Err(stored) }
        })
        .await
    }

    /// Waits until the stream has exactly the events of the outbox.
    pub(crate) async fn until_relayed(&self) -> Vec<Stored> {
        let rows = self
            .client
            .query("SELECT id FROM pgherald.outbox ORDER BY id", &[])
            .await;
        let mut ids: Vec<i64> = rows.unwrap().iter().map(|row| row.get(0)).collect();
        ids.sort_unstable();
        self.until("every event once", |stored| {
            let mut found = events(stored);
            found.sort_unstable();
            found == ids
        })
        .await
    }

    /// Waits until the group's cursors in the database name the message with this sequence as the last one.
    pub(crate) async fn until_known(&self, group: &str, sequence: u64) {
        let sql = format!(
            "SELECT max(split_part(stored, ' ', 2)::bigint)::text FROM pgherald.consumer_cursor WHERE group_name = '{group}'"
        );
        self.until_text(&sql, &sequence.to_string()).await;
    }

    /// Waits until a query returns this text.
    pub(crate) async fn until_text(&self, sql: &str, expected: &str) {
        eventually(sql, async || match self.text(sql).await {
            text if text == expected => Ok(()),
            text => Err(text),
        })
        .await;
    }
}

pub(crate) async fn prepare(client: &Client) {
    let sql = "CREATE TABLE jobs (id int PRIMARY KEY, value bigint, note text)";
    client.batch_execute(sql).await.unwrap();
    let table = TableName::new("public", "jobs").unwrap();
    let spec = TriggerSpec::new(table).every_column().outbox();
    let plan = trigger::plan(client, &[spec]).await.unwrap();
    plan.apply(client).await.unwrap();
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A configuration that detects faults quickly.
pub(crate) fn nats(url: &str) -> NatsConfig {
    let second = Duration::from_secs(1);
    NatsConfig::new(url)
        .unwrap()
        .request_timeout(second * 2)
        .connect_timeout(second * 2)
}

/// Options with a short lease and few slices, that create the stream.
pub(crate) fn options(group: &str) -> RelayOptions {
    RelayOptions::new(group, STREAM)
        .lease(Duration::from_secs(1))
        .slices(4)
        .from_beginning()
        .heartbeat(Duration::from_millis(100))
        .create(StreamOptions::new())
}

/// A relay that ends when this is dropped, as if its process was killed.
pub(crate) struct Running {
    pub(crate) handle: RelayHandle,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn drained(&self) {
        self.handle.drain(LIMIT).await;
    }

    /// Waits until the report meets a condition.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&RelayHandle) -> bool) {
        eventually(what, async || {
            let report = || (self.handle.health(), self.handle.report());
            is(&self.handle).then_some(()).ok_or_else(report)
        })
        .await;
    }

    /// Waits until the relay is not live, for a reason that contains `word`.
    pub(crate) async fn until_degraded(&self, word: &str) {
        self.until(word, |handle| {
            let health = handle.health();
            let health = health.borrow();
            !health.is_live() && health.to_string().contains(word)
        })
        .await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A message of the stream.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) slice: u16,
    pub(crate) payload: String,
    pub(crate) headers: async_nats::HeaderMap,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Event {
        id: i64,
        table: String,
        operation: Operation,
    },
    Resync(String),
}

impl Stored {
    pub(crate) fn event(&self) -> Option<i64> {
        match &self.kind {
            Kind::Event { id, .. } => Some(*id),
            Kind::Resync(_) => None,
        }
    }

    pub(crate) fn resync(&self) -> Option<&str> {
        match &self.kind {
            Kind::Resync(reason) => Some(reason),
            Kind::Event { .. } => None,
        }
    }

    fn of(subject: &str, sequence: u64, headers: async_nats::HeaderMap, payload: &[u8]) -> Self {
        let payload = String::from_utf8(payload.to_vec()).unwrap();
        let prefix = Prefix::default();
        let message = Received::read(&payload).unwrap().message;
        let (slice, kind) = match (Subject::parse(&prefix, subject).unwrap(), message) {
            (Subject::Event(subject), Message::Event(Some(_))) => {
                let id = headers
                    .get(headers::EVENT)
                    .unwrap()
                    .as_str()
                    .parse()
                    .unwrap();
                let kind = Kind::Event {
                    id,
                    table: subject.table.into_owned(),
                    operation: subject.operation,
                };
                (subject.slice, kind)
            }
            (Subject::Control { slice }, Message::Resync { reasons, .. }) => {
                (slice, Kind::Resync(reasons.join(" ")))
            }
            (subject, message) => panic!("{subject:?}: {message:?}"),
        };
        Self {
            sequence,
            slice,
            payload,
            headers,
            kind,
        }
    }
}

/// Returns the ids of the events, in the order of the stream.
pub(crate) fn events(stored: &[Stored]) -> Vec<i64> {
    stored.iter().filter_map(Stored::event).collect()
}

/// Returns the slices of the resyncs with this reason.
pub(crate) fn resyncs(stored: &[Stored], word: &str) -> Vec<u16> {
    let of = stored
        .iter()
        .filter(|one| one.resync().is_some_and(|reason| reason == word));
    of.map(|one| one.slice).collect()
}

/// Reads all messages of the stream. Tries again while the stream has no leader.
pub(crate) async fn stored(context: &jetstream::Context) -> Vec<Stored> {
    eventually("the messages", async || try_stored(context).await).await
}

async fn try_stored(context: &jetstream::Context) -> Result<Vec<Stored>, async_nats::Error> {
    let stream = context.get_stream(STREAM).await?;
    let info = stream.cached_info();
    let last = info.state.last_sequence;
    if info.state.messages == 0 {
        return Ok(Vec::new());
    }
    let config = consumer::pull::OrderedConfig {
        deliver_policy: consumer::DeliverPolicy::All,
        ..Default::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut messages = consumer.messages().await?;
    let mut stored = Vec::new();
    while let Some(message) = messages.next().await {
        let message = message?;
        let sequence = message.info()?.stream_sequence;
        let headers = message.headers.clone().unwrap_or_default();
        stored.push(Stored::of(
            &message.subject,
            sequence,
            headers,
            &message.payload,
        ));
        if sequence >= last {
            return Ok(stored);
        }
    }
    Err("the consumer has ended".into())
}

/// Tries until it succeeds. Fails with the last error after [`LIMIT`].
pub(crate) async fn eventually<T, E: Debug>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(last) => assert!(
                begun.elapsed() < LIMIT,
                "not within {LIMIT:?}: {what}; {last:#?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn copy_directory(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    let status = copy.arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}

/// Runs a test on a `LocalSet`, because relays are not `Send`.
pub(crate) async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}
