//! A source of a database that is a logical replication subscriber.

use std::time::Duration;

use pgherald::{ConnectConfig, OutboxSource, OutboxSourceBuilder, TableName};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_testkit::Postgres;
use tokio_postgres::Client;

use crate::source::{NEVER, cause, listen, live, not_live, resyncs, rows, seen};
use crate::support::connect;

const COUNTERS: &str = "CREATE TABLE counters (id int PRIMARY KEY, value bigint)";

fn spec() -> TriggerSpec {
    let table = TableName::new("public", "counters").unwrap();
    TriggerSpec::new(table).columns(["value"]).outbox()
}

async fn install(client: &Client, spec: TriggerSpec) {
    let plan = trigger::plan(client, &[spec]).await.unwrap();
    plan.apply(client).await.unwrap();
}

/// A source that reads only after a wake-up.
fn source(url: &str) -> OutboxSourceBuilder {
    let config: ConnectConfig = url.parse().unwrap();
    OutboxSource::builder(config)
        .watch(spec().replicated())
        .heartbeat(Duration::from_millis(200), Duration::from_secs(5))
        .poll_interval(NEVER)
}

#[actix::test]
async fn replicated_rows_wake_up_a_source() {
    let server = Postgres::builder().setting("wal_level", "logical");
    let server = server.start().await.unwrap();
    let url = server.create_database().await.unwrap();
    let publisher = connect(&url).await;
    for sql in [
        COUNTERS,
        "INSERT INTO counters VALUES (1, 1)",
        "CREATE PUBLICATION counters FOR TABLE counters",
        "SELECT pg_create_logical_replication_slot('counters', 'pgoutput')",
    ] {
        publisher.batch_execute(sql).await.unwrap();
    }
    let subscriber_url = server.create_database().await.unwrap();
    let subscriber = connect(&subscriber_url).await;
    subscriber.batch_execute(COUNTERS).await.unwrap();
    install(&subscriber, spec().replicated()).await;
    let (_listener, probe) = listen(source(&subscriber_url)).await;
    live(&probe, 1).await;

    let subscribe = format!(
        "CREATE SUBSCRIPTION counters CONNECTION '{url}' PUBLICATION counters WITH (create_slot = false)"
    );
    subscriber.batch_execute(&subscribe).await.unwrap();
    seen(&probe, "the initial copy", |seen| rows(seen) == ["1=1"]).await;
    for id in 2..5 {
        let sql = format!("INSERT INTO counters VALUES ({id}, {id})");
        publisher.batch_execute(&sql).await.unwrap();
        seen(&probe, "a row", |seen| rows(seen).len() == id).await;
    }
    let sql = "UPDATE counters SET value = 9 WHERE id = 4";
    publisher.batch_execute(sql).await.unwrap();
    let seen = seen(&probe, "the update", |seen| rows(seen).len() >= 5).await;
    assert_eq!(rows(&seen), ["1=1", "2=2", "3=3", "4=4", "4=9"]);
    assert_eq!(resyncs(&seen), ["started"]);
}

#[actix::test]
async fn a_source_that_requires_replicated_rows_is_not_live_without_them() {
    let server = Postgres::shared().await.unwrap();
    let url = server.create_database().await.unwrap();
    let client = connect(&url).await;
    client.batch_execute(COUNTERS).await.unwrap();
    install(&client, spec()).await;
    let (_listener, probe) = listen(source(&url)).await;
    let cause = cause(&not_live(&probe).await);
    assert!(cause.contains("without replicated rows"), "{cause}");
    install(&client, spec().replicated()).await;
    live(&probe, 1).await;
    let sql = "ALTER TABLE counters ENABLE TRIGGER pgherald_notify_delete_row";
    client.batch_execute(sql).await.unwrap();
    not_live(&probe).await;
}
