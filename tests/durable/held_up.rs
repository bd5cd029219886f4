//! A write that the database rejects holds up its slice until it succeeds. Order is kept, and other slices are not affected.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use pgherald_core::group::{Consumer, ConsumerHandle};
use pgherald_core::{Attempt, DurableOptions, Event, EventHandler, HandlerError, HandlerResult};

use crate::support::{Log, Scene, drained, local, options, report, shown};

/// Fails the first attempt of the inserts of rows 1 to 3, and waits at closed gates.
struct Gated {
    log: Log,
    closed: Gates,
}

pub(crate) type Gates = Rc<RefCell<BTreeSet<&'static str>>>;

impl EventHandler for Gated {
    type Event = Event;

    async fn handle(&self, event: Event, attempt: Attempt) -> HandlerResult {
        let line = format!("{}#{}", shown(&event), attempt.number());
        self.log.note(line.clone());
        while self.closed.borrow().contains(&*line) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        match &*line {
            "1=1#1" | "2=1#1" | "3=1#1" => Err(HandlerError::retry_after("later", Duration::ZERO)),
            _ => Ok(()),
        }
    }
}

pub(crate) fn start(
    scene: &Scene,
    options: DurableOptions,
    log: &Log,
    closed: &Gates,
) -> ConsumerHandle {
    let (log, closed) = (log.clone(), Rc::clone(closed));
    let factory = move || Gated {
        log: log.clone(),
        closed: Rc::clone(&closed),
    };
    let (handle, consumer) = Consumer::new(scene.config(), options, factory).unwrap();
    tokio::task::spawn_local(consumer.run());
    handle
}

/// A trigger that rejects settlements of row 1's parked insert, and counts the tries.
const NOT_SETTLED: &str = "CREATE SEQUENCE tries;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM nextval('public.tries'); RAISE 'not this one' USING ERRCODE = 'U0001';
    END $$;
    CREATE TRIGGER refuse BEFORE DELETE ON pgherald.parked_event
        FOR EACH ROW WHEN (OLD.key = '1' AND OLD.operation = 'I') EXECUTE FUNCTION refuse()";
const SETTLED: &str = "DROP TRIGGER refuse ON pgherald.parked_event";
const OPEN: &str = "SELECT lag_events + parked FROM pgherald.consumer_group_status";
/// Rows of the outbox beyond the cursors.
const LAG: &str = "SELECT lag_events FROM pgherald.consumer_group_status";

/// Waits until the rejected write was tried a few times.
async fn wait_for_tries(scene: &Scene) {
    let tries = "SELECT (last_value >= 4)::int::bigint FROM tries";
    scene.becomes(tries, 1).await;
}

pub(crate) fn of_row<'a>(lines: &'a [String], row: &str) -> Vec<&'a str> {
    let of = lines.iter().filter(|line| line.starts_with(row));
    of.map(String::as_str).collect()
}

#[tokio::test]
async fn no_cursor_passes_events_behind_a_rejected_settlement() {
    local(async {
        let scene = Scene::new().await;
        scene.run(NOT_SETTLED).await;
        let (log, closed) = (Log::default(), Gates::default());
        closed.borrow_mut().insert("1=1#2");
        let options = || options("g").slices(1).lease(Duration::from_secs(10));
        let first = start(&scene, options(), &log, &closed);
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        log.has(2).await;
        scene.run("UPDATE jobs SET value = 2").await;
        report(&first, "the update is read", |report| report.in_flight == 1).await;
        closed.borrow_mut().clear();
        log.has(3).await;
        wait_for_tries(&scene).await;
        drained(&first).await;
        assert_eq!(scene.number(LAG).await, 1, "{:?}", log.lines());
        scene.run(SETTLED).await;
        let second = start(&scene, options(), &log, &closed);
        scene.becomes(OPEN, 0).await;
        drained(&second).await;
        assert_eq!(log.lines().last().unwrap(), "1=2#1", "{:?}", log.lines());
    })
    .await;
}

#[tokio::test]
async fn a_rejected_settlement_is_retried_after_other_settlements_of_its_slice() {
    local(async {
        let scene = Scene::new().await;
        scene.run(NOT_SETTLED).await;
        let (log, closed) = (Log::default(), Gates::default());
        closed.borrow_mut().extend(["1=1#2", "2=1#2"]);
        let options = options("g").slices(1).lease(Duration::from_secs(10));
        let handle = start(&scene, options, &log, &closed);
        scene.run("INSERT INTO jobs VALUES (1, 1), (2, 1)").await;
        log.has(4).await;
        scene.run("UPDATE jobs SET value = 2 WHERE id = 1").await;
        report(&handle, "the update is read", |report| {
            report.in_flight == 1
        })
        .await;
        closed.borrow_mut().remove("1=1#2");
        report(&handle, "held up", |report| report.held_up.len() == 1).await;
        closed.borrow_mut().remove("2=1#2");
        report(&handle, "the other", |report| report.handled == 2).await;
        wait_for_tries(&scene).await;
        scene.run(SETTLED).await;
        scene.becomes(OPEN, 0).await;
        assert_eq!(of_row(&log.lines(), "1="), ["1=1#1", "1=1#2", "1=2#1"]);
        assert_eq!(of_row(&log.lines(), "2="), ["2=1#1", "2=1#2"]);
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn held_up_slices_do_not_block_draining_or_rebalancing() {
    local(async {
        let scene = Scene::new().await;
        scene
            .run(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
                CREATE TRIGGER refuse BEFORE INSERT ON pgherald.parked_event
                    FOR EACH ROW WHEN (NEW.key = '1') EXECUTE FUNCTION refuse()",
            )
            .await;
        let (log, closed) = (Log::default(), Gates::default());
        let first = start(&scene, options("g"), &log, &closed);
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 40) AS n")
            .await;
        report(&first, "held up", |report| report.held_up.len() == 1).await;
        let second = start(&scene, options("g"), &log, &closed);
        for handle in [&first, &second] {
            report(handle, "half of them", |report| report.slices == 4).await;
        }
        // The slice may belong to either of them.
        let ends = async {
            first.drain(Duration::from_secs(600)).await;
            second.drain(Duration::from_secs(600)).await;
        };
        tokio::time::timeout(Duration::from_secs(60), ends)
            .await
            .expect("held up for ever");
        scene.run("DROP TRIGGER refuse ON pgherald.parked_event").await;
        let third = start(&scene, options("g"), &log, &closed);
        scene.becomes(OPEN, 0).await;
        drained(&third).await;
        assert_eq!(of_row(&log.lines(), "1=").last().unwrap(), &"1=1#2");
    })
    .await;
}
