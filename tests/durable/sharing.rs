//! Which consumers own which slices, and how slices change hands.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use pgherald_core::group::{Batch, BatchHandler, Consumer, ConsumerHandle, TransactionalHandler};
use pgherald_core::{Attempt, DurableOptions, Event, EventHandler, HandlerResult};

use tokio_postgres::Transaction;

use crate::support::{Log, Scene, all_well, drained, local, options, report, shown, until};
use crate::workers::{self, Kind, processor_time};

/// A duration that no test waits for.
const FOR_EVER: Duration = Duration::from_secs(3_600);

async fn have(handles: &[&ConsumerHandle], expected: &[usize]) {
    let counts = || {
        let mut counts: Vec<usize> = handles.iter().map(|h| h.report().slices).collect();
        counts.sort_unstable();
        counts
    };
    until(
        &format!("{expected:?}"),
        || counts() == expected,
        || format!("{:?}", counts()),
    )
    .await;
}

#[tokio::test]
async fn slices_are_shared_evenly_after_each_join_and_each_drain() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let start = || scene.start(options("g").lease(FOR_EVER), &log, all_well());
        let first = start();
        have(&[&first], &[8]).await;
        let second = start();
        have(&[&first, &second], &[4, 4]).await;
        let third = start();
        have(&[&first, &second, &third], &[2, 3, 3]).await;
        let (fourth, fifth) = (start(), start());
        have(
            &[&first, &second, &third, &fourth, &fifth],
            &[1, 1, 2, 2, 2],
        )
        .await;
        drained(&first).await;
        drained(&fourth).await;
        drained(&fifth).await;
        have(&[&second, &third], &[4, 4]).await;
        drained(&second).await;
        have(&[&third], &[8]).await;
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 50) AS n")
            .await;
        report(&third, "all handled", |report| report.handled == 50).await;
    })
    .await;
}

const OF_THE_FULLEST: &str = "SELECT coalesce(max(n), 0) FROM
    (SELECT count(*) AS n FROM pgherald.consumer_slice WHERE node IS NOT NULL GROUP BY node) AS c";

#[tokio::test]
async fn slices_of_a_killed_process_are_taken_over_after_its_lease() {
    let scene = Scene::new().await;
    let mut processes: Vec<_> = (0..3)
        .map(|n| workers::start(&scene.url, Kind::Plain, n))
        .collect();
    let nodes = "SELECT count(DISTINCT node) FROM pgherald.consumer_slice";
    scene.becomes(nodes, 3).await;
    scene.becomes(OF_THE_FULLEST, 11).await;
    processes.truncate(1);
    scene
        .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 200) AS n")
        .await;
    scene
        .becomes("SELECT count(DISTINCT id) FROM effects", 200)
        .await;
}

#[tokio::test]
async fn no_event_is_handled_twice_when_an_idle_group_changes_hands() {
    local(async {
        let scene = Scene::new().await;
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 200) AS n")
            .await;
        let log = Log::default();
        let first = scene.start(options("g"), &log, all_well());
        log.has(200).await;
        let second = scene.start(options("g"), &log, all_well());
        have(&[&first, &second], &[4, 4]).await;
        drained(&first).await;
        have(&[&second], &[8]).await;
        drained(&second).await;
        let third = scene.start(options("g"), &log, all_well());
        have(&[&third], &[8]).await;
        scene.run("UPDATE jobs SET value = 2").await;
        log.has(400).await;
        drained(&third).await;
        assert_eq!(log.lines().len(), 400);
    })
    .await;
}

/// Handles slowly, fails now and then, and detects concurrent attempts of one row.
struct Careful {
    log: Log,
    busy: Rc<RefCell<BTreeSet<String>>>,
}

impl EventHandler for Careful {
    type Event = Event;

    async fn handle(&self, event: Event, attempt: Attempt) -> HandlerResult {
        let (line, id) = (shown(&event), event.key().unwrap().to_string());
        if !self.busy.borrow_mut().insert(id.clone()) {
            self.log.note(format!("{line}#by two"));
        }
        self.log.note(format!("{line}#{}", attempt.number()));
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..8))).await;
        self.busy.borrow_mut().remove(&id);
        match fastrand::u32(..100) {
            0 => Err("now and then".into()),
            _ => Ok(()),
        }
    }
}

fn careful(
    scene: &Scene,
    options: DurableOptions,
    log: &Log,
    busy: &Rc<RefCell<BTreeSet<String>>>,
) -> ConsumerHandle {
    let (log, busy) = (log.clone(), Rc::clone(busy));
    let factory = move || Careful {
        log: log.clone(),
        busy: Rc::clone(&busy),
    };
    let (handle, consumer) = Consumer::new(scene.config(), options, factory).unwrap();
    tokio::task::spawn_local(consumer.run());
    handle
}

