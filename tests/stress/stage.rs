//! A server, and a database whose table `jobs` is recorded in the outbox.

use std::time::{Duration, SystemTime};

use fastrand::Rng;
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{ConnectConfig, TableName};
use pgherald_testkit::Postgres;
use tokio_postgres::{Client, NoTls};

/// How long to wait before a server that is down is tried again.
pub(crate) const AGAIN: Duration = Duration::from_millis(20);

/// When commits reach the disk, or at least the operating system, which is enough for a server that is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Some transactions commit synchronously, which writes what the others left in memory.
    Mixed,
    /// No transaction does. A killed server forgets the commits of up to half a second, and gives their ids out again.
    Late,
    /// As late, but with the fewest buffers for the log. A sequence writes to the log while its page shows a value that it takes
    /// back; with few buffers that takes longer, and a reader of the page sees that value more often.
    Crowded,
}

impl Durability {
    /// One in which a crash may hit.
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
    /// Starts a server of its own, for faults hit all of it.
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
        // What a killed server forgets must not be the scene itself.
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

/// Connects as soon as the server lets it.
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
