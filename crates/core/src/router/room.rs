//! Gives the subscribers of a flood time to make room in their queues.
//!
//! A source can read faster than a subscriber handles. If it does not wait, a burst that is larger than the queue overflows
//! it, although the subscriber would need a few milliseconds only; meanwhile, the events could wait in the database's socket.
//!
//! Therefore the source waits after a batch while a queue is more than half full. All subscribers share the source, so each one
//! has a [`Budget`](super::budget::Budget) of time for which it may delay the others. Then its queue overflows.

use std::sync::Arc;

use tokio::time::Instant;

use super::budget::INTERVAL;
use super::queue::Queue;

/// Waits until each of these queues has room, or its budget is spent.
pub(super) async fn room(mut crowded: Vec<Arc<Queue>>) {
    while !crowded.is_empty() {
        let since = Instant::now();
        tokio::time::sleep(INTERVAL).await;
        let now = Instant::now();
        crowded.retain(|queue| queue.is_still_crowded(since, now));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use crate::event::Event;
    use crate::operation::Operation;
    use crate::router::budget::{INTERVAL, MAX_WAIT, SHARE};
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

    /// How long the source waits in a second in which this subscriber receives one batch every `pause`.
    async fn waited(pause: std::time::Duration) -> std::time::Duration {
        let mut router = Router::new();
        let mut subscription = subscribe(&mut router, Overflow::Resync);
        // Spend what may be spent at once.
        publish(&mut router, CAPACITY);
        if let Some(room) = router.room() {
            room.await;
        }
        let started = tokio::time::Instant::now();
        let receive = async {
            while started.elapsed() < MAX_WAIT * 5 {
                tokio::time::sleep(pause).await;
                while subscription.try_recv().is_some() {}
            }
        };
        let mut waited = std::time::Duration::ZERO;
        let send = async {
            while started.elapsed() < MAX_WAIT * 5 {
                publish(&mut router, CAPACITY / 2 + 1);
                let before = tokio::time::Instant::now();
                if let Some(room) = router.room() {
                    room.await;
                }
                waited += before.elapsed();
                tokio::time::sleep(INTERVAL).await;
            }
        };
        tokio::join!(receive, send);
        waited
    }

    #[tokio::test(start_paused = true)]
    async fn slow_subscribers_delay_others_for_a_share_of_the_time() {
        for pause in [5, 45, 10_000] {
            let waited = waited(std::time::Duration::from_millis(pause)).await;
            let most = MAX_WAIT * 5 / SHARE + 20 * INTERVAL;
            assert!(waited <= most, "{waited:?} at {pause} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_subscriber_is_given_up_when_its_budget_is_spent() {
        let mut router = Router::new();
        let _subscription = subscribe(&mut router, Overflow::Resync);
        publish(&mut router, CAPACITY);
        let started = tokio::time::Instant::now();
        router.room().unwrap().await;
        assert!(started.elapsed() >= MAX_WAIT && started.elapsed() <= MAX_WAIT + 2 * INTERVAL);
        publish(&mut router, 1);
        assert!(router.room().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_that_leaves_is_not_waited_for() {
        let mut router = Router::new();
        let subscription = subscribe(&mut router, Overflow::Resync);
        publish(&mut router, CAPACITY);
        let mut room = pin!(router.room().unwrap());
        let mut context = Context::from_waker(Waker::noop());
        assert!(room.as_mut().poll(&mut context).is_pending());
        let started = tokio::time::Instant::now();
        drop(subscription);
        room.await;
        assert!(started.elapsed() < MAX_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn queues_that_are_meant_to_overflow_are_not_waited_for() {
        for overflow in [Overflow::CoalesceByKey, Overflow::DropOldest] {
            let mut router = Router::new();
            let _subscription = subscribe(&mut router, overflow);
            publish(&mut router, CAPACITY);
            assert!(router.room().is_none());
        }
    }
}
