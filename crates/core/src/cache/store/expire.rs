//! What makes room: values that are dead, and values that weigh too much together.

use std::hash::Hash;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use super::clock::Time;
use super::hashed::{Hashed, Sought};
use super::shard::{Entry, Shard};
use super::{Store, discard};

/// How many dead entries of one shard are dropped at once, at least.
const PORTION: usize = 64;

impl<K, V, T> Store<K, V, T>
where
    K: Hash + Eq + Clone,
    T: Hash + Eq + Clone,
{
    /// From when on an entry is not served in any way; none if that is never.
    pub(super) fn dead_at(
        &self,
        entry: &Entry<V, T>,
        epoch: u64,
        flushed_at: Option<Time>,
    ) -> Option<Time> {
        let flushes = epoch.saturating_sub(entry.epoch);
        let keep = self.terms.keep_stale;
        // Only the last flush is known.
        if flushes > 1 || flushes > 0 && (keep.is_none() || flushed_at.is_none()) {
            return Some(Time::ORIGIN);
        }
        // Whichever came first, so that nothing prolongs what another one has begun.
        let since = [
            entry.stale_since,
            entry.expires_at,
            flushed_at.filter(|_| flushes > 0),
        ];
        let since = since.into_iter().flatten().min()?;
        since.checked_add(keep.unwrap_or_default())
    }

    /// An entry of the shard ceases to be valid then.
    pub(super) fn dead_after(&self, shard: &mut Shard<K, V, T>, at: Time) {
        if let Some(at) = at.checked_add(self.terms.keep_stale.unwrap_or_default())
            && shard.due(at)
        {
            self.due(at);
        }
    }

    /// An entry is no longer in the store.
    pub(super) fn removed(&self, entry: &Entry<V, T>) {
        if entry.weight > 0 {
            self.weight.fetch_sub(entry.weight, AcqRel);
        }
    }

    /// An entry was taken out of its shard: it no longer weighs, nor is it found by its tags.
    pub(super) fn taken_out(
        &self,
        shard: &Shard<K, V, T>,
        key: &Sought<'_, K>,
        entry: &Entry<V, T>,
    ) {
        self.removed(entry);
        self.forget(shard, key, &entry.tags);
    }

    /// Whether there may be entries to [expire](Self::expire). The caller then does that in every shard: what it leaves, and what
    /// comes meanwhile, sets the bound anew.
    pub(crate) fn take_due(&self) -> bool {
        let is_due = self.due.load(Acquire) <= self.clock.now().nanos();
        if is_due {
            // Before any shard: what comes afterwards is not lost.
            self.due.swap(u64::MAX, AcqRel);
        }
        is_due
    }

    /// Some entries may be dead from then on.
    pub(super) fn due(&self, at: Time) {
        self.due.fetch_min(at.nanos(), AcqRel);
    }

    /// Drops some entries of one shard that are not served in any way any more. Returns whether it dropped any: then there may
    /// be more.
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
        // Large shards take larger portions, so that each entry is looked at a limited number of times.
        let most = PORTION.max(shard.entries.len() / 16);
        let mut dead: Vec<Hashed<K>> = Vec::new();
        let mut next: Option<Time> = None;
        // From the rear: there is what a flush left.
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

    /// Evicts until all entries weigh no more than they may: first of the shard of `key`, but not `key` itself, then of the
    /// others. Returns whether it evicted any.
    pub(super) fn trim(&self, key: &Sought<'_, K>) -> bool {
        let Some(most) = self.terms.max_weight else {
            return false;
        };
        let is_over = || self.weight.load(Acquire) > most;
        let first = self.shard_number(key);
        let mut evicted = false;
        // The shard of the key comes again at the end: what it then has left may be the new value alone.
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

    /// What all entries weigh.
    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Acquire)
    }
}
