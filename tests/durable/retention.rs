//! Trimming of the outbox keeps the rows that groups need. A group whose rows were trimmed receives one resync.

use std::time::Duration;

use pgherald_core::DurableOptions;
use pgherald_core::outbox::{Retention, set_retention, trim};

use crate::support::{LIMIT, Log, Scene, all_well, drained, local, options, report, until};

const LAG: &str = "SELECT lag_events + parked FROM pgherald.consumer_group_status";
const ROWS: &str = "SELECT count(*) FROM pgherald.outbox";

impl Scene {
    async fn trim(&self, max_bytes: u64) {
        self.retain(max_bytes).await;
        for _ in 0..3 {
            trim(&self.client).await.unwrap();
        }
    }

    async fn retain(&self, max_bytes: u64) {
        let retention = Retention::new(Duration::ZERO).max_bytes(max_bytes);
        set_retention(&self.client, retention).await.unwrap();
    }

    /// Trims rows that no group needs until none is left.
    async fn is_emptied(&self) {
        let began = std::time::Instant::now();
        while self.number(ROWS).await > 0 {
            assert!(began.elapsed() < LIMIT, "rows are left");
            self.trim(1 << 40).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn rows_that_a_group_needs_are_kept_until_they_are_handled() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let first = scene.start(options("g"), &log, all_well());
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        log.has(1).await;
        drained(&first).await;
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(2, 20) AS n")
            .await;
        scene.trim(1 << 40).await;
        assert!(scene.number(ROWS).await >= 19);
        let second = scene.start(options("g"), &log, all_well());
        log.has(20).await;
        scene.is_emptied().await;
        scene.run("UPDATE jobs SET value = 2").await;
        log.has(40).await;
        drained(&second).await;
        assert!(
            log.lines().iter().all(|line| !line.contains("resync")),
            "{:?}",
            log.lines()
        );
    })
    .await;
}

async fn receives_one_resync_for_trimmed_rows(consumers: usize) {
    let scene = Scene::new().await;
    let log = Log::default();
    let first = scene.start(options("g"), &log, all_well());
    scene.run("INSERT INTO jobs VALUES (1, 1)").await;
    log.has(1).await;
    drained(&first).await;
    for round in 0..3 {
        let (before, value) = (log.lines().len(), round + 2);
        scene.run(&format!("UPDATE jobs SET value = {value}")).await;
        scene.trim(0).await;
        assert_eq!(scene.number(ROWS).await, 0);
        // Consumers trim as well, and must not trim the rows that are written from here on.
        scene.retain(1 << 40).await;
        // The group is paused, so that each consumer detects the loss by itself once it is resumed.
        let mut handles = Vec::new();
        scene.group("g").pause().await.unwrap();
        for _ in 0..consumers {
            // A consumer that loses its lease may have received the resync already.
            let options = options("g").lease(Duration::from_secs(10));
            handles.push(scene.start(options, &log, all_well()));
        }
        until(
            "all slices",
            || {
                handles
                    .iter()
                    .all(|handle| handle.report().slices == 8 / consumers)
            },
            String::new,
        )
        .await;
        scene.group("g").resume().await.unwrap();
        scene
            .run("INSERT INTO others VALUES (1); DELETE FROM others")
            .await;
        log.has(before + 3).await;
        scene.becomes(LAG, 0).await;
        for handle in handles {
            drained(&handle).await;
        }
        let announced = log.lines()[before..]
            .iter()
            .filter(|line| line.contains("trimmed"))
            .count();
        assert_eq!(announced, 1, "{:?}", log.lines());
        assert_eq!(log.lines().len(), before + 3);
    }
}

#[tokio::test]
async fn a_group_whose_rows_were_trimmed_receives_one_resync_and_continues() {
    local(receives_one_resync_for_trimmed_rows(1)).await;
}

#[tokio::test]
async fn a_group_of_several_consumers_whose_rows_were_trimmed_receives_one_resync() {
    local(receives_one_resync_for_trimmed_rows(4)).await;
}

#[tokio::test]
async fn a_slice_that_detects_the_same_loss_later_causes_no_second_resync() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        drained(&{
            let first = scene.start(options("g"), &log, all_well());
            report(&first, "8 slices", |report| report.slices == 8).await;
            first
        })
        .await;
        scene.run("CREATE TABLE saved AS SELECT slice, cursor FROM pgherald.consumer_cursor; INSERT INTO jobs VALUES (1, 1)").await;
        scene.trim(0).await;
        let handle = scene.start(options("g"), &log, all_well());
        assert_eq!(log.has(1).await, ["resync trimmed"]);
        scene.becomes("SELECT count(*) FROM pgherald.parked_event", 0).await;
        // As if another, slower consumer had owned these slices.
        scene
            .run("UPDATE pgherald.consumer_slice SET node = NULL, epoch = epoch + 1 WHERE slice > 3;
                UPDATE pgherald.consumer_cursor AS c SET cursor = o.cursor, epoch = epoch + 1
                FROM saved AS o WHERE o.slice = c.slice AND o.slice > 3; INSERT INTO jobs SELECT generate_series(2, 50), 1")
            .await;
        scene.becomes("SELECT count(*) FROM pgherald.consumer_cursor AS s JOIN saved USING (slice) WHERE s.cursor = saved.cursor", 0).await;
        scene.becomes(LAG, 0).await;
        drained(&handle).await;
        let announced = log.lines().iter().filter(|line| line.contains("trimmed")).count();
        assert_eq!(announced, 1, "{:?}", log.lines());
    })
    .await;
}

