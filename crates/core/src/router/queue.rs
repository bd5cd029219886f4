//! The queue of a subscription, between the router and the subscriber.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::backlog::{Backlog, Counts, Delivery, Popped};
use super::budget::Budget;
use super::options::{Overflow, SubscriptionOptions};
use super::order::Order;
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

/// Whether a subscription was dropped while its route still exists.
#[derive(Debug, Default)]
pub(super) struct Abandoned(AtomicBool);

impl Abandoned {
    fn set(&self) {
        self.0.store(true, Release);
    }

    pub(super) fn take(&self) -> bool {
        self.0.load(Acquire) && self.0.swap(false, Acquire)
    }
}

/// What a subscriber finds in its queue.
pub(super) enum Taken {
    Delivery(Delivery),
    /// The number of the next item, which some cache has not applied yet.
    Early(u64),
    Nothing {
        closed: bool,
    },
}

/// The bounded queue of a subscription. The router fills it, and the subscriber reads it. No user code runs under its lock.
#[derive(Debug)]
pub(super) struct Queue {
    id: SubscriptionId,
    options: SubscriptionOptions,
    order: Arc<Order>,
    /// Set when the subscription is dropped. All subscriptions of the same [`Routes`](super::routes::Routes) share it.
    abandoned: Arc<Abandoned>,
    state: Mutex<QueueState>,
    wake: Notify,
    delivered: Counter,
    coalesced: Counter,
    queued: Gauge,
}

#[derive(Debug)]
struct QueueState {
    backlog: Backlog,
    /// No new items will arrive.
    closed: bool,
    /// The subscription was dropped.
    abandoned: bool,
    /// Events were lost since the queue was last empty.
    overflowing: bool,
    /// For how long the source may still wait for room; see [`budget`](super::budget).
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

impl QueueState {
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

impl Queue {
    pub(super) fn new(
        id: SubscriptionId,
        options: SubscriptionOptions,
        order: Arc<Order>,
        abandoned: Arc<Abandoned>,
    ) -> Self {
        let backlog = Backlog::new(options.capacity, options.overflow);
        let state = Mutex::new(QueueState {
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
            order,
            abandoned,
            state,
            wake: Notify::new(),
        }
    }

    pub(super) fn id(&self) -> SubscriptionId {
        self.id
    }

    pub(super) fn name(&self) -> &str {
        &self.options.name
    }

    /// Takes the next batch, if its number is below `below`. Acknowledges the previous one.
    pub(super) fn take(&self, below: u64) -> Taken {
        let mut state = self.lock();
        state.backlog.handled();
        let popped = state.backlog.pop(self.options.max_batch, below);
        self.update_mark(&mut state);
        if state.backlog.len() == 0 {
            state.overflowing = false;
        }
        match popped {
            Popped::Delivery(delivery) => {
                let unmeasured = state.take_unmeasured();
                drop(state);
                self.measure(&unmeasured);
                Taken::Delivery(delivery)
            }
            Popped::Early(number) => Taken::Early(number),
            Popped::Nothing => Taken::Nothing {
                closed: state.closed,
            },
        }
    }

    /// Counts the events of the last batch as lost.
    pub(super) fn take_back(&self) {
        let mut state = self.lock();
        let count = self.change(&mut state, Backlog::take_back);
        let unmeasured = state.take_unmeasured();
        drop(state);
        self.measure(&unmeasured);
        dropped(self.name(), "subscriber_failed", false, count);
        self.wake.notify_one();
    }

    /// The subscription was dropped.
    pub(super) fn abandon(&self) {
        let unmeasured = {
            let mut state = self.lock();
            state.abandoned = true;
            self.update_mark(&mut state);
            state.take_unmeasured()
        };
        self.abandoned.set();
        self.measure(&unmeasured);
        self.set_not_live();
    }

    /// Changes the backlog, and returns how many events were lost by the change.
    ///
    /// After a loss, a cache does not answer until it has handled the loss.
    fn change(&self, state: &mut QueueState, change: impl FnOnce(&mut Backlog)) -> u64 {
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
    fn update_mark(&self, state: &mut QueueState) {
        if !self.has_gate() {
            return;
        }
        let mark = match state.abandoned {
            true => None,
            false => state.backlog.mark(state.bypassed),
        };
        let before = std::mem::replace(&mut state.mark, mark);
        self.order.change_mark(before, mark);
    }

    /// If a cache is late, because its mark is not above `number`, closes it until it has applied everything that is waiting
    /// now.
    pub(super) fn bypass(&self, number: u64) {
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
            state
                .backlog
                .push_resync(caught_up, self.order.next_number());
        }
        state.bypassed = self.order.last_number();
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
    fn is_crowded(&self, state: &mut QueueState) -> bool {
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
    pub(super) fn is_cache_gone(&self) -> bool {
        let gate = self.options.gate.as_ref();
        gate.is_some_and(|gate| gate.is_abandoned())
    }

    /// Waits until the queue may have an item, or the cache is gone.
    pub(super) async fn woken(&self) {
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

    /// Whether no new items will arrive.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed || self.is_cache_gone()
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

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Ignore a poisoned lock: no code under it can leave the state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event_counter(subscription: &str, result: &str) -> Counter {
    let labels = [("subscription", subscription), ("result", result)];
    counter(SUBSCRIPTION_EVENTS, &labels)
}
