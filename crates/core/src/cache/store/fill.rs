//! Inserting values: by loads that are registered before they begin, or with a moment taken before they were read.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::time::{Duration, Instant};

use super::flight::{Flight, Outcome};
use super::hashed::Sought;
use super::read::Accept;
use super::shard::{Entry, Shard};
use super::{Store, discard};
use crate::sync::{Arc, AtomicU64, now};

#[derive(Debug)]
pub(crate) enum Begin<V> {
    /// Another caller stored a value first.
    Found(Arc<V>),
    /// A load is in progress that began late enough.
    Join(Arc<Flight<V>>),
    /// The caller must load, and must end the flight in any case.
    Lead(Arc<Flight<V>>),
}

/// The result of storing a loaded value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Yes,
    /// Stored, and another value was evicted.
    Evicting,
    /// Not stored: the key was invalidated while it was loaded.
    Overtaken,
    /// Not stored: the loader declined that, or the value weighs more than all entries may.
    Declined,
}

/// A value that was loaded.
#[derive(Clone, Debug)]
pub(crate) struct Fresh<V> {
    pub(crate) value: Arc<V>,
    pub(crate) weight: u64,
    /// The value's own time to live, instead of the store's.
    pub(crate) ttl: Option<Duration>,
    pub(crate) stored: bool,
}

impl<V> From<&Arc<V>> for Fresh<V> {
    fn from(value: &Arc<V>) -> Self {
        Self {
            value: Arc::clone(value),
            weight: 0,
            ttl: None,
            stored: true,
        }
    }
}

/// A moment before a value was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    store: u64,
    at: Instant,
    epoch: u64,
    sequence: u64,
}

