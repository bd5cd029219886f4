//! The subscriber's end of the router.

use std::sync::Arc;

use super::backlog::Delivery;
use super::caches::Caches;
use super::queue::{Queue, SubscriptionId, SubscriptionStats, Taken};

/// The receiving end of a subscription. Dropping it unsubscribes.
///
/// A delivery has been applied to the caches of the same listener before. So a receiver that reads through a cache sees
/// nothing older than the event that it received. A cache that takes longer than 100 ms does not answer until it has caught
/// up.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
    caches: Caches,
}

impl Subscription {
    pub(super) fn new(queue: Arc<Queue>, caches: Caches) -> Self {
        Self { queue, caches }
    }

    /// Returns the id for [`Listener::unsubscribe`](crate::Listener::unsubscribe).
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
        self.queue.id()
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.queue.name()
    }

    /// Waits for the next batch. Returns `None` once the subscription has ended and its queue is empty, or once its cache is
    /// closed.
    ///
    /// The call also acknowledges that the previous batch was handled.
    ///
    /// Cancel safe: dropping the future takes nothing from the queue.
    pub async fn recv(&mut self) -> Option<Delivery> {
        loop {
            if self.queue.is_cache_gone() {
                return None;
            }
            match self.take() {
                Taken::Delivery(delivery) => return Some(delivery),
                Taken::Early(number) => self.caches.applied(number).await,
                Taken::Nothing { closed: true } => return None,
                Taken::Nothing { closed: false } => self.queue.woken().await,
            }
        }
    }

    /// Returns the next batch if one is waiting and the caches have applied it.
    pub fn try_recv(&mut self) -> Option<Delivery> {
        match self.take() {
            Taken::Delivery(delivery) => Some(delivery),
            Taken::Early(_) | Taken::Nothing { .. } => None,
        }
    }

    /// Counts the events of the last delivery as lost, for a receiver that failed before it had handled them. The next
    /// delivery reports the loss.
    pub(crate) fn take_back(&mut self) {
        self.queue.take_back();
    }

    /// Returns whether no new events will arrive.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Returns the statistics so far.
    #[must_use]
    pub fn stats(&self) -> SubscriptionStats {
        self.queue.stats()
    }

    /// Returns a handle on the statistics that outlives the subscription.
    #[must_use]
    pub(crate) fn observer(&self) -> SubscriptionObserver {
        SubscriptionObserver {
            queue: Arc::clone(&self.queue),
        }
    }

    fn take(&mut self) -> Taken {
        let below = match self.queue.has_gate() {
            // The subscription of a cache does not wait for other caches.
            true => u64::MAX,
            false => self.caches.order().lowest(),
        };
        self.queue.take(below)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

/// Reads the statistics of a subscription, even after it has ended.
#[derive(Clone, Debug)]
pub struct SubscriptionObserver {
    queue: Arc<Queue>,
}

impl SubscriptionObserver {
    /// Returns the statistics so far.
    #[must_use]
    pub fn stats(&self) -> SubscriptionStats {
        self.queue.stats()
    }

    /// Returns whether the subscription belongs to a cache that was closed. Its remaining events then no longer matter.
    #[must_use]
    pub fn is_of_closed_cache(&self) -> bool {
        self.queue.is_cache_gone()
    }
}
