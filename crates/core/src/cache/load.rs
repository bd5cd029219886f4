//! Reads that may miss: concurrent misses of a key share one load.
//!
//! ```text
//!            miss ── begin ──► lead ── loader ──► value: stored unless overtaken ───────┐
//!                       │                  ├────► error: returned; kept if configured ──┤
//!                       │                  ├────► time limit: returned, not stored ─────┤
//!                       │                  └────► dropped or panicked: abandoned ─────┐ │
//!                       └────► join: wait for the leader ◄────────────────────────────┼─┘
//!                                       └── abandoned: begin again, with the own loader
//! ```
//!
//! The load runs in the task of the caller that leads, and ends with it. A detached load runs in a task of its own, and
//! continues when its caller gives up. A [`Lead`] that is dropped without a result abandons its flight, so callers
//! never wait for a load that has ended in any way. With a time limit, waiting callers end a flight whose leader is not
//! polled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::handle::CacheHandle;
use super::inner::{Admission, Inner};
use super::kept_errors::{BeforeLoad, KeptErrors};
use super::key::CacheKey;
use super::lead::Lead;
use super::load_error::LoadError;
use super::loaded::Loaded;
use super::nesting::{self, Wait};
use super::observer::{BypassReason, CacheEvent};
use super::stats::count;
use super::store::{Begin, Flight, FlightId, Outcome};
use crate::sync::now;
use crate::telemetry::SPAN_LOAD;
use tokio::runtime::Handle;
use tokio::task::coop::consume_budget;
use tokio::time::timeout_at;
use tracing::Instrument;

