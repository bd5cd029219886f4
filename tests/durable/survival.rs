//! Consumers survive open transactions of other sessions, lost connections and a restarted server.

use pgherald_testkit::Postgres;

use crate::support::{Log, Scene, all_well, connect, drained, local, options, report};

#[tokio::test]
async fn an_open_transaction_does_not_delay_other_events_and_is_not_skipped() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let handle = scene.start(options("g"), &log, all_well());
        let late = connect(&scene.url).await;
        late.batch_execute("BEGIN; INSERT INTO jobs VALUES (1, 1)")
            .await
            .unwrap();
        let later = connect(&scene.url).await;
        later
            .batch_execute("BEGIN; SELECT pg_current_xact_id()")
            .await
            .unwrap();
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(2, 100) AS n")
            .await;
        log.has(99).await;
        later
            .batch_execute("INSERT INTO jobs VALUES (101, 1); COMMIT")
            .await
            .unwrap();
        assert_eq!(log.has(100).await[99], "101=1#1");
        drained(&handle).await;
        let handle = scene.start(options("g"), &log, all_well());
        report(&handle, "8 slices", |report| report.slices == 8).await;
        late.batch_execute("COMMIT").await.unwrap();
        assert_eq!(log.has(101).await[100], "1=1#1");
        drained(&handle).await;
        assert_eq!(log.lines().len(), 101);
    })
    .await;
}

#[tokio::test]
async fn consumers_lose_no_event_when_the_server_restarts_during_attempts() {
    local(async {
        let server = Postgres::start().await.unwrap();
        let mut scene = Scene::at(server.create_database().await.unwrap()).await;
        scene.run("INSERT INTO jobs SELECT n, 0 FROM generate_series(1, 50) AS n").await;
        let log = Log::default();
        let handle = scene.start(options("g").concurrency(2), &log, all_well());
        for round in 1..=3 {
            for _ in 0..20 {
                scene.run("UPDATE jobs SET value = value + 1").await;
            }
            match round {
                1 => {
                    server.terminate_backends(None).await.unwrap();
                }
                2 => server.restart().await.unwrap(),
                _ => {
                    server.kill().await.unwrap();
                    server.start_again().await.unwrap();
                }
            }
            scene.client = connect(&scene.url).await.into();
            scene
                .becomes("SELECT coalesce(sum(lag_events + parked + dead_letters), -1)::bigint FROM pgherald.consumer_group_status", 0)
                .await;
        }
        let lines = log.lines();
        let expected = (1..=50).flat_map(|id| (0..=60).map(move |value| format!("{id}={value}#1")));
        let lost: Vec<_> = expected.filter(|line| !lines.contains(line)).collect();
        assert!(lost.is_empty(), "{} of {}: {lost:?}", lost.len(), lines.len());
        drained(&handle).await;
    })
    .await;
}
