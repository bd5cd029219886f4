//! Lookups: which values are served.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::atomic::Ordering::Acquire;
use std::time::{Duration, Instant};

use super::clock::{Clock, Time};
use super::hashed::Sought;
use super::shard::{Entry, Shard};
use super::{Store, discard};
use crate::sync::Arc;

/// Which values a reader accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Accept {
    /// Valid values.
    Valid,
    /// Values that were valid when invalidations ceased, or were loaded since, at most `max_age` ago.
    Blind {
        since: Option<Instant>,
        max_age: Duration,
    },
}

impl Accept {
    /// Whether a reader accepts this entry.
    pub(super) fn takes<V, T>(self, entry: &Entry<V, T>, epoch: u64, clock: &Clock) -> bool {
        entry.is_valid(epoch, clock)
            && match self {
                Self::Valid => true,
                Self::Blind { .. } => self.takes_of(entry.loaded_at, clock),
            }
    }

    /// Whether a reader accepts the age of a value whose load began then.
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
    /// A value that is not valid, but within the accepted limits. With the key if the caller must request a reload.
    Stale(Arc<V>, Option<K>),
    Miss,
}

impl<K, V, T> Store<K, V, T>
where
    K: Hash + Eq + Clone,
    T: Hash + Eq + Clone,
{
    /// Returns a valid value. A miss is not counted; [`get`](Self::get) counts it.
    #[inline]
    pub(crate) fn hit<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let key = self.sought(key);
        let mut shard = self.shard(&key).lock();
        // Under the lock, no entry has a later epoch, so an entry of another epoch is dead.
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

    /// Serves an entry that is not valid, if that is allowed; otherwise removes it.
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
            // The stored key. Reading it moves the entry to the front, once for each reload that is requested.
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

    /// Withdraws a reload. The next reader of the stale value requests it again.
    pub(crate) fn not_revalidating(&self, key: &K) {
        let key = self.sought(key);
        if let Some(entry) = self.shard(&key).lock().entries.peek_mut(key.probe()) {
            entry.revalidating = false;
        }
    }

    /// Claims the reload of a key. Returns false if there is no stale value, or another caller has claimed it.
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