impl<K: CacheKey, V: Send + Sync + 'static> CacheHandle<K, V> {
    /// Returns the value of `key`: from memory, from a load of the same key that is in progress, or from `load`.
    ///
    /// - Of several concurrent misses, one loads, and the others wait for it. If it is dropped or panics, one of the
    ///   others loads instead.
    /// - The load is part of this future. It begins when the future is first polled, advances only while the future is
    ///   polled, and ends when the future is dropped. So the loader may borrow, and need not be `Send`. A caller that
    ///   drops the future at a deadline shorter than the load never gets a value: use
    ///   [`get_or_load_detached`](Self::get_or_load_detached) there.
    /// - A future that was polled once and is then kept without being polled blocks the other callers of its key, for
    ///   at most [`load_timeout`](crate::CacheBuilder::load_timeout).
    /// - A read never waits for a load that began before the key was last invalidated. The result of such a load is not
    ///   stored.
    /// - The loader must read the database itself, not return data that was read before.
    /// - While the source is not live, [`WhenNotLive`](crate::WhenNotLive) applies.
    /// - A hit does not wait, but it spends [tokio's budget](tokio::task::coop): a task that only reads hits yields now
    ///   and then, so that events are applied and timers fire on its thread. [`get`](Self::get) cannot yield.
    ///
    /// ```
    /// # use pgherald_core::{CacheHandle, LoadError};
    /// # async fn example(users: &CacheHandle<i64, String>, client: &tokio_postgres::Client)
    /// #     -> Result<(), LoadError<tokio_postgres::Error>> {
    /// let name = users
    ///     .get_or_load(7, async || {
    ///         let row = client.query_one("SELECT name FROM users WHERE id = $1", &[&7_i64]).await?;
    ///         Ok(row.get(0))
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The loader's error, which all callers that wait for this load get, and which is kept only with
    /// [`errors_for`](crate::CacheBuilder::errors_for); [`LoadError::Recursive`]; or [`LoadError::TimedOut`].
    pub async fn get_or_load<E, L, F>(&self, key: K, load: L) -> Result<Arc<V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        L: FnOnce() -> F,
        F: Future<Output = Result<V, E>>,
    {
        self.read_or(key, async || load().await.map(Arc::new)).await
    }

    /// As [`get_or_load`](Self::get_or_load), for the function of a `#[cached]` cache, which may return an [`Arc`].
    pub(crate) async fn get_or_load_arc<E, L, F>(
        &self,
        key: K,
        load: L,
    ) -> Result<Arc<V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        L: FnOnce() -> F,
        F: Future<Output = Result<Arc<V>, E>>,
    {
        self.read_or(key, load).await
    }

    /// As [`get_or_load`](Self::get_or_load), for a loader that sets options of its value: its time to live, or that it
    /// is not stored.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use pgherald_core::{CacheHandle, Loaded, LoadError};
    /// # async fn rate(from: &str) -> Result<f64, std::io::Error> { Ok(1.0) }
    /// # async fn example(rates: &CacheHandle<String, f64>) -> Result<(), LoadError<std::io::Error>> {
    /// let load = async || Ok(Loaded::new(rate("EUR").await?).ttl(Duration::from_secs(1)));
    /// let rate = rates.get_or_load_with("EUR".to_owned(), load).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The same.
    pub async fn get_or_load_with<E, L, F>(&self, key: K, load: L) -> Result<Arc<V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        L: FnOnce() -> F,
        F: Future<Output = Result<Loaded<V>, E>>,
    {
        self.read_or(key, load).await
    }

    async fn read_or<E, L, F, R>(&self, key: K, load: L) -> Result<Arc<V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        L: FnOnce() -> F,
        F: Future<Output = Result<R, E>>,
        R: Into<Loaded<V>>,
    {
        let inner = &self.inner;
        consume_budget().await;
        if let Some(value) = inner.hit(&key) {
            return Ok(value);
        }
        // Boxed, so that the future of a hit is small, and futures of nested loads do not double in size with each
        // level.
        let missing = async move {
            match inner.next(key).await? {
                Next::Value(value) => Ok(value),
                Next::Bypass => inner.load_past(load).await,
                Next::Lead(lead) => inner.lead(lead, load).await,
            }
        };
        Box::pin(missing).await
    }

    /// As [`get_or_load`](Self::get_or_load), but the load continues when its caller gives up.
    ///
    /// The load runs in a task of its own, on the tokio runtime of the caller that began it. So callers with a deadline
    /// shorter than the load still fill the cache, and a caller that gives up does not restart the load for the others.
    /// The load ends when it is finished, when its runtime shuts down, or at the cache's
    /// [`load_timeout`](crate::CacheBuilder::load_timeout), which should be set.
    ///
    /// The caller calls the loader. The future that it returns must be `Send` and own the data that it uses. A read
    /// that bypasses the cache is not shared, so its load ends with the caller. Outside of a tokio runtime this is
    /// `get_or_load`.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use std::time::Duration;
    /// # use pgherald_core::CacheHandle;
    /// # use tokio_postgres::{Client, Error};
    /// # async fn example(users: &CacheHandle<i64, String>, client: &Arc<Client>) -> Option<Arc<String>> {
    /// let client = Arc::clone(client);
    /// let load = move || async move {
    ///     let row = client.query_one("SELECT name FROM users WHERE id = $1", &[&7_i64]).await?;
    ///     Ok::<String, Error>(row.get(0))
    /// };
    /// // If this is too late, the value is in memory for the next caller.
    /// let name = tokio::time::timeout(Duration::from_millis(200), users.get_or_load_detached(7, load)).await;
    /// # name.ok()?.ok()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for `get_or_load`, or [`LoadError::Cancelled`].
    ///
    /// # Panics
    /// If the loader panics. Other callers of the key then call their own loaders.
    pub async fn get_or_load_detached<E, L, F>(
        &self,
        key: K,
        load: L,
    ) -> Result<Arc<V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        L: FnOnce() -> F,
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let inner = &self.inner;
        consume_budget().await;
        if let Some(value) = inner.hit(&key) {
            return Ok(value);
        }
        let missing = async move {
            let lead = match inner.next(key).await? {
                Next::Value(value) => return Ok(value),
                Next::Bypass => return inner.load_past(async || load().await.map(Arc::new)).await,
                Next::Lead(lead) => lead,
            };
            let loading = load();
            let loading = async move { loading.await.map(Arc::new) };
            match Handle::try_current() {
                Ok(runtime) => detached(&runtime, lead, loading).await,
                Err(_) => inner.lead(lead, || loading).await,
            }
        };
        Box::pin(missing).await
    }
}

/// The next step of a read that missed.
enum Next<K: CacheKey, V: Send + Sync + 'static> {
    /// Return the value of another caller's load.
    Value(Arc<V>),
    /// Load, and do not store the value.
    Bypass,
    /// Load, and end the flight.
    Lead(Lead<K, V>),
}

/// The loader's result, and when the loader was called.
pub(super) type Ran<T, E> = (Result<T, LoadError<E>>, Instant);

