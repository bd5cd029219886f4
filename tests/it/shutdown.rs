//! A shutdown delivers queued events until its deadline, and reports those that it dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgherald::{
    Attempt, EphemeralOptions, Event, EventHandler, HandlerResult, Herald, ListenerActor, Operation,
};
use pgherald_testkit::{FakeFeed, fake_source};
use tokio::sync::watch;

use crate::support::DEADLINE;

/// Handles events after the gate has opened.
struct Gated {
    gate: watch::Receiver<bool>,
    handled: Arc<AtomicU64>,
}

impl EventHandler for Gated {
    type Event = Event;

    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        self.gate.clone().wait_for(|open| *open).await?;
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A factory of handlers that share a gate and count into `handled`.
fn gated(gate: watch::Receiver<bool>, handled: &Arc<AtomicU64>) -> impl Fn() -> Gated + use<> {
    let handled = Arc::clone(handled);
    move || Gated {
        gate: gate.clone(),
        handled: Arc::clone(&handled),
    }
}

async fn feed_events(feed: &FakeFeed, count: i64) {
    feed.live().await;
    for n in 0..count {
        feed.events([Event::builder("public", "t", Operation::Insert)
            .key(n)
            .build()])
            .await;
    }
}

async fn received(herald: &Herald, count: u64) {
    let all = async {
        while herald.status().await.unwrap().counts.events < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, all)
        .await
        .expect("the events are read");
}

#[actix::test]
async fn queued_events_are_handled_before_the_deadline() {
    let (source, feed) = fake_source();
    let herald = Herald::start_on_current_arbiter(ListenerActor::new(source))
        .await
        .unwrap();
    let (open, gate) = watch::channel(false);
    let handled = Arc::new(AtomicU64::new(0));
    let gated = gated(gate, &handled);
    herald
        .start_handler(EphemeralOptions::new("gated").concurrency(2), gated)
        .await
        .unwrap();
    feed_events(&feed, 500).await;
    received(&herald, 500).await;
    assert_eq!(handled.load(Ordering::Relaxed), 0);

    let health = herald.health();
    let shutdown = herald.shutdown(DEADLINE);
    let opening = async {
        tokio::task::yield_now().await;
        open.send_replace(true);
    };
    let (report, ()) = tokio::join!(shutdown, opening);
    let report = report.unwrap();
    assert!(report.is_complete(), "{report}");
    assert_eq!(handled.load(Ordering::Relaxed), 500);
    // 500 events and the initial resync.
    assert_eq!(report.handlers[0].handled, 501);
    assert!(!health.borrow().is_live());
}

#[actix::test]
async fn events_not_handled_at_the_deadline_are_reported_as_dropped() {
    let (source, feed) = fake_source();
    let herald = Herald::start_on_current_arbiter(ListenerActor::new(source))
        .await
        .unwrap();
    let (_never, gate) = watch::channel(false);
    let gated = gated(gate, &Arc::default());
    let options = EphemeralOptions::new("gated").concurrency(2);
    herald.start_handler(options, gated).await.unwrap();
    feed_events(&feed, 500).await;
    received(&herald, 500).await;

    let report = herald.shutdown(Duration::from_millis(50)).await.unwrap();
    assert!(!report.is_complete());
    let listener = &report.listener.subscriptions[0];
    let handler = &report.handlers[0];
    assert_eq!(
        listener.stats.delivered + listener.stats.queued,
        500,
        "{report}"
    );
    assert_eq!(handler.received, listener.stats.delivered + 1, "{report}");
    assert_eq!(
        handler.received,
        handler.handled + handler.dropped,
        "{report}"
    );
    assert_eq!(handler.handled, 1, "only the resync: {report}");
}

#[actix::test]
async fn a_listener_rejects_subscriptions_after_shutdown_and_repeats_its_report() {
    use pgherald::{Filter, GetStatus, Shutdown, Subscribe};
    use pgherald_testkit::Probe;
    let (source, feed) = fake_source();
    let herald = Herald::start_on_current_arbiter(ListenerActor::new(source))
        .await
        .unwrap();
    let probe = Probe::start();
    herald
        .subscribe(Subscribe::to("probe", Filter::new(), probe.events()))
        .await
        .unwrap();
    feed_events(&feed, 3).await;
    received(&herald, 3).await;
    let listener = herald.listener().clone();
    let for_ever = Shutdown {
        deadline: Duration::MAX,
    };
    let (first, second) = tokio::join!(listener.send(for_ever), listener.send(for_ever));
    assert_eq!(first.unwrap().to_string(), second.unwrap().to_string());
    let late = Subscribe::to("late", Filter::new(), probe.events());
    assert!(herald.subscribe(late).await.is_err());
    assert_eq!(listener.send(GetStatus).await.unwrap().counts.events, 3);
}

#[actix::test]
async fn the_report_includes_events_of_ended_subscriptions() {
    use pgherald::{Shutdown, Unsubscribe};
    let (source, feed) = fake_source();
    let herald = Herald::start_on_current_arbiter(ListenerActor::new(source))
        .await
        .unwrap();
    let (_never, gate) = watch::channel(false);
    let gated = gated(gate, &Arc::default());
    herald
        .start_handler(EphemeralOptions::new("gated").concurrency(1), gated)
        .await
        .unwrap();
    feed_events(&feed, 100).await;
    received(&herald, 100).await;
    let id = herald.status().await.unwrap().subscriptions[0].id;
    assert!(herald.listener().send(Unsubscribe(id)).await.unwrap());
    let shutdown = Shutdown {
        deadline: Duration::from_millis(20),
    };
    let report = herald.listener().send(shutdown).await.unwrap();
    assert_eq!(report.subscriptions.len(), 1, "{report}");
    assert!(!report.is_complete(), "{report}");
}

#[actix::test]
async fn a_drained_handler_unsubscribes_at_once() {
    use actix::Actor;
    use pgherald::{Drain, GetStatus, HandlerActor};
    let (source, feed) = fake_source();
    let listener = ListenerActor::new(source).start();
    let (open, gate) = watch::channel(false);
    let gated = gated(gate, &Arc::default());
    let options = EphemeralOptions::new("gated").concurrency(1);
    let handler = HandlerActor::new(options.clone(), gated).start();
    listener
        .send(HandlerActor::subscription(&handler, &options))
        .await
        .unwrap()
        .unwrap();
    feed_events(&feed, 1).await;
    // Draining begins while an event is being handled. Later events are not taken in.
    let draining = handler.send(Drain { deadline: DEADLINE });
    let feeding = async {
        for n in 1..50 {
            feed.events([Event::builder("public", "t", Operation::Insert)
                .key(n)
                .build()])
                .await;
        }
        while listener.send(GetStatus).await.unwrap().counts.events < 50 {
            tokio::task::yield_now().await;
        }
        open.send_replace(true);
    };
    let (report, ()) = tokio::join!(draining, feeding);
    let report = report.unwrap();
    assert_eq!(report.dropped, 0, "{report}");
    let shutdown = pgherald::Shutdown {
        deadline: Duration::MAX,
    };
    let listener_report = tokio::time::timeout(DEADLINE, listener.send(shutdown)).await;
    let listener_report = listener_report
        .expect("the listener waits for no handler")
        .unwrap();
    assert!(!listener_report.is_complete(), "{listener_report}");
}
