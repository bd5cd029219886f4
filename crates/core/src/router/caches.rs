//! The subscriptions of caches. The router and the consumers of groups share them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::order::{LIMIT, Order};
use super::routes::Routes;
use crate::event::Event;

/// The caches of a [`Listener`](crate::Listener). Cheap to clone, and usable from any thread.
///
/// A consumer of a group reads the outbox by itself, and may receive an event before the listener does. It uses this handle to
/// have the caches apply the event first; see [`DurableOptions::caches`](crate::DurableOptions::caches).
#[derive(Clone, Debug)]
pub struct Caches {
    routes: Arc<Mutex<Routes>>,
    order: Arc<Order>,
}

impl Caches {
    pub(super) fn new() -> Self {
        Self {
            routes: Arc::default(),
            order: Arc::new(Order::new()),
        }
    }

    pub(super) fn order(&self) -> &Arc<Order> {
        &self.order
    }

    /// Returns the routes whose subscription was not dropped.
    pub(super) fn routes(&self) -> MutexGuard<'_, Routes> {
        // No user code runs under the lock, because filters of caches consist of tables only.
        let routes = self.routes.lock();
        let mut routes = routes.unwrap_or_else(PoisonError::into_inner);
        routes.sweep();
        routes
    }

    /// Has each cache apply the `events` that it depends on. Returns when all caches have, or after 100 ms, when the late
    /// caches no longer answer.
    pub(crate) async fn apply(&self, events: impl Iterator<Item = &Event>) {
        if self.routes().is_empty() {
            return;
        }
        let number = self.push(&events.cloned().collect());
        self.applied(number).await;
    }

    /// Queues the events for the caches. Returns their number.
    fn push(&self, events: &Arc<[Event]>) -> u64 {
        let mut routes = self.routes();
        // Taken under the lock, so that numbers are in order in the queue of each cache.
        let number = self.order.next_number();
        routes.distribute(events, |route, events| {
            route.push_events(events, number);
        });
        number
    }

    /// Waits until all caches have applied this number. Closes the caches that are late.
    pub(super) async fn applied(&self, number: u64) {
        let applied = self.order.applied(number);
        if tokio::time::timeout(LIMIT, applied).await.is_ok() {
            return;
        }
        for route in self.routes().iter() {
            route.queue.bypass(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::event::Event;
    use crate::operation::Operation;
    use crate::router::Router;
    use crate::{CacheBuilder, Signal, TableName};

    #[test]
    fn numbers_are_in_order_in_a_queue_that_two_threads_push_to() {
        let table = TableName::new("public", "users").unwrap();
        let cache = CacheBuilder::<i64, Arc<str>>::new("names").table(table);
        let (_handle, driver) = cache.build().unwrap();
        let mut router = Router::new();
        let mut subscription = router
            .subscribe(driver.filter(), driver.subscription())
            .unwrap();
        let event = Event::builder("public", "users", Operation::Update).build();
        let caches = router.caches();
        let of_consumer = event.clone();
        // The queue asserts the order.
        let consumer = std::thread::spawn(move || {
            for _ in 0..20_000 {
                let batch = Arc::from([of_consumer.clone()]);
                caches.push(&batch);
            }
        });
        for _ in 0..20_000 {
            router.publish(&Signal::Events([event.clone()].into()));
            while subscription.try_recv().is_some() {}
        }
        consumer.join().unwrap();
    }
}
