//! An actor that fails while it handles events receives a resync for its loss, and further events.

use actix::{Actor, Context, Handler};
use pgherald::{
    Event, Events, Filter, GetStatus, ListenerActor, Operation, Resync, Subscribe, SubscribeHealth,
};
use pgherald_testkit::{Probe, fake_source};
use tokio::sync::mpsc;

use crate::support::{DEADLINE, live};

fn event(n: i64) -> Event {
    Event::builder("public", "t", Operation::Insert)
        .key(n)
        .build()
}

/// Sends on its events. The future that it returns panics at row 2.
struct Panicking(mpsc::Sender<String>);

impl Actor for Panicking {
    type Context = Context<Self>;
}

impl Handler<Events> for Panicking {
    type Result = actix::ResponseFuture<()>;

    fn handle(&mut self, events: Events, _: &mut Self::Context) -> Self::Result {
        let seen = self.0.clone();
        Box::pin(async move {
            if let Some(resync) = events.resync() {
                seen.send(resync.to_string()).await.unwrap();
            }
            for event in events.events().iter() {
                assert!(event.to_string() != "insert public.t 2", "row 2");
                seen.send(event.to_string()).await.unwrap();
            }
        })
    }
}

#[actix::test]
async fn a_panic_in_a_subscribers_future_is_announced_as_a_loss() {
    let (source, feed) = fake_source();
    let listener = ListenerActor::new(source).start();
    let (seen, mut sights) = mpsc::channel(16);
    let panicking = Panicking(seen).start();
    let subscribe = Subscribe::to("panicking", Filter::new(), panicking.recipient());
    listener.send(subscribe).await.unwrap().unwrap();
    feed.live().await;
    let mut next = async || {
        tokio::time::timeout(DEADLINE, sights.recv())
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(next().await, "started");
    feed.events([event(1)]).await;
    assert_eq!(next().await, "insert public.t 1");
    feed.events([event(2)]).await;
    assert_eq!(next().await, "subscriber_failed (1 lost)");
    feed.events([event(3)]).await;
    assert_eq!(next().await, "insert public.t 3");
    let stats = listener
        .send(GetStatus)
        .await
        .unwrap()
        .subscriptions
        .remove(0);
    assert_eq!((stats.matched, stats.delivered, stats.lost), (3, 2, 1));
}

/// Panics at its first event.
struct Dying;

impl Actor for Dying {
    type Context = Context<Self>;
}

impl Handler<Events> for Dying {
    type Result = ();

    fn handle(&mut self, events: Events, _: &mut Self::Context) {
        assert!(events.events().is_empty(), "the end");
    }
}

#[actix::test]
async fn the_report_counts_events_of_a_stopped_subscriber() {
    let (source, feed) = fake_source();
    let listener = ListenerActor::new(source).start();
    let dying = Dying.start().recipient();
    let probe = Probe::start();
    for (name, recipient) in [("dying", dying), ("probe", probe.events())] {
        let subscribe = Subscribe::to(name, Filter::new(), recipient);
        listener.send(subscribe).await.unwrap().unwrap();
    }
    listener
        .send(SubscribeHealth(probe.health()))
        .await
        .unwrap();
    feed.live().await;
    feed.events([event(1), event(2)]).await;
    live(&probe).await;
    let both = |seen: &pgherald_testkit::Seen| seen.events().count() == 2;
    probe.wait_for("both rows", DEADLINE, both).await.unwrap();
    let report = listener
        .send(pgherald::Shutdown { deadline: DEADLINE })
        .await
        .unwrap();
    let left: u64 = report.abandoned
        + report
            .subscriptions
            .iter()
            .map(|s| s.unconfirmed + s.stats.queued)
            .sum::<u64>();
    assert_eq!(left, 2, "{report}");
    assert!(!report.is_complete());
    assert_eq!(probe.seen().resyncs().map(Resync::lost).sum::<u64>(), 0);
}