impl<K, V, T> Store<K, V, T>
where
    K: Hash + Eq + Clone,
    T: Hash + Eq + Clone,
{
    /// Registers a load of `key`, unless a value or a load already exists.
    pub(crate) fn begin(&self, key: &K, tags: Box<[T]>, accept: Accept) -> Begin<V> {
        let key = self.sought(key);
        let mut shard = self.shard(&key).lock();
        let epoch = self.epoch.0.load(Acquire);
        if let Some(entry) = shard.entries.peek(key.probe())
            && accept.takes(entry, epoch, &self.clock)
        {
            return Begin::Found(Arc::clone(&entry.value));
        }
        if let Some((flight, _)) = shard.rest.flights.get(key.probe())
            && flight.epoch == epoch
            // A flight whose end panicked in the key's code may still be registered.
            && !flight.has_ended()
            && accept.takes_of(self.clock.time(flight.began), &self.clock)
        {
            return Begin::Join(Arc::clone(flight));
        }
        let flight = Arc::new(Flight::new(epoch, now()));
        self.index.add(key.key, &tags);
        // An older load that was registered may continue, but its result is not stored or joined.
        let older = shard
            .rest
            .flights
            .insert(key.to_owned(), (Arc::clone(&flight), tags));
        drop(shard);
        discard(older);
        Begin::Lead(flight)
    }

    /// Ends a flight with a value, and stores it unless the load was overtaken.
    pub(crate) fn finish(
        &self,
        key: &K,
        flight: &Arc<Flight<V>>,
        fresh: impl Into<Fresh<V>>,
    ) -> Stored {
        let _ending = Ending(flight);
        let fresh = fresh.into();
        let stored = fresh.stored
            && self
                .options
                .max_weight
                .is_none_or(|most| fresh.weight <= most);
        let key = self.sought(key);
        let dropped = {
            let mut shard = self.shard(&key).lock();
            match self.land(&mut shard, &key, flight) {
                Some(tags) if stored && flight.epoch == self.epoch.0.load(Acquire) => {
                    Some(self.put(&mut shard, &key, flight.began, flight.epoch, &fresh, tags))
                }
                landed => {
                    self.give_up(&mut shard, &key, landed);
                    None
                }
            }
        };
        flight.end(Outcome::Loaded(fresh.value));
        match dropped {
            Some(dropped) => {
                let evicting = dropped[1].is_some();
                discard(dropped.into_iter().flatten());
                if self.trim(&key) || evicting {
                    Stored::Evicting
                } else {
                    Stored::Yes
                }
            }
            None if stored => Stored::Overtaken,
            None => Stored::Declined,
        }
    }

    /// Ends a flight without a value. Returns false if it had ended before.
    pub(crate) fn fail(&self, key: &K, flight: &Arc<Flight<V>>, outcome: Outcome<V>) -> bool {
        let _ending = Ending(flight);
        let key = self.sought(key);
        {
            let mut shard = self.shard(&key).lock();
            let landed = self.land(&mut shard, &key, flight);
            self.give_up(&mut shard, &key, landed);
        }
        flight.end(outcome)
    }

    /// Cleans up after a flight that stored no value.
    fn give_up(&self, shard: &mut Shard<K, V, T>, key: &Sought<'_, K>, landed: Option<Box<[T]>>) {
        if let Some(tags) = landed {
            self.forget(shard, key, &tags);
        }
        if let Some(entry) = shard.entries.peek_mut(key.probe()) {
            // The next read that is served the stale value requests a reload again.
            entry.revalidating = false;
        }
    }

    /// Takes a flight out of the register, unless it was overtaken.
    fn land(
        &self,
        shard: &mut Shard<K, V, T>,
        key: &Sought<'_, K>,
        flight: &Arc<Flight<V>>,
    ) -> Option<Box<[T]>> {
        match shard.rest.flights.get(key.probe()) {
            Some((current, _)) if Arc::ptr_eq(current, flight) => {
                shard.rest.flights.remove(key.probe()).map(|(_, tags)| tags)
            }
            _ => None,
        }
    }

    /// Stores a value. The caller drops the returned entries outside of the lock.
    fn put(
        &self,
        shard: &mut Shard<K, V, T>,
        key: &Sought<'_, K>,
        loaded_at: Instant,
        epoch: u64,
        fresh: &Fresh<V>,
        tags: Box<[T]>,
    ) -> [Option<Entry<V, T>>; 2] {
        let loaded_at = self.clock.time(loaded_at);
        let own_end = fresh.ttl.map(|ttl| loaded_at.checked_add(ttl));
        let expires_at = own_end.unwrap_or_else(|| {
            let ttl = self.options.ttl?;
            let share = 1.0 - self.options.jitter * fastrand::f64();
            // A time that cannot be represented never ends.
            let ttl = Duration::try_from_secs_f64(ttl.as_secs_f64() * share).ok()?;
            loaded_at.checked_add(ttl)
        });
        let entry = Entry {
            value: Arc::clone(&fresh.value),
            epoch,
            stale_since: None,
            expires_at,
            moved: shard.moving(),
            loaded_at,
            tags,
            revalidating: false,
            weight: fresh.weight,
        };
        if let Some(at) = expires_at {
            self.dead_after(shard, at);
        }
        if entry.weight > 0 {
            self.weight.fetch_add(entry.weight, AcqRel);
        }
        let replaced = shard.entries.put(key.to_owned(), entry);
        let mut evicted = None;
        if shard.entries.len() > shard.rest.capacity.get()
            && let Some((key, entry)) = shard.entries.pop_lru()
        {
            shard.rest.counts.evictions += 1;
            self.taken_out(shard, &key.sought(), &entry);
            evicted = Some(entry);
        }
        if let Some(entry) = &replaced {
            self.removed(entry);
        }
        [replaced, evicted]
    }

    /// Returns the current moment. Take it before a value is read that is then [inserted](Self::insert).
    pub(crate) fn moment(&self) -> Moment {
        Moment {
            store: self.id,
            at: now(),
            epoch: self.epoch.0.load(Acquire),
            sequence: self.sequence.load(Acquire),
        }
    }

    /// Stores a value that was read after `moment`, unless the key may have been invalidated since.
    ///
    /// Invalidations are tracked by hash, so a collision may refuse a value without need.
    pub(crate) fn insert(
        &self,
        moment: Moment,
        key: &K,
        fresh: impl Into<Fresh<V>>,
        tags: Box<[T]>,
    ) -> bool {
        let fresh = fresh.into();
        let too_heavy = |most| fresh.weight > most;
        if !fresh.stored || self.options.max_weight.is_some_and(too_heavy) {
            return false;
        }
        let key = self.sought(key);
        let mut shard = self.shard(&key).lock();
        // Before the slots are read: an invalidation of a tag writes its slot and then reads the index.
        self.index.add(key.key, &tags);
        let overtaken = |slot: &AtomicU64| slot.load(Acquire) > moment.sequence;
        let refused = moment.store != self.id
            || self.epoch.0.load(Acquire) != moment.epoch
            || overtaken(self.slot(key.hash))
            || tags
                .iter()
                .any(|tag| overtaken(self.slot(self.hasher.hash_one(tag))));
        if refused {
            self.forget(&shard, &key, &tags);
            return false;
        }
        let dropped = self.put(&mut shard, &key, moment.at, moment.epoch, &fresh, tags);
        drop(shard);
        discard(dropped.into_iter().flatten());
        self.trim(&key);
        true
    }
}

/// Ends a flight even by unwinding, so that no caller waits for ever.
struct Ending<'a, V>(&'a Flight<V>);

impl<V> Drop for Ending<'_, V> {
    fn drop(&mut self) {
        self.0.end(Outcome::Abandoned);
    }
}
