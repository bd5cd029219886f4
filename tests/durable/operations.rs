//! What operators do with groups: pause, seek, retry, discard, delete.

use std::time::{Duration, SystemTime};

use pgherald_core::HandlerError;
use pgherald_core::group::{Group, Seek};

use crate::support::{LIMIT, Log, Scene, all_well, drained, local, options, report};

const TWENTY: &str = "INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 20) AS n";
const LAG: &str = "SELECT lag_events FROM pgherald.consumer_group_status";

#[tokio::test]
async fn a_pause_applies_to_consumers_that_join_until_the_group_is_resumed() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let group = scene.group("g");
        let first = scene.start(options("g"), &log, all_well());
        scene.run(TWENTY).await;
        log.has(20).await;
        group.pause().await.unwrap();
        // A consumer that joins a paused group learns of the pause before it owns slices.
        let second = scene.start(options("g"), &log, all_well());
        report(&second, "4 slices", |report| report.slices == 4).await;
        scene.run("UPDATE jobs SET value = 2").await;
        assert!(group.status().await.unwrap().is_paused);
        assert_eq!(group.status().await.unwrap().lag_events, 20);
        drained(&first).await;
        report(&second, "8 slices", |report| report.slices == 8).await;
        assert_eq!(log.lines().len(), 20);
        drained(&second).await;
        let third = scene.start(options("g"), &log, all_well());
        report(&third, "8 slices", |report| report.slices == 8).await;
        assert_eq!(log.lines().len(), 20);
        group.resume().await.unwrap();
        log.has(40).await;
        assert!(!group.status().await.unwrap().is_paused);
        drained(&third).await;
    })
    .await;
}

