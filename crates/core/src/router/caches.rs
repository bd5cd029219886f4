//! The subscriptions of caches. The router and the consumers of groups share them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::order::{LIMIT, Order};
use super::routes::Routes;
use crate::event::Event;

/// The caches of a [`Listener`](crate::Listener). Cheap to clone, and usable from any thread.
///
/// A consumer of a group reads the outbox on its own connection, and may receive an event before the listener does. It uses
/// this handle to have the caches apply the event first; see [`Durable::caches`](crate::Durable::caches).
#[derive(Clone, Debug)]
pub struct Caches {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    routes: Mutex<Routes>,
    last_number: AtomicU64,
    order: Arc<Order>,
}

impl Caches {
    pub(super) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                routes: Mutex::default(),
                last_number: AtomicU64::new(0),
                order: Arc::new(Order::new()),
            }),
        }
    }

    pub(super) fn order(&self) -> &Arc<Order> {
        &self.shared.order
    }

    /// Returns a number greater than all previous ones.
    pub(super) fn next_number(&self) -> u64 {
        self.shared.last_number.fetch_add(1, Relaxed) + 1
    }

    /// Returns the greatest number so far.
    pub(super) fn last_number(&self) -> u64 {
        self.shared.last_number.load(Relaxed)
    }

    /// Returns the routes whose subscription was not dropped.
    pub(super) fn routes(&self) -> MutexGuard<'_, Routes> {
        // No user code runs under the lock, because filters of caches consist of tables only.
        let routes = self.shared.routes.lock();
        let mut routes = routes.unwrap_or_else(PoisonError::into_inner);
        routes.sweep();
        routes
    }

    /// Has each cache apply the `events` that it depends on. Returns when all caches have, or after 100 ms, when the late
    /// caches no longer answer.
    pub(crate) async fn apply(&self, events: impl Iterator<Item = &Event>) {
        let number = {
            let mut routes = self.routes();
            if routes.is_empty() {
                return;
            }
            let events: Arc<[Event]> = events.cloned().collect();
            let number = self.next_number();
            routes.distribute(&events, |route, events| {
                route.push_events(events, number);
            });
            number
        };
        self.applied(number).await;
    }

    /// Waits until all caches have applied this number. Closes the caches that are late.
    pub(super) async fn applied(&self, number: u64) {
        let applied = self.shared.order.applied(number);
        if tokio::time::timeout(LIMIT, applied).await.is_ok() {
            return;
        }
        for route in self.routes().iter() {
            route.shared.bypass(number, || self.next_number());
        }
    }
}
