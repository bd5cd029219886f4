//! The driver, which applies events to a cache.
//!
//! States: not started (no delivery yet, the gate is closed); following; dropped (the gate is closed permanently, and
//! reads bypass the cache).
//!
//! Owner: the receiver of the cache's subscription, a `CacheActor` or [`CacheDriver::run`]. There is one driver per
//! cache. Except for the store, it is pure: deliveries and the time are passed to it.
//!
//! Guarantees:
//! - Events take effect in the order of delivery, when the strategy decides.
//! - A resync flushes before the gate opens, and ends the hold of all events. If a source has caught up on the missed
//!   events, the gate opens after these, without a flush.
//! - If the driver cannot determine what to invalidate, it flushes the cache: for an event whose row key does not fit,
//!   and for a panic of the strategy, of a mapping or of a key's own code.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join;

use super::dependency::{self, Dependency, Effects, Tag};
use super::housekeeping::Housekeeping;
use super::inner::Inner;
use super::key::CacheKey;
use super::observer::{CacheEvent, FlushCause, InvalidationCause};
use super::pending::{Pending, Released};
use super::refresh::Refresher;
use super::store::Stale;
use super::strategy::{Decision, Greedy, Strategy};
use super::write_token::{self, token_of};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::filter::Filter;
use crate::name::TableName;
use crate::panic::contained;
use crate::router::{Delivery, Subscription, SubscriptionOptions};
use crate::signal::Resync;
use crate::sync::now;

