//! A server, and a database whose table `jobs` is recorded in the outbox.

use std::time::{Duration, SystemTime};

use fastrand::Rng;
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{ConnectConfig, TableName};
use pgherald_testkit::Postgres;
use tokio_postgres::{Client, NoTls};

/// Pause before the next attempt to connect to a server that is down.
pub(crate) const AGAIN: Duration = Duration::from_millis(20);

/// When commits reach the disk, or at least the operating system, which suffices for a killed server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Some transactions commit synchronously, which also flushes the asynchronous commits before them.
    Mixed,
    /// All commits are asynchronous. A killed server forgets those of up to half a second, and assigns their ids again.
    Late,
    /// Like `Late`, with the smallest log buffers. A sequence writes to the log while its page shows a value that it then takes
    /// back. With few buffers this takes longer, so a reader of the page sees that value more often.
    Crowded,
}

impl Durability {
    /// A random mode for runs with crashes.
    pub(crate) fn drawn(random: &mut Rng) -> Self {
        match random.bool() {
            true => Self::Mixed,
            false => Self::Late,
        }
    }
}

pub(crate) struct Stage {
    pub(crate) server: Postgres,
    pub(crate) url: String,
}

impl Stage {
    /// Starts a separate server, because faults hit the whole server.
    pub(crate) async fn start(durability: Durability) -> Self {
        let (commits, wal_buffers) = match durability {
            Durability::Mixed => ("on", "4MB"),
            Durability::Late => ("off", "4MB"),
            Durability::Crowded => ("off", "32kB"),
        };
        let server = Postgres::builder()
            .setting("synchronous_commit", commits)
            .setting("wal_writer_delay", "500ms")
            .setting("wal_buffers", wal_buffers)
            .start()
            .await
            .unwrap();
        let url = server.create_database().await.unwrap();
        let client = connect(&url).await.unwrap();
        let table =
            "CREATE TABLE jobs (id int PRIMARY KEY, n bigint NOT NULL, version bigint NOT NULL)";
        client.batch_execute(table).await.unwrap();
        let plan = trigger::plan(&client, &[spec()]).await.unwrap();
        plan.apply(&client).await.unwrap();
        let scene = include_str!("sql/scene.sql");
        client.batch_execute(scene).await.unwrap();
        // Otherwise a killed server could forget the scene itself.
        client.batch_execute("CHECKPOINT").await.unwrap();
        Self { server, url }
    }

    pub(crate) fn config(&self) -> ConnectConfig {
        self.url.parse().unwrap()
    }
}

pub(crate) fn spec() -> TriggerSpec {
    let table = TableName::new("public", "jobs").unwrap();
    TriggerSpec::new(table).every_column().outbox()
}

pub(crate) async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Connects, retrying until the server accepts the connection.
pub(crate) async fn connect_at_last(url: &str) -> Client {
    loop {
        match connect(url).await {
            Ok(client) => return client,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// The time of day, in UTC.
pub(crate) fn clock(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seconds = since.as_secs() % 86_400;
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let millis = since.subsec_millis();
    format!("{hours:02}:{minutes:02}:{:02}.{millis:03}", seconds % 60)
}
