//! From many misses to their values: one load for all of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::task::coop::consume_budget;

use super::handle::{Admission, CacheHandle, CacheKey, Inner, equals_itself};
use super::lead::Lead;
use super::load::Ran;
use super::load_error::LoadError;
use super::loaded::Loaded;
use super::store::{Begin, Outcome};
use crate::sync::now;

impl<K: CacheKey, V: Send + Sync + 'static> CacheHandle<K, V> {
    /// The values of many keys: from memory, from loads under way, and the rest from one call of `load`.
    ///
    /// `load` is given the keys that are missing, and gives back what there is. A key that it does not give back is
    /// not in the result, and nothing is remembered of it, nor is one that is not equal to itself; with an `Option` as value, that there is none can be
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
        let inner = &self.inner;
        consume_budget().await;
        let mut found = HashMap::new();
        let mut wanted: Vec<K> = Vec::new();
        wanted.extend(keys.into_iter().filter(equals_itself));
        while !wanted.is_empty() {
            let accept = match inner.admit() {
                Admission::Read(accept) => accept,
                Admission::Bypass(reason) => {
                    inner.bypassed(reason);
                    let mut missing = HashSet::new();
                    wanted.retain(|key| !found.contains_key(key) && missing.insert(key.clone()));
                    let loaded = inner.run(Vec::new(), now(), || load(wanted)).await;
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
                        let lead = Lead::new(Arc::clone(inner), key, flight);
                        leads.insert(lead.key.clone(), lead);
                    }
                }
            }
            // First what others may wait for, then what we wait for.
            if !leads.is_empty() {
                let missing: Vec<K> = leads.keys().cloned().collect();
                let flights = leads.values().map(|lead| lead.flight.id()).collect();
                let loaded = inner.run(flights, now(), || load(missing)).await;
                inner.land_many(leads, loaded, &mut found)?;
            }
            for (key, flight) in joins {
                match inner.join(&key, &flight).await? {
                    Some(value) => drop(found.insert(key, value)),
                    None => wanted.push(key),
                }
            }
        }
        Ok(found)
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> Inner<K, V> {
    fn land_many<E: Send + Sync + 'static>(
        &self,
        mut leads: HashMap<K, Lead<K, V>>,
        (loaded, called): Ran<impl IntoIterator<Item = (K, V)>, E>,
        found: &mut HashMap<K, Arc<V>>,
    ) -> Result<(), LoadError<E>> {
        let values = match loaded {
            Ok(values) => values,
            Err(error) => {
                self.measured(called, None);
                for (_, lead) in leads {
                    lead.fail(Outcome::of_error(&error));
                }
                return Err(error);
            }
        };
        let mut stored = None;
        for (key, value) in values {
            // What was not asked for was not registered before it was read, so it cannot be stored.
            if let Some(lead) = leads.remove(&key) {
                let value = Arc::new(value);
                let loaded = Loaded::shared(Arc::clone(&value));
                stored = Some(lead.finish(loaded) && stored != Some(false));
                found.insert(key, value);
            }
        }
        self.measured(called, Some(stored == Some(true)));
        for (_, lead) in leads {
            lead.fail(Outcome::Abandoned);
        }
        Ok(())
    }
}
