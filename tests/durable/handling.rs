//! Which events are handled, in which order, and what follows a failure.

use std::time::Duration;

use pgherald_core::HandlerError;

use crate::support::{Log, Scene, all_well, drained, local, options, report};

#[tokio::test]
async fn events_committed_while_no_consumer_ran_are_handled() {
    local(async {
        let scene = Scene::new().await;
        scene
            .run("INSERT INTO jobs VALUES (1, 1); UPDATE jobs SET value = 2")
            .await;
        let log = Log::default();
        let first = scene.start(options("g"), &log, all_well());
        assert_eq!(log.has(2).await, ["1=1#1", "1=2#1"]);
        assert_eq!(drained(&first).await.handled, 2);
        scene.run("UPDATE jobs SET value = 3").await;
        let second = scene.start(options("g"), &log, all_well());
        assert_eq!(log.has(3).await[2..], ["1=3#1"]);
        scene.run("UPDATE jobs SET value = 4").await;
        log.has(4).await;
        drained(&second).await;
        assert_eq!(log.lines().len(), 4);
        let sql = "SELECT count(*) FROM pgherald.consumer_slice WHERE node IS NOT NULL";
        assert_eq!(scene.number(sql).await, 0);
        assert_eq!(
            scene
                .number("SELECT count(*) FROM pgherald.consumer_node")
                .await,
            0
        );
    })
    .await;
}

#[tokio::test]
async fn a_failing_row_parks_only_its_own_events() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let plan = |line: &str, attempt| match (line, attempt) {
            ("1=1", 1 | 2) => Err("not yet".into()),
            _ => Ok(()),
        };
        let handle = scene.start(options("g"), &log, Box::new(plan));
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 20) AS n; UPDATE jobs SET value = 2")
            .await;
        report(&handle, "all handled", |report| report.handled == 40).await;
        let lines = log.lines();
        let of_row: Vec<&String> = lines.iter().filter(|line| line.starts_with("1=")).collect();
        assert_eq!(of_row, ["1=1#1", "1=1#2", "1=1#3", "1=2#1"]);
        let third = lines.iter().position(|line| line == "1=1#3").unwrap();
        assert!(lines.iter().position(|line| line == "20=2#1").unwrap() < third, "{lines:?}");
        let report = drained(&handle).await;
        assert_eq!((report.retried, report.errors, report.dead_letters), (2, 2, 0));
        assert_eq!(scene.number("SELECT count(*) FROM pgherald.parked_event").await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_permanent_failure_becomes_a_dead_letter_and_other_rows_are_handled() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let plan = |line: &str, _| match line {
            "1=1" => Err(HandlerError::permanent("no such address\0")),
            "2=1" => Err("never".into()),
            "3=1" => panic!("a bug"),
            _ => Ok(()),
        };
        let handle = scene.start(options("g"), &log, Box::new(plan));
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 4) AS n; UPDATE jobs SET value = 2")
            .await;
        report(&handle, "5 handled", |report| report.handled == 5 && report.dead_letters == 3).await;
        drained(&handle).await;
        let sql = "SELECT id, attempts, error FROM pgherald.parked_event WHERE dead_at IS NOT NULL ORDER BY attempts, error";
        let rows = scene.client.query(sql, &[]).await.unwrap();
        let rows: Vec<(i32, String)> = rows.iter().map(|row| (row.get(1), row.get(2))).collect();
        assert_eq!(
            rows,
            [
                (1, "no such address".to_owned()),
                (3, "never".to_owned()),
                (3, "panicked: a bug".to_owned())
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn snoozing_costs_no_attempt_and_retry_after_delays_are_kept() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let asked = std::cell::Cell::new(0);
        let plan = move |line: &str, _| {
            asked.set(asked.get() + 1);
            match (line, asked.get()) {
                ("1=1", 1..6) => Err(HandlerError::snooze(Duration::from_millis(1))),
                ("1=1", 6) => Err(HandlerError::retry_after(
                    "busy",
                    Duration::from_millis(300),
                )),
                _ => Ok(()),
            }
        };
        let handle = scene.start(options("g"), &log, Box::new(plan));
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        log.has(6).await;
        let began = std::time::Instant::now();
        log.has(7).await;
        assert!(began.elapsed() > Duration::from_millis(200));
        assert_eq!(log.lines()[5..], ["1=1#1", "1=1#2"]);
        let report = drained(&handle).await;
        assert_eq!((report.snoozed, report.retried, report.handled), (5, 1, 1));
    })
    .await;
}