#[tokio::test]
async fn each_row_stays_in_order_while_slices_change_hands() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    local(async move {
        let mut random = fastrand::Rng::with_seed(seed);
        let scene = Scene::new().await;
        scene
            .run("INSERT INTO jobs SELECT n, 0 FROM generate_series(1, 40) AS n")
            .await;
        let log = Log::default();
        let busy = Rc::new(RefCell::new(BTreeSet::new()));
        let options = || {
            let soon =
                pgherald_core::Backoff::new(Duration::from_millis(1), Duration::from_millis(9));
            options("g")
                .lease(FOR_EVER)
                .retry(pgherald_core::RetryPolicy::new(1_000, soon))
        };
        let mut running = vec![careful(&scene, options(), &log, &busy)];
        for _ in 0..20 {
            for _ in 0..4 {
                scene.run("UPDATE jobs SET value = value + 1").await;
            }
            if running.len() < 2 || running.len() < 4 && random.bool() {
                running.push(careful(&scene, options(), &log, &busy));
            } else {
                let one = running.swap_remove(random.usize(..running.len()));
                tokio::task::spawn_local(async move { drained(&one).await });
            }
        }
        scene
            .becomes(
                "SELECT lag_events + parked + dead_letters FROM pgherald.consumer_group_status",
                0,
            )
            .await;
        let mut last = BTreeMap::<String, i64>::new();
        for line in log.lines() {
            assert!(!line.ends_with("by two"), "{line}, seed {seed}");
            let (what, _) = line.split_once('#').unwrap();
            let (id, value) = what.split_once('=').unwrap();
            let (value, last) = (
                value.parse::<i64>().unwrap(),
                last.entry(id.to_owned()).or_insert(-1),
            );
            assert!(
                value <= *last + 1,
                "row {id}: {value} after {last}, seed {seed}"
            );
            *last = value.max(*last);
        }
        assert!(
            last.len() == 40 && last.values().all(|value| *value == 80),
            "{last:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_consumer_without_slices_uses_no_processor_time() {
    local(async {
        let scene = Scene::new().await;
        let first = scene.start(
            options("workers").slices(1).lease(FOR_EVER),
            &Log::default(),
            all_well(),
        );
        have(&[&first], &[1]).await;
        let worker = workers::start(&scene.url, Kind::Plain, 1);
        scene
            .becomes("SELECT count(*) FROM pgherald.consumer_node", 2)
            .await;
        let (before, window) = (processor_time(&worker), Duration::from_millis(800));
        tokio::time::sleep(window).await;
        let used = processor_time(&worker) - before;
        assert!(used < window / 4, "{used:?}");
    })
    .await;
}

#[tokio::test]
async fn a_slice_claimed_by_a_lost_response_is_still_handled() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let first = scene.start(options("g"), &log, all_well());
        let second = scene.start(options("g"), &log, all_well());
        have(&[&first, &second], &[4, 4]).await;
        // As if the consumer had taken another slice, and the response was lost.
        scene
            .run("WITH taken AS (
                    UPDATE pgherald.consumer_slice AS s SET epoch = s.epoch + 1, node = o.node
                    FROM (SELECT min(node) AS node FROM pgherald.consumer_slice) AS o
                    WHERE s.slice = (SELECT max(c.slice) FROM pgherald.consumer_slice AS c WHERE c.node <> o.node)
                    RETURNING s.slice, s.epoch
                )
                UPDATE pgherald.consumer_cursor AS c SET epoch = t.epoch FROM taken AS t WHERE c.slice = t.slice")
            .await;
        scene.run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 100) AS n").await;
        scene.becomes("SELECT lag_events FROM pgherald.consumer_group_status", 0).await;
        have(&[&first, &second], &[4, 4]).await;
        drained(&first).await;
        drained(&second).await;
    })
    .await;
}

/// Logs its events, and waits until the gate is open.
struct Patient {
    log: Log,
    is_open: Rc<Cell<bool>>,
}

impl EventHandler for Patient {
    type Event = Event;

    async fn handle(&self, event: Event, _: Attempt) -> HandlerResult {
        self.log.note(shown(&event));
        until("open", || self.is_open.get(), String::new).await;
        Ok(())
    }
}

