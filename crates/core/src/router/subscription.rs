//! The subscriber's end of the router.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::backlog::{Backlog, Counts, Delivery, Popped};
use super::caches::Caches;
use super::options::{Overflow, SubscriptionOptions};
use super::room::Budget;
use super::routes::Abandoned;
use crate::gate::Session;
use crate::signal::Resync;
use crate::telemetry::{SUBSCRIPTION_EVENTS, SUBSCRIPTION_QUEUED_EVENTS, counter, dropped, gauge};

/// Identifies a subscription within its router.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(pub(super) u64);

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The statistics of a subscription.
///
/// `matched = delivered + lost + coalesced + queued`, at any time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscriptionStats {
    /// The subscription.
    pub id: SubscriptionId,
    /// The name given in the options.
    pub name: String,
    /// Events that matched the filter.
    pub matched: u64,
    /// Events delivered to the subscriber.
    pub delivered: u64,
    /// Events dropped because the queue was full.
    pub lost: u64,
    /// Events superseded by a newer event of the same row while they waited.
    pub coalesced: u64,
    /// Events that are waiting now.
    pub queued: u64,
    /// Resyncs delivered to the subscriber.
    pub resyncs: u64,
    /// Whether a resync is waiting now.
    pub resync_queued: bool,
}

/// The receiving end of a subscription. Dropping it unsubscribes.
///
/// A delivery has been applied to the caches of the same listener before. So a receiver that reads through a cache sees
/// nothing older than the event that it received. A cache that takes longer than 100 ms does not answer until it has caught
/// up.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
}

