//! Databases in an unusual state: restored from a dump, of another encoding, read-only by default, or sought back.

use std::time::Duration;

use pgherald_core::HandlerError;
use pgherald_core::group::{Group, Seek};
use pgherald_testkit::Postgres;

use crate::support::{Log, Scene, all_well, connect, drained, local, options, report};

const LAG: &str = "SELECT lag_events FROM pgherald.consumer_group_status";

#[tokio::test]
async fn cursors_ahead_of_the_server_restart_with_a_resync() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let first = scene.start(options("g"), &log, all_well());
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        log.has(1).await;
        drained(&first).await;
        // As in a dump of a server that has assigned more transaction ids.
        let sql =
            "UPDATE pgherald.consumer_cursor SET cursor = '999999999:999999999: 0 999999999 0'";
        scene.run(sql).await;
        let second = scene.start(options("g"), &log, all_well());
        scene.run("INSERT INTO jobs VALUES (2, 1)").await;
        let mut lines = log.has(4).await[1..].to_vec();
        lines.sort();
        assert_eq!(lines, ["1=1#1", "2=1#1", "resync restored"]);
        drained(&second).await;
        // The resync comes once.
        let third = scene.start(options("g"), &log, all_well());
        scene.run("INSERT INTO jobs VALUES (3, 1)").await;
        log.has(5).await;
        drained(&third).await;
        assert_eq!(log.lines().len(), 5);
    })
    .await;
}

#[tokio::test]
async fn consumers_work_and_trim_if_transactions_are_read_only_by_default() {
    local(async {
        let scene = Scene::new().await;
        scene
            .set_for_new_sessions("default_transaction_read_only = on")
            .await;
        scene
            .run("UPDATE pgherald.outbox_retention SET keep = '0 s'")
            .await;
        let written = "SELECT coalesce(pg_sequence_last_value('pgherald.outbox_clock'), 0) & 3";
        let before = scene.number(written).await;
        let log = Log::default();
        let plan = |line: &str, attempt| match (line, attempt) {
            ("1=1", 1) => Err("not yet".into()),
            _ => Ok(()),
        };
        let handle = scene.start(options("g"), &log, Box::new(plan));
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        assert_eq!(log.has(2).await, ["1=1#1", "1=1#2"]);
        let parked = "SELECT count(*) FROM pgherald.parked_event";
        scene.becomes(parked, 0).await;
        scene.becomes(LAG, 0).await;
        // Trimming has made the next part the current one.
        scene.becomes(written, (before + 1) & 3).await;
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn errors_are_stored_in_a_database_whose_encoding_lacks_their_characters() {
    local(async {
        let url = Postgres::shared().await.unwrap().create_database().await.unwrap();
        let client = connect(&url).await;
        let row = client.query_one("SELECT current_database()::text", &[]).await.unwrap();
        let (name, latin) = (row.get::<_, String>(0), format!("latin_{}", row.get::<_, String>(0)));
        let sql = format!(
            "CREATE DATABASE {latin} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        );
        client.batch_execute(&sql).await.unwrap();
        let scene = Scene::at(url.replace(&name, &latin)).await;
        let log = Log::default();
        let plan = |line: &str, _| match line {
            "1=1" => Err(HandlerError::permanent("the service said “no” 🙁")),
            _ => Ok(()),
        };
        let handle = scene.start(options("g"), &log, Box::new(plan));
        scene.run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 20) AS n").await;
        report(&handle, "19 handled", |report| report.handled == 19).await;
        scene.becomes(LAG, 0).await;
        drained(&handle).await;
        let client = std::sync::Arc::new(scene.connect().await);
        let letters = Group::new(&client, "g").dead_letters(None, 10).await.unwrap();
        let error = letters[0].error.clone().unwrap();
        assert!(error.contains("the service said") && error.contains("no"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn seek_back_replays_events_before_parked_ones_of_the_same_key() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let plan = |line: &str, attempt| match (line, attempt) {
            ("1=2", 1) => Err(HandlerError::retry_after("later", Duration::from_secs(2))),
            _ => Ok(()),
        };
        let handle = scene.start(options("g"), &log, Box::new(plan));
        scene
            .run("INSERT INTO jobs VALUES (1, 1); UPDATE jobs SET value = 2")
            .await;
        log.has(2).await;
        scene.becomes(LAG, 0).await;
        scene
            .becomes("SELECT count(*) FROM pgherald.parked_event", 1)
            .await;
        let client = std::sync::Arc::new(scene.connect().await);
        Group::new(&client, "g")
            .seek(Seek::Beginning)
            .await
            .unwrap();
        let lines = log.has(4).await;
        assert_eq!(lines, ["1=1#1", "1=2#1", "1=1#1", "1=2#2"]);
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn reading_parked_events_is_retried_after_a_failure() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let plan = |_: &str, attempt| match attempt {
            1 => Err(HandlerError::retry_after("later", Duration::from_secs(1))),
            _ => Ok(()),
        };
        let handle = scene.start(options("g"), &log, Box::new(plan));
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        scene
            .becomes("SELECT count(*) FROM pgherald.parked_event", 1)
            .await;
        scene
            .run("ALTER TABLE pgherald.parked_event RENAME TO away")
            .await;
        let is_degraded = || !handle.health().borrow().is_live();
        crate::support::until("degraded", is_degraded, String::new).await;
        scene
            .run("ALTER TABLE pgherald.away RENAME TO parked_event")
            .await;
        assert_eq!(log.has(2).await, ["1=1#1", "1=1#2"]);
        drained(&handle).await;
    })
    .await;
}
