//! From a miss to a value: one load, however many want it.
//!
//! ```text
//!            miss ── begin ──► lead ── loader ──► value: stored unless overtaken ─┐
//!                       │                  └────► error: told, not stored ────────┤
//!                       │                  └────► gone or panicked: abandoned ──┐ │
//!                       └────► join: wait for the one that leads ◄──────────────┼─┘
//!                                       └── abandoned: begin again, with one's own loader
//! ```
//!
//! The load runs in the task of whoever leads; it ends with it, and there is nothing in the background. A [`Lead`]
//! that is dropped without a result abandons its flight, so that no way of ending leaves anybody waiting.

use std::collections::{HashMap, HashSet};
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::handle::{Admission, CacheHandle, CacheKey, Inner};
use super::nesting::{self, Wait};
use super::observer::CacheEvent;
use super::stats::count;
use super::store::{Begin, Flight, Outcome, Stored};
use crate::telemetry::SPAN_LOAD;
use tracing::Instrument;

/// Why there is no value.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader's error; the same for everybody who waited for this load.
    Failed(Arc<E>),
    /// The loader, directly or through others' loads, asked for the very key it is loading: waiting for it would
    /// never end.
    Recursive,
}

impl<E> LoadError<E> {
    /// The loader's error, if it was that.
    #[must_use]
    pub fn failure(&self) -> Option<&E> {
        match self {
            Self::Failed(error) => Some(error),
            Self::Recursive => None,
        }
    }
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::Recursive => Self::Recursive,
        }
    }
}

impl<E> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed(_) => "loading into the cache failed",
            Self::Recursive => {
                "a cache loader asked for the key it is loading; let it read the database instead"
            }
        })
    }
}