impl Subscription {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Returns the id for [`Listener::unsubscribe`](crate::Listener::unsubscribe).
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
        self.shared.id
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.options.name
    }

    /// Waits for the next batch. Returns `None` once the subscription has ended and its queue is empty, or once its cache is
    /// closed.
    ///
    /// The call also acknowledges that the previous batch was handled.
    ///
    /// Cancel safe: dropping the future takes nothing from the queue.
    pub async fn recv(&mut self) -> Option<Delivery> {
        loop {
            if self.shared.is_cache_gone() {
                return None;
            }
            match self.take() {
                Taken::Delivery(delivery) => return Some(delivery),
                Taken::Early(number) => self.shared.caches.applied(number).await,
                Taken::Nothing { closed: true } => return None,
                Taken::Nothing { closed: false } => self.shared.woken().await,
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
        let mut state = self.shared.lock();
        let count = self.shared.change(&mut state, Backlog::take_back);
        let unmeasured = state.take_unmeasured();
        drop(state);
        self.shared.measure(&unmeasured);
        dropped(self.name(), "subscriber_failed", false, count);
        self.shared.wake.notify_one();
    }

    /// Returns whether no new events will arrive.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed || self.shared.is_cache_gone()
    }

    /// Returns the statistics so far.
    #[must_use]
    pub fn stats(&self) -> SubscriptionStats {
        self.shared.stats()
    }

    /// Returns a handle on the statistics that outlives the subscription.
    #[must_use]
    pub(crate) fn observer(&self) -> SubscriptionObserver {
        SubscriptionObserver {
            shared: Arc::clone(&self.shared),
        }
    }

    fn take(&mut self) -> Taken {
        let below = match self.shared.has_gate() {
            // The subscription of a cache does not wait for other caches.
            true => u64::MAX,
            false => self.shared.caches.order().lowest(),
        };
        let mut state = self.shared.lock();
        state.backlog.handled();
        let popped = state.backlog.pop(self.shared.options.max_batch, below);
        self.shared.update_mark(&mut state);
        if state.backlog.len() == 0 {
            state.overflowing = false;
        }
        match popped {
            Popped::Delivery(delivery) => {
                let unmeasured = state.take_unmeasured();
                drop(state);
                self.shared.measure(&unmeasured);
                Taken::Delivery(delivery)
            }
            Popped::Early(number) => Taken::Early(number),
            Popped::Nothing => Taken::Nothing {
                closed: state.closed,
            },
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let unmeasured = {
            let mut state = self.shared.lock();
            state.abandoned = true;
            self.shared.update_mark(&mut state);
            state.take_unmeasured()
        };
        self.shared.abandoned.set();
        self.shared.measure(&unmeasured);
        self.shared.set_not_live();
    }
}

/// Reads the statistics of a subscription, even after it has ended.
#[derive(Clone, Debug)]
pub struct SubscriptionObserver {
    shared: Arc<Shared>,
}

impl SubscriptionObserver {
    /// Returns the statistics so far.
    #[must_use]
    pub fn stats(&self) -> SubscriptionStats {
        self.shared.stats()
    }

    /// Returns whether the subscription belongs to a cache that was closed. Its remaining events then no longer matter.
    #[must_use]
    pub fn is_of_closed_cache(&self) -> bool {
        self.shared.is_cache_gone()
    }
}

enum Taken {
    Delivery(Delivery),
    /// The number of the next item, which some cache has not applied yet.
    Early(u64),
    Nothing {
        closed: bool,
    },
}

/// State shared by router and subscriber. No user code runs under its lock.
#[derive(Debug)]
pub(super) struct Shared {
    id: SubscriptionId,
    options: SubscriptionOptions,
    caches: Caches,
    /// Set when the subscription is dropped. All subscriptions of the same [`Routes`](super::routes::Routes) share it.
    abandoned: Arc<Abandoned>,
    state: Mutex<State>,
    wake: Notify,
    delivered: Counter,
    coalesced: Counter,
    queued: Gauge,
}

#[derive(Debug)]
struct State {
    backlog: Backlog,
    /// No new items will arrive.
    closed: bool,
    /// The subscription was dropped.
    abandoned: bool,
    /// Events were lost since the queue was last empty.
    overflowing: bool,
    /// For how long the source may still wait for room; see [`room`](super::room).
    budget: Budget,
    /// For a cache: the number of the oldest item that it has not applied.
    mark: Option<u64>,
    /// For a cache: handlers do not wait for numbers up to this one, because the cache does not answer until it has applied
    /// them.
    bypassed: u64,
    /// The delivered, coalesced and queued events that the recorder has been given.
    measured: (u64, u64, u64),
}

/// The difference that the recorder has not been given yet.
struct Unmeasured {
    delivered: u64,
    coalesced: u64,
    queued: i64,
}

impl State {
    fn take_unmeasured(&mut self) -> Unmeasured {
        let Counts {
            delivered,
            coalesced,
            ..
        } = self.backlog.counts();
        let queued = match self.abandoned {
            true => 0,
            false => self.backlog.len() as u64,
        };
        let now = (delivered, coalesced, queued);
        let before = std::mem::replace(&mut self.measured, now);
        Unmeasured {
            // Events that were taken back no longer count as delivered, but a counter cannot decrease.
            delivered: delivered.saturating_sub(before.0),
            coalesced: coalesced.saturating_sub(before.1),
            queued: queued.cast_signed() - before.2.cast_signed(),
        }
    }
}

impl Shared {
    pub(super) fn new(
        id: SubscriptionId,
        options: SubscriptionOptions,
        caches: Caches,
        abandoned: Arc<Abandoned>,
    ) -> Self {
        let backlog = Backlog::new(options.capacity, options.overflow);
        let state = Mutex::new(State {
            backlog,
            closed: false,
            abandoned: false,
            overflowing: false,
            budget: Budget::new(Instant::now()),
            mark: None,
            bypassed: 0,
            measured: (0, 0, 0),
        });
        Self {
            delivered: event_counter(&options.name, "delivered"),
            coalesced: event_counter(&options.name, "coalesced"),
            queued: gauge(
                SUBSCRIPTION_QUEUED_EVENTS,
                &[("subscription", &options.name)],
            ),
            id,
            options,
            caches,
            abandoned,
            state,
            wake: Notify::new(),
        }
    }

    pub(super) fn id(&self) -> SubscriptionId {
        self.id
    }

    /// Changes the backlog, and returns how many events were lost by the change.
    ///
    /// After a loss, a cache does not answer until it has handled the loss.
    fn change(&self, state: &mut State, change: impl FnOnce(&mut Backlog)) -> u64 {
        let before = state.backlog.counts().lost;
        change(&mut state.backlog);
        let lost = state.backlog.counts().lost - before;
        if let Some(gate) = &self.options.gate
            && lost > 0
            && gate.is_live()
        {
            let session = Session::next();
            state.backlog.begin_session(session);
            gate.set_live(session);
        }
        self.update_mark(state);
        lost
    }

    /// Publishes the number of the oldest item that a cache has not applied.
    fn update_mark(&self, state: &mut State) {
        if !self.has_gate() {
            return;
        }
        let mark = match state.abandoned {
            true => None,
            false => state.backlog.mark(state.bypassed),
        };
        let before = std::mem::replace(&mut state.mark, mark);
        self.caches.order().change_mark(before, mark);
    }

    /// If a cache is late, because its mark is not above `number`, closes it until it has applied everything that is waiting
    /// now.
    pub(super) fn bypass(&self, number: u64, next_number: impl FnOnce() -> u64) {
        let mut state = self.lock();
        let (Some(gate), Some(mark)) = (&self.options.gate, state.mark) else {
            return;
        };
        if mark > number {
            return;
        }
        // If the source is not live, the gate is already closed, and opens only after the waiting items.
        if gate.is_live() {
            let session = Session::next();
            gate.set_live(session);
            let caught_up = Resync::session_start(session);
            state.backlog.push_resync(caught_up, next_number());
        }
        state.bypassed = self.caches.last_number();
        self.update_mark(&mut state);
        drop(state);
        self.wake.notify_one();
        tracing::warn!(
            cache = self.options.name,
            "cache is late and does not answer until it has caught up"
        );
    }

    /// Changes the backlog and wakes the subscriber. Returns whether the source should wait for the subscriber.
    pub(super) fn push(&self, change: impl FnOnce(&mut Backlog)) -> bool {
        let (count, is_first_loss, unmeasured, is_crowded) = {
            let mut state = self.lock();
            let count = self.change(&mut state, change);
            let is_first_loss = count > 0 && !state.overflowing;
            state.overflowing |= count > 0;
            let is_crowded = self.is_crowded(&mut state);
            (count, is_first_loss, state.take_unmeasured(), is_crowded)
        };
        self.measure(&unmeasured);
        dropped(&self.options.name, "overflow", false, count);
        let Self { id, options, .. } = self;
        // Warn about the first loss only, until the queue has been empty again.
        if is_first_loss {
            tracing::warn!(subscription = %options.name, %id, count, reason = "overflow",
                intentional = false, "subscription too slow, events dropped");
        } else if count > 0 {
            tracing::debug!(subscription = %options.name, %id, count, reason = "overflow",
                intentional = false, "subscription too slow, events dropped");
        }
        self.wake.notify_one();
        is_crowded
    }

    /// Whether the source should wait for the subscriber.
    fn is_crowded(&self, state: &mut State) -> bool {
        // The other policies are for subscribers that need not receive everything.
        self.options.overflow == Overflow::Resync
            && !state.abandoned
            && state.backlog.len() > self.options.capacity / 2
            && state.budget.has_some(Instant::now())
    }

    /// Whether the source, which has waited from `since` to `now`, should wait on.
    pub(super) fn is_still_crowded(&self, since: Instant, now: Instant) -> bool {
        let mut state = self.lock();
        state.budget.spend(since, now);
        self.is_crowded(&mut state)
    }

    #[expect(clippy::cast_precision_loss, reason = "what metrics are made of")]
    fn measure(&self, unmeasured: &Unmeasured) {
        self.delivered.increment(unmeasured.delivered);
        self.coalesced.increment(unmeasured.coalesced);
        if unmeasured.queued != 0 {
            self.queued.increment(unmeasured.queued as f64);
        }
    }

    /// Whether the subscription belongs to a cache whose driver or last reader is gone.
    fn is_cache_gone(&self) -> bool {
        let gate = self.options.gate.as_ref();
        gate.is_some_and(|gate| gate.is_abandoned())
    }

    /// Waits until the queue may have an item, or the cache is gone.
    async fn woken(&self) {
        match &self.options.gate {
            Some(gate) => tokio::select! {
                () = self.wake.notified() => {}
                () = gate.abandoned() => {}
            },
            None => self.wake.notified().await,
        }
    }

    /// Whether the subscription belongs to a cache.
    pub(super) fn has_gate(&self) -> bool {
        self.options.gate.is_some()
    }

    pub(super) fn set_live(&self, session: Session) {
        let state = self.lock();
        if let Some(gate) = &self.options.gate
            && !state.closed
            && !state.abandoned
        {
            gate.set_live(session);
        }
    }

    pub(super) fn set_not_live(&self) {
        if let Some(gate) = &self.options.gate {
            gate.set_not_live();
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.set_not_live();
        self.wake.notify_one();
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    pub(super) fn stats(&self) -> SubscriptionStats {
        let state = self.lock();
        let Counts {
            matched,
            delivered,
            lost,
            coalesced,
            resyncs,
        } = state.backlog.counts();
        SubscriptionStats {
            id: self.id,
            name: self.options.name.clone(),
            matched,
            delivered,
            lost,
            coalesced,
            queued: state.backlog.len() as u64,
            resyncs,
            resync_queued: state.backlog.has_resync(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Ignore a poisoned lock: no code under it can leave the state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event_counter(subscription: &str, result: &str) -> Counter {
    let labels = [("subscription", subscription), ("result", result)];
    counter(SUBSCRIPTION_EVENTS, &labels)
}