#[tokio::test]
async fn a_pause_takes_effect_while_events_flow_and_retries_are_due() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let handle = scene.start(
            options("g").retry(pgherald_core::RetryPolicy::new(
                1_000_000,
                pgherald_core::Backoff::new(Duration::from_millis(1), Duration::from_millis(1)),
            )),
            &log,
            Box::new(|_, _| Err("never".into())),
        );
        scene.run(TWENTY).await;
        log.has(100).await;
        scene.group("g").pause().await.unwrap();
        // The pause is announced at once, and from some moment on no attempt begins.
        let (mut rested, began) = (0, std::time::Instant::now());
        while rested != log.lines().len() {
            assert!(
                began.elapsed() < LIMIT,
                "attempts still begin after the pause"
            );
            rested = log.lines().len();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        scene.run("UPDATE jobs SET value = 2").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(log.lines().len(), rested);
        scene.group("g").resume().await.unwrap();
        log.has(rested + 100).await;
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn a_seek_takes_effect_with_and_without_a_running_consumer() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let group = scene.group("g");
        scene.run(TWENTY).await;
        let mut handle = scene.start(options("g"), &log, all_well());
        let mut count = 20;
        for is_running in [true, false] {
            log.has(count).await;
            scene.becomes(LAG, 0).await;
            let stop = async |handle: &_| {
                if !is_running {
                    drained(handle).await;
                }
            };
            let start = |handle| match is_running {
                true => handle,
                false => scene.start(options("g"), &log, all_well()),
            };
            stop(&handle).await;
            group.seek(Seek::Beginning).await.unwrap();
            handle = start(handle);
            let all = scene.number("SELECT count(*) FROM pgherald.outbox").await as usize;
            count += all;
            log.has(count).await;
            scene.becomes(LAG, 0).await;
            let sql = "SELECT clock_timestamp()";
            let time: SystemTime = scene.client.query_one(sql, &[]).await.unwrap().get(0);
            scene.run("UPDATE jobs SET value = value + 1").await;
            count += 20;
            log.has(count).await;
            scene.becomes(LAG, 0).await;
            stop(&handle).await;
            group.seek(Seek::Time(time)).await.unwrap();
            handle = start(handle);
            count += 20;
            log.has(count).await;
            scene.becomes(LAG, 0).await;
            stop(&handle).await;
            if !is_running {
                scene.run("UPDATE jobs SET value = value + 1").await;
                scene.becomes(LAG, 20).await;
            }
            group.seek(Seek::Now).await.unwrap();
            scene.becomes(LAG, 0).await;
            handle = start(handle);
            // Wait until the previous owners have noticed.
            let owned = "SELECT count(*) FROM pgherald.consumer_slice WHERE node IS NOT NULL";
            scene.becomes(owned, 8).await;
            scene
                .run("UPDATE others SET id = id; UPDATE jobs SET value = value + 100 WHERE id = 1")
                .await;
            count += 1;
            log.has(count).await;
            scene.becomes(LAG, 0).await;
            // The last row comes twice if it was read by a consumer that had not yet learned of the seek.
            let lines = log.lines();
            let rest = &lines[count - 1..];
            assert!(rest.iter().all(|line| *line == rest[0]), "{rest:?}");
            count = lines.len();
        }
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn seeking_under_load_loses_no_events() {
    local(async {
        let scene = Scene::new().await;
        scene.run(TWENTY).await;
        let log = Log::default();
        let handle = scene.start(options("g"), &log, all_well());
        let other = scene.start(options("g"), &log, all_well());
        log.has(20).await;
        for value in 2..60 {
            scene.run(&format!("UPDATE jobs SET value = {value}")).await;
            scene.group("g").seek(Seek::Beginning).await.unwrap();
        }
        scene.becomes(LAG, 0).await;
        let lines = log.lines();
        for value in 1..60 {
            assert!(
                (1..=20).all(|id| lines.contains(&format!("{id}={value}#1"))),
                "{value}"
            );
        }
        drained(&handle).await;
        drained(&other).await;
    })
    .await;
}

#[tokio::test]
async fn the_lag_grows_with_unhandled_events_and_returns_to_zero() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let first = scene.start(options("g"), &log, all_well());
        scene.run(TWENTY).await;
        log.has(20).await;
        drained(&first).await;
        scene
            .run("UPDATE jobs SET value = 2; UPDATE jobs SET value = 3 WHERE id < 6")
            .await;
        let group = scene.group("g");
        let before = group.status().await.unwrap();
        assert_eq!((before.lag_events, before.nodes, before.slices), (25, 0, 8));
        let after = group.status().await.unwrap();
        assert!(after.lag >= before.lag && before.lag > Duration::ZERO);
        assert_eq!(Group::all(&scene.client).await.unwrap().len(), 1);
        let second = scene.start(options("g"), &log, all_well());
        scene.becomes(LAG, 0).await;
        let status = group.status().await.unwrap();
        assert_eq!((status.lag, status.nodes), (Duration::ZERO, 1));
        drained(&second).await;
    })
    .await;
}

