//! One subscriber's end of the router.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge};
use tokio::sync::Notify;

use super::backlog::{Backlog, Counts, Delivery, Popped};
use super::caches::Caches;
use super::options::SubscriptionOptions;
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

/// What a subscription has received and lost so far.
///
/// `matched = delivered + lost + coalesced + queued`, at any time.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscriptionStats {
    /// Which subscription.
    pub id: SubscriptionId,
    /// Its name, as given in the options.
    pub name: String,
    /// Events that matched its filter.
    pub matched: u64,
    /// Events handed to the subscriber.
    pub delivered: u64,
    /// Events dropped because the queue was full.
    pub lost: u64,
    /// Events superseded by a newer one of the same row while they waited.
    pub coalesced: u64,
    /// Events that wait now.
    pub queued: u64,
    /// Resyncs handed to the subscriber.
    pub resyncs: u64,
    /// Whether a resync waits now.
    pub resync_queued: bool,
}

/// The receiving end of a subscription. Dropping it unsubscribes.
///
/// What it hands out has been applied to the caches of the same listener: a receiver that reads through a cache sees nothing
/// older than the event that it received. A cache that takes longer than 100 ms does not answer until it has caught up.
#[derive(Debug)]
pub struct Subscription {
    shared: Arc<Shared>,
}

impl Subscription {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Identifies it to [`Router::unsubscribe`](super::Router::unsubscribe).
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
        self.shared.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.options.name
    }

    /// The next batch; `None` once the subscription has ended and everything was delivered, or the cache whose subscription it
    /// is was closed. The call says that the batch before
    /// was handled.
    ///
    /// Cancel safe: a call that is dropped has taken nothing.
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

    /// The next batch if one waits, and the caches have applied it.
    pub fn try_recv(&mut self) -> Option<Delivery> {
        match self.take() {
            Taken::Delivery(delivery) => Some(delivery),
            Taken::Early(_) | Taken::Nothing { .. } => None,
        }
    }

    /// Counts the events of the last delivery as lost, for a receiver that failed with them in hand. The next
    /// delivery tells so.
    pub fn take_back(&mut self) {
        let mut state = self.shared.lock();
        let count = self.shared.change(&mut state, Backlog::take_back);
        let news = state.news();
        drop(state);
        self.shared.measure(&news);
        dropped(self.name(), "subscriber_failed", false, count);
        self.shared.wake.notify_one();
    }

    /// Whether nothing new will come.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed || self.shared.is_cache_gone()
    }

    /// What it has received and lost so far.
    #[must_use]
    pub fn stats(&self) -> SubscriptionStats {
        self.shared.stats()
    }

    /// Its statistics, for as long as anybody wants to see them.
    #[must_use]
    pub fn observer(&self) -> SubscriptionObserver {
        SubscriptionObserver {
            shared: Arc::clone(&self.shared),
        }
    }

    fn take(&mut self) -> Taken {
        let below = match self.shared.has_gate() {
            // A cache waits for no other.
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
                let news = state.news();
                drop(state);
                self.shared.measure(&news);
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
        let news = {
            let mut state = self.shared.lock();
            state.abandoned = true;
            self.shared.update_mark(&mut state);
            state.news()
        };
        self.shared.measure(&news);
        self.shared.set_not_live();
    }
}

/// Sees the statistics of a subscription, also after it has ended.
#[derive(Clone, Debug)]
pub struct SubscriptionObserver {
    shared: Arc<Shared>,
}

impl SubscriptionObserver {
    /// What the subscription has received and lost so far.
    #[must_use]
    pub fn stats(&self) -> SubscriptionStats {
        self.shared.stats()
    }

    /// Whether it is the subscription of a cache that was closed. Events that it has left then concern nobody.
    #[must_use]
    pub fn is_of_closed_cache(&self) -> bool {
        self.shared.is_cache_gone()
    }
}

enum Taken {
    Delivery(Delivery),
    /// The next item has this number, and a cache has not applied it.
    Early(u64),
    Nothing {
        closed: bool,
    },
}

/// What router and subscriber share. No user code runs under its lock.
#[derive(Debug)]
pub(super) struct Shared {
    id: SubscriptionId,
    options: SubscriptionOptions,
    caches: Caches,
    state: Mutex<State>,
    wake: Notify,
    delivered: Counter,
    coalesced: Counter,
    queued: Gauge,
}

#[derive(Debug)]
struct State {
    backlog: Backlog,
    /// Nothing new will come.
    closed: bool,
    /// Nobody will take anything any more.
    abandoned: bool,
    /// Events were lost since the queue was last empty.
    overflowing: bool,
    /// Of a cache: the number of the oldest item that it has not applied.
    mark: Option<u64>,
    /// Of a cache: it does not answer until it has applied what has this number, so nobody waits for that.
    bypassed: u64,
    /// The recorder knows of so many delivered and coalesced events, and of so many that wait.
    measured: (u64, u64, u64),
}

