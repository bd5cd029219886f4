//! From one stream of signals to many subscriptions.
//!
//! The [`Router`] belongs to whoever reads the source. Each [`Subscription`] has a queue of its own:
//! bounded, with an explicit [`Overflow`] policy, so that a slow subscriber costs nobody else anything and
//! learns of every event it lost. Handing an event to a subscription never waits.

mod backlog;
mod options;
mod subscription;

use std::sync::Arc;

use crate::error::Result;
use crate::filter::Filter;
use crate::signal::{Resync, ResyncReason, Signal};

pub use backlog::Delivery;
pub use options::{Overflow, SubscriptionOptions};
use subscription::Shared;
pub use subscription::{Subscription, SubscriptionId, SubscriptionStats};

/// Distributes signals to subscriptions.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pgherald_core::Result<()> {
/// use pgherald_core::{Event, Filter, Operation, Router, Signal, SubscriptionOptions};
///
/// let mut router = Router::new();
/// let orders = Filter::new().table("public", "orders");
/// let mut subscription = router.subscribe(orders, SubscriptionOptions::new("orders"))?;
///
/// let event = Event::builder("public", "orders", Operation::Insert).key(7).build();
/// router.publish(&Signal::Events([event].into()));
///
/// let delivery = subscription.recv().await.expect("the router lives");
/// assert_eq!(delivery.events().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Router {
    routes: Vec<Route>,
    next_id: u64,
    live: bool,
}

#[derive(Debug)]
struct Route {
    filter: Filter,
    shared: Arc<Shared>,
}

impl Router {
    /// A router without subscriptions, of a source that is not live yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a subscription. It begins with a resync: at once if the source is live, else when it becomes
    /// so.
    ///
    /// It ends when the [`Subscription`] is dropped, or with [`unsubscribe`](Self::unsubscribe).
    ///
    /// # Errors
    /// If the options cannot be used: a capacity or batch size of zero.
    pub fn subscribe(
        &mut self,
        filter: Filter,
        options: SubscriptionOptions,
    ) -> Result<Subscription> {
        let options = options.checked()?;
        self.next_id += 1;
        let shared = Arc::new(Shared::new(SubscriptionId(self.next_id), options));
        if self.live {
            shared.push(|backlog| backlog.push_resync(Resync::new(ResyncReason::Started)));
        }
        self.routes.push(Route {
            filter,
            shared: Arc::clone(&shared),
        });
        Ok(Subscription::new(shared))
    }

    /// Ends a subscription: it receives nothing new, and ends once its queue is empty.
    ///
    /// Returns whether there was one of that id.
    pub fn unsubscribe(&mut self, id: SubscriptionId) -> bool {
        let before = self.routes.len();
        self.routes.retain(|route| {
            let leaves = route.shared.id() == id;
            if leaves {
                route.shared.close();
            }
            !leaves
        });
        self.routes.len() < before
    }

    /// Hands a signal to every subscription that it concerns.
    pub fn publish(&mut self, signal: &Signal) {
        match signal {
            Signal::Live => self.live = true,
            Signal::Down(_) => self.live = false,
            Signal::Events(batch) => {
                for Route { filter, shared } in self.open_routes() {
                    if let Some(wanted) = filter.select(batch) {
                        shared.push(|backlog| backlog.push_events(wanted));
                    }
                }
            }
            Signal::Resync(resync) => {
                for Route { filter, shared } in self.open_routes() {
                    if resync
                        .channel()
                        .is_none_or(|channel| filter.wants_channel(channel))
                    {
                        shared.push(|backlog| backlog.push_resync(resync.clone()));
                    }
                }
            }
        }
    }

    /// Ends all subscriptions, each once its queue is empty. Their [`stats`](Self::stats) remain.
    pub fn close(&mut self) {
        for route in &self.routes {
            route.shared.close();
        }
    }

    /// What each subscription has received and lost so far.
    #[must_use]
    pub fn stats(&self) -> Vec<SubscriptionStats> {
        self.routes
            .iter()
            .map(|route| route.shared.stats())
            .collect()
    }

    /// The routes without those whose subscription was dropped.
    fn open_routes(&mut self) -> &[Route] {
        self.routes.retain(|route| !route.shared.is_abandoned());
        &self.routes
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.close();
    }
}
