//! An actor that fails with events in hand is told so, and goes on getting events.

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

/// Panics in the future it returns if row 2 is among the events; tells what else it was given.
struct Clumsy(mpsc::Sender<String>);

impl Actor for Clumsy {
    type Context = Context<Self>;
}

impl Handler<Events> for Clumsy {
    type Result = actix::ResponseFuture<()>;

    fn handle(&mut self, events: Events, _: &mut Self::Context) -> Self::Result {
        let told = self.0.clone();
        Box::pin(async move {
            if let Some(resync) = events.resync() {
                told.send(resync.to_string()).await.unwrap();
            }
            for event in events.events().iter() {
                assert!(event.to_string() != "insert public.t 2", "row 2");
                told.send(event.to_string()).await.unwrap();
            }
        })
    }
}

#[actix::test]
async fn a_panic_in_a_subscribers_future_is_told_as_a_loss() {
    let (source, feed) = fake_source();
    let listener = ListenerActor::new(source).start();
    let (told, mut tales) = mpsc::channel(16);
    let clumsy = Clumsy(told).start();
    let subscribe = Subscribe::to("clumsy", Filter::new(), clumsy.recipient());
    listener.send(subscribe).await.unwrap().unwrap();
    feed.live().await;
    let mut next = async || {
        tokio::time::timeout(DEADLINE, tales.recv())
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

/// Dies of its first event.
struct Mortal;

impl Actor for Mortal {
    type Context = Context<Self>;
}

impl Handler<Events> for Mortal {
    type Result = ();

    fn handle(&mut self, events: Events, _: &mut Self::Context) {
        assert!(events.events().is_empty(), "the end");
    }
}

#[actix::test]
async fn the_events_of_a_subscriber_that_stopped_are_reported() {
    let (source, feed) = fake_source();
    let listener = ListenerActor::new(source).start();
    let mortal = Mortal.start().recipient();
    let probe = Probe::start();
    for (name, recipient) in [("mortal", mortal), ("probe", probe.events())] {
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