#[tokio::test]
async fn slices_at_different_positions_announce_a_loss_once() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        for round in 0..5 {
            let (before, value) = (log.lines().len(), round + 1);
            let consumer = || async {
                let one = scene.start(options("g"), &log, all_well());
                report(&one, "8 slices", |report| report.slices == 8).await;
                one
            };
            drained(&consumer().await).await;
            scene
                .run("CREATE TABLE saved AS SELECT slice, cursor FROM pgherald.consumer_cursor")
                .await;
            scene
                .run(&format!("INSERT INTO jobs VALUES ({value}, 1)"))
                .await;
            let second = consumer().await;
            log.has(before + 1).await;
            drained(&second).await;
            // Slices are at two positions, as if two consumers had read them.
            scene
                .run(
                    "UPDATE pgherald.consumer_cursor AS c SET cursor = o.cursor
                    FROM saved AS o WHERE o.slice = c.slice AND o.slice < 4; DROP TABLE saved",
                )
                .await;
            scene.run("UPDATE jobs SET value = value + 1").await;
            scene.trim(0).await;
            scene.retain(1 << 40).await;
            let third = consumer().await;
            scene
                .run(&format!("INSERT INTO others VALUES ({value})"))
                .await;
            log.has(before + 3).await;
            scene.becomes(LAG, 0).await;
            assert_eq!(drained(&third).await.errors, 0);
            let lines = &log.lines()[before..];
            let announced = lines.iter().filter(|line| line.contains("trimmed")).count();
            assert_eq!((announced, lines.len()), (1, 3), "{lines:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_parked_event_outlives_its_row_in_the_outbox() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let is_fixed = std::rc::Rc::new(std::cell::Cell::new(false));
        let fixed = is_fixed.clone();
        let plan = move |_: &str, _| match fixed.get() {
            true => Ok(()),
            false => Err("not yet".into()),
        };
        let patient = pgherald_core::RetryPolicy::new(
            100_000,
            pgherald_core::Backoff::new(Duration::from_millis(5), Duration::from_millis(5)),
        );
        let handle = scene.start(options("g").retry(patient), &log, Box::new(plan));
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        scene
            .becomes("SELECT count(*) FROM pgherald.parked_event", 1)
            .await;
        scene.is_emptied().await;
        is_fixed.set(true);
        report(&handle, "handled", |report| report.handled >= 1).await;
        scene
            .becomes("SELECT count(*) FROM pgherald.parked_event", 0)
            .await;
        drained(&handle).await;
        assert!(
            log.lines().iter().all(|line| line.starts_with("1=1#")),
            "{:?}",
            log.lines()
        );
    })
    .await;
}

#[tokio::test]
async fn handled_events_leave_no_rows_behind() {
    local(async {
        let scene = Scene::new().await;
        let (log, options) = (Log::default(), options("g").concurrency(64));
        let plan = |line: &str, attempt: u32| match line.ends_with("77=1") && attempt == 1 {
            true => Err("once".into()),
            false => Ok(()),
        };
        let handle = scene.start(DurableOptions::clone(&options), &log, Box::new(plan));
        for round in 0..10 {
            let (from, to) = (round * 5_000 + 1, (round + 1) * 5_000);
            scene
                .run(&format!(
                    "INSERT INTO jobs SELECT n, 1 FROM generate_series({from}, {to}) AS n"
                ))
                .await;
        }
        report(&handle, "50,000", |report| report.handled == 50_000).await;
        scene.becomes(LAG, 0).await;
        scene.is_emptied().await;
        drained(&handle).await;
        scene.run("VACUUM").await;
        let sql = "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class AS c
            WHERE c.relnamespace = 'pgherald'::regnamespace AND c.relkind = 'r'";
        let bytes = scene.number(sql).await;
        assert!(bytes < 3 << 20, "{bytes}");
    })
    .await;
}

#[tokio::test]
async fn a_consumer_keeps_its_lease_while_trimming_waits_for_a_lock() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let lease = Duration::from_secs(6);
        let handle = scene.start(options("g").lease(lease), &log, all_well());
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        log.has(1).await;
        let node = scene.number("SELECT id FROM pgherald.consumer_node").await;
        // Only trimming reads the locked table.
        let holder = scene.connect().await;
        let lock = "BEGIN; LOCK TABLE pgherald.outbox_part IN ACCESS EXCLUSIVE MODE";
        holder.batch_execute(lock).await.unwrap();
        let waiting = "SELECT count(*) FROM pg_locks AS l WHERE NOT l.granted
            AND l.relation = 'pgherald.outbox_part'::regclass";
        scene.becomes(waiting, 1).await;
        let until = format!(
            "SELECT (extract(epoch FROM lease_until) * 1000)::bigint FROM pgherald.consumer_node WHERE id = {node}"
        );
        let health = handle.health();
        // A lease that expires later than this was renewed after its previous expiry.
        let renewed = scene.number(&until).await + lease.as_millis() as i64;
        loop {
            let until = scene.number(&until).await;
            assert!(health.borrow().is_live(), "{}", *health.borrow());
            assert!(until > 0, "the lease has expired");
            if until > renewed {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        scene.run("UPDATE jobs SET value = 2").await;
        assert_eq!(log.has(2).await, ["1=1#1", "1=2#1"]);
        holder.batch_execute("COMMIT").await.unwrap();
        drained(&handle).await;
    })
    .await;
}
