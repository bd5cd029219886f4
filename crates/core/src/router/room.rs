//! Gives the subscribers of a flood time to make room in their queues.
//!
//! A source can read faster than a subscriber handles. If it does not wait, a burst that is larger than the queue overflows
//! it, although the subscriber would need a few milliseconds only; meanwhile, the events could wait in the database's socket.
//!
//! Therefore the source waits after a batch while a queue is more than half full. All subscribers share the source, so each one
//! has a [`Budget`] of time for which it may delay the others: [`MOST`] at once, and a [`SHARE`] of the time in the long run.
//! Then its queue overflows.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::subscription::Shared;

/// The longest time that a source waits for a subscriber at once.
pub(super) const MOST: Duration = Duration::from_millis(200);

/// The part of the time that a source waits for a subscriber in the long run: one in this many.
const SHARE: u32 = 10;

const INTERVAL: Duration = Duration::from_millis(1);

/// For how long a source may wait for a subscriber.
#[derive(Debug)]
pub(super) struct Budget {
    left: Duration,
    /// When `left` was computed.
    at: Instant,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: MOST,
            at: now,
        }
    }

    pub(super) fn has_some(&mut self, now: Instant) -> bool {
        self.left = (self.left + now.saturating_duration_since(self.at) / SHARE).min(MOST);
        self.at = now;
        self.left >= INTERVAL
    }

    /// The source has waited from `since` to `now`.
    pub(super) fn spend(&mut self, since: Instant, now: Instant) {
        self.left = self
            .left
            .saturating_sub(now.saturating_duration_since(since));
        self.at = now;
    }
}

/// Waits until each of these queues has room, or its budget is spent.
pub(super) async fn room(mut crowded: Vec<Arc<Shared>>) {
    while !crowded.is_empty() {
        let since = Instant::now();
        tokio::time::sleep(INTERVAL).await;
        let now = Instant::now();
        crowded.retain(|shared| shared.is_still_crowded(since, now));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::{INTERVAL, MOST, SHARE};
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
            while started.elapsed() < MOST * 5 {
                tokio::time::sleep(pause).await;
                while subscription.try_recv().is_some() {}
            }
        };
        let mut waited = std::time::Duration::ZERO;
        let send = async {
            while started.elapsed() < MOST * 5 {
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
            let most = MOST * 5 / SHARE + 20 * INTERVAL;
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
        assert!(started.elapsed() >= MOST && started.elapsed() <= MOST + 2 * INTERVAL);
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
        assert!(started.elapsed() < MOST);
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
