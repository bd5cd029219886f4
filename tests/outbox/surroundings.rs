//! The outbox beside unrelated roles, on managed servers, with other versions of the schema, and after dumps.

use std::sync::Arc;
use std::time::Duration;

use pgherald::ConnectConfig;
use pgherald_core::__private::host::outbox::OutboxReader;
use pgherald_core::group::{Consumer, ConsumerHandle};
use pgherald_core::outbox::trim;
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{
    Attempt, DurableOptions, Event, EventHandler, HandlerResult, Health, OutboxSource, Signal,
    Source, TableName,
};
use pgherald_testkit::Postgres;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::support::{Scene, connect};

const DEADLINE: Duration = Duration::from_secs(60);

fn spec() -> TriggerSpec {
    let table = TableName::new("public", "counters").unwrap();
    TriggerSpec::new(table).columns(["value"]).outbox()
}

async fn install(client: &Client) {
    let plan = trigger::plan(client, &[spec()]).await.unwrap();
    plan.apply(client).await.unwrap();
}

/// The signals of a source up to the first `Live` or `Down`, which is returned.
async fn first_health(url: &str) -> Signal {
    let config: ConnectConfig = url.parse().unwrap();
    let mut source = OutboxSource::builder(config).watch(spec()).build().unwrap();
    let found = async {
        loop {
            let signal = source.next().await;
            if matches!(signal, Signal::Live | Signal::Down(_)) {
                return signal;
            }
        }
    };
    timeout(DEADLINE, found).await.unwrap()
}

struct Quiet;

impl EventHandler for Quiet {
    type Event = Event;

    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        Ok(())
    }
}

/// The health of a consumer, once it is not `Starting` any more.
async fn health_of(handle: &ConsumerHandle) -> Health {
    let mut health = handle.health();
    let known = health.wait_for(|health| !matches!(health, Health::Connecting));
    timeout(DEADLINE, known).await.unwrap().unwrap().clone()
}

#[tokio::test]
async fn advisory_locks_of_unrelated_roles_block_neither_installing_nor_trimming() {
    let scene = Scene::new().await;
    let stranger = scene.connect().await;
    // The advisory locks that earlier versions took.
    let locks =
        "SELECT pg_advisory_lock(8099557239769099364), pg_advisory_lock(8099557239769099365)";
    stranger.batch_execute(locks).await.unwrap();
    let work = async {
        scene.run("CREATE TABLE others (id int PRIMARY KEY)").await;
        let table = TableName::new("public", "others").unwrap();
        let plan = trigger::plan(&scene.client, &[TriggerSpec::new(table).outbox()]).await;
        plan.unwrap().apply(&scene.client).await.unwrap();
        scene.run("INSERT INTO counters VALUES (1, 1)").await;
        scene
            .run("UPDATE pgherald.outbox_retention SET keep = '0 s'")
            .await;
        let mut emptied = 0;
        while emptied == 0 {
            emptied += trim(&scene.client).await.unwrap();
        }
    };
    timeout(DEADLINE, work).await.unwrap();
}

#[tokio::test]
async fn server_facts_hidden_by_managed_servers_are_not_needed() {
    let server = Postgres::start().await.unwrap();
    let superuser = connect(&server.url()).await;
    superuser
        .batch_execute(
            "CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE postgres TO app;
             GRANT CREATE ON SCHEMA public TO app;
             REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC;
             REVOKE EXECUTE ON FUNCTION pg_control_checkpoint() FROM PUBLIC;
             REVOKE EXECUTE ON FUNCTION pg_walfile_name(pg_lsn) FROM PUBLIC",
        )
        .await
        .unwrap();
    let url = format!("postgresql://app@127.0.0.1:{}/postgres", server.port());
    let client = connect(&url).await;
    client
        .batch_execute("CREATE TABLE counters (id int PRIMARY KEY, value bigint)")
        .await
        .unwrap();
    install(&client).await;
    assert!(matches!(first_health(&url).await, Signal::Live));
}

#[tokio::test]
async fn a_schema_of_another_version_is_rejected_by_name() {
    for version in [1, 1_000] {
        let scene = Scene::new().await;
        let comment = format!("COMMENT ON TABLE pgherald.outbox IS '{{\"version\":{version}}}'");
        scene.run(&comment).await;
        let url = scene.url();
        let mut message = vec![
            trim(&scene.client).await.unwrap_err().chain(),
            trigger::plan(&scene.client, &[spec()])
                .await
                .unwrap_err()
                .chain(),
        ];
        match first_health(url).await {
            Signal::Down(error) => message.push(error.chain()),
            other => panic!("{other:?}"),
        }
        let local = tokio::task::LocalSet::new();
        let consuming = local.run_until(async {
            let (handle, consumer) =
                Consumer::new(url.parse().unwrap(), DurableOptions::new("g"), || Quiet).unwrap();
            tokio::task::spawn_local(consumer.run());
            health_of(&handle).await
        });
        match consuming.await {
            Health::Degraded { cause, .. } => message.push(cause.chain()),
            other => panic!("{other:?}"),
        }
        for message in message {
            assert!(
                message.contains(&format!("version {version}")) && message.contains("version 2"),
                "{message}"
            );
        }
    }
}

#[tokio::test]
async fn installing_restores_rows_that_a_schema_only_dump_lacks() {
    let scene = Scene::new().await;
    scene
        .run("TRUNCATE pgherald.outbox_relation, pgherald.outbox_retention, pgherald.outbox_part")
        .await;
    let drifts = trigger::verify(&scene.client, &[spec()]).await.unwrap();
    assert!(!drifts.is_empty());
    install(&scene.client).await;
    assert_eq!(trigger::verify(&scene.client, &[spec()]).await.unwrap(), []);
    let mut reader = OutboxReader::new(Arc::new(scene.connect().await));
    let cursor = reader.now().await.unwrap();
    scene.run("INSERT INTO counters VALUES (1, 1)").await;
    let page = reader.next(&cursor, 10).await.unwrap();
    assert_eq!((page.events.len(), page.undecodable.len()), (1, 0));
    trim(&scene.client).await.unwrap();
}
