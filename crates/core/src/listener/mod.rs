//! Routes the signals of a source and measures them.
//!
//! ```text
//!   Source ── signals ──► Listener ── Router ──► one queue per subscription
//!                            │
//!                            └── health (watch), counts, metrics, log
//! ```
//!
//! The caller owns the listener and passes each signal to [`Listener::publish`]. The listener starts no task and needs no
//! runtime. `ListenerActor` in `pgherald-actors` wraps a listener and drives it from a source.
//!
//! Guarantees: when a subscriber receives an event, [`Health`] has already been updated for it. When a caller sees a health
//! other than live, no cache answers any more.

mod metrics;
mod monitor;

use tokio::sync::watch;

use crate::error::Result;
use crate::filter::Filter;
use crate::router::{
    Caches, Router, Subscription, SubscriptionId, SubscriptionOptions, SubscriptionStats,
};
use crate::signal::{Health, Signal};

pub use monitor::ListenerCounts;
use monitor::Monitor;

/// Routes the signals of a source to subscriptions, and keeps health, counts and metrics.
///
/// ```no_run
/// use futures_util::StreamExt;
/// use pgherald_core::{ConnectConfig, Filter, Listener, NotifySource, SubscriptionOptions, supervise};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pgherald_core::Result<()> {
/// let config: ConnectConfig = "postgresql://app@localhost/shop".parse()?;
/// let mut signals = supervise(NotifySource::builder(config).factory()?);
/// let mut listener = Listener::new();
/// let health = listener.health();
/// let mut orders = listener.subscribe(
///     Filter::new().table("public", "orders"),
///     SubscriptionOptions::new("orders"),
/// )?;
/// tokio::spawn(async move {
///     while let Some(signal) = signals.next().await {
///         listener.publish(&signal);
///         if let Some(room) = listener.room() {
///             room.await;
///         }
///     }
/// });
/// while let Some(delivery) = orders.recv().await {
///     println!("{} events; the listener is {}", delivery.events().len(), *health.borrow());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Listener {
    router: Router,
    monitor: Monitor,
    health: watch::Sender<Health>,
}

/// The state of a listener and of its subscriptions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenerStatus {
    /// Whether the listener is live.
    pub health: Health,
    /// The signals received so far.
    pub counts: ListenerCounts,
    /// Its subscriptions.
    pub subscriptions: Vec<SubscriptionStats>,
}

impl Listener {
    /// Makes a listener without subscriptions, of a source that is not live yet.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "it counts as a running listener in the metrics: that is no default value"
    )]
    pub fn new() -> Self {
        Self {
            router: Router::new(),
            monitor: Monitor::new(),
            health: watch::Sender::new(Health::Connecting),
        }
    }

    /// Sets the latency (see [`Event::latency`](crate::Event::latency)) above which events are counted as late and a warning
    /// is logged, at most once a second. The default is 500 ms. `None` disables the warning.
    pub fn set_latency_warning(&mut self, threshold: Option<std::time::Duration>) {
        self.monitor.set_latency_warning(threshold);
    }

    /// Returns the health, which can be read and awaited from any thread.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Returns health, counts and subscriptions.
    #[must_use]
    pub fn status(&self) -> ListenerStatus {
        ListenerStatus {
            health: self.health.borrow().clone(),
            counts: self.monitor.counts(),
            subscriptions: self.router.stats(),
        }
    }

    /// Returns a handle on the caches that have subscribed, for consumers of groups in the same process.
    #[must_use]
    pub fn caches(&self) -> Caches {
        self.router.caches()
    }

    /// Adds a subscription. It begins with a resync: at once if the source is live, otherwise when it becomes live.
    ///
    /// The subscription ends when the [`Subscription`] is dropped, or with [`unsubscribe`](Self::unsubscribe).
    ///
    /// # Errors
    /// If a capacity or batch size is zero, the options of a cache are used a second time, or the listener is closed.
    pub fn subscribe(
        &mut self,
        filter: Filter,
        options: SubscriptionOptions,
    ) -> Result<Subscription> {
        self.router.subscribe(filter, options)
    }

    /// Ends a subscription. It receives no new signals, and ends once its queue is empty.
    ///
    /// Returns whether a subscription with this id existed.
    pub fn unsubscribe(&mut self, id: SubscriptionId) -> bool {
        self.router.unsubscribe(id)
    }

    /// Measures a signal, and passes it to every subscription that it concerns.
    pub fn publish(&mut self, signal: &Signal) {
        let changed = self.monitor.observe(signal, &self.health.borrow());
        let closes_caches = matches!(signal, Signal::Down(_));
        if closes_caches {
            self.router.publish(signal);
        }
        if let Some(health) = changed {
            self.health.send_replace(health);
        }
        if !closes_caches {
            self.router.publish(signal);
        }
    }

    /// Returns a future to await before the next signal, if the queue of a subscriber has little room left. It ends when all
    /// queues have room again.
    ///
    /// A queue has room while it is at most half full. A subscriber is waited for 200 ms at once, and for a tenth of
    /// the time in the long run. Without the wait, a burst overflows the queue of a subscriber that is a little slower than the
    /// source.
    ///
    /// Only queues with [`Overflow::Resync`](crate::Overflow::Resync) are waited for. The other policies are for subscribers that
    /// need not receive everything.
    pub fn room(&mut self) -> Option<impl Future<Output = ()> + Send + use<>> {
        self.router.room()
    }

    /// Ends all subscriptions, each once its queue is empty. The listener is not live afterwards.
    pub fn close(&mut self) {
        self.router.close();
        self.health.send_replace(Health::shut_down());
        self.monitor.close();
    }
}