#[tokio::test]
async fn parked_events_and_dead_letters_are_listed_retried_and_discarded() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let fixed = std::rc::Rc::new(std::cell::Cell::new(false));
        let is_fixed = fixed.clone();
        let plan = move |line: &str, _| match line {
            _ if is_fixed.get() => Ok(()),
            "1=1" | "2=1" => Err(HandlerError::permanent("broken")),
            "3=1" => Err(HandlerError::retry_after("busy", Duration::from_secs(3_600))),
            _ => Ok(()),
        };
        let handle = scene.start(options("g"), &log, Box::new(plan));
        scene.run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 4) AS n; UPDATE jobs SET value = 2").await;
        let status = "SELECT coalesce(sum(parked * 100 + dead_letters * 10 + lag_events), 0)::bigint FROM pgherald.consumer_group_status";
        scene.becomes(status, 220).await;
        let group = scene.group("g");
        let parked = group.parked(None, 10).await.unwrap();
        assert_eq!((parked[0].attempts, parked[0].error.as_deref()), (1, Some("busy")));
        assert!(parked[0].due_at.unwrap() > SystemTime::now() + Duration::from_secs(3_000));
        assert_eq!((parked[1].attempts, &parked[1].error, parked[1].due_at), (0, &None, None));
        let letters = group.dead_letters(None, 10).await.unwrap();
        assert_eq!(letters.len(), 2);
        assert_eq!(group.dead_letters(None, 1).await.unwrap().len(), 1);
        assert!(letters.iter().all(|letter| letter.error.as_deref() == Some("broken")
            && letter.dead_at.is_some() && letter.attempts == 1));
        let second = group.dead_letters(Some(letters[0].id), 9).await.unwrap();
        assert_eq!(second.iter().map(|letter| letter.id).collect::<Vec<_>>(), [letters[1].id]);
        assert!(group.dead_letters(Some(letters[1].id), 9).await.unwrap().is_empty());
        assert_eq!(group.parked(Some(parked[0].id), 1).await.unwrap()[0].id, parked[1].id);
        let one = group.parked_event(letters[0].id).await.unwrap().unwrap();
        assert_eq!((one.id, one.key.as_deref(), one.attempts), (letters[0].id, Some("1"), 1));
        assert_eq!(one.error.as_deref(), Some("broken"));
        assert!(one.columns.unwrap().contains("value") && one.dead_at.unwrap() >= one.parked_at);
        assert_eq!(group.parked_event(parked[0].id).await.unwrap().unwrap().dead_at, None);
        assert!(group.parked_event(-77).await.unwrap().is_none());
        assert_eq!(group.retry_dead_letters(Some(&[letters[0].id, -5])).await.unwrap(), 1);
        report(&handle, "3 given up", |report| report.dead_letters == 3).await;
        scene.becomes(status, 220).await;
        fixed.set(true);
        assert_eq!(group.retry_dead_letters(Some(&[letters[0].id])).await.unwrap(), 1);
        scene.becomes(status, 210).await;
        assert_eq!(group.discard_dead_letters(None).await.unwrap(), 1);
        assert_eq!(group.discard_dead_letters(None).await.unwrap(), 0);
        scene.becomes(status, 200).await;
        drained(&handle).await;
        let lines = log.lines();
        assert_eq!(lines.iter().filter(|line| *line == "1=1#1").count()
            + lines.iter().filter(|line| *line == "2=1#1").count(), 4, "{lines:?}");
        group.delete().await.unwrap();
        assert_eq!(scene.number("SELECT (SELECT count(*) FROM pgherald.parked_event) + (SELECT count(*) FROM pgherald.consumer_slice)
            + (SELECT count(*) FROM pgherald.consumer_cursor)").await, 0);
    })
    .await;
}

#[tokio::test]
async fn operations_on_a_missing_group_return_an_error() {
    let scene = Scene::new().await;
    let group = scene.group("nobody");
    for error in [
        group.status().await.unwrap_err(),
        group.pause().await.unwrap_err(),
        group.resume().await.unwrap_err(),
        group.seek(Seek::Beginning).await.unwrap_err(),
        group.delete().await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("no group \"nobody\""), "{error}");
    }
    assert!(group.parked(None, 9).await.unwrap().is_empty());
    assert_eq!(group.retry_dead_letters(None).await.unwrap(), 0);
    assert_eq!(group.discard_dead_letters(Some(&[])).await.unwrap(), 0);
}

#[tokio::test]
async fn a_deleted_group_is_created_again_without_state_of_the_old_one() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        scene.run(TWENTY).await;
        let first = scene.start(options("g"), &log, all_well());
        log.has(20).await;
        let epoch = "SELECT max(epoch) FROM pgherald.consumer_slice";
        scene
            .becomes(
                "SELECT count(*) FROM pgherald.consumer_slice WHERE node IS NOT NULL",
                8,
            )
            .await;
        let before = scene.number(epoch).await;
        scene.group("g").delete().await.unwrap();
        log.has(40).await;
        assert!(
            scene
                .number("SELECT min(epoch) FROM pgherald.consumer_slice")
                .await
                > before
        );
        drained(&first).await;
    })
    .await;
}

