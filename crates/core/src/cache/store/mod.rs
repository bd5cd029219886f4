//! The values themselves: bounded, sharded, and never served when a load was overtaken by an invalidation.
//!
//! ```text
//!    key:  (absent) ── begin ──► in flight ── finish ──► stored ── invalidate, evict, expire ──► (absent)
//!                                    │                     │
//!                                    └── invalidate ──►    └── flush: every entry of an older epoch is dead
//!                              overtaken: may not be joined, is not stored
//! ```
//!
//! Owner: shared by all handles of a cache and its driver. Nothing in here waits, but for the short locks of one
//! shard.
//!
//! Guarantees:
//! - A load is registered as a flight **before** it begins. An invalidation of its key takes the flight out of the
//!   register under the lock of the shard; `finish` stores only what is still registered, under the same lock.
//!   So there is no moment between "is it still valid?" and "store it".
//! - A flush advances the store's epoch, which is one atomic addition whatever the size. Entries and flights
//!   carry the epoch from before their load; with another one now, they are not served, joined or stored.
//! - Registers, epoch and counters live outside the entries, so evicting one forgets nothing that matters.
//! - The index holds a key under its tags for as long as the key is stored or in flight, and it does so before
//!   the load begins: who invalidates a tag finds every key whose load can have read what was there before.
//! - Locks: a shard, then the index or the time of the last flush; each of them alone; never the other way round. Values are dropped outside.
//!   Of a user's code only `Hash`, `Eq`, `Clone` and the destructor of keys runs under a lock.

#[cfg(test)]
mod check;
mod clock;
mod expire;
mod flight;
mod hashed;
mod index;
mod shard;

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64 as Counter;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::{Duration, Instant};

use clock::{Clock, Time};
pub(crate) use flight::{Flight, FlightId, Outcome};
use hashed::Sought;
use index::Index;
pub(crate) use shard::ShardCounts;
use shard::{Entry, Shard};

use crate::panic::contained;
use crate::sync::{Arc, AtomicU64, Mutex, RandomState, now};

/// Below this, a further shard would make the order of eviction too rough.
const ENTRIES_PER_SHARD: usize = 64;
const MOST_SLOTS: usize = 4_096;

pub(crate) struct Store<K, V, T> {
    /// Tells moments of other stores apart.
    id: u64,
    terms: StoreTerms,
    clock: Clock,
    hasher: RandomState,
    shards: Box<[Locked<K, V, T>]>,
    index: Index<K, T>,
    /// How often everything was invalidated.
    epoch: Padded<AtomicU64>,
    flushed_at: Mutex<Option<Time>>,
    /// How often a key or tag was invalidated; and for each, by hash, when last.
    sequence: AtomicU64,
    slots: Box<[AtomicU64]>,
    /// What all entries weigh.
    weight: AtomicU64,
    /// No entry is dead before this [`Time`], in nanoseconds.
    due: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreTerms {
    pub(crate) capacity: NonZeroUsize,
    /// What all entries may weigh together.
    pub(crate) max_weight: Option<u64>,
    pub(crate) ttl: Option<Duration>,
    /// The share of the time to live by which it is shortened at random.
    pub(crate) jitter: f64,
    /// For how long what was invalidated may be served while it is loaded anew.
    pub(crate) keep_stale: Option<Duration>,
}

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
    fn takes<V, T>(self, entry: &Entry<V, T>, epoch: u64, clock: &Clock) -> bool {
        entry.is_valid(epoch, clock)
            && match self {
                Self::Valid => true,
                Self::Blind { .. } => self.takes_of(entry.loaded_at, clock),
            }
    }

    /// Whether a reader is content with the age of what was loaded from then on.
    fn takes_of(self, began: Time, clock: &Clock) -> bool {
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

#[derive(Debug)]
pub(crate) enum Begin<V> {
    /// Somebody was quicker.
    Found(Arc<V>),
    /// A load is under way that began late enough.
    Join(Arc<Flight<V>>),
    /// The caller is to load, and to end the flight in any case.
    Lead(Arc<Flight<V>>),
}

/// What became of a value that was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Yes,
    /// And another one had to go.
    Evicting,
    /// Not stored: the key was invalidated while it was loaded.
    Overtaken,
    /// Not stored: the loader declined that, or it weighs more than all entries may.
    Declined,
}

/// A value that was loaded.
#[derive(Clone, Debug)]
pub(crate) struct Fresh<V> {
    pub(crate) value: Arc<V>,
    pub(crate) weight: u64,
    /// Its own time to live, in place of that of all.
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

/// What becomes of values that are invalidated, where the store may serve them a while longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stale {
    Keep,
    Drop,
}

/// A moment before a value was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    store: u64,
    at: Instant,
    epoch: u64,
    sequence: u64,
}