#[tokio::test]
async fn a_slice_is_released_only_after_its_attempts_have_ended() {
    local(async {
        let scene = Scene::new().await;
        let is_open = Rc::new(Cell::new(false));
        let start = || {
            let log = Log::default();
            let (noted, is_open) = (log.clone(), Rc::clone(&is_open));
            let factory = move || Patient {
                log: noted.clone(),
                is_open: Rc::clone(&is_open),
            };
            let options = options("g").concurrency(80);
            let (handle, consumer) = Consumer::new(scene.config(), options, factory).unwrap();
            tokio::task::spawn_local(consumer.run());
            (handle, log)
        };
        let (first, of_first) = start();
        have(&[&first], &[8]).await;
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 80) AS n")
            .await;
        of_first.has(80).await;
        let (second, of_second) = start();
        scene.becomes("SELECT count(*) FROM pgherald.consumer_node", 2).await;
        // Wait until each consumer has seen the other several times.
        let lease = "SELECT (extract(epoch FROM min(lease_until)) * 1000)::bigint FROM pgherald.consumer_node";
        let before = scene.number(lease).await;
        let waited = format!("SELECT (({lease}) > {before} + 1500)::int::bigint");
        scene.becomes(&waited, 1).await;
        let owners = "SELECT count(DISTINCT node) FROM pgherald.consumer_slice WHERE node IS NOT NULL";
        assert_eq!(scene.number(owners).await, 1);
        let lag = "SELECT lag_events FROM pgherald.consumer_group_status";
        assert_eq!(scene.number(lag).await, 80);
        assert!(of_second.lines().is_empty());
        is_open.set(true);
        have(&[&first, &second], &[4, 4]).await;
        scene.becomes(lag, 0).await;
        scene.run("UPDATE jobs SET value = 2").await;
        scene.becomes(lag, 0).await;
        let (first, second) = (drained(&first).await, drained(&second).await);
        assert_eq!((first.handled + second.handled, first.fenced), (160, 0));
        assert_eq!(first.left_to_others + second.left_to_others, 0);
        assert!(of_second.lines().iter().all(|line| line.ends_with("=2")));
        assert_eq!(of_first.lines().len() + of_second.lines().len(), 160);
    })
    .await;
}

/// Blocks its thread for longer than the lease lasts.
#[derive(Clone, Default)]
struct Blocking(Log);

const LEASE: Duration = Duration::from_millis(300);

impl Blocking {
    #[allow(
        clippy::disallowed_methods,
        reason = "the test is about a handler that blocks its thread"
    )]
    fn block(&self, event: &Event) {
        self.0.note(shown(event));
        std::thread::sleep(LEASE * 2);
    }
}

impl EventHandler for Blocking {
    type Event = Event;

    async fn handle(&self, event: Event, _: Attempt) -> HandlerResult {
        self.block(&event);
        Ok(())
    }
}

impl BatchHandler for Blocking {
    type Event = Event;

    async fn handle(&self, batch: &mut Batch<Event>) -> HandlerResult {
        batch.events().iter().for_each(|event| self.block(event));
        Ok(())
    }
}

impl TransactionalHandler for Blocking {
    type Event = Event;

    async fn handle(&self, event: Event, _: Attempt, _: &mut Transaction<'_>) -> HandlerResult {
        self.block(&event);
        Ok(())
    }
}

#[tokio::test]
async fn a_handler_that_blocks_its_thread_is_called_once_if_no_other_node_takes_over() {
    for kind in ["plain", "batches", "transactional"] {
        local(async {
            let scene = Scene::new().await;
            let handler = Blocking::default();
            let (config, options) = (scene.config(), options("g").lease(LEASE));
            let made = handler.clone();
            let (handle, consumer) = match kind {
                "plain" => Consumer::new(config, options, move || made.clone()),
                "batches" => Consumer::batches(config, options, move || made.clone()),
                // With a second attempt on the thread, that one could block it between the acknowledgement and the COMMIT of the
                // first. The server ends a transaction that is idle there for as long as the lease.
                _ => Consumer::transactional(config, options.concurrency(1), move || made.clone()),
            }
            .unwrap();
            tokio::task::spawn_local(consumer.run());
            scene.run("INSERT INTO jobs VALUES (1, 1), (2, 1)").await;
            report(&handle, kind, |report| report.handled == 2).await;
            scene
                .becomes(
                    "SELECT lag_events + parked FROM pgherald.consumer_group_status",
                    0,
                )
                .await;
            let end = drained(&handle).await;
            assert_eq!((end.fenced, end.errors), (0, 0), "{kind}: {end:?}");
            assert_eq!(
                handler.0.lines().len(),
                2,
                "{kind}: {:?}",
                handler.0.lines()
            );
        })
        .await;
    }
}

#[tokio::test]
async fn a_drain_before_the_consumer_begins_ends_at_once() {
    local(async {
        let scene = Scene::new().await;
        // The consumer's task is polled only after the drain has asked it to stop.
        let handle = scene.start(options("g"), &Log::default(), all_well());
        let ended = tokio::time::timeout(Duration::from_secs(60), drained(&handle));
        ended
            .await
            .expect("the consumer ends without waiting for the deadline");
    })
    .await;
}
