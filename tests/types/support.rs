//! Tables that are watched in both modes, and the events of their changes.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::SystemTime;

use pgherald_core::__private::host::events::Decoder;
use pgherald_core::__private::host::outbox::{Cursor, OutboxReader};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{Event, TableName};
use pgherald_testkit::Postgres;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// The watched column of each table.
#[derive(Debug, Deserialize)]
pub(crate) struct Row<T> {
    pub(crate) v: T,
}

pub(crate) struct Scene {
    pub(crate) client: Client,
    /// Keeps the listening connection open.
    _listener: Client,
    notifications: mpsc::Receiver<tokio_postgres::Notification>,
    decoder: Decoder,
    reader: OutboxReader,
    cursor: Cursor,
}

impl Scene {
    /// Creates a database, runs `sql` in it, and watches the tables `notified` and `recorded`, which have columns `id` and `v`.
    pub(crate) async fn new(sql: &str, notified: &[String], recorded: &[String]) -> Self {
        let server = Postgres::shared().await.unwrap();
        let url = server.create_database().await.unwrap();
        let client = connect(&url).await;
        if let Err(error) = client.batch_execute(sql).await {
            panic!("{error:?}");
        }
        // The outbox is read even if nothing else is recorded in it.
        client
            .batch_execute("CREATE TABLE unused (id int PRIMARY KEY)")
            .await
            .unwrap();
        let spec = |name: &String| TriggerSpec::new(TableName::new("public", name).unwrap());
        let notified = notified.iter().map(|name| spec(name).columns(["v"]));
        let recorded = recorded
            .iter()
            .map(|name| spec(name).columns(["v"]).old_columns().outbox());
        let specs = notified
            .chain(recorded)
            .chain([spec(&"unused".to_owned()).outbox()]);
        let plan = trigger::plan(&client, &specs.collect::<Vec<_>>()).await;
        plan.unwrap().apply(&client).await.unwrap();
        let mut reader = OutboxReader::new(Arc::new(connect(&url).await));
        let cursor = reader.now().await.unwrap();
        let (listener, mut connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let (sender, notifications) = mpsc::channel(10_000);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(notification) = message {
                    sender.try_send(notification).unwrap();
                }
            }
        });
        listener
            .batch_execute("LISTEN pgherald; LISTEN fence")
            .await
            .unwrap();
        Self {
            client,
            _listener: listener,
            notifications,
            decoder: Decoder::new(),
            reader,
            cursor,
        }
    }

    pub(crate) async fn install(&self, specs: &[TriggerSpec]) {
        let plan = trigger::plan(&self.client, specs).await.unwrap();
        plan.apply(&self.client).await.unwrap();
    }

    pub(crate) async fn run(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}: {error:?}");
        }
    }

    /// The events of all writes so far: those of notifications and those of the outbox.
    pub(crate) async fn events(&mut self) -> (Vec<Event>, Vec<Event>) {
        self.run("NOTIFY fence").await;
        let mut announced = Vec::new();
        loop {
            let notification = self.notifications.recv().await.unwrap();
            if notification.channel() == "fence" {
                break;
            }
            let payload = notification.payload();
            self.decoder
                .decode("pgherald", payload, 0, SystemTime::now(), &mut announced)
                .unwrap();
        }
        let mut recorded = Vec::new();
        loop {
            let page = self.reader.next(&self.cursor, 1_000).await.unwrap();
            assert!(page.undecodable.is_empty(), "{:?}", page.undecodable);
            self.cursor = page.cursor;
            recorded.extend(page.events);
            if page.is_last {
                return (announced, recorded);
            }
        }
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
