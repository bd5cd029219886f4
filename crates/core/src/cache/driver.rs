//! What applies events to a cache.
//!
//! States: not started (nothing was delivered yet, the gate is closed); following; gone (dropped: the gate is closed
//! for good, and reads go past the cache).
//!
//! Owner: one driver per cache, owned by whoever receives the cache's subscription: a `CacheActor`, or
//! [`CacheDriver::run`]. Pure but for the store: it is given deliveries and the time.
//!
//! Guarantees:
//! - Events take effect in the order in which they were delivered, as the strategy decides.
//! - A resync flushes before the gate opens, and settles whatever was held. Where a source has caught up on what it
//!   missed, the gate opens behind that, without a flush.
//! - What cannot be understood invalidates more, never less: an event whose row key does not fit, a panic of the
//!   strategy, of a mapping or of a key's own code flush the cache.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;

use super::dependency::{self, Dependency, Effects, Tag};
use super::handle::{CacheKey, Inner};
use super::housekeeping::Housekeeping;
use super::observer::{CacheEvent, FlushCause, InvalidationCause};
use super::pending::{Pending, Released};
use super::refresh::Refresher;
use super::store::Stale;
use super::strategy::{Decision, Greedy, Strategy};
use super::write_token::{self, token_of};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::filter::Filter;
use crate::name::TableName;
use crate::panic::contained;
use crate::router::{Delivery, Subscription, SubscriptionOptions};
use crate::signal::Resync;
use crate::sync::now;

/// The shortest time between two calls of a strategy for its deadline, whatever it asks for.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// Applies what a subscription delivers to a cache. Made by [`CacheBuilder::build`](super::CacheBuilder::build),
/// together with the handle.
///
/// With actix, `CacheActor` hosts it. With plain tokio:
///
/// ```
/// use pgherald_core::Router;
/// use pgherald_core::cache::CacheBuilder;
/// # use pgherald_core::{Table, TableName};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pgherald_core::Result<()> {
/// # let mut router = Router::new();
/// let (users, driver) = CacheBuilder::<i64, String>::new("users")
///     .table(TableName::new("public", "users")?)
///     .build()?;
/// let subscription = router.subscribe(driver.filter(), driver.subscription())?;
/// tokio::spawn(driver.run(subscription));
/// # Ok(())
/// # }
/// ```
#[must_use = "a cache does not answer unless its driver is run"]
pub struct CacheDriver<K: CacheKey, V: Send + Sync + 'static> {
    pub(super) inner: Arc<Inner<K, V>>,
    pub(super) dependencies: Vec<Dependency<K>>,
    pub(super) strategy: Box<dyn Strategy>,
    pub(super) subscription: SubscriptionOptions,
    pub(super) refresher: Option<Refresher<K, V>>,
    housekeeping: Option<Housekeeping<K, V>>,
    pub(super) eager: bool,
    pending: Pending<K>,
    started: bool,
    /// When the strategy may be woken at the earliest.
    not_before: Option<Instant>,
    told_of_past_deadline: bool,
    told_of_mismatch: bool,
}

