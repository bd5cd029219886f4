//! Reads of many keys: one load for all of their misses.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::coop::consume_budget;

use super::handle::CacheHandle;
use super::inner::{Admission, Inner};
use super::key::{CacheKey, equals_itself};
use super::lead::Lead;
use super::load::Ran;
use super::load_error::LoadError;
use super::loaded::Loaded;
use super::nesting;
use super::observer::BypassReason;
use super::stats::count;
use super::store::{Begin, Flight, Outcome};
use crate::sync::now;

impl<K: CacheKey, V: Send + Sync + 'static> CacheHandle<K, V> {
    /// Returns the values of many keys: from memory, from loads in progress, and the rest from one call of `load`.
    ///
    /// - `load` gets the missing keys and returns the values that exist. A key that it does not return is not in the
    ///   result, and the cache does not remember that; use an `Option` as value to cache that there is none. `load` is
    ///   called again only if a load that was joined ended without a value for a key.
    /// - A key that is not equal to itself is not in the result.
    /// - An error concerns all keys of the load. So it is not kept, even with
    ///   [`errors_for`](crate::CacheBuilder::errors_for), and kept errors are not returned.
    /// - The load is part of this future, as in [`get_or_load`](Self::get_or_load). If the caller drops the future,
    ///   other callers that wait for some of its keys call their own loaders, each for the keys that it misses. Use
    ///   [`get_many_or_load_detached`](Self::get_many_or_load_detached) if callers have deadlines shorter than the
    ///   load.
    /// - The [`load_timeout`](crate::CacheBuilder::load_timeout) applies to the load as a whole, and to each wait for a
    ///   load of another caller.
    ///
    /// ```
    /// # use pgherald_core::{CacheHandle, LoadError};
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
        let mut read = Read::begin(&self.inner, keys).await;
        while let Some(batch) = read.next().await? {
            let loading = || load(batch.keys());
            let loaded = batch.run(loading).await;
            read.found.extend(batch.land(loaded)?);
        }
        Ok(read.found)
    }

    /// As [`get_many_or_load`](Self::get_many_or_load), but the load continues when its caller gives up.
    ///
    /// The load runs in a task of its own, with the rules of [`get_or_load_detached`](Self::get_or_load_detached): the
    /// future that the loader returns must be `Send` and own the data that it uses. A load that bypasses the cache ends
    /// with its caller. Outside of a tokio runtime this is `get_many_or_load`.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # use std::sync::Arc;
    /// # use pgherald_core::{CacheHandle, LoadError};
    /// # use tokio_postgres::{Client, Error};
    /// # async fn example(users: &CacheHandle<i64, String>, client: &Arc<Client>)
    /// #     -> Result<HashMap<i64, Arc<String>>, LoadError<Error>> {
    /// let load = |missing: Vec<i64>| {
    ///     let client = Arc::clone(client);
    ///     async move {
    ///         let rows = client.query("SELECT id, name FROM users WHERE id = ANY($1)", &[&missing]).await?;
    ///         Ok(rows.into_iter().map(|row| (row.get(0), row.get(1))).collect::<Vec<_>>())
    ///     }
    /// };
    /// let names = users.get_many_or_load_detached([7, 8, 9], load).await?;
    /// # Ok(names)
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for `get_many_or_load`, or [`LoadError::Cancelled`].
    ///
    /// # Panics
    /// If the loader panics. Other callers of its keys then call their own loaders.
    pub async fn get_many_or_load_detached<E, L, F, I>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut load: L,
    ) -> Result<HashMap<K, Arc<V>>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        L: FnMut(Vec<K>) -> F,
        F: Future<Output = Result<I, E>> + Send + 'static,
        I: IntoIterator<Item = (K, V)>,
    {
        let mut read = Read::begin(&self.inner, keys).await;
        while let Some(batch) = read.next().await? {
            let loading = Box::pin(load(batch.keys()));
            let runtime = Handle::try_current().ok().filter(|_| batch.is_led());
            let landing = async move {
                let loaded = batch.run(|| loading).await;
                batch.land(loaded)
            };
            let found = match runtime {
                Some(runtime) => match nesting::spawn(&runtime, landing).await {
                    Ok(found) => found,
                    Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
                    Err(_) => Err(LoadError::Cancelled),
                },
                None => landing.await,
            };
            read.found.extend(found?);
        }
        Ok(read.found)
    }
}

/// A read of many keys that is in progress.
struct Read<K: CacheKey, V: Send + Sync + 'static> {
    inner: Arc<Inner<K, V>>,
    found: HashMap<K, Arc<V>>,
    wanted: Vec<K>,
    /// The loads of other callers that bring some of the keys.
    joins: Vec<(K, Arc<Flight<V>>)>,
}

