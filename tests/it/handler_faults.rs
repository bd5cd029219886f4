//! A handler that panics, hangs or fails loses attempts of its own events only, and the counts are exact.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, Addr};
use pgherald::handler::GivenUp;
use pgherald::{
    Attempt, Backoff, EphemeralOptions, Event, EventHandler, Filter, GetReport, HandlerActor,
    HandlerError, HandlerReport, HandlerResult, Key, ListenerActor, Operation, RetryPolicy,
};
use pgherald_testkit::{FakeFeed, Probe, fake_source};

use crate::support::{DEADLINE, numbers, subscribe};

/// The record that the handlers of one test keep.
#[derive(Default)]
struct Diary {
    /// Handlers created.
    made: u64,
    /// Rows handled, in order.
    done: Vec<i64>,
    /// Rows given up, with their reasons.
    given_up: BTreeMap<i64, String>,
}

/// Fails depending on the row: 1 panics, 2 hangs, 3 fails, 4 fails permanently, 5 succeeds at its third attempt.
struct Moody {
    diary: Rc<RefCell<Diary>>,
}

impl EventHandler for Moody {
    type Event = Event;

    async fn handle(&self, event: Event, attempt: Attempt) -> HandlerResult {
        let row = i64::from_row_key(event.key().ok_or("no key")?).ok_or("no number")?;
        match row {
            1 => panic!("row 1"),
            2 => std::future::pending().await,
            3 => return Err("row 3".into()),
            4 => return Err(HandlerError::permanent("row 4")),
            5 if attempt.number() < 3 => return Err("not yet".into()),
            _ => {}
        }
        self.diary.borrow_mut().done.push(row);
        Ok(())
    }

    fn given_up(&self, task: &GivenUp) {
        if let pgherald::handler::Task::Event(event) = &task.task {
            let row = event.key().and_then(i64::from_row_key).unwrap();
            let reason = format!("{} attempts, {}", task.attempts, task.failure);
            self.diary.borrow_mut().given_up.insert(row, reason);
        }
    }
}

fn event(row: i64) -> Event {
    Event::builder("public", "t", Operation::Insert)
        .key(row)
        .build()
}

fn options() -> EphemeralOptions {
    let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(5));
    EphemeralOptions::new("moody")
        .concurrency(4)
        .timeout(Duration::from_millis(50))
        .retry(RetryPolicy::new(3, backoff))
}

async fn start(
    options: EphemeralOptions,
) -> (
    Addr<ListenerActor>,
    FakeFeed,
    Addr<HandlerActor<Moody>>,
    Rc<RefCell<Diary>>,
) {
    let (source, feed) = fake_source();
    let listener = ListenerActor::new(source).start();
    let diary = Rc::new(RefCell::new(Diary::default()));
    let for_handler = Rc::clone(&diary);
    let make = move || {
        for_handler.borrow_mut().made += 1;
        Moody {
            diary: Rc::clone(&for_handler),
        }
    };
    let handler = HandlerActor::new(options.clone(), make).start();
    listener
        .send(HandlerActor::subscription(&handler, &options))
        .await
        .unwrap()
        .unwrap();
    feed.live().await;
    (listener, feed, handler, diary)
}

