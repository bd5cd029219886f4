//! Invalidation of keys, of tags, or of everything.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::Instant;

use super::clock::Time;
use super::shard::Entry;
use super::{Store, discard};

/// With more keys, it pays to sort them by shard.
const MANY: usize = 1_000;

/// Whether an invalidated value may be served as stale, if the store allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stale {
    Keep,
    Drop,
}

impl<K, V, T> Store<K, V, T>
where
    K: Hash + Eq + Clone,
    T: Hash + Eq + Clone,
{
    /// Invalidates one key. Returns whether there was a value that could be served, or a load that is now overtaken.
    pub(crate) fn invalidate<Q>(&self, key: &Q, stale: Stale) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let key = self.sought(key);
        let mut shard = self.shard(&key).lock();
        self.note(key.hash);
        let epoch = self.epoch.0.load(Acquire);
        let is_served = |entry: &Entry<V, T>| {
            entry.is_valid(epoch, &self.clock) || self.options.keep_stale.is_some()
        };
        let flight = shard.rest.flights.remove_entry(key.probe());
        let mut found = flight.is_some();
        let mut entry = None;
        let mut kept = false;
        if stale == Stale::Keep && self.options.keep_stale.is_some() {
            if let Some(entry) = shard.entries.peek_mut(key.probe()) {
                (found, kept) = (true, true);
                let now = self.clock.now();
                entry.invalidate(now);
                self.dead_after(&mut shard, now);
            }
        } else {
            entry = shard.entries.pop_entry(key.probe());
            found |= entry.as_ref().is_some_and(|(_, entry)| is_served(entry));
        }
        let indexed = match (&entry, &flight) {
            (Some((key, entry)), _) => Some((key, &entry.tags)),
            (None, Some((key, (_, tags)))) if !kept => Some((key, tags)),
            _ => None,
        };
        if let Some((key, tags)) = indexed {
            self.index.remove(key.sought().key, tags);
        }
        if let Some((_, entry)) = &entry {
            self.removed(entry);
        }
        drop(shard);
        discard(entry);
        discard(flight);
        found
    }

    /// Invalidates every key with this tag. Returns those that had a value or a load.
    pub(crate) fn invalidate_tag(&self, tag: &T) -> Vec<K> {
        // The slot must be written before the index is read: see `insert`.
        self.note(self.hasher.hash_one(tag));
        // The keys stay in the index until each is invalidated: otherwise a concurrent invalidation of the tag would not find them,
        // and end before the values are gone.
        let mut keys = self.index.keys(tag);
        if keys.len() > MANY {
            // The memory of one shard after the other stays in the processor's cache.
            keys.sort_by_cached_key(|key| self.shard_number(&self.sought(key)));
        }
        keys.retain(|key| self.invalidate(key, Stale::Keep));
        keys
    }

    /// Invalidates everything. Dead entries stay in memory until they are replaced, read, or [expired](Self::expire).
    ///
    /// If the store may serve stale values, they are stale since `since`. Without `since`, they are not served at all.
    pub(crate) fn flush(&self, since: Option<Instant>) {
        // An entry that is two epochs old is never served.
        let epochs = match since {
            Some(_) => 1,
            None => 2,
        };
        // Both change under one lock, so that a reader of both sees a consistent pair.
        let mut flushed_at = self.flushed_at.lock();
        *flushed_at = since.map(|since| self.clock.time(since));
        self.epoch.0.fetch_add(epochs, AcqRel);
        // Under the lock as well: expiring takes it, and then sees the new epoch if it saw this bound.
        self.due(Time::ORIGIN);
    }

    /// Returns the epoch, and the time of the flush that began it.
    pub(super) fn last_flush(&self) -> (u64, Option<Time>) {
        let flushed_at = self.flushed_at.lock();
        (self.epoch.0.load(Acquire), *flushed_at)
    }

    /// Invalidates everything, and drops it.
    pub(crate) fn clear(&self) {
        self.flush(None);
        for number in 0..self.shards.len() {
            while self.expire(number) {}
        }
    }
}
