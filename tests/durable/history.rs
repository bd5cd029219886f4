//! A new history of the outbox: its effects on groups, and how a locked history is reported.

use pgherald_core::{Backoff, Filter, Operation, RetryPolicy};
use tokio::time::timeout;
use tokio_postgres::error::SqlState;

use crate::support::{LIMIT, Log, Scene, YEARS, all_well, drained, local, options, report, until};

const WAITING: &str = "SELECT lag_events + parked FROM pgherald.consumer_group_status";

fn sorted(log: &Log) -> Vec<String> {
    let mut lines = log.lines();
    lines.sort();
    lines
}

#[tokio::test]
async fn a_transaction_that_locks_the_history_is_reported_and_waited_for() {
    local(async {
        let scene = Scene::new().await;
        // As after a crash: the first session that connects records the new run of the server.
        scene.run("DELETE FROM pgherald.server_run").await;
        let holder = scene.connect().await;
        let hold = "BEGIN; SELECT pgherald.history()";
        holder.batch_execute(hold).await.unwrap();
        let error = scene.client.batch_execute("SELECT pgherald.history()");
        let error = timeout(LIMIT, error).await.unwrap().unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));
        let log = Log::default();
        let handle = scene.start(options("g"), &log, all_well());
        let health = handle.health();
        let text = || format!("{:?}", health.borrow());
        until("named", || text().contains("pg_locks"), text).await;
        holder.batch_execute("COMMIT").await.unwrap();
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        log.has(1).await;
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn an_event_parked_behind_another_is_handled_after_the_filter_was_narrowed() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        scene
            .run("INSERT INTO jobs VALUES (1, 1); UPDATE jobs SET value = 2")
            .await;
        let retry = RetryPolicy::new(3, Backoff::new(YEARS, YEARS));
        let fails = Box::new(|_: &str, _| Err("later".into()));
        let handle = scene.start(options("g").retry(retry), &log, fails);
        scene
            .becomes("SELECT parked FROM pgherald.consumer_group_status", 2)
            .await;
        drained(&handle).await;
        scene
            .run("UPDATE pgherald.parked_event SET due_at = now(), delay = 0 WHERE due_at IS NOT NULL")
            .await;
        let log = Log::default();
        let inserts = Filter::new().operations(Operation::Insert);
        let handle = scene.start(options("g").filter(inserts), &log, all_well());
        scene.becomes(WAITING, 0).await;
        assert_eq!(log.lines(), ["1=1#2", "1=2#1"]);
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn the_filter_applies_to_events_parked_by_a_new_history() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let deletes = || options("g").filter(Filter::new().operations(Operation::Delete));
        let handle = scene.start(deletes(), &log, all_well());
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        scene.becomes(WAITING, 0).await;
        drained(&handle).await;
        scene
            .run("INSERT INTO jobs VALUES (2, 1); DELETE FROM jobs WHERE id = 1")
            .await;
        scene
            .run("DELETE FROM pgherald.outbox_history; SELECT pgherald.history()")
            .await;
        scene
            .becomes("SELECT count(*) FROM pgherald.parked_event", 3)
            .await;
        // A clock that is set back cannot delay them, because they have no due time without a delay.
        let held =
            "SELECT count(*) FROM pgherald.parked_event WHERE due_at IS NOT NULL AND delay IS NULL";
        assert_eq!(scene.number(held).await, 0);
        let handle = scene.start(deletes(), &log, all_well());
        scene.becomes(WAITING, 0).await;
        assert_eq!(sorted(&log), ["1=1#1", "resync restored"]);
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn a_closing_counter_that_is_set_back_begins_a_new_history() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let handle = scene.start(options("g"), &log, all_well());
        for id in 1..=4 {
            scene
                .run(&format!("INSERT INTO jobs VALUES ({id}, 1)"))
                .await;
            log.has(id).await;
            scene.becomes(WAITING, 0).await;
            scene.run("SELECT pgherald.trim_outbox('0 s', 1)").await;
        }
        scene.run("INSERT INTO jobs VALUES (5, 1)").await;
        log.has(5).await;
        scene.becomes(WAITING, 0).await;
        let closed = "SELECT closed FROM pgherald.outbox_retention";
        assert!(scene.number(closed).await > 0);
        scene
            .run("UPDATE pgherald.outbox_retention SET closed = 0, trimmed = 0")
            .await;
        scene.run("INSERT INTO jobs VALUES (6, 1)").await;
        let has = |line: &str| log.lines().iter().any(|other| other == line);
        let is_done = || has("6=1#1") && has("resync restored");
        until("the resync and the row", is_done, || {
            format!("{:?}", log.lines())
        })
        .await;
        scene.becomes(WAITING, 0).await;
        let mut rows = sorted(&log);
        rows.retain(|line| !line.starts_with("resync"));
        assert_eq!(rows, ["1=1#1", "2=1#1", "3=1#1", "4=1#1", "5=1#1", "6=1#1"]);
        drained(&handle).await;
    })
    .await;
}

/// The cursor has nine words. The last one is invalid, and some before it are empty.
#[tokio::test]
async fn a_partly_valid_cursor_does_not_affect_other_slices() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let handle = scene.start(options("g"), &log, all_well());
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 40) AS n")
            .await;
        log.has(40).await;
        report(&handle, "all", |report| report.handled == 40).await;
        scene.becomes(WAITING, 0).await;
        drained(&handle).await;
        scene
            .run(
                "UPDATE pgherald.consumer_cursor SET cursor = '1:1: 0 1 0     x' WHERE slice = 0;
                DELETE FROM pgherald.outbox_history; SELECT pgherald.history()",
            )
            .await;
        // Events of slice 0 are handled again.
        let again = scene
            .number("SELECT count(*) FROM pgherald.parked_event WHERE operation <> 'R'")
            .await;
        assert!((1..40).contains(&again), "{again}");
        let elsewhere =
            "SELECT count(*) FROM pgherald.parked_event WHERE operation <> 'R' AND slice <> 0";
        assert_eq!(scene.number(elsewhere).await, 0);
        let handle = scene.start(options("g"), &log, all_well());
        scene.becomes(WAITING, 0).await;
        drained(&handle).await;
        assert_eq!(log.lines().len(), 40 + usize::try_from(again).unwrap() + 1);
    })
    .await;
}
