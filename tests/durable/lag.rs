//! The lag of a group: counted exactly while it is small, estimated beyond.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::support::{Log, Plan, Scene, all_well, connect, drained, local, options, report};

/// The lag of the view, the lag by its definition, and whether a difference is read: in one snapshot.
const LAGS: &str = "SELECT s.lag_events, s.lag_is_estimate, (
        SELECT count(*) FROM pgherald.consumer_cursor AS c
        CROSS JOIN LATERAL pgherald.read_cursor(c.cursor) AS p
        JOIN pgherald.outbox AS o ON (o.hash & 2147483647) % s.slices = c.slice
        WHERE NOT pg_visible_in_snapshot(o.xid, p.done)
            AND (p.reading IS NULL OR o.id > p.position OR NOT pg_visible_in_snapshot(o.xid, p.reading))
    ) AS defined, EXISTS (
        SELECT FROM pgherald.consumer_cursor AS c CROSS JOIN LATERAL pgherald.read_cursor(c.cursor) AS p
        WHERE p.position > p.floor
    ) AS is_reading
    FROM pgherald.consumer_group_status AS s";

#[tokio::test]
async fn lag_counts_the_rows_that_no_cursor_has_passed() {
    local(async {
        let scene = Scene::new().await;
        // Slow enough for cursors within a difference to be written.
        let plan: Plan = Box::new(|_, _| {
            let began = Instant::now();
            while began.elapsed() < Duration::from_micros(100) {
                std::hint::spin_loop();
            }
            Ok(())
        });
        let handle = scene.start(options("g"), &Log::default(), plan);
        report(&handle, "its slices", |report| report.slices == 8).await;
        // Fewer than the number from which on the lag is estimated.
        let left = Rc::new(Cell::new(90_000));
        let mut writers = Vec::new();
        for writer in 0..4 {
            let (client, left) = (connect(&scene.url).await, Rc::clone(&left));
            writers.push(tokio::task::spawn_local(async move {
                let mut id = 1_000_000 * (writer + 1);
                while left.get() > 0 {
                    let rows = [1, 20, 1_000][fastrand::usize(..3)];
                    let insert = format!(
                        "BEGIN; INSERT INTO jobs SELECT n, 1 FROM generate_series({id}, {id} + {rows} - 1) AS n"
                    );
                    client.batch_execute(&insert).await.unwrap();
                    id += rows;
                    left.set(left.get() - rows);
                    // Transactions end in another order than they take ids.
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(..200))).await;
                    let end = ["COMMIT", "COMMIT", "ROLLBACK"][fastrand::usize(..3)];
                    client.batch_execute(end).await.unwrap();
                }
            }));
        }
        let (mut behind, mut within) = (0, 0);
        while left.get() > 0 && (behind < 60 || within < 10) {
            let row = scene.client.query_one(LAGS, &[]).await.unwrap();
            let (lag, defined): (i64, i64) = (row.get(0), row.get(2));
            let is_reading: bool = row.get(3);
            assert_eq!(lag, defined, "is_reading: {is_reading}");
            assert!(!row.get::<_, bool>(1));
            behind += i32::from(lag > 0);
            within += i32::from(lag > 0 && is_reading);
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        left.set(0);
        assert!(behind > 0 && within > 0, "{behind} {within}");
        for writer in writers {
            writer.await.unwrap();
        }
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn lag_of_more_than_100_000_events_is_an_estimate() {
    local(async {
        let scene = Scene::new().await;
        let handle = scene.start(options("g"), &Log::default(), all_well());
        report(&handle, "its slices", |report| report.slices == 8).await;
        drained(&handle).await;
        let recorded = "INSERT INTO others SELECT n FROM generate_series(1, 90000) AS n";
        scene.run(recorded).await;
        let status = scene.group("g").status().await.unwrap();
        assert_eq!((status.lag_events, status.lag_is_estimate), (90_000, false));
        let recorded = "INSERT INTO others SELECT n FROM generate_series(90001, 200000) AS n";
        scene.run(recorded).await;
        let status = scene.group("g").status().await.unwrap();
        assert!(status.lag_is_estimate);
        assert!(
            (199_000..=201_000).contains(&status.lag_events),
            "{status:?}"
        );
    })
    .await;
}
