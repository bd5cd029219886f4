//! Making room: removing dead values, and values beyond the weight limit.

use std::hash::Hash;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use super::clock::Time;
use super::hashed::{Hashed, Sought};
use super::shard::{Entry, Shard};
use super::{Store, discard};

/// The minimum number of dead entries of one shard that are dropped at once.
const PORTION: usize = 64;

/// How far a walk through the shards of a store has come, which frees dead entries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Walk {
    #[default]
    Begin,
    /// The next shard.
    Shard(usize),
}

impl<K, V, T> Store<K, V, T>
where
    K: Hash + Eq + Clone,
    T: Hash + Eq + Clone,
{
    /// Returns the time from which an entry is not served any more; none if there is no such time.
    pub(super) fn dead_at(
        &self,
        entry: &Entry<V, T>,
        epoch: u64,
        flushed_at: Option<Time>,
    ) -> Option<Time> {
        let flushes = epoch.saturating_sub(entry.epoch);
        let keep = self.options.keep_stale;
        // Only the time of the last flush is known.
        if flushes > 1 || flushes > 0 && (keep.is_none() || flushed_at.is_none()) {
            return Some(Time::ORIGIN);
        }
        // The earliest cause counts, so that a later one does not prolong the entry.
        let since = [
            entry.stale_since,
            entry.expires_at,
            flushed_at.filter(|_| flushes > 0),
        ];
        let since = since.into_iter().flatten().min()?;
        since.checked_add(keep.unwrap_or_default())
    }

    /// Records that an entry of the shard ceases to be valid at `at`.
    pub(super) fn dead_after(&self, shard: &mut Shard<K, V, T>, at: Time) {
        if let Some(at) = at.checked_add(self.options.keep_stale.unwrap_or_default())
            && shard.due(at)
        {
            self.due(at);
        }
    }

    /// Accounts for an entry that has left the store.
    pub(super) fn removed(&self, entry: &Entry<V, T>) {
        if entry.weight > 0 {
            self.weight.fetch_sub(entry.weight, AcqRel);
        }
    }

    /// Accounts for an entry that was taken out of its shard: its weight is subtracted, and it is removed from the
    /// index.
    pub(super) fn taken_out(
        &self,
        shard: &Shard<K, V, T>,
        key: &Sought<'_, K>,
        entry: &Entry<V, T>,
    ) {
        self.removed(entry);
        self.forget(shard, key, &entry.tags);
    }

    /// Drops a portion of the dead entries. Returns whether there may be more, for which the walk continues.
    pub(crate) fn free_some(&self, walk: &mut Walk) -> bool {
        let mut number = match *walk {
            Walk::Begin if !self.take_due() => return false,
            Walk::Begin => 0,
            Walk::Shard(number) => number,
        };
        while number < self.shards() {
            // If code of a key panics, the walk continues with the next shard.
            *walk = Walk::Shard(number + 1);
            if self.expire(number) {
                // There may be more in this shard.
                *walk = Walk::Shard(number);
                return true;
            }
            number += 1;
        }
        false
    }

    /// Returns whether there may be entries to [expire](Self::expire). The caller must then do so in every shard.
    /// Remaining entries and later changes set the bound again.
    pub(crate) fn take_due(&self) -> bool {
        let is_due = self.due.load(Acquire) <= self.clock.now().nanos();
        if is_due {
            // Before the shards are read, so that later changes are not lost.
            self.due.swap(u64::MAX, AcqRel);
        }
        is_due
    }

    /// Records that entries may be dead from `at` on.
    pub(super) fn due(&self, at: Time) {
        self.due.fetch_min(at.nanos(), AcqRel);
    }

    /// Drops some dead entries of one shard. Returns whether it dropped any, in which case there may be more.
    pub(crate) fn expire(&self, number: usize) -> bool {
        let Some(shard) = self.shards.get(number) else {
            return false;
        };
        let mut shard = shard.0.lock();
        let (epoch, flushed_at) = self.last_flush();
        if std::mem::replace(&mut shard.rest.due_epoch, epoch) != epoch {
            shard.due(Time::ORIGIN);
        }
        let Some(due) = shard.rest.due else {
            return false;
        };
        let now = self.clock.now();
        if now < due {
            self.due(due);
            return false;
        }
        // A larger shard has larger portions, so that each entry is checked only a limited number of times.
        let most = PORTION.max(shard.entries.len() / 16);
        let mut dead: Vec<Hashed<K>> = Vec::new();
        let mut next: Option<Time> = None;
        // From the rear, where the entries that a flush left are.
        for (key, entry) in shard.entries.iter().rev() {
            if dead.len() == most {
                next = Some(Time::ORIGIN);
                break;
            }
            match self.dead_at(entry, epoch, flushed_at) {
                Some(at) if at <= now => dead.push(key.clone()),
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None => {}
            }
        }
        shard.rest.due = next;
        if let Some(next) = next {
            self.due(next);
        }
        let mut dropped = Vec::with_capacity(dead.len());
        for key in &dead {
            if let Some((key, entry)) = shard.entries.pop_entry(key.sought().probe()) {
                self.taken_out(&shard, &key.sought(), &entry);
                let expired = entry.epoch == epoch && entry.stale_since.is_none();
                shard.rest.counts.expirations += u64::from(expired);
                shard.rest.counts.freed += 1;
                dropped.push((key, entry));
            }
        }
        drop(shard);
        let any = !dropped.is_empty();
        discard(dropped);
        discard(dead);
        any
    }

    /// Evicts until the total weight is within its limit: first from the shard of `key`, but not `key` itself, then
    /// from the others. Returns whether it evicted any.
    pub(super) fn trim(&self, key: &Sought<'_, K>) -> bool {
        let Some(most) = self.options.max_weight else {
            return false;
        };
        let is_over = || self.weight.load(Acquire) > most;
        let first = self.shard_number(key);
        let mut evicted = false;
        // The shard of the key is checked again at the end. It may then hold only the new value.
        for offset in 0..=self.shards.len() {
            let number = (first + offset) % self.shards.len();
            let own = if offset == 0 { 1 } else { 0 };
            while is_over() {
                let mut shard = self.shards[number].0.lock();
                if shard.entries.len() <= own {
                    break;
                }
                let Some((key, entry)) = shard.entries.pop_lru() else {
                    break;
                };
                shard.rest.counts.evictions += 1;
                self.taken_out(&shard, &key.sought(), &entry);
                drop(shard);
                discard([entry]);
                evicted = true;
            }
        }
        evicted
    }

    /// Returns the total weight of all entries.
    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Acquire)
    }
}
