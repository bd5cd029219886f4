//! Very large events do not block other events. The server copies them when they are parked: consumers do not send them back.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pgherald_core::group::Consumer;
use pgherald_core::outbox::{Retention, set_retention, trim};
use pgherald_core::{Attempt, Event, EventHandler, HandlerError, HandlerResult};
use pgherald_testkit::Postgres;

use crate::meter::Meter;
use crate::support::{LIMIT, Log, Scene, drained, local, options, report, shown, until};

/// An event of row 1 with this many megabytes.
fn large(megabytes: usize) -> String {
    format!(
        "INSERT INTO pgherald.outbox (relation, hash, part, operation, key, columns, changed)
        SELECT id, 7, 0, 'U', '[1]', json_build_object('value', 1, 'text', repeat('\"', {megabytes} << 20))::text,
            '{{value,text}}'
        FROM pgherald.outbox_relation WHERE table_name = 'jobs'"
    )
}

#[tokio::test]
async fn a_large_event_is_parked_without_being_sent_back() {
    local(async {
        let server = Postgres::shared().await.unwrap();
        let (scene, meter) = (Scene::new().await, Meter::start(server).await);
        let log = Log::default();
        let plan = |_: &str, attempt: u32| match attempt {
            1 | 2 => Err(HandlerError::retry_after(
                "later",
                Duration::from_millis(20),
            )),
            _ => Ok(()),
        };
        // Neither attempts nor leases may expire while a busy machine handles events of this size.
        let options = options("g").timeout(LIMIT).lease(LIMIT);
        let handle = scene.start_at(&meter.url(&scene.url), options, &log, Box::new(plan));
        scene.run(&large(4)).await;
        scene.run("INSERT INTO jobs VALUES (2, 1)").await;
        report(&handle, "both", |report| report.handled == 2).await;
        drained(&handle).await;
        let lines = log.lines();
        let attempts = lines.iter().filter(|line| line.starts_with("1=1#"));
        assert_eq!(attempts.count(), 3);
        assert!(meter.bytes() < 1 << 20, "{} bytes were sent", meter.bytes());
    })
    .await;
}

#[tokio::test]
async fn a_parked_event_equals_the_recorded_one() {
    local(async {
        let scene = Scene::new().await;
        let handle = scene.start(
            options("g"),
            &Log::default(),
            Box::new(|_, _| Err(HandlerError::permanent("no"))),
        );
        scene.run(&large(1)).await;
        scene.run("INSERT INTO jobs VALUES (2, 1); DELETE FROM jobs").await;
        report(&handle, "all", |report| report.dead_letters == 3).await;
        scene
            .becomes("SELECT count(*) FROM pgherald.parked_event WHERE dead_at IS NOT NULL", 3)
            .await;
        let differ = "SELECT count(*) FROM pgherald.parked_event AS p FULL JOIN pgherald.outbox AS o USING (id)
            WHERE (p.xid, p.sent_at, p.relation, p.hash, p.operation) IS DISTINCT FROM (o.xid, o.sent_at, o.relation, o.hash, o.operation)
                OR (p.key, p.columns, p.old_columns, p.changed) IS DISTINCT FROM (o.key, o.columns, o.old_columns, o.changed)";
        assert_eq!(scene.number(differ).await, 0);
        drained(&handle).await;
    })
    .await;
}

/// Waits with its first event until the gate is open, and then fails it.
struct Gated {
    log: Log,
    is_open: Rc<Cell<bool>>,
}

impl EventHandler for Gated {
    type Event = Event;

    async fn handle(&self, event: Event, attempt: Attempt) -> HandlerResult {
        let line = shown(&event);
        self.log.note(format!("{line}#{}", attempt.number()));
        if line == "1=1" {
            until("open", || self.is_open.get(), String::new).await;
            if attempt.number() == 1 {
                return Err("fails once".into());
            }
        }
        Ok(())
    }
}

fn gated(
    scene: &Scene,
    log: &Log,
    is_open: &Rc<Cell<bool>>,
) -> pgherald_core::group::ConsumerHandle {
    let (log, is_open) = (log.clone(), Rc::clone(is_open));
    let factory = move || Gated {
        log: log.clone(),
        is_open: Rc::clone(&is_open),
    };
    // A busy machine needs long to park an event of this size.
    let options = options("g").timeout(LIMIT).lease(LIMIT);
    let (handle, consumer) = Consumer::new(scene.config(), options, factory).unwrap();
    tokio::task::spawn_local(consumer.run());
    handle
}

#[tokio::test]
async fn an_event_trimmed_before_it_is_parked_is_still_parked() {
    local(async {
        let scene = Scene::new().await;
        let (log, is_open) = (Log::default(), Rc::new(Cell::new(false)));
        let handle = gated(&scene, &log, &is_open);
        scene.run("INSERT INTO jobs VALUES (1, 1), (2, 1)").await;
        log.has(2).await;
        // A cap of zero trims rows that consumers still need.
        let nothing = Retention::new(Duration::ZERO).max_bytes(0);
        set_retention(&scene.client, nothing).await.unwrap();
        let deadline = tokio::time::Instant::now() + LIMIT;
        while scene.number("SELECT count(*) FROM pgherald.outbox").await > 0 {
            assert!(tokio::time::Instant::now() < deadline, "rows are left");
            trim(&scene.client).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        is_open.set(true);
        report(&handle, "both, and the resync", |report| {
            report.handled >= 2
        })
        .await;
        until(
            "twice",
            || log.lines().contains(&"1=1#2".to_owned()),
            || format!("{:?}", log.lines()),
        )
        .await;
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn a_slow_large_event_does_not_block_reading_others() {
    local(async {
        let scene = Scene::new().await;
        let (log, is_open) = (Log::default(), Rc::new(Cell::new(false)));
        let handle = gated(&scene, &log, &is_open);
        // More events of usual size than the consumer takes in.
        scene.run(&large(40)).await;
        log.has(1).await;
        for id in 2..12 {
            scene
                .run(&format!("INSERT INTO jobs VALUES ({id}, 1)"))
                .await;
            log.has(id).await;
        }
        is_open.set(true);
        report(&handle, "all", |report| report.handled == 11).await;
        drained(&handle).await;
    })
    .await;
}