/// Runs a load in a task of its own, and waits for its end.
async fn detached<K, V, E>(
    runtime: &Handle,
    lead: Lead<K, V>,
    loading: impl Future<Output = Result<Arc<V>, E>> + Send + 'static,
) -> Result<Arc<V>, LoadError<E>>
where
    K: CacheKey,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    let (inner, flight) = (Arc::clone(&lead.inner), Arc::clone(&lead.flight));
    let load = async move {
        let inner = Arc::clone(&lead.inner);
        // The outcome is read from the flight.
        drop(inner.lead(lead, || loading).await);
    };
    let task = nesting::spawn(runtime, load);
    match inner.outcome(flight.ended().await)? {
        Some(value) => Ok(value),
        None => match task.await {
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => Err(LoadError::Cancelled),
        },
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> Inner<K, V> {
    /// Waits for loads in progress, until there is a value or the caller must load.
    async fn next<E: Send + Sync + 'static>(
        self: &Arc<Self>,
        key: K,
    ) -> Result<Next<K, V>, LoadError<E>> {
        if !self.follows(&key) {
            // No lookup would find the key again, or no event would remove it.
            self.bypassed(BypassReason::UnmatchedKey);
            return Ok(Next::Bypass);
        }
        loop {
            let accept = match self.admit() {
                Admission::Read(accept) => accept,
                Admission::Bypass(reason) => {
                    self.bypassed(reason);
                    return Ok(Next::Bypass);
                }
            };
            if let Some(value) = self.look(&key, accept) {
                return Ok(Next::Value(value));
            }
            if let Some(error) = self.kept_error(&key) {
                return Err(LoadError::Failed(error));
            }
            match self.store.begin(&key, self.tags(&key), accept) {
                Begin::Found(value) => return Ok(Next::Value(value)),
                Begin::Lead(flight) => {
                    return Ok(Next::Lead(Lead::new(Arc::clone(self), key, flight)));
                }
                Begin::Join(flight) => {
                    if let Some(value) = self.join(&key, &flight).await? {
                        return Ok(Next::Value(value));
                    }
                }
            }
        }
    }

    /// Runs a loader as the load of a flight.
    async fn lead<E, L, F, R>(&self, lead: Lead<K, V>, load: L) -> Result<Arc<V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        L: FnOnce() -> F,
        F: Future<Output = Result<R, E>>,
        R: Into<Loaded<V>>,
    {
        let (id, began) = (lead.flight.id(), lead.flight.began());
        let before = self.errors.as_ref().map(KeptErrors::before_load);
        let loaded = self.run(vec![id], began, load).await;
        if let (Some(before), (Err(LoadError::Failed(error)), _)) = (before, &loaded) {
            self.keep_error(before, &lead.key, error);
        }
        self.land(lead, loaded)
    }

    fn keep_error<E: Send + Sync + 'static>(&self, before: BeforeLoad, key: &K, error: &Arc<E>) {
        if let Some(errors) = &self.errors
            && self.gate.is_open()
        {
            errors.keep(before, key, error, self.tags(key));
        }
    }

    /// Returns the kept error of an earlier load, if any. A cache that is not live returns none.
    fn kept_error<E: Send + Sync + 'static>(&self, key: &K) -> Option<Arc<E>> {
        let errors = self.errors.as_ref().filter(|_| self.gate.is_open())?;
        let error = errors.get(key)?;
        self.observe(&CacheEvent::ServedError);
        Some(error)
    }

    /// Runs a loader without storing its value.
    async fn load_past<E, L, F, R>(&self, load: L) -> Result<Arc<V>, LoadError<E>>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<R, E>>,
        R: Into<Loaded<V>>,
    {
        let loaded = self.run(Vec::new(), now(), load).await;
        self.report(loaded).map(|loaded| loaded.into().value)
    }

    /// Runs a loader under the load limit, and within the time limit counted from `began`.
    pub(super) async fn run<T, E, L, F>(
        &self,
        flights: Vec<FlightId>,
        began: Instant,
        load: L,
    ) -> Ran<T, E>
    where
        L: FnOnce() -> F,
        F: Future<Output = Result<T, E>>,
    {
        let called = Instant::now();
        let running = async {
            let place = match &self.limit {
                Some(limit) if !nesting::has_place() => limit.place().await,
                _ => None,
            };
            let called = Instant::now();
            let span = tracing::debug_span!(SPAN_LOAD, cache = self.name);
            let loaded = nesting::within(flights, place, load).instrument(span).await;
            let loaded = loaded.map_err(|error| LoadError::Failed(Arc::new(error)));
            (loaded, called)
        };
        let Some((limit, end)) = self.time_limit(began) else {
            return running.await;
        };
        let ended = timeout_at(end, running).await;
        ended.unwrap_or((Err(LoadError::TimedOut(limit)), called))
    }

    /// Returns the time limit of a load that began at `began`, and when it ends. None outside of a runtime, which has
    /// no timer.
    fn time_limit(&self, began: Instant) -> Option<(Duration, tokio::time::Instant)> {
        let limit = self.load_timeout?;
        let end = began.checked_add(limit)?;
        Handle::try_current().ok().map(|_| (limit, end.into()))
    }

    /// Waits for a load of `key` that another caller began. Returns none if the caller must begin again.
    pub(super) async fn join<E: Send + Sync + 'static>(
        &self,
        key: &K,
        flight: &Arc<Flight<V>>,
    ) -> Result<Option<Arc<V>>, LoadError<E>> {
        let _wait = Wait::begin(flight.id()).map_err(|_| LoadError::Recursive)?;
        count(&self.counters.joined);
        self.observe(&CacheEvent::Joined);
        if let Some((_, end)) = self.time_limit(flight.began())
            && timeout_at(end, flight.ended()).await.is_err()
        {
            // The leader's own timer does not run while its future is not polled.
            self.fail(key, flight, Outcome::TimedOut);
        }
        self.outcome(flight.ended().await)
    }

    pub(super) fn fail(&self, key: &K, flight: &Arc<Flight<V>>, outcome: Outcome<V>) {
        let timed_out = matches!(outcome, Outcome::TimedOut);
        // Leader and callers may reach the limit together: only one of them counts it.
        if self.store.fail(key, flight, outcome) && timed_out {
            count(&self.counters.loads_timed_out);
        }
    }

    /// Converts the outcome of a flight for a caller. None if the caller must begin again.
    fn outcome<E: Send + Sync + 'static>(
        &self,
        outcome: Outcome<V>,
    ) -> Result<Option<Arc<V>>, LoadError<E>> {
        match outcome {
            Outcome::Loaded(value) => Ok(Some(value)),
            Outcome::Failed(error) => match error.downcast::<E>() {
                Ok(error) => Err(LoadError::Failed(error)),
                // The error has another type than the caller's. The caller calls its own loader.
                Err(_) => Ok(None),
            },
            Outcome::TimedOut => Err(LoadError::TimedOut(self.load_timeout.unwrap_or_default())),
            Outcome::Abandoned => Ok(None),
        }
    }

    /// Counts a load whose value is not stored.
    pub(super) fn report<T, E>(&self, (loaded, called): Ran<T, E>) -> Result<T, LoadError<E>> {
        self.measured(called, loaded.is_ok().then_some(false));
        if let Err(LoadError::TimedOut(_)) = loaded {
            count(&self.counters.loads_timed_out);
        }
        loaded
    }

    /// Ends a flight with the loader's result.
    pub(super) fn land<E: Send + Sync + 'static>(
        &self,
        lead: Lead<K, V>,
        (loaded, called): Ran<impl Into<Loaded<V>>, E>,
    ) -> Result<Arc<V>, LoadError<E>> {
        match loaded {
            Ok(loaded) => {
                let loaded = loaded.into();
                let value = Arc::clone(&loaded.value);
                let stored = lead.finish(loaded);
                self.measured(called, Some(stored));
                Ok(value)
            }
            Err(error) => {
                self.measured(called, None);
                lead.fail(Outcome::of_error(&error));
                Err(error)
            }
        }
    }

    /// Counts a load that has ended; `stored` is none if it failed.
    pub(super) fn measured(&self, began: Instant, stored: Option<bool>) {
        let elapsed = began.elapsed();
        self.counters.took(elapsed);
        self.load_seconds.record(elapsed);
        match stored {
            Some(stored) => {
                count(&self.counters.loads);
                self.observe(&CacheEvent::Loaded { elapsed, stored });
            }
            None => {
                count(&self.counters.load_errors);
                self.observe(&CacheEvent::LoadFailed { elapsed });
            }
        }
    }
}

impl<V> Outcome<V> {
    /// Returns the outcome of a load that ended with `error`.
    pub(super) fn of_error<E: Send + Sync + 'static>(error: &LoadError<E>) -> Self {
        match error {
            LoadError::Failed(error) => Self::Failed(Arc::clone(error) as _),
            LoadError::TimedOut(_) => Self::TimedOut,
            LoadError::Recursive | LoadError::Cancelled => Self::Abandoned,
        }
    }
}
