//! Distributes one stream of signals to many subscriptions.
//!
//! The reader of the source owns the [`Router`]. Each [`Subscription`] has its own bounded queue with an explicit
//! [`Overflow`] policy. So a slow subscriber delays no other subscriber, and learns of every event it lost. Publishing never
//! waits.
//!
//! Caches come first: a subscription delivers an event only after the caches have applied it. See [`order`].

mod backlog;
mod budget;
mod caches;
mod options;
mod order;
mod queue;
mod room;
mod route;
mod routes;
pub(crate) mod subscription;

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::event::with_room;
use crate::filter::Filter;
use crate::gate::Session;
use crate::signal::{Resync, ResyncReason, Signal};

pub use backlog::Delivery;
pub use caches::Caches;
pub use options::{Overflow, SubscriptionOptions};
use queue::Queue;
pub use queue::{SubscriptionId, SubscriptionStats};
use route::Route;
use routes::Routes;
pub use subscription::Subscription;

/// Distributes signals to subscriptions.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pgherald_core::Result<()> {
/// use pgherald_core::__private::host::events::Router;
/// use pgherald_core::{Event, Filter, Operation, Signal, SubscriptionOptions};
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
#[derive(Debug)]
pub struct Router {
    /// The subscriptions, except those of caches.
    routes: Routes,
    caches: Caches,
    next_id: u64,
    live: bool,
    /// The current session. Starts with a resync or a `Resumed`, and ends with a `Down`.
    session: Option<Session>,
    closed: bool,
    /// Whether a subscription has asked for room in events.
    attaches: bool,
    /// The subscriptions whose queues were more than half full after the last batch; see [`room`].
    crowded: Vec<Arc<Queue>>,
}

