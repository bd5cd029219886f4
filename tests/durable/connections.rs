//! Consumers of one process that share connections.

use std::sync::mpsc;
use std::time::Duration;

use pgherald_core::DurableOptions;
use pgherald_core::group::{Connections, ConsumerHandle};

use crate::support::{Log, Scene, all_well, degraded, drained, local, options, report, until};

const GROUPS: usize = 12;

/// Starts a consumer on these connections.
fn start(
    scene: &Scene,
    connections: &Connections,
    options: DurableOptions,
    log: &Log,
) -> ConsumerHandle {
    let options = options.connections(connections.clone());
    scene.start(options, log, all_well())
}

/// Waits until each consumer owns all slices of its group.
async fn own_all_slices(handles: &[&ConsumerHandle]) {
    for handle in handles {
        report(handle, "connected", |report| report.slices == 8).await;
    }
}

/// Starts `GROUPS` groups on the same connections, and waits until all are live.
async fn start_all(scene: &Scene, log: &Log) -> Vec<ConsumerHandle> {
    let connections = Connections::new(scene.config());
    let start = |number| start(scene, &connections, options(&format!("g{number}")), log);
    let handles: Vec<_> = (0..GROUPS).map(start).collect();
    for handle in &handles {
        let live = |health: &pgherald_core::Health| health.is_live();
        handle.health().wait_for(live).await.unwrap();
    }
    handles
}

async fn have_handled(handles: &[ConsumerHandle], events: u64) {
    for handle in handles {
        report(handle, "all handled", |report| report.handled >= events).await;
        assert_eq!(handle.report().handled, events);
    }
}

const SESSIONS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'pgherald consumer%'";

#[tokio::test]
async fn groups_that_share_connections_use_two_sessions_and_read_rows_once() {
    local(async {
        let scene = Scene::new().await;
        let handles = start_all(&scene, &Log::default()).await;
        assert_eq!(scene.number(SESSIONS).await, 2);
        // After an event, all groups are at the same position.
        scene.run("INSERT INTO jobs VALUES (0, 1)").await;
        have_handled(&handles, 1).await;
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 1000) AS n")
            .await;
        have_handled(&handles, 1_001).await;
        for handle in &handles {
            drained(handle).await;
        }
        drop(handles);
        // A session passes its statistics on when it ends.
        scene.becomes(SESSIONS, 0).await;
        let read =
            "SELECT sum(coalesce(idx_tup_fetch, 0) + seq_tup_read)::bigint FROM pg_stat_user_tables
            WHERE schemaname = 'pgherald' AND relname LIKE 'outbox\\_%' AND relname ~ '[0-9]$'";
        let read = scene.number(read).await;
        // Each group on its own would read all rows.
        let most = i64::try_from(GROUPS * 1_000 / 2).unwrap();
        assert!((1_001..most).contains(&read), "{read} rows were read");
    })
    .await;
}

#[tokio::test]
async fn groups_at_different_positions_get_in_step_and_lose_nothing() {
    local(async {
        let scene = Scene::new().await;
        let connections = Connections::new(scene.config());
        let mut handles = Vec::new();
        // Each group is created while others are reading, behind a transaction that commits late.
        for number in 0..8 {
            let mut late = scene.connect().await;
            let late = late.transaction().await.unwrap();
            let sql = format!("INSERT INTO jobs VALUES ({}, 1)", number * 10 + 1);
            late.batch_execute(&sql).await.unwrap();
            let group = options(&format!("g{number}")).slices(3 + number);
            handles.push(start(&scene, &connections, group, &Log::default()));
            for id in 2..=10 {
                let sql = format!("INSERT INTO jobs VALUES ({}, 1)", number * 10 + id);
                scene.run(&sql).await;
            }
            late.commit().await.unwrap();
        }
        have_handled(&handles, 80).await;
    })
    .await;
}