type Locked<K, V, T> = Padded<Mutex<Shard<K, V, T>>>;

/// A cache line of its own, or two: neighbours are fetched in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<X>(X);

impl<K, V, T> Store<K, V, T>
where
    K: Hash + Eq + Clone,
    T: Hash + Eq + Clone,
{
    pub(crate) fn new(terms: StoreTerms) -> Self {
        let capacity = terms.capacity.get();
        let count = (capacity / ENTRIES_PER_SHARD).clamp(1, most_shards());
        // Rounded down to a power of two.
        let count = 1 << count.ilog2();
        let hasher = RandomState::default();
        let shard = |number: usize| {
            let room = capacity / count + usize::from(number < capacity % count);
            let room = NonZeroUsize::new(room).unwrap_or(NonZeroUsize::MIN);
            Padded(Mutex::new(Shard::new(room)))
        };
        let slots = capacity.min(MOST_SLOTS).next_power_of_two().max(64);
        // Not of `sync`: uniqueness is all that matters here.
        static LAST: Counter = Counter::new(0);
        Self {
            id: LAST.fetch_add(1, Relaxed),
            terms,
            clock: Clock::new(),
            shards: (0..count).map(shard).collect(),
            hasher,
            index: Index::new(),
            epoch: Padded(AtomicU64::new(0)),
            flushed_at: Mutex::new(None),
            sequence: AtomicU64::new(0),
            slots: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            weight: AtomicU64::new(0),
            due: AtomicU64::new(u64::MAX),
        }
    }

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

    /// Registers a load of `key`, unless there is no need for one.
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
            // One that ended in a panic of the key's code may still stand here.
            && !flight.has_ended()
            && accept.takes_of(self.clock.time(flight.began), &self.clock)
        {
            return Begin::Join(Arc::clone(flight));
        }
        let flight = Arc::new(Flight::new(epoch, now()));
        self.index.add(key.key, &tags);
        // One of an older epoch that stood here may go on, but is nobody's business any more.
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
                .terms
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

    /// Nothing came of a flight.
    fn give_up(&self, shard: &mut Shard<K, V, T>, key: &Sought<'_, K>, landed: Option<Box<[T]>>) {
        if let Some(tags) = landed {
            self.forget(shard, key, &tags);
        }
        if let Some(entry) = shard.entries.peek_mut(key.probe()) {
            // Whoever is served the stale value next is to see to it again.
            entry.revalidating = false;
        }
    }

    /// Takes a flight out of the register, if it was not overtaken.
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

    /// Takes a key out of the index if it is neither stored nor in flight.
    fn forget(&self, shard: &Shard<K, V, T>, key: &Sought<'_, K>, tags: &[T]) {
        if !shard.entries.contains(key.probe()) && !shard.rest.flights.contains_key(key.probe()) {
            self.index.remove(key.key, tags);
        }
    }

    /// Stores a value. What had to go is to be dropped outside of the lock.
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
            let ttl = self.terms.ttl?;
            let share = 1.0 - self.terms.jitter * fastrand::f64();
            // A time too long to be represented is for ever.
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

    /// The moment before something is read that is to be [inserted](Self::insert).
    pub(crate) fn moment(&self) -> Moment {
        Moment {
            store: self.id,
            at: now(),
            epoch: self.epoch.0.load(Acquire),
            sequence: self.sequence.load(Acquire),
        }
    }

    /// Stores what was read after `moment`, unless it may have been invalidated since.
    ///
    /// May refuse without need: invalidations are remembered by hash.
    pub(crate) fn insert(
        &self,
        moment: Moment,
        key: &K,
        fresh: impl Into<Fresh<V>>,
        tags: Box<[T]>,
    ) -> bool {
        let fresh = fresh.into();
        let too_heavy = |most| fresh.weight > most;
        if !fresh.stored || self.terms.max_weight.is_some_and(too_heavy) {
            return false;
        }
        let key = self.sought(key);
        let mut shard = self.shard(&key).lock();
        // Before looking at the slots: who invalidates a tag writes its slot and then reads the index.
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
            entry.is_valid(epoch, &self.clock) || self.terms.keep_stale.is_some()
        };
        let flight = shard.rest.flights.remove_entry(key.probe());
        let mut found = flight.is_some();
        let mut entry = None;
        let mut kept = false;
        if stale == Stale::Keep && self.terms.keep_stale.is_some() {
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

    /// Invalidates every key with this tag. Returns those for which there was a value or a load.
    pub(crate) fn invalidate_tag(&self, tag: &T) -> Vec<K> {
        // In this order: see `insert`.
        self.note(self.hasher.hash_one(tag));
        let mut keys = self.index.keys(tag);
        keys.retain(|key| self.invalidate(key, Stale::Keep));
        keys
    }

    /// Invalidates everything. What is dead stays in memory until it is replaced, read, or [expired](Self::expire).
    ///
    /// Where the store may serve stale values a while longer, they are stale since `since`; without it, they are not
    /// served at all.
    pub(crate) fn flush(&self, since: Option<Instant>) {
        // What is two epochs old is never served.
        let epochs = match since {
            Some(_) => 1,
            None => 2,
        };
        // Both under the lock: who looks at both finds what belongs together.
        let mut flushed_at = self.flushed_at.lock();
        *flushed_at = since.map(|since| self.clock.time(since));
        self.epoch.0.fetch_add(epochs, AcqRel);
        // Under the lock as well: expiring, which takes it, finds the new epoch if it finds this.
        self.due(Time::ORIGIN);
    }

    /// The epoch, and when the last flush began it.
    fn last_flush(&self) -> (u64, Option<Time>) {
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

    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn counts(&self) -> ShardCounts {
        let mut sum = ShardCounts::default();
        for shard in &self.shards {
            let shard = shard.0.lock();
            let counts = shard.rest.counts;
            sum.hits += shard.hits;
            sum.entries += shard.entries.len() as u64;
            sum.misses += counts.misses;
            sum.evictions += counts.evictions;
            sum.expirations += counts.expirations;
            sum.freed += counts.freed;
            sum.stale_hits += counts.stale_hits;
            sum.blind_hits += counts.blind_hits;
        }
        sum
    }

    #[inline]
    fn sought<'a, Q: Hash + ?Sized>(&self, key: &'a Q) -> Sought<'a, Q> {
        let hash = self.hasher.hash_one(key);
        Sought { hash, key }
    }

    #[inline]
    fn shard<Q: ?Sized>(&self, key: &Sought<'_, Q>) -> &Mutex<Shard<K, V, T>> {
        &self.shards[self.shard_number(key)].0
    }

    #[inline]
    fn shard_number<Q: ?Sized>(&self, key: &Sought<'_, Q>) -> usize {
        // Not the bits by which the tables inside choose their buckets.
        (key.hash >> 32) as usize & (self.shards.len() - 1)
    }

    fn slot(&self, hash: u64) -> &AtomicU64 {
        &self.slots[hash as usize & (self.slots.len() - 1)]
    }

    fn note(&self, hash: u64) {
        let sequence = self.sequence.fetch_add(1, AcqRel) + 1;
        self.slot(hash).fetch_max(sequence, AcqRel);
    }
}

/// Enough for the cores not to meet often: each hit takes a shard's lock along from core to core.
fn most_shards() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    (128 * cores).next_power_of_two().min(512)
}

/// Ends a flight, if only by unwinding: no way out leaves anybody waiting.
struct Ending<'a, V>(&'a Flight<V>);

impl<V> Drop for Ending<'_, V> {
    fn drop(&mut self) {
        self.0.end(Outcome::Abandoned);
    }
}

/// Drops what a user made, one by one: a destructor that panics goes no further.
fn discard<X>(dropped: impl IntoIterator<Item = X>) {
    for value in dropped {
        if let Err(message) = contained(|| drop(value)) {
            tracing::error!(message, "the destructor of a cached value panicked");
        }
    }
}