async fn finished(handler: &Addr<HandlerActor<Moody>>, received: u64) -> HandlerReport {
    let waiting = async {
        loop {
            let report = handler.send(GetReport).await.unwrap();
            if report.received == received && report.unfinished == 0 {
                return report;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting)
        .await
        .expect("every event is finished")
}

#[actix::test]
async fn a_failing_row_costs_attempts_of_that_row_only() {
    let (listener, feed, handler, diary) = start(options()).await;
    let probe = Probe::start();
    subscribe(&listener, &probe, Filter::new()).await;
    feed.events((1..=30).map(event)).await;

    // 30 events and the initial resync.
    let report = finished(&handler, 31).await;
    let diary = diary.take();
    let mut done = diary.done;
    done.sort_unstable();
    assert_eq!(done, (5..=30).collect::<Vec<_>>());
    let given_up: Vec<(i64, &str)> = diary
        .given_up
        .iter()
        .map(|(row, reason)| (*row, reason.as_str()))
        .collect();
    assert_eq!(
        given_up,
        [
            (1, "3 attempts, panicked: row 1"),
            (2, "3 attempts, took longer than 50ms"),
            (3, "3 attempts, row 3"),
            (4, "1 attempts, row 4"),
        ]
    );
    assert_eq!(
        (report.handled, report.given_up, report.dropped),
        (27, 4, 0)
    );
    assert_eq!(
        (report.panics, report.timeouts, report.errors),
        (3, 3, 3 + 1 + 2)
    );
    assert_eq!(diary.made, 4, "a new handler after each panic");

    // Other subscribers are not affected.
    let all = |seen: &pgherald_testkit::Seen| numbers(seen).len() == 30;
    probe.wait_for("every row", DEADLINE, all).await.unwrap();
}

#[actix::test]
async fn a_retried_row_keeps_the_order_of_its_events() {
    let (_listener, feed, handler, diary) = start(options()).await;
    feed.events([5, 5, 6, 5, 6].map(event)).await;
    finished(&handler, 6).await;
    let done = diary.borrow().done.clone();
    assert_eq!(done.iter().filter(|row| **row == 5).count(), 3);
    // Row 6 does not wait for the attempts of row 5.
    assert_eq!(done[..2], [6, 6]);
}

#[actix::test]
async fn a_panicking_factory_costs_attempts_and_is_called_again() {
    struct Fine;
    impl EventHandler for Fine {
        type Event = Event;
        async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
            Ok(())
        }
    }
    let (source, feed) = fake_source();
    let listener = ListenerActor::new(source).start();
    let made = std::cell::Cell::new(0);
    let make = move || {
        made.set(made.get() + 1);
        assert!(made.get() > 2, "not yet");
        Fine
    };
    let handler = HandlerActor::new(options(), make).start();
    listener
        .send(HandlerActor::subscription(&handler, &options()))
        .await
        .unwrap()
        .unwrap();
    feed.live().await;
    let waiting = async {
        while handler.send(GetReport).await.unwrap().handled == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap();
    assert_eq!(handler.send(GetReport).await.unwrap().panics, 2);
}

#[actix::test]
async fn a_slow_handler_leaves_events_in_its_queue() {
    let (listener, feed, handler, _diary) = start(options().timeout(DEADLINE)).await;
    // The attempt of row 2 never ends. Events behind it are held, up to a limit.
    for _ in 0..2_000 {
        feed.events([event(2)]).await;
    }
    let waiting = async {
        loop {
            let status = listener.send(pgherald::GetStatus).await.unwrap();
            if status.counts.events == 2_000 {
                return status.subscriptions[0].queued;
            }
            tokio::task::yield_now().await;
        }
    };
    let queued = tokio::time::timeout(DEADLINE, waiting).await.unwrap();
    let unfinished = handler.send(GetReport).await.unwrap().unfinished;
    assert!(
        queued > 0 && unfinished < 1_200,
        "{queued} queued, {unfinished} unfinished"
    );
}

#[actix::test]
async fn rows_in_backoff_do_not_block_other_rows() {
    // Delays are drawn evenly from zero up to the limit. With this limit, none of a hundred ends during the test.
    let years = DEADLINE * 60 * 24 * 365 * 10;
    let backoff = Backoff::new(years, years);
    let patient = options().retry(RetryPolicy::new(2, backoff));
    let (_listener, feed, handler, _diary) = start(patient).await;
    // Each of the first hundred rows fails. That is far more than there are concurrent attempts.
    let failing = |row: &str| {
        Event::builder("public", "t", Operation::Insert)
            .key((3, row))
            .build()
    };
    for n in 0..100 {
        feed.events([failing(&n.to_string())]).await;
    }
    for row in 100..200 {
        feed.events([event(row)]).await;
    }
    let waiting = async {
        // The hundred good rows and the initial resync.
        while handler.send(GetReport).await.unwrap().handled < 101 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting)
        .await
        .expect("the good rows are handled");
    assert_eq!(handler.send(GetReport).await.unwrap().errors, 100);
}
