//! A source that panics is replaced.

use actix::Actor;
use pgherald::{ErrorKind, Event, Filter, GetStatus, ListenerActor, Operation};
use pgherald_testkit::{Probe, fake_source};

use crate::support::{DEADLINE, live, not_live, numbers, subscribe};

fn event(n: i64) -> Event {
    Event::builder("public", "t", Operation::Insert)
        .key(n)
        .build()
}

#[actix::test]
async fn a_panic_of_the_source_causes_only_a_resync() {
    let (source, feed) = fake_source();
    let listener = ListenerActor::new(source).start();
    let probe = Probe::start();
    subscribe(&listener, &probe, Filter::new()).await;
    listener
        .send(pgherald::SubscribeHealth(probe.health()))
        .await
        .unwrap();
    feed.live().await;
    feed.events([event(1)]).await;
    probe
        .wait_for("row 1", DEADLINE, |seen| numbers(seen) == [1])
        .await
        .unwrap();

    feed.panic("the source has a bug").await;
    let seen = not_live(&probe).await;
    assert_eq!(crate::support::cause(&seen).kind(), ErrorKind::Panic);
    feed.reconnect().await;
    feed.events([event(2)]).await;
    probe
        .wait_for("row 2", DEADLINE, |seen| numbers(seen) == [1, 2])
        .await
        .unwrap();
    live(&probe).await;
    assert_eq!(listener.send(GetStatus).await.unwrap().counts.connected, 2);
}

#[actix::test]
async fn a_subscription_made_while_live_begins_with_a_resync_at_once() {
    let (source, feed) = fake_source();
    let listener = ListenerActor::new(source).start();
    let first = Probe::start();
    subscribe(&listener, &first, Filter::new()).await;
    feed.live().await;
    feed.events([event(1)]).await;
    first
        .wait_for("row 1", DEADLINE, |seen| numbers(seen) == [1])
        .await
        .unwrap();

    let late = Probe::start();
    subscribe(&listener, &late, Filter::new()).await;
    let begun = |seen: &pgherald_testkit::Seen| seen.resyncs().count() == 1;
    late.wait_for("its resync", DEADLINE, begun).await.unwrap();
    feed.events([event(2)]).await;
    late.wait_for("row 2", DEADLINE, |seen| numbers(seen) == [2])
        .await
        .unwrap();
}
