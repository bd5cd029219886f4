//! Gives the subscribers of a flood time to make room in their queues.
//!
//! A source can read faster than a subscriber handles. If it does not wait, a burst that is larger than the queue overflows
//! it, although the subscriber would need a few milliseconds only; meanwhile, the events could wait in the database's socket.
//!
//! Therefore the source waits after a batch while a queue is more than half full, but no longer than [`LIMIT`]. A subscriber
//! that did not get below half in that time is too slow. It is not waited for again until it has, so it delays the others
//! once, and not at every batch.

use std::sync::Arc;
use std::time::Duration;

use super::subscription::Shared;

/// The maximum time that a source waits for a subscriber.
pub(super) const LIMIT: Duration = Duration::from_millis(50);

const INTERVAL: Duration = Duration::from_millis(1);

/// Waits until all these queues have room, or for [`LIMIT`].
pub(super) async fn room(mut crowded: Vec<Arc<Shared>>) {
    let started = tokio::time::Instant::now();
    while !crowded.is_empty() {
        if started.elapsed() >= LIMIT {
            crowded.iter().for_each(|shared| shared.set_slow());
            return;
        }
        tokio::time::sleep(INTERVAL).await;
        crowded.retain(|shared| shared.is_crowded());
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::{INTERVAL, LIMIT};
    use crate::event::Event;
    use crate::operation::Operation;
    use crate::router::{Overflow, Router, Subscription, SubscriptionOptions};
    use crate::{Filter, Resync, ResyncReason, Signal};

    const CAPACITY: usize = 8;

    fn publish(router: &mut Router, events: usize) {
        let event = |key: i64| {
            Event::builder("public", "users", Operation::Update)
                .key(key)
                .build()
        };
        let events: Vec<Event> = (0..).take(events).map(event).collect();
        router.publish(&Signal::Events(events.into()));
    }

    fn subscribe(router: &mut Router, overflow: Overflow) -> Subscription {
        let options = SubscriptionOptions::new("test")
            .capacity(CAPACITY)
            .max_batch(CAPACITY)
            .overflow(overflow);
        let mut subscription = router.subscribe(Filter::new(), options).unwrap();
        router.publish(&Signal::Resync(Resync::new(ResyncReason::Started)));
        assert!(subscription.try_recv().is_some());
        subscription
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_queue_is_room() {
        let mut router = Router::new();
        let _subscription = subscribe(&mut router, Overflow::Resync);
        publish(&mut router, CAPACITY / 2);
        assert!(router.room().is_none());
        publish(&mut router, 1);
        assert!(router.room().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_larger_than_the_queue_is_not_lost() {
        let mut router = Router::new();
        let mut subscription = subscribe(&mut router, Overflow::Resync);
        let receive = async {
            let mut received = 0;
            while received < 20 * CAPACITY {
                received += subscription.recv().await.unwrap().events().len();
                // Slower than the source, which needs no time.
                tokio::time::sleep(INTERVAL).await;
            }
            assert_eq!(subscription.stats().lost, 0);
        };
        let send = async {
            for _ in 0..20 * CAPACITY / 3 + 1 {
                publish(&mut router, 3);
                if let Some(room) = router.room() {
                    room.await;
                }
            }
        };
        tokio::join!(receive, send);
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_subscriber_is_waited_for_once() {
        let mut router = Router::new();
        let mut subscription = subscribe(&mut router, Overflow::Resync);
        publish(&mut router, CAPACITY);
        let started = tokio::time::Instant::now();
        router.room().unwrap().await;
        assert!(started.elapsed() >= LIMIT && started.elapsed() < 2 * LIMIT);
        for _ in 0..5 {
            // The third loses the backlog, so that the queue is short again, but nothing was received.
            publish(&mut router, CAPACITY / 2);
            assert!(router.room().is_none());
        }
        while subscription.try_recv().is_some() {}
        publish(&mut router, CAPACITY);
        assert!(router.room().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_that_leaves_is_not_waited_for() {
        let mut router = Router::new();
        let subscription = subscribe(&mut router, Overflow::DropOldest);
        publish(&mut router, CAPACITY);
        let mut room = pin!(router.room().unwrap());
        let mut context = Context::from_waker(Waker::noop());
        assert!(room.as_mut().poll(&mut context).is_pending());
        let started = tokio::time::Instant::now();
        drop(subscription);
        room.await;
        assert!(started.elapsed() < LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn queues_that_coalesce_are_not_waited_for() {
        let mut router = Router::new();
        let _subscription = subscribe(&mut router, Overflow::CoalesceByKey);
        publish(&mut router, CAPACITY);
        assert!(router.room().is_none());
    }
}