/// What the recorder does not know yet.
struct Unmeasured {
    delivered: u64,
    coalesced: u64,
    queued: i64,
}

impl State {
    fn news(&mut self) -> Unmeasured {
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
            // What was taken back is delivered no more, but has been.
            delivered: delivered.saturating_sub(before.0),
            coalesced: coalesced.saturating_sub(before.1),
            queued: queued.cast_signed() - before.2.cast_signed(),
        }
    }
}

impl Shared {
    pub(super) fn new(id: SubscriptionId, options: SubscriptionOptions, caches: Caches) -> Self {
        let backlog = Backlog::new(options.capacity, options.overflow);
        let state = Mutex::new(State {
            backlog,
            closed: false,
            abandoned: false,
            overflowing: false,
            mark: None,
            bypassed: 0,
            measured: (0, 0, 0),
        });
        Self {
            delivered: of_result(&options.name, "delivered"),
            coalesced: of_result(&options.name, "coalesced"),
            queued: gauge(
                SUBSCRIPTION_QUEUED_EVENTS,
                &[("subscription", &options.name)],
            ),
            id,
            options,
            caches,
            state,
            wake: Notify::new(),
        }
    }

    pub(super) fn id(&self) -> SubscriptionId {
        self.id
    }

    /// Changes the backlog, and returns how many events were lost with it.
    ///
    /// A cache does not answer while it does not know of them.
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

    /// Reports the oldest item that a cache has not applied.
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

    /// Has a cache not answer until it has applied what waits now, if that is late: if its mark is not above `number`.
    pub(super) fn bypass(&self, number: u64, next_number: impl FnOnce() -> u64) {
        let mut state = self.lock();
        let (Some(gate), Some(mark)) = (&self.options.gate, state.mark) else {
            return;
        };
        if mark > number {
            return;
        }
        // If the source is not live, the gate is closed, and opens behind what waits.
        if gate.is_live() {
            let session = Session::next();
            gate.set_live(session);
            let caught_up = Resync::of_nothing(session);
            state.backlog.push_resync(caught_up, next_number());
        }
        state.bypassed = self.caches.last_number();
        self.update_mark(&mut state);
        drop(state);
        self.wake.notify_one();
        tracing::warn!(
            cache = self.options.name,
            "cache is late: it does not answer until it has caught up"
        );
    }

    /// Changes the backlog and wakes the subscriber.
    pub(super) fn push(&self, change: impl FnOnce(&mut Backlog)) {
        let (count, is_news, unmeasured) = {
            let mut state = self.lock();
            let count = self.change(&mut state, change);
            let is_news = count > 0 && !state.overflowing;
            state.overflowing |= count > 0;
            (count, is_news, state.news())
        };
        self.measure(&unmeasured);
        dropped(&self.options.name, "overflow", false, count);
        let Self { id, options, .. } = self;
        // The first loss is news, those that follow before the queue has been empty are detail.
        if is_news {
            tracing::warn!(subscription = %options.name, %id, count, reason = "overflow",
                intentional = false, "subscription too slow, events dropped");
        } else if count > 0 {
            tracing::debug!(subscription = %options.name, %id, count, reason = "overflow",
                intentional = false, "subscription too slow, events dropped");
        }
        self.wake.notify_one();
    }

    #[expect(clippy::cast_precision_loss, reason = "what metrics are made of")]
    fn measure(&self, news: &Unmeasured) {
        self.delivered.increment(news.delivered);
        self.coalesced.increment(news.coalesced);
        if news.queued != 0 {
            self.queued.increment(news.queued as f64);
        }
    }

    /// Whether it is that of a cache which nobody drives, or nobody reads, any more.
    fn is_cache_gone(&self) -> bool {
        let gate = self.options.gate.as_ref();
        gate.is_some_and(|gate| gate.is_abandoned())
    }

    /// Waits until there may be something to take, or the cache is gone.
    async fn woken(&self) {
        match &self.options.gate {
            Some(gate) => tokio::select! {
                () = self.wake.notified() => {}
                () = gate.abandoned() => {}
            },
            None => self.wake.notified().await,
        }
    }

    /// Whether it is a cache's.
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
        // Nothing under the lock can leave the state half changed: a poisoned lock is as good as any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of_result(subscription: &str, result: &str) -> Counter {
    let labels = [("subscription", subscription), ("result", result)];
    counter(SUBSCRIPTION_EVENTS, &labels)
}