impl<E: StdError + 'static> StdError for LoadError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.failure().map(|error| error as _)
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> CacheHandle<K, V> {
    /// The value of `key`: from memory, else from `load`, else from a load of the same key that is under way.
    ///
    /// - Of concurrent misses one loads, and the others wait for it. If it goes away or panics, one of the others
    ///   loads in its stead.
    /// - A read never waits for a load that began before the key was last invalidated, and the result of such a load
    ///   is not stored.
    /// - The loader must read the database itself, not something that was read before.
    /// - While the source is not live, [`WhenNotLive`](super::WhenNotLive) decides.
    ///
    /// ```
    /// # use pgherald_core::cache::{CacheHandle, LoadError};
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
    /// The loader's error, which is not stored and reaches everybody who waits for this load; or
    /// [`LoadError::Recursive`].
    pub async fn get_or_load<E, L, F>(&self, key: K, load: L) -> Result<Arc<V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        L: FnOnce() -> F,
        F: Future<Output = Result<V, E>>,
    {
        self.get_or_load_arc(key, async || load().await.map(Arc::new))
            .await
    }

    /// As [`get_or_load`](Self::get_or_load), for a loader whose value is shared already.
    ///
    /// # Errors
    /// The same.
    pub async fn get_or_load_arc<E, L, F>(&self, key: K, load: L) -> Result<Arc<V>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        L: FnOnce() -> F,
        F: Future<Output = Result<Arc<V>, E>>,
    {
        let inner = &*self.inner;
        if let Some(value) = inner.hit(&key) {
            return Ok(value);
        }
        loop {
            let accept = match inner.admit() {
                Admission::Read(accept) => accept,
                Admission::Bypass(reason) => {
                    inner.bypassed(reason);
                    let loaded = inner.run(Vec::new(), load).await;
                    return inner.report(loaded);
                }
            };
            if let Some(value) = inner.look(&key, accept) {
                return Ok(value);
            }
            match inner.store.begin(&key, inner.tags(&key), accept) {
                Begin::Found(value) => return Ok(value),
                Begin::Lead(flight) => {
                    let lead = Lead::new(inner, key, flight);
                    let loaded = inner.run(vec![lead.flight.id()], load).await;
                    return inner.land(lead, loaded);
                }
                Begin::Join(flight) => match inner.join(&flight).await? {
                    Outcome::Loaded(value) => return Ok(value),
                    Outcome::Failed(error) => {
                        if let Ok(error) = error.downcast::<E>() {
                            return Err(LoadError::Failed(error));
                        }
                        // Another type of error than ours: we find out for ourselves.
                    }
                    Outcome::Abandoned => {}
                },
            }
        }
    }

    /// The values of many keys: from memory, from loads under way, and the rest from one call of `load`.
    ///
    /// `load` is given the keys that are missing, and gives back what there is. A key that it does not give back is
    /// not in the result, and nothing is remembered of it; with an `Option` as value, that there is none can be
    /// cached as well. It is called again only if a load that was joined came to nothing.
    ///
    /// ```
    /// # use pgherald_core::cache::{CacheHandle, LoadError};
    /// # async fn example(users: &CacheHandle<i64, String>, client: &tokio_postgres::Client)
    /// #     -> Result<(), LoadError<tokio_postgres::Error>> {
    /// let names = users
    ///     .get_many_or_load([7, 8, 9], async |missing: Vec<i64>| {
    ///         let sql = "SELECT id, name FROM users WHERE id = ANY($1)";
    ///         let rows = client.query(sql, &[&missing]).await?;
    ///         Ok(rows.into_iter().map(|row| (row.get(0), row.get(1))).collect::<Vec<_>>())
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`get_or_load`](Self::get_or_load); one error fails the whole call.
    pub async fn get_many_or_load<E, L, F, I>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut load: L,
    ) -> Result<HashMap<K, Arc<V>>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        L: FnMut(Vec<K>) -> F,
        F: Future<Output = Result<I, E>>,
        I: IntoIterator<Item = (K, V)>,
    {
        let inner = &*self.inner;
        let mut found = HashMap::new();
        let mut wanted: Vec<K> = Vec::new();
        wanted.extend(keys);
        while !wanted.is_empty() {
            let accept = match inner.admit() {
                Admission::Read(accept) => accept,
                Admission::Bypass(reason) => {
                    inner.bypassed(reason);
                    let mut missing = HashSet::new();
                    wanted.retain(|key| !found.contains_key(key) && missing.insert(key.clone()));
                    let loaded = inner.run(Vec::new(), || load(wanted)).await;
                    for (key, value) in inner.report(loaded)? {
                        if missing.remove(&key) {
                            found.insert(key, Arc::new(value));
                        }
                    }
                    return Ok(found);
                }
            };
            let mut leads = HashMap::new();
            let mut joins = Vec::new();
            for key in wanted.drain(..) {
                if found.contains_key(&key) || leads.contains_key(&key) {
                    continue;
                }
                if let Some(value) = inner.look(&key, accept) {
                    found.insert(key, value);
                    continue;
                }
                match inner.store.begin(&key, inner.tags(&key), accept) {
                    Begin::Found(value) => drop(found.insert(key, value)),
                    Begin::Join(flight) => joins.push((key, flight)),
                    Begin::Lead(flight) => {
                        let lead = Lead::new(inner, key, flight);
                        leads.insert(lead.key.clone(), lead);
                    }
                }
            }
            // First what others may wait for, then what we wait for.
            if !leads.is_empty() {
                let missing: Vec<K> = leads.keys().cloned().collect();
                let flights = leads.values().map(|lead| lead.flight.id()).collect();
                let loaded = inner.run(flights, || load(missing)).await;
                inner.land_many(leads, loaded, &mut found)?;
            }
            for (key, flight) in joins {
                match inner.join(&flight).await? {
                    Outcome::Loaded(value) => drop(found.insert(key, value)),
                    Outcome::Failed(error) => match error.downcast::<E>() {
                        Ok(error) => return Err(LoadError::Failed(error)),
                        Err(_) => wanted.push(key),
                    },
                    Outcome::Abandoned => wanted.push(key),
                }
            }
        }
        Ok(found)
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> Inner<K, V> {
    /// Runs a loader in its turn, and measures it.
    pub(super) async fn run<L, F>(
        &self,
        flights: Vec<super::store::FlightId>,
        load: L,
    ) -> (F::Output, Instant)
    where
        L: FnOnce() -> F,
        F: Future,
    {
        let place = match &self.limit {
            Some(limit) if !nesting::has_place() => limit.place().await,
            _ => None,
        };
        let began = Instant::now();
        let span = tracing::debug_span!(SPAN_LOAD, cache = self.name);
        let loading = nesting::within(flights, place, load).instrument(span);
        (loading.await, began)
    }

    /// Waits for somebody else's load.
    async fn join<E>(&self, flight: &Flight<V>) -> Result<Outcome<V>, LoadError<E>> {
        let _wait = Wait::begin(flight.id()).map_err(|_| LoadError::Recursive)?;
        count(&self.counters.joined);
        self.observe(&CacheEvent::Joined);
        Ok(flight.ended().await)
    }

    /// Counts a load that is stored nowhere.
    fn report<T, E>(&self, (loaded, began): (Result<T, E>, Instant)) -> Result<T, LoadError<E>> {
        self.measured(began, loaded.is_ok().then_some(false));
        loaded.map_err(|error| LoadError::Failed(Arc::new(error)))
    }

    /// Ends a flight with what the loader gave.
    pub(super) fn land<E: Send + Sync + 'static>(
        &self,
        lead: Lead<'_, K, V>,
        (loaded, began): (Result<Arc<V>, E>, Instant),
    ) -> Result<Arc<V>, LoadError<E>> {
        match loaded {
            Ok(value) => {
                let stored = lead.finish(&value);
                self.measured(began, Some(stored));
                Ok(value)
            }
            Err(error) => {
                self.measured(began, None);
                let error = Arc::new(error);
                lead.fail(Outcome::Failed(Arc::clone(&error) as _));
                Err(LoadError::Failed(error))
            }
        }
    }

    fn land_many<E: Send + Sync + 'static>(
        &self,
        mut leads: HashMap<K, Lead<'_, K, V>>,
        (loaded, began): (Result<impl IntoIterator<Item = (K, V)>, E>, Instant),
        found: &mut HashMap<K, Arc<V>>,
    ) -> Result<(), LoadError<E>> {
        let values = match loaded {
            Ok(values) => values,
            Err(error) => {
                self.measured(began, None);
                let error = Arc::new(error);
                for (_, lead) in leads {
                    lead.fail(Outcome::Failed(Arc::clone(&error) as _));
                }
                return Err(LoadError::Failed(error));
            }
        };
        let mut stored = None;
        for (key, value) in values {
            // What was not asked for was not registered before it was read, so it cannot be stored.
            if let Some(lead) = leads.remove(&key) {
                let value = Arc::new(value);
                stored = Some(lead.finish(&value) && stored != Some(false));
                found.insert(key, value);
            }
        }
        self.measured(began, Some(stored == Some(true)));
        for (_, lead) in leads {
            lead.fail(Outcome::Abandoned);
        }
        Ok(())
    }

    /// Counts a load that has ended; `stored` is none if it failed.
    fn measured(&self, began: Instant, stored: Option<bool>) {
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

/// The duty to end a flight.
pub(super) struct Lead<'a, K: CacheKey, V: Send + Sync + 'static> {
    inner: &'a Inner<K, V>,
    key: K,
    pub(super) flight: Arc<Flight<V>>,
    ended: bool,
}

impl<'a, K: CacheKey, V: Send + Sync + 'static> Lead<'a, K, V> {
    pub(super) fn new(inner: &'a Inner<K, V>, key: K, flight: Arc<Flight<V>>) -> Self {
        Self {
            inner,
            key,
            flight,
            ended: false,
        }
    }

    /// Returns whether the value was stored.
    fn finish(mut self, value: &Arc<V>) -> bool {
        self.ended = true;
        match self.inner.store.finish(&self.key, &self.flight, value) {
            Stored::Yes => true,
            Stored::Evicting => {
                self.inner.observe(&CacheEvent::Evicted);
                true
            }
            Stored::Overtaken => {
                count(&self.inner.counters.loads_overtaken);
                false
            }
        }
    }

    fn fail(mut self, outcome: Outcome<V>) {
        self.ended = true;
        self.inner.store.fail(&self.key, &self.flight, outcome);
    }
}

/// The loader was dropped or panicked.
impl<K: CacheKey, V: Send + Sync + 'static> Drop for Lead<'_, K, V> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let store = &self.inner.store;
        store.fail(&self.key, &self.flight, Outcome::Abandoned);
        let panicked = std::thread::panicking();
        let counters = &self.inner.counters;
        let counter = match panicked {
            true => &counters.loads_panicked,
            false => &counters.loads_cancelled,
        };
        counter.fetch_add(1, Relaxed);
        self.inner.observe(&CacheEvent::LoadAbandoned { panicked });
    }
}