impl<K: CacheKey, V: Send + Sync + 'static> CacheDriver<K, V> {
    pub(super) fn new(
        inner: Arc<Inner<K, V>>,
        dependencies: Vec<Dependency<K>>,
        strategy: Box<dyn Strategy>,
        subscription: SubscriptionOptions,
    ) -> Self {
        Self {
            housekeeping: Some(Housekeeping::new(&inner)),
            inner,
            dependencies,
            strategy,
            subscription,
            refresher: None,
            eager: false,
            pending: Pending::default(),
            started: false,
            not_before: None,
            told_of_past_deadline: false,
            told_of_mismatch: false,
        }
    }

    /// The events it has to be given.
    pub fn filter(&self) -> Filter {
        dependency::filter(&self.dependencies).table(write_token::SCHEMA, write_token::TABLE)
    }

    /// The tables it depends on. All of them have to be watched: what is not announced is not seen.
    pub fn tables(&self) -> impl Iterator<Item = &TableName> {
        dependency::tables(&self.dependencies)
    }

    /// Checks that it depends on no other tables than these.
    ///
    /// # Errors
    /// If it does; named in the message.
    pub fn check_watched(&self, watched: &[TableName]) -> Result<()> {
        let unwatched = self.tables().find(|table| !watched.contains(table));
        unwatched.map_or(Ok(()), |table| {
            let name = self.name();
            let message = format!(
                "cache {name:?} depends on {table}, which is not watched: it would never hear of changes; \
                 add watch() for it where the listener is described"
            );
            Err(Error::new(Kind::Config, message))
        })
    }

    /// Tells which tables are in [outbox mode](crate::trigger::TriggerSpec::outbox). If the cache depends on one of them,
    /// [`WriteToken::applied`](super::WriteToken::applied) refuses to wait.
    pub fn set_recorded(&self, recorded: &[TableName]) {
        if let Some(table) = self.tables().find(|table| recorded.contains(table)) {
            self.inner.marks.outrun(table);
        }
    }

    /// How it has to be subscribed. The options carry the cache's connection to the source's health: with others, the
    /// cache would never answer.
    pub fn subscription(&self) -> SubscriptionOptions {
        self.subscription.clone()
    }

    /// The cache's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Applies a delivery.
    pub fn apply(&mut self, delivery: &Delivery, now: Instant) {
        if self.inner.refused.get().is_some() {
            return;
        }
        if let Some(resync) = delivery.resync() {
            self.guarded(now, |driver| {
                driver.start(now);
                driver.resync(resync, now);
            });
        }
        if let Some(session) = delivery.session() {
            if delivery.resync().is_none() {
                self.guarded(now, |driver| driver.resumed(now));
            }
            // Flushed, if there was a reason to, in any case; if by a panic, then for that.
            self.inner.gate.set_caught_up(session);
        }
        self.guarded(now, |driver| {
            driver.start(now);
            for event in delivery.events().iter() {
                driver.event(event, now);
            }
        });
    }

    /// When [`wake`](Self::wake) is to be called, if at all. To be asked anew after every other call.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        let deadline = contained(|| self.strategy.deadline());
        // If it panics, it has to be seen to at once.
        let deadline = deadline.unwrap_or_else(|_| Some(now()));
        deadline.map(|at| self.not_before.map_or(at, |earliest| at.max(earliest)))
    }

    /// Does what is due.
    pub fn wake(&mut self, now: Instant) {
        self.guarded(now, |driver| {
            driver.start(now);
            let deadline = driver.ask(now, |strategy| strategy.deadline());
            if deadline.flatten().is_none_or(|at| at > now) {
                return;
            }
            if let Some(decision) = driver.ask(now, |strategy| strategy.on_deadline(now)) {
                driver.decided(decision);
            }
            let after = driver.ask(now, |strategy| strategy.deadline());
            if after.flatten().is_some_and(|at| at <= now)
                && !std::mem::replace(&mut driver.told_of_past_deadline, true)
            {
                tracing::error!(cache = driver.inner.name, pause = ?SHORTEST_PAUSE,
                    "the cache's strategy asks for a deadline in the past; it is woken after a pause");
            }
        });
        self.not_before = now.checked_add(SHORTEST_PAUSE);
    }

    /// Applies what `subscription` delivers until it ends. What there is to do in the [background](Self::background) is done
    /// within.
    pub async fn run(mut self, mut subscription: Subscription) {
        let background = self.background();
        let following = async move {
            loop {
                let wake = self.next_wake().map(tokio::time::Instant::from_std);
                let due = async move {
                    match wake {
                        Some(at) => tokio::time::sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    delivery = subscription.recv() => match delivery {
                        Some(delivery) => self.apply(&delivery, now()),
                        None => return,
                    },
                    () = due => self.wake(now()),
                }
            }
        };
        tokio::select! {
            () = following => {}
            () = background => {}
        }
    }

    /// Runs the background loads of [`Refresh`](super::Refresh), and tells the recorder of [metrics](crate::telemetry) once a
    /// second what was counted, for as long as it is polled; for hosts other than [`run`](Self::run). It never ends. The first
    /// call has all of that, further ones have nothing to do.
    pub fn background(&mut self) -> impl Future<Output = ()> + Send + use<K, V> {
        let refresher = self.refresher.take();
        let housekeeping = self.housekeeping.take();
        async move {
            let refreshing = async {
                if let Some(refresher) = refresher {
                    refresher.run().await;
                }
            };
            let keeping_house = async {
                if let Some(housekeeping) = housekeeping {
                    housekeeping.run().await;
                }
            };
            join(refreshing, keeping_house).await;
            pending::<()>().await;
        }
    }

    /// Runs code that calls the keys'. If that panics, nobody knows what was done: everything is invalidated.
    fn guarded(&mut self, now: Instant, code: impl FnOnce(&mut Self)) {
        if let Err(message) = contained(|| code(self)) {
            tracing::error!(
                cache = self.inner.name,
                message,
                "applying events to a cache panicked"
            );
            // Of the tokens that were delivered together with it, some may not have been seen.
            self.everything_and_tokens(FlushCause::Panic, now);
        }
    }

    /// Calls the strategy. If it panics, everything is invalidated, and from then on every event is applied at once:
    /// what it held, or would have done, nobody knows.
    fn ask<T>(&mut self, now: Instant, call: impl FnOnce(&mut dyn Strategy) -> T) -> Option<T> {
        match contained(|| call(&mut *self.strategy)) {
            Ok(answer) => Some(answer),
            Err(message) => {
                tracing::error!(
                    cache = self.inner.name,
                    message,
                    "the cache's strategy panicked, it is greedy from now on"
                );
                let broken = std::mem::replace(&mut self.strategy, Box::new(Greedy::new()));
                // Its destructor may panic as well.
                let _ = contained(|| drop(broken));
                self.everything(FlushCause::Panic, now);
                None
            }
        }
    }

    fn start(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.started, true) {
            self.ask(now, |strategy| strategy.on_started(now));
        }
    }

    fn resync(&mut self, resync: &Resync, now: Instant) {
        tracing::debug!(cache = self.inner.name, reason = %resync, "cache flushed");
        self.everything_and_tokens(FlushCause::Resync, now);
    }

    /// Nothing is missing but, perhaps, write tokens: they are not recorded.
    fn resumed(&mut self, now: Instant) {
        tracing::debug!(cache = self.inner.name, "cache resumed");
        let waiting = self.inner.marks.resyncing();
        if !waiting.is_empty() {
            self.everything(FlushCause::Resync, now);
        }
        waiting.done();
    }

    fn event(&mut self, event: &Event, now: Instant) {
        if let Some(token) = token_of(event) {
            // Those of others are not held: there is no end to them.
            let marks = &self.inner.marks;
            if marks.is_expected(token)
                && let Some(token) = self
                    .pending
                    .hold_token(token, |token| marks.is_expected(token))
            {
                self.inner.marks.reached(token);
            }
            return;
        }
        let effects = dependency::effects(&mut self.dependencies, event);
        match &effects {
            Effects::Some(keys, tags) if keys.is_empty() && tags.is_empty() => return,
            Effects::Unfit(error) => {
                self.refuse(error, now);
                self.inner.observe(&CacheEvent::Applied(event));
                return;
            }
            Effects::Mismatch(error) => {
                if !std::mem::replace(&mut self.told_of_mismatch, true) {
                    tracing::error!(cache = self.inner.name, %error, "event cannot be mapped to keys, \
                        the cache is flushed; further ones are only counted");
                }
                // Not for the strategy to hold back: nobody knows what it is about.
                self.everything(FlushCause::Mismatch, now);
                self.inner.observe(&CacheEvent::Applied(event));
                return;
            }
            _ => {}
        }
        let Some(decision) = self.ask(now, |strategy| strategy.on_event(event, now)) else {
            self.inner.observe(&CacheEvent::Applied(event));
            return;
        };
        match decision {
            Decision::Apply if self.pending.is_empty() => self.take_effect(&effects),
            Decision::Ignore => {}
            _ => {
                self.pending.hold(effects);
                self.decided(decision);
            }
        }
        match decision {
            Decision::Ignore => {}
            Decision::Hold => self.inner.observe(&CacheEvent::Held(event)),
            Decision::Apply | Decision::Everything => {
                self.inner.observe(&CacheEvent::Applied(event));
            }
        }
    }

    /// Closes the cache for good: it cannot know which of its keys events concern.
    fn refuse(&mut self, error: &Error, now: Instant) {
        if self.inner.refused.set(error.clone()).is_ok() {
            tracing::error!(cache = self.inner.name, %error, "the cache does not answer any more, reads go past it");
        }
        self.inner.gate.abandon();
        self.everything_and_tokens(FlushCause::Mismatch, now);
    }

    fn decided(&mut self, decision: Decision) {
        match decision {
            Decision::Ignore | Decision::Hold => {}
            Decision::Apply => self.release(),
            Decision::Everything => {
                let released = self.pending.release();
                self.inner.flush(FlushCause::Strategy);
                self.settle(&released);
            }
        }
    }

    /// Invalidates what the held events affect.
    fn release(&mut self) {
        let released = self.pending.release();
        match &released.targets {
            None => self.inner.flush(FlushCause::Event),
            Some((keys, tags)) => self.invalidate(keys, tags),
        }
        self.settle(&released);
    }

    /// Invalidates what one event affects.
    fn take_effect(&mut self, effects: &Effects<K>) {
        match effects {
            Effects::Some(keys, tags) => self.invalidate(keys, tags),
            Effects::Everything | Effects::Mismatch(_) | Effects::Unfit(_) => {
                self.inner.flush(FlushCause::Event);
            }
        }
    }

    fn invalidate<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a K>,
        tags: impl IntoIterator<Item = &'a Tag>,
    ) {
        let mut count = 0;
        for key in keys {
            self.inner.forget_error(key);
            if self.inner.store.invalidate(key, Stale::Keep) {
                count += 1;
                self.invalidated(key);
            }
        }
        for tag in tags {
            if let Some(errors) = &self.inner.errors {
                errors.invalidate_tag(tag);
            }
            for key in self.inner.store.invalidate_tag(tag) {
                count += 1;
                self.invalidated(&key);
            }
        }
        self.inner.invalidated(InvalidationCause::Event, count);
    }

    fn invalidated(&self, key: &K) {
        if self.eager && self.inner.store.revalidate(key) {
            self.inner.ask_to_refresh(key);
        }
    }

    /// The effect of what was released is in force.
    fn settle(&self, released: &Released<K>) {
        for token in &released.tokens {
            self.inner.marks.reached(*token);
        }
        if released.events > 0 {
            let events = released.events;
            self.inner.observe(&CacheEvent::Released { events });
        }
    }

    /// Invalidates everything for a reason that the strategy does not know of.
    fn everything(&mut self, cause: FlushCause, now: Instant) {
        let released = self.pending.release();
        self.inner.flush(cause);
        self.settle(&released);
        self.ask(now, |strategy| strategy.on_flushed(now));
    }

    /// The same, where write tokens may be missing as well.
    fn everything_and_tokens(&mut self, cause: FlushCause, now: Instant) {
        let waiting = self.inner.marks.resyncing();
        self.everything(cause, now);
        waiting.done();
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> Drop for CacheDriver<K, V> {
    fn drop(&mut self) {
        self.inner.gate.abandon();
        // Whoever waits reads past the cache from now on.
        self.inner.marks.resyncing().done();
        // Nothing of it is ever served again.
        let dropped = contained(|| {
            drop(self.pending.release());
            self.inner.store.clear();
            if let Some(errors) = &self.inner.errors {
                errors.clear();
            }
        });
        if let Err(message) = dropped {
            tracing::error!(
                cache = self.inner.name,
                message,
                "destructor of a cache key panicked"
            );
        }
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> fmt::Debug for CacheDriver<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheDriver")
            .field("name", &self.inner.name)
            .field("dependencies", &self.dependencies)
            .finish_non_exhaustive()
    }
}