impl<K: CacheKey, V: Send + Sync + 'static> Read<K, V> {
    async fn begin(inner: &Arc<Inner<K, V>>, keys: impl IntoIterator<Item = K>) -> Self {
        let read = Self {
            inner: Arc::clone(inner),
            found: HashMap::new(),
            wanted: keys.into_iter().filter(equals_itself).collect(),
            joins: Vec::new(),
        };
        consume_budget().await;
        read
    }

    /// Returns the next keys that the caller must load. `None` when all values are found.
    async fn next<E: Send + Sync + 'static>(
        &mut self,
    ) -> Result<Option<Batch<K, V>>, LoadError<E>> {
        loop {
            // The caller has loaded its own keys by now, for which other callers may have waited.
            self.join().await?;
            if self.wanted.is_empty() {
                return Ok(None);
            }
            if let Some(batch) = self.look() {
                return Ok(Some(batch));
            }
        }
    }

    /// Looks up all wanted keys. Returns those that the caller must load.
    fn look(&mut self) -> Option<Batch<K, V>> {
        let inner = &self.inner;
        let accept = match inner.admit() {
            Admission::Read(accept) => Some(accept),
            Admission::Bypass(reason) => {
                inner.bypassed(reason);
                None
            }
        };
        let mut missing = HashMap::new();
        for key in self.wanted.drain(..) {
            if self.found.contains_key(&key) || missing.contains_key(&key) {
                continue;
            }
            let Some(accept) = accept else {
                missing.insert(key, None);
                continue;
            };
            if let Some(value) = inner.look(&key, accept) {
                self.found.insert(key, value);
                continue;
            }
            if !inner.follows(&key) {
                inner.bypassed(BypassReason::UnmatchedKey);
                missing.insert(key, None);
                continue;
            }
            match inner.store.begin(&key, inner.tags(&key), accept) {
                Begin::Found(value) => drop(self.found.insert(key, value)),
                Begin::Join(flight) => self.joins.push((key, flight)),
                Begin::Lead(flight) => {
                    // Before the key is cloned: if the clone panics, dropping the lead abandons the flight.
                    let lead = Lead::new(Arc::clone(inner), key, flight);
                    missing.insert(lead.key.clone(), Some(lead));
                }
            }
        }
        (!missing.is_empty()).then(|| Batch {
            inner: Arc::clone(inner),
            missing,
        })
    }

    /// Waits for the loads of other callers. Keys without a value become wanted again.
    async fn join<E: Send + Sync + 'static>(&mut self) -> Result<(), LoadError<E>> {
        for (key, flight) in self.joins.drain(..) {
            match self.inner.join(&key, &flight).await? {
                Some(value) => drop(self.found.insert(key, value)),
                None => self.wanted.push(key),
            }
        }
        Ok(())
    }
}

/// The keys of one load.
struct Batch<K: CacheKey, V: Send + Sync + 'static> {
    inner: Arc<Inner<K, V>>,
    /// A key has no lead if it bypasses the cache: if all keys do, or if no event names it.
    missing: HashMap<K, Option<Lead<K, V>>>,
}

impl<K: CacheKey, V: Send + Sync + 'static> Batch<K, V> {
    fn keys(&self) -> Vec<K> {
        self.missing.keys().cloned().collect()
    }

    fn flights(&self) -> impl Iterator<Item = &Flight<V>> {
        self.missing.values().flatten().map(|lead| &*lead.flight)
    }

    /// Whether other callers may wait for it.
    fn is_led(&self) -> bool {
        self.flights().next().is_some()
    }

    async fn run<T, E, F>(&self, load: impl FnOnce() -> F) -> Ran<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let ids = self.flights().map(Flight::id).collect();
        // The first flight's callers give up at this time plus the time limit.
        let began = self.flights().map(Flight::began).min();
        self.inner.run(ids, began.unwrap_or_else(now), load).await
    }

    /// Ends the flights with the loader's result. Returns the requested values.
    fn land<E: Send + Sync + 'static>(
        mut self,
        (loaded, called): Ran<impl IntoIterator<Item = (K, V)>, E>,
    ) -> Result<HashMap<K, Arc<V>>, LoadError<E>> {
        let inner = &self.inner;
        let values = match loaded {
            Ok(values) => values,
            Err(error) => {
                inner.measured(called, None);
                for lead in self.missing.into_values() {
                    match lead {
                        Some(lead) => lead.fail(Outcome::of_error(&error)),
                        None if matches!(error, LoadError::TimedOut(_)) => {
                            count(&inner.counters.loads_timed_out);
                        }
                        None => {}
                    }
                }
                return Err(error);
            }
        };
        let (mut found, mut stored) = (HashMap::new(), None);
        for (key, value) in values {
            // A key that was not requested was not registered before the load, so its value cannot be stored.
            let Some(lead) = self.missing.remove(&key) else {
                continue;
            };
            let value = Arc::new(value);
            if let Some(lead) = lead {
                let loaded = Loaded::shared(Arc::clone(&value));
                stored = Some(lead.finish(loaded) && stored != Some(false));
            }
            found.insert(key, value);
        }
        inner.measured(called, Some(stored == Some(true)));
        for lead in self.missing.into_values().flatten() {
            lead.fail(Outcome::Abandoned);
        }
        Ok(found)
    }
}