impl Router {
    /// Makes a router without subscriptions, for a source that is not live yet.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "the parts that it shares are no default values"
    )]
    pub fn new() -> Self {
        Self {
            routes: Routes::default(),
            caches: Caches::new(),
            next_id: 0,
            live: false,
            session: None,
            closed: false,
            attaches: false,
            crowded: Vec::new(),
        }
    }

    /// Returns the caches that have subscribed, for consumers of groups in the same process.
    #[must_use]
    pub fn caches(&self) -> Caches {
        self.caches.clone()
    }

    /// Adds a subscription. It begins with a resync: at once if the source is live, otherwise when it becomes live.
    ///
    /// The subscription ends when the [`Subscription`] is dropped, or with [`unsubscribe`](Self::unsubscribe).
    ///
    /// # Errors
    /// If a capacity or batch size is zero, the options of a cache are used a second time, or the router is closed.
    pub fn subscribe(
        &mut self,
        filter: Filter,
        options: SubscriptionOptions,
    ) -> Result<Subscription> {
        if self.closed {
            return Err(Error::shut_down());
        }
        let options = options.checked()?;
        if options.gate.as_ref().is_some_and(|gate| !gate.claim()) {
            let message = format!(
                "the cache {:?} has, or had, a subscription already, or was closed; build another one",
                options.name
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        self.attaches |= options.attaches;
        self.next_id += 1;
        let id = SubscriptionId(self.next_id);
        let mut of_caches = self.caches.routes();
        let routes = match options.gate.is_some() {
            true => &mut *of_caches,
            false => &mut self.routes,
        };
        let abandoned = Arc::clone(routes.abandoned());
        let order = Arc::clone(self.caches.order());
        let queue = Arc::new(Queue::new(id, options, order, abandoned));
        let mut route = Route {
            filter,
            queue: Arc::clone(&queue),
            begun: false,
        };
        if let Some(session) = self.session.filter(|_| self.live) {
            route.set_live(session, self.caches.order().next_number());
        }
        routes.insert(route);
        Ok(Subscription::new(queue, self.caches.clone()))
    }

    /// Ends a subscription. It receives no new signals, and ends once its queue is empty.
    ///
    /// Returns whether a subscription with this id existed.
    pub fn unsubscribe(&mut self, id: SubscriptionId) -> bool {
        let of_handler = self.routes.remove(id);
        let Some(route) = of_handler.or_else(|| self.caches.routes().remove(id)) else {
            return false;
        };
        route.queue.close();
        true
    }

    /// Passes a signal to every subscription that it concerns.
    pub fn publish(&mut self, signal: &Signal) {
        match signal {
            Signal::Live => self.set_live(),
            Signal::Down(_) => self.set_not_live(),
            Signal::Resumed => self.resume(),
            Signal::Events(batch) => {
                let with_room = self.attaches.then(|| with_room(batch));
                let batch = with_room.as_ref().unwrap_or(batch);
                let mut crowded = Vec::new();
                // The number is taken under the lock, so that numbers are in order in the queue of each cache.
                let mut of_caches = self.caches.routes();
                let number = self.caches.order().next_number();
                let mut push = |route: &Route, events| {
                    if route.push_events(events, number) {
                        crowded.push(Arc::clone(&route.queue));
                    }
                };
                // Caches come first, so that their marks are set before a handler checks them.
                of_caches.distribute(batch, &mut push);
                drop(of_caches);
                self.routes.sweep();
                self.routes.distribute(batch, &mut push);
                self.crowded = crowded;
            }
            Signal::Resync(resync) => {
                // A resync that another router delivered may be published here again, so remove its session.
                let mut resync = resync.clone().without_session();
                if resync.channel().is_none() && !self.live {
                    let session = Session::next();
                    self.session = Some(session);
                    resync = resync.beginning(session);
                }
                self.each_route(|route, number| {
                    let concerns = |channel| route.filter.wants_channel(channel);
                    if resync.channel().is_none_or(concerns) {
                        route.begun |= resync.channel().is_none();
                        route.push_resync(resync.clone(), number);
                    }
                });
            }
        }
    }

    /// See [`Listener::room`](crate::Listener::room).
    pub fn room(&mut self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let crowded = std::mem::take(&mut self.crowded);
        (!crowded.is_empty()).then(|| room::room(crowded))
    }

    /// Begins a session after the events that were missed. A subscriber without a resync so far gets one when the source is
    /// live.
    fn resume(&mut self) {
        if self.live {
            return;
        }
        let session = Session::next();
        self.session = Some(session);
        let of_caches = self.caches.routes();
        let number = self.caches.order().next_number();
        for route in of_caches.iter().filter(|route| route.begun) {
            route.push_resync(Resync::session_start(session), number);
        }
    }

    fn set_live(&mut self) {
        if self.session.is_none() {
            // The source has violated its contract. Emit the missing resync, so that subscribers are not affected.
            let resync = Resync::new(ResyncReason::Reconnected);
            self.publish(&Signal::Resync(resync));
        }
        if std::mem::replace(&mut self.live, true) {
            return;
        }
        if let Some(session) = self.session {
            // Subscriptions added after the source's resync get their first resync here.
            self.each_route(|route, number| route.set_live(session, number));
        }
    }

    fn set_not_live(&mut self) {
        self.live = false;
        self.session = None;
        self.each_route(|route, _| route.queue.set_not_live());
    }

    /// Ends all subscriptions, each once its queue is empty. Their [`stats`](Self::stats) remain.
    pub fn close(&mut self) {
        self.closed = true;
        self.each_route(|route, _| route.queue.close());
    }

    /// Returns the statistics of each subscription.
    #[must_use]
    pub fn stats(&self) -> Vec<SubscriptionStats> {
        let caches = self.caches.routes();
        let all = caches.iter().chain(self.routes.iter());
        let mut stats: Vec<_> = all.map(|route| route.queue.stats()).collect();
        stats.sort_by_key(|stats| stats.id);
        stats
    }

    /// Visits the routes whose subscription was not dropped, with the number of what is published. Caches come first, so that
    /// their marks are set before a handler checks them.
    fn each_route(&mut self, mut visit: impl FnMut(&mut Route, u64)) {
        let mut of_caches = self.caches.routes();
        // Under the lock, as for events.
        let number = self.caches.order().next_number();
        of_caches.iter_mut().for_each(|route| visit(route, number));
        drop(of_caches);
        self.routes.sweep();
        self.routes
            .iter_mut()
            .for_each(|route| visit(route, number));
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.close();
    }
}
