//! Undecodable rows of the outbox, however many, cause few resyncs and few lines in the log.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgherald_core::__private::host::outbox::OutboxReader;
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{ConnectConfig, OutboxSource, ResyncReason, Signal, Source, TableName};
use pgherald_testkit::{FaultProxy, Postgres};
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::support::{Scene, connect};

const ROWS: u64 = 2_000;

fn spec(table: &str) -> TriggerSpec {
    let table = TableName::new("public", table).unwrap();
    TriggerSpec::new(table).columns(["value"]).outbox()
}

/// A live source. It logs the number of undecodable rows once a second.
async fn source(scene: &Scene) -> OutboxSource {
    let config: ConnectConfig = scene.url().parse().unwrap();
    let mut source = OutboxSource::builder(config)
        .watch(spec("counters"))
        .heartbeat(Duration::from_secs(1), Duration::from_secs(60))
        .build()
        .unwrap();
    while !matches!(source.next().await, Signal::Live) {}
    source
}

/// Rows that failed to decode according to the log: the number of logged rows, and the count of the others.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<(usize, u64)>>);

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Found {
            is_of_rows: bool,
            count: u64,
        }
        impl Visit for Found {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                let text = format!("{value:?}");
                self.is_of_rows |= field.name() == "message" && text.contains("failed to decode");
            }
            fn record_u64(&mut self, field: &Field, value: u64) {
                if field.name() == "count" {
                    self.count = value;
                }
            }
        }
        let mut found = Found {
            is_of_rows: false,
            count: 1,
        };
        event.record(&mut found);
        if found.is_of_rows {
            let mut lines = self.0.lock().unwrap();
            *lines = (lines.0 + 1, lines.1 + found.count);
        }
    }
}

#[tokio::test]
async fn a_flood_of_undecodable_rows_is_counted_exactly_and_causes_few_resyncs() {
    let scene = Scene::new().await;
    scene
        .run("CREATE TABLE others (id int PRIMARY KEY, value bigint)")
        .await;
    let plan = trigger::plan(&scene.client, &[spec("others")]).await;
    plan.unwrap().apply(&scene.client).await.unwrap();
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(lines.clone());
    // Everything below runs on this thread. The second dispatcher keeps tests on other threads from disabling its log lines.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let _logging = tracing::subscriber::set_default(subscriber);
    let mut source = source(&scene).await;
    // Rows of two tables alternate. Every tenth row is valid.
    let half = ROWS / 2;
    let flood = format!(
        "BEGIN;
        DO $$ BEGIN FOR n IN 1..{half} LOOP
            INSERT INTO counters VALUES (n, 1); INSERT INTO others VALUES (n, 1);
        END LOOP; END $$;
        UPDATE pgherald.outbox SET key = '{{' WHERE key::int % 10 <> 0; COMMIT"
    );
    scene.run(&flood).await;
    let (good, bad) = (ROWS / 10, ROWS - ROWS / 10);

    let (mut undecodable, mut resyncs, mut rows) = (0, 0, 0);
    let mut tables = std::collections::HashSet::new();
    while rows < good || undecodable < bad {
        match source.next().await {
            Signal::Resync(resync) => {
                undecodable += resync.undecodable();
                resyncs += 1;
                for reason in resync.reasons() {
                    assert!(matches!(reason, ResyncReason::Undecodable(_)), "{reason:?}");
                }
            }
            Signal::Events(events) => {
                rows += events.len() as u64;
                tables.extend(events.iter().map(|event| event.table().to_owned()));
                // Resyncs for all rows before this one have already arrived.
                assert!(
                    undecodable >= rows.saturating_sub(2) * 9,
                    "{undecodable} before row {rows}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((undecodable, rows, tables.len()), (bad, good, 2));
    // One resync per page and table.
    assert!(resyncs <= 2 * (ROWS / 512 + 1), "{resyncs} resyncs");

    // By the next heartbeat each row was logged or counted.
    let counted = async {
        while lines.0.lock().unwrap().1 < bad {
            let next = source.next();
            let _ = tokio::time::timeout(Duration::from_millis(50), next).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted)
        .await
        .unwrap();
    let (lines, rows) = *lines.0.lock().unwrap();
    assert_eq!(rows, bad);
    assert!(lines <= 20, "{lines} lines");
}

#[tokio::test]
async fn an_unknown_relation_is_looked_up_once_per_page() {
    let mut scene = Scene::new().await;
    let server = Postgres::shared().await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let client = connect(&proxy.url(scene.url())).await;
    scene.reader = OutboxReader::new(Arc::new(client));
    scene
        .run("INSERT INTO counters SELECT n, 1 FROM generate_series(1, 500) AS n; DELETE FROM pgherald.outbox_relation")
        .await;
    let before = proxy.statements();
    let page = scene.reader.next(&scene.cursor, 500).await.unwrap();
    assert_eq!((page.events.len(), page.undecodable.len()), (0, 500));
    let made = proxy.statements() - before;
    assert!(made < 20, "{made} statements");
    // The table is found once it is recorded.
    scene
        .run("INSERT INTO pgherald.outbox_relation SELECT DISTINCT relation, 'public', 'counters', '[\"id\"]' FROM pgherald.outbox")
        .await;
    let page = scene.reader.next(&scene.cursor, 500).await.unwrap();
    assert_eq!((page.events.len(), page.undecodable.len()), (500, 0));
}

#[tokio::test]
async fn rows_with_text_that_is_not_utf8_are_read_together() {
    const BAD: u64 = 1_000;
    let server = Postgres::shared().await.unwrap();
    let name = format!("texts_{}", std::process::id());
    let create = format!(
        "CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    );
    server.execute(&create).await.unwrap();
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let scene = Scene::at(proxy.url(&server.url_for(&name))).await;
    let mut source = source(&scene).await;
    let before = proxy.statements();
    scene
        .run(&format!(
            "BEGIN; INSERT INTO counters SELECT n, 1 FROM generate_series(0, {BAD} + 1) AS n;
            UPDATE pgherald.outbox SET columns = '{{\"value\":\"' || E'caf\\xe9' || '\"}}' WHERE key::int BETWEEN 1 AND {BAD};
            COMMIT"
        ))
        .await;
    let (mut undecodable, mut resyncs, mut rows) = (0, 0, 0);
    while rows < 2 {
        match source.next().await {
            Signal::Resync(resync) => {
                undecodable += resync.undecodable();
                resyncs += 1;
            }
            Signal::Events(events) => rows += events.len(),
            other => panic!("{other:?}"),
        }
    }
    let made = proxy.statements() - before;
    println!("{resyncs} resyncs, {made} statements");
    assert_eq!(undecodable, BAD);
    assert!(resyncs < 20, "{resyncs} resyncs");
    assert!(made < 2_000, "{made} statements");
}