/// The minimum time between two deadline calls of a strategy, whatever deadlines it asks for.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// Applies the deliveries of a subscription to a cache. [`CacheBuilder::build`](crate::CacheBuilder::build) returns it,
/// together with the handle.
///
/// With a herald, `Herald::start_cache` hosts it. With a [`Listener`](crate::Listener) alone:
///
/// ```
/// use pgherald_core::{CacheBuilder, Listener};
/// # use pgherald_core::TableName;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> pgherald_core::Result<()> {
/// # let mut listener = Listener::new();
/// let (users, driver) = CacheBuilder::<i64, String>::new("users")
///     .table(TableName::new("public", "users")?)
///     .build()?;
/// let subscription = listener.subscribe(driver.filter(), driver.subscription())?;
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
    /// The earliest time of the next deadline call.
    not_before: Option<Instant>,
    warned_of_past_deadline: bool,
    warned_of_mismatch: bool,
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
            warned_of_past_deadline: false,
            warned_of_mismatch: false,
        }
    }

    /// Returns the filter of the events that the driver needs.
    pub fn filter(&self) -> Filter {
        dependency::filter(&self.dependencies).table(write_token::SCHEMA, write_token::TABLE)
    }

    /// Returns the tables that the cache depends on. All of them must be watched: the cache does not see changes that
    /// are not announced.
    pub fn tables(&self) -> impl Iterator<Item = &TableName> {
        dependency::tables(&self.dependencies)
    }

    /// Checks that the cache depends on no other tables than these.
    ///
    /// # Errors
    /// If it does. The message names the table.
    pub(crate) fn check_watched(&self, watched: &[TableName]) -> Result<()> {
        let unwatched = self.tables().find(|table| !watched.contains(table));
        unwatched.map_or(Ok(()), |table| {
            let name = self.name();
            let message = format!(
                "cache {name:?} depends on {table}, which is not watched: it would never hear of changes; \
                 add watch() for it where the listener is described"
            );
            Err(Error::new(ErrorKind::Config, message))
        })
    }

    /// Sets which tables are in [outbox mode](crate::trigger::TriggerSpec::outbox). If the cache depends on one of
    /// them, [`WriteToken::applied`](crate::WriteToken::applied) returns an error instead of waiting.
    pub(crate) fn set_recorded(&self, recorded: &[TableName]) {
        if let Some(table) = self.tables().find(|table| recorded.contains(table)) {
            self.inner.marks.outrun(table);
        }
    }

    /// Returns the options to subscribe with. They connect the cache to the source's health. With other options, the
    /// cache never answers.
    pub fn subscription(&self) -> SubscriptionOptions {
        self.subscription.clone()
    }

    /// Returns the cache's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Applies a delivery.
    pub(crate) fn apply(&mut self, delivery: &Delivery, now: Instant) {
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
            // The flush, if one was needed, has happened. A panic has flushed too.
            self.inner.gate.set_caught_up(session);
        }
        self.guarded(now, |driver| {
            driver.start(now);
            for event in delivery.events().iter() {
                driver.event(event, now);
            }
        });
    }

    /// Returns when to call [`wake`](Self::wake), if at all. Ask again after every other call.
    #[must_use]
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let deadline = contained(|| self.strategy.deadline());
        // A panic must be handled at once.
        let deadline = deadline.unwrap_or_else(|_| Some(now()));
        deadline.map(|at| self.not_before.map_or(at, |earliest| at.max(earliest)))
    }

    /// Calls the strategy if its deadline has passed.
    pub(crate) fn wake(&mut self, now: Instant) {
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
                && !std::mem::replace(&mut driver.warned_of_past_deadline, true)
            {
                tracing::error!(cache = driver.inner.name, pause = ?SHORTEST_PAUSE,
                    "the cache's strategy asks for a deadline in the past; it is woken after a pause");
            }
        });
        self.not_before = now.checked_add(SHORTEST_PAUSE);
    }

    /// Applies the deliveries of `subscription` until it ends. Meanwhile, it runs the background loads of
    /// [`Refresh`](crate::Refresh), frees dead values, and reports counts to the recorder of metrics.
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

    /// Runs the background loads of [`Refresh`](crate::Refresh), frees dead values, and reports counts to the recorder
    /// of [metrics](crate::telemetry) once a second. It runs while it is polled, and never ends. For hosts other than
    /// [`run`](Self::run). The first call returns all of this work; later calls return a future that does nothing.
    pub(crate) fn background(&mut self) -> impl Future<Output = ()> + Send + use<K, V> {
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

    /// Runs code that calls the keys' own code. After a panic its effect is unknown, so everything is invalidated.
    fn guarded(&mut self, now: Instant, code: impl FnOnce(&mut Self)) {
        if let Err(message) = contained(|| code(self)) {
            tracing::error!(
                cache = self.inner.name,
                message,
                "applying events to a cache panicked"
            );
            // Tokens delivered with the failed event may not have been handled.
            self.everything_and_tokens(FlushCause::Panic, now);
        }
    }

    /// Calls the strategy. If it panics, everything is invalidated, and every later event is applied at once, because
    /// the events that it held are unknown.
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

    /// No event is missing, but write tokens may be, because they are not recorded.
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
            // Tokens of other caches are not kept: their number is unbounded.
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
                if !std::mem::replace(&mut self.warned_of_mismatch, true) {
                    tracing::error!(cache = self.inner.name, %error, "event cannot be mapped to keys, \
                        the cache is flushed; further ones are only counted");
                }
                // The strategy may not hold this event: the keys that it affects are unknown.
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

    /// Closes the cache permanently: it cannot determine which of its keys events concern.
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

    /// Invalidates the keys that the held events affect.
    fn release(&mut self) {
        let released = self.pending.release();
        match &released.targets {
            None => self.inner.flush(FlushCause::Event),
            Some((keys, tags)) => self.invalidate(keys, tags),
        }
        self.settle(&released);
    }

    /// Invalidates the keys that one event affects.
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

    /// Reports that the released events have taken effect.
    fn settle(&self, released: &Released<K>) {
        for token in &released.tokens {
            self.inner.marks.reached(*token);
        }
        if released.events > 0 {
            let events = released.events;
            self.inner.observe(&CacheEvent::Released { events });
        }
    }

    /// Invalidates everything for a reason outside the strategy, and notifies the strategy.
    fn everything(&mut self, cause: FlushCause, now: Instant) {
        let released = self.pending.release();
        self.inner.flush(cause);
        self.settle(&released);
        self.ask(now, |strategy| strategy.on_flushed(now));
    }

    /// Invalidates everything, when write tokens may be missing as well.
    fn everything_and_tokens(&mut self, cause: FlushCause, now: Instant) {
        let waiting = self.inner.marks.resyncing();
        self.everything(cause, now);
        waiting.done();
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> Drop for CacheDriver<K, V> {
    fn drop(&mut self) {
        self.inner.gate.abandon();
        // Callers that wait for a token return: their reads bypass the cache from now on.
        self.inner.marks.resyncing().done();
        // No value is served after the gate is abandoned.
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
