//! A database with an outbox, and a reader of it.

use std::sync::Arc;

use pgherald_core::__private::host::outbox::{Cursor, OutboxReader};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{Event, TableName};
use pgherald_testkit::Postgres;
use tokio_postgres::{Client, NoTls};

/// A database in which the table `counters (id, value)` is recorded with its values.
pub(crate) struct Scene {
    url: String,
    pub(crate) client: Client,
    pub(crate) reader: OutboxReader,
    pub(crate) cursor: Cursor,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let server = Postgres::shared().await.unwrap();
        Self::at(server.create_database().await.unwrap()).await
    }

    /// Sets the scene up in an empty database.
    pub(crate) async fn at(url: String) -> Self {
        let client = connect(&url).await;
        let sql = "CREATE TABLE counters (id int PRIMARY KEY, value bigint)";
        client.batch_execute(sql).await.unwrap();
        let table = TableName::new("public", "counters").unwrap();
        let spec = TriggerSpec::new(table).columns(["value"]).outbox();
        let plan = trigger::plan(&client, &[spec]).await.unwrap();
        plan.apply(&client).await.unwrap();
        let mut reader = OutboxReader::new(Arc::new(connect(&url).await));
        let cursor = reader.now().await.unwrap();
        Self {
            url,
            client,
            reader,
            cursor,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn connect(&self) -> Client {
        connect(&self.url).await
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// Reads a page of at most `limit` rows. Returns whether it was the last one. The cursor is passed as text.
    pub(crate) async fn page(&mut self, limit: usize) -> (Vec<Event>, bool) {
        let cursor = self.cursor.to_string().parse().unwrap();
        let page = self.reader.next(&cursor, limit).await.unwrap();
        assert!(page.events.len() <= limit && page.undecodable.is_empty());
        self.cursor = page.cursor;
        (page.events, page.is_last)
    }

    /// Reads everything, in pages of `limit` rows.
    pub(crate) async fn read(&mut self, limit: usize) -> Vec<Event> {
        let mut all = Vec::new();
        loop {
            let (events, is_last) = self.page(limit).await;
            all.extend(events);
            if is_last {
                return all;
            }
        }
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// An event as text, for example `7=1`.
pub(crate) fn shown(event: &Event) -> String {
    #[derive(serde::Deserialize)]
    struct Columns {
        value: Option<i64>,
    }
    let key = event.key().map(ToString::to_string).unwrap_or_default();
    let value = event
        .columns::<Columns>()
        .unwrap()
        .and_then(|columns| columns.value);
    format!("{key}={}", value.unwrap_or_default())
}

pub(crate) fn all_shown(events: &[Event]) -> Vec<String> {
    events.iter().map(shown).collect()
}