#[tokio::test]
async fn retried_parked_events_keep_the_order_of_their_row() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let fixed = std::rc::Rc::new(std::cell::Cell::new(false));
        let is_fixed = fixed.clone();
        let plan = move |line: &str, _| match line {
            "1=1" | "2=1" if !is_fixed.get() => Err(HandlerError::retry_after(
                "busy",
                Duration::from_secs(3_600),
            )),
            _ => Ok(()),
        };
        let handle = scene.start(options("g"), &log, Box::new(plan));
        scene
            .run("INSERT INTO jobs VALUES (1, 1), (2, 1); UPDATE jobs SET value = 2 WHERE id = 1")
            .await;
        let parked = "SELECT count(*) FROM pgherald.parked_event";
        scene.becomes(parked, 3).await;
        let group = scene.group("g");
        let behind = group.parked(None, 10).await.unwrap();
        let behind = behind.iter().find(|one| one.due_at.is_none()).unwrap().id;
        // The retry fails again and counts as an attempt.
        assert_eq!(group.retry_parked(Some(&[behind, -5])).await.unwrap(), 1);
        scene
            .becomes("SELECT max(attempts)::bigint FROM pgherald.parked_event", 2)
            .await;
        fixed.set(true);
        assert_eq!(group.retry_parked(Some(&[behind])).await.unwrap(), 1);
        scene.becomes(parked, 1).await;
        assert_eq!(group.retry_parked(None).await.unwrap(), 1);
        scene.becomes(parked, 0).await;
        assert_eq!(group.retry_parked(None).await.unwrap(), 0);
        let of_row: Vec<_> = log
            .lines()
            .into_iter()
            .filter(|line| line.starts_with("1="))
            .collect();
        assert_eq!(of_row, ["1=1#1", "1=1#2", "1=1#3", "1=2#1"]);
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn a_planned_seek_counts_skipped_and_repeated_events() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let group = scene.group("g");
        scene.run(TWENTY).await;
        let handle = scene.start(options("g"), &log, all_well());
        log.has(20).await;
        scene.becomes(LAG, 0).await;
        drained(&handle).await;
        let time: SystemTime = scene
            .client
            .query_one("SELECT clock_timestamp()", &[])
            .await
            .unwrap()
            .get(0);
        scene
            .run("UPDATE jobs SET value = value + 1 WHERE id <= 7")
            .await;
        let all = scene.number("SELECT count(*) FROM pgherald.outbox").await;
        let counts = async |to| {
            let plan = group.plan_seek(to).await.unwrap();
            (plan.repeated.events, plan.skipped.events)
        };
        assert_eq!(counts(Seek::Beginning).await, (all - 7, 0));
        assert_eq!(counts(Seek::Time(time)).await, (0, 0));
        assert_eq!(counts(Seek::Now).await, (0, 7));
        let plan = group.plan_seek(Seek::Beginning).await.unwrap();
        assert!(
            plan.repeated.oldest.unwrap() <= plan.repeated.newest.unwrap()
                && plan.repeated.newest.unwrap() < time
        );
        assert_eq!((plan.skipped.oldest, plan.unreadable_slices), (None, 0));
        // Planning changes nothing.
        scene.becomes(LAG, 7).await;
        // Events that are committed meanwhile are delivered.
        let plan = group.plan_seek(Seek::Now).await.unwrap();
        scene
            .run("UPDATE jobs SET value = value + 1 WHERE id <= 2")
            .await;
        group.apply_seek(&plan).await.unwrap();
        scene.becomes(LAG, 2).await;
        assert!(scene.group("none").plan_seek(Seek::Now).await.is_err());
    })
    .await;
}
