//! Looking for values: what is served, and to whom.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};

use super::clock::{Clock, Time};
use super::hashed::Sought;
use super::shard::{Entry, Shard};
use super::{Store, discard};
use crate::sync::Arc;

/// What a reader accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Accept {
    /// What is valid.
    Valid,
    /// What was valid when invalidations ceased to come, or when it was loaded since, but no longer ago than this.
    Blind {
        since: Option<Instant>,
        max_age: Duration,
    },
}

impl Accept {
    /// Whether a reader is content with this entry.
    pub(super) fn takes<V, T>(self, entry: &Entry<V, T>, epoch: u64, clock: &Clock) -> bool {
        entry.is_valid(epoch, clock)
            && match self {
                Self::Valid => true,
                Self::Blind { .. } => self.takes_of(entry.loaded_at, clock),
            }
    }

    /// Whether a reader is content with the age of what was loaded from then on.
    pub(super) fn takes_of(self, began: Time, clock: &Clock) -> bool {
        let Self::Blind { since, max_age } = self else {
            return true;
        };
        let good_at = since.map_or(began, |since| clock.time(since).max(began));
        good_at
            .checked_add(max_age)
            .is_none_or(|limit| clock.now() < limit)
    }
}

#[derive(Debug)]
pub(crate) enum Found<K, V> {
    Hit(Arc<V>),
    /// Not valid, but within the limits of what is accepted; with the key if the caller is to see to a new one.
    Stale(Arc<V>, Option<K>),
    Miss,
}

impl<K, V, T> Store<K, V, T>
where
    K: Hash + Eq + Clone,
    T: Hash + Eq + Clone,
{
    /// A valid value. A miss is not counted: whoever wants to know more [`get`](Self::get)s it.
    #[inline]
    pub(crate) fn hit<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let key = self.sought(key);
        let mut shard = self.shard(&key).lock();
        // Under the lock: no entry is of a later epoch, so whatever is of another one is dead.
        let epoch = self.epoch.0.load(Acquire);
        let entry = shard.entries.peek(key.probe())?;
        if !entry.is_valid(epoch, &self.clock) {
            return None;
        }
        let (value, moved) = (Arc::clone(&entry.value), entry.moved);
        shard.hits += 1;
        shard.used(&key, moved);
        Some(value)
    }

    pub(crate) fn get<Q>(&self, key: &Q, accept: Accept) -> Found<K, V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let key = self.sought(key);
        let mut shard = self.shard(&key).lock();
        let epoch = self.epoch.0.load(Acquire);
        let Some(entry) = shard.entries.peek(key.probe()) else {
            shard.rest.counts.misses += 1;
            return Found::Miss;
        };
        if accept.takes(entry, epoch, &self.clock) {
            let (value, moved) = (Arc::clone(&entry.value), entry.moved);
            shard.used(&key, moved);
            return match accept {
                Accept::Valid => {
                    shard.hits += 1;
                    Found::Hit(value)
                }
                Accept::Blind { .. } => {
                    shard.rest.counts.blind_hits += 1;
                    Found::Stale(value, None)
                }
            };
        }
        if matches!(accept, Accept::Blind { .. }) {
            shard.rest.counts.misses += 1;
            return Found::Miss;
        }
        let (found, dropped) = self.get_stale(&mut shard, &key);
        drop(shard);
        discard(dropped);
        found
    }

    /// Serves an entry that is not valid, if that is allowed; else takes it out.
    #[cold]
    fn get_stale<Q>(
        &self,
        shard: &mut Shard<K, V, T>,
        key: &Sought<'_, Q>,
    ) -> (Found<K, V>, Option<Entry<V, T>>)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let (epoch, flushed_at) = self.last_flush();
        let Some(entry) = shard.entries.peek_mut(key.probe()) else {
            return (Found::Miss, None);
        };
        let dead_at = self.dead_at(entry, epoch, flushed_at);
        if dead_at.is_none_or(|at| self.clock.now() < at) {
            let revalidate = !std::mem::replace(&mut entry.revalidating, true);
            let value = Arc::clone(&entry.value);
            shard.rest.counts.stale_hits += 1;
            // The key as it is stored. This moves the entry to the front, once for each new value that is asked for.
            let key = revalidate.then(|| shard.entries.get_key_value(key.probe()));
            let key = key.flatten().map(|(key, _)| key.sought().key.clone());
            return (Found::Stale(value, key), None);
        }
        shard.rest.counts.misses += 1;
        let expired = entry.epoch == epoch && entry.stale_since.is_none();
        shard.rest.counts.expirations += u64::from(expired);
        let Some((key, entry)) = shard.entries.pop_entry(key.probe()) else {
            return (Found::Miss, None);
        };
        self.taken_out(shard, &key.sought(), &entry);
        (Found::Miss, Some(entry))
    }

    /// Nobody sees to a new value after all: whoever is served the stale one next is to.
    pub(crate) fn not_revalidating(&self, key: &K) {
        let key = self.sought(key);
        if let Some(entry) = self.shard(&key).lock().entries.peek_mut(key.probe()) {
            entry.revalidating = false;
        }
    }

    /// Takes over to see to a new value. Returns false if there is no stale one, or somebody else sees to it.
    pub(crate) fn revalidate(&self, key: &K) -> bool {
        let key = self.sought(key);
        let mut shard = self.shard(&key).lock();
        match shard.entries.peek_mut(key.probe()) {
            Some(entry) if entry.stale_since.is_some() => {
                !std::mem::replace(&mut entry.revalidating, true)
            }
            _ => false,
        }
    }
}