#[tokio::test]
async fn consumers_reconnect_together_after_a_lost_session() {
    local(async {
        let scene = Scene::new().await;
        let handles = start_all(&scene, &Log::default()).await;
        for round in 1..=3 {
            let sql = format!(
                "INSERT INTO jobs SELECT n, 1 FROM generate_series({round}00, {round}49) AS n"
            );
            scene.run(&sql).await;
            let end = "DROP TABLE IF EXISTS ended;
                CREATE TABLE ended AS SELECT pid FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name LIKE 'pgherald consumer%';
                SELECT pg_terminate_backend(pid) FROM ended";
            scene.run(end).await;
            assert_eq!(scene.number("SELECT count(*) FROM ended").await, 2);
            let left = "SELECT count(*) FROM ended JOIN pg_stat_activity USING (pid)";
            scene.becomes(left, 0).await;
            for handle in &handles {
                let all =
                    |report: &pgherald_core::group::ConsumerReport| report.handled >= round * 50;
                report(handle, "handled after the loss", all).await;
                let live = |health: &pgherald_core::Health| health.is_live();
                handle.health().wait_for(live).await.unwrap();
            }
            scene.becomes(SESSIONS, 2).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_group_that_fails_does_not_disturb_those_it_shares_connections_with() {
    local(async {
        let scene = Scene::new().await;
        let connections = Connections::new(scene.config());
        let start = |options| start(&scene, &connections, options, &Log::default());
        let (sound, gone) = (start(options("sound")), start(options("gone")));
        own_all_slices(&[&sound, &gone]).await;
        let pids = "SELECT coalesce(sum(pid), 0)::bigint FROM pg_stat_activity
            WHERE datname = current_database() AND application_name LIKE 'pgherald consumer%'";
        let before = scene.number(pids).await;
        scene
            .run("DELETE FROM pgherald.consumer_group WHERE name = 'gone'")
            .await;
        // Its consumer finds that out, and creates it again on the same sessions.
        let sql = "SELECT count(*) FROM pgherald.consumer_group WHERE name = 'gone'";
        scene.becomes(sql, 1).await;
        assert_eq!(scene.number(pids).await, before);
        let wrong = start(options("sound").slices(9));
        degraded(&wrong, "has 8 slices").await;
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        have_handled(&[sound], 1).await;
        assert_eq!(scene.number(pids).await, before);
    })
    .await;
}

/// The connections run on another runtime than the handler that blocks its thread.
#[tokio::test]
async fn a_blocked_handler_delays_no_other_consumer_of_its_connections() {
    local(async {
        let scene = Scene::new().await;
        let url = scene.url.clone();
        let connections = Connections::new(scene.config());
        let (blocked, is_blocked) = tokio::sync::oneshot::channel();
        let (unblock, wait) = mpsc::channel::<()>();
        let shared = connections.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(local(async {
                let blocked = std::cell::Cell::new(Some(blocked));
                let plan = move |_: &str, _: u32| {
                    if let Some(blocked) = blocked.take() {
                        blocked.send(()).unwrap();
                        wait.recv().unwrap();
                    }
                    Ok(())
                };
                let scene = Scene::connected(url).await;
                let options = options("blocked").connections(shared);
                let handle = scene.start(options, &Log::default(), Box::new(plan));
                report(&handle, "handled", |report| report.handled >= 20).await;
                drained(&handle).await;
            }));
        });
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        is_blocked.await.unwrap();
        let free = start(&scene, &connections, options("free"), &Log::default());
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(2, 20) AS n")
            .await;
        have_handled(&[free], 20).await;
        unblock.send(()).unwrap();
        let joined = tokio::task::spawn_blocking(|| thread.join().unwrap());
        joined.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn groups_that_share_connections_detect_a_new_history() {
    local(async {
        let scene = Scene::new().await;
        let handles = start_all(&scene, &Log::default()).await;
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        have_handled(&handles, 1).await;
        scene
            .run("DELETE FROM pgherald.outbox_history; INSERT INTO jobs VALUES (2, 1)")
            .await;
        let resynced = "SELECT count(*) FROM pgherald.consumer_group_status WHERE lag_events = 0 AND parked = 0";
        for handle in &handles {
            // Both events and the resync.
            report(handle, "resynced", |report| report.handled >= 3).await;
        }
        scene.run("INSERT INTO jobs VALUES (3, 1)").await;
        for handle in &handles {
            report(handle, "all handled", |report| report.handled >= 4).await;
        }
        scene.becomes(resynced, i64::try_from(GROUPS).unwrap()).await;
    })
    .await;
}

#[tokio::test]
async fn a_group_that_waits_for_a_lock_does_not_stop_those_it_shares_connections_with() {
    local(async {
        let scene = Scene::new().await;
        let connections = Connections::new(scene.config());
        let start = |group: &str| {
            // The limit of a renewal is the lease, which must not end before the wait for a lock does.
            let options = options(group).lease(Duration::from_secs(9));
            start(&scene, &connections, options, &Log::default())
        };
        let (waiting, free) = (start("waiting"), start("free"));
        own_all_slices(&[&waiting, &free]).await;
        let mut operator = scene.connect().await;
        let operator = operator.transaction().await.unwrap();
        let lock = "SELECT FROM pgherald.consumer_cursor WHERE group_name = 'waiting' FOR UPDATE";
        operator.batch_execute(lock).await.unwrap();
        let lock = "SELECT FROM pgherald.consumer_node WHERE group_name = 'waiting' FOR UPDATE";
        operator.batch_execute(lock).await.unwrap();
        degraded(&waiting, "lock timeout").await;
        for id in 1..=10 {
            scene
                .run(&format!("INSERT INTO jobs VALUES ({id}, 1)"))
                .await;
            report(&free, "handled", |report| report.handled >= id).await;
        }
        operator.rollback().await.unwrap();
        report(&waiting, "handled", |report| report.handled >= 10).await;
    })
    .await;
}

#[tokio::test]
async fn a_position_ahead_of_the_server_does_not_mislead_other_groups() {
    local(async {
        let scene = Scene::new().await;
        let connections = Connections::new(scene.config());
        let log = Log::default();
        let start = |group, log| start(&scene, &connections, options(group), log);
        let (sound, ahead) = (start("sound", &log), start("ahead", &Log::default()));
        own_all_slices(&[&sound, &ahead]).await;
        // As if a part of a backup was restored between two looks at the history.
        scene
            .run(
                "BEGIN; UPDATE pgherald.consumer_slice SET epoch = epoch + 1, node = NULL WHERE group_name = 'ahead';
                UPDATE pgherald.consumer_cursor SET epoch = epoch + 1, cursor = '900000000:900000000: 1 900000000 0'
                WHERE group_name = 'ahead'; COMMIT",
            )
            .await;
        degraded(&ahead, "went back").await;
        for id in 1..=10 {
            scene
                .run(&format!("INSERT INTO jobs VALUES ({id}, 1)"))
                .await;
        }
        let all = || {
            let lines = log.lines();
            (1..=10).all(|id| lines.contains(&format!("{id}=1#1")))
        };
        until("all handled", all, || format!("{:?}", log.lines())).await;
    })
    .await;
}
