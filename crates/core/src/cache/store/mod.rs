//! The store of a cache's values: bounded and sharded. It never serves a value whose load was overtaken by an
//! invalidation.
//!
//! ```text
//!    key:  (absent) ── begin ──► in flight ── finish ──► stored ── invalidate, evict, expire ──► (absent)
//!                                    │                     │
//!                                    └── invalidate ──►    └── flush: every entry of an older epoch is dead
//!                              overtaken: may not be joined, is not stored
//! ```
//!
//! Owner: shared by all handles of a cache and its driver. Nothing here waits, except for the short locks of one shard.
//!
//! Guarantees:
//! - A load is registered as a flight **before** it begins. An invalidation of its key removes the flight from the
//!   register under the lock of the shard. `finish` stores only the values of registered flights, under the same lock.
//!   So the check and the store are one step.
//! - A flush advances the store's epoch by one atomic addition, whatever the size. Entries and flights carry the epoch
//!   from before their load. If it differs from the current one, an entry is not valid, and a flight is not joined or
//!   stored.
//! - Registers, epoch and counters are separate from the entries, so evicting an entry loses none of them.
//! - The index holds a key under its tags while the key is stored or in flight, from before the load begins. So an
//!   invalidation of a tag finds every key whose load may have read the old row.
//! - Locks: a shard first, then the index or the time of the last flush, never both and never in reverse order. Values
//!   are dropped outside of locks. Of user code, only `Hash`, `Eq`, `Clone` and the destructor of keys run under a
//!   lock.

#[cfg(test)]
mod check;
mod clock;
mod expire;
mod fill;
mod flight;
mod hashed;
mod index;
mod invalidate;
mod read;
mod shard;

use std::hash::{BuildHasher, Hash};
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64 as Counter;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::time::Duration;

use clock::{Clock, Time};
pub(crate) use expire::Walk;
pub(crate) use fill::{Begin, Fresh, Moment, Stored};
pub(crate) use flight::{Flight, FlightId, Outcome};
use hashed::Sought;
use index::Index;
pub(crate) use invalidate::Stale;
pub(crate) use read::{Accept, Found};
use shard::Shard;
pub(crate) use shard::ShardCounts;

use crate::panic::contained;
use crate::sync::{AtomicU64, Mutex, RandomState};

/// With fewer entries per shard, the order of eviction would be too inexact.
const ENTRIES_PER_SHARD: usize = 64;
const MAX_SLOTS: usize = 4_096;

pub(crate) struct Store<K, V, T> {
    /// Distinguishes moments of different stores.
    id: u64,
    options: StoreOptions,
    clock: Clock,
    hasher: RandomState,
    shards: Box<[Locked<K, V, T>]>,
    index: Index<K, T>,
    /// Advanced by each flush: by 1 if values may be served as stale after it, otherwise by 2.
    epoch: Padded<AtomicU64>,
    flushed_at: Mutex<Option<Time>>,
    /// The number of invalidations of keys and tags; `slots` has the last one of each, by hash.
    sequence: AtomicU64,
    slots: Box<[AtomicU64]>,
    /// The total weight of all entries.
    weight: AtomicU64,
    /// No entry is dead before this [`Time`], in nanoseconds.
    due: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreOptions {
    pub(crate) capacity: NonZeroUsize,
    /// The maximum total weight of all entries.
    pub(crate) max_weight: Option<u64>,
    pub(crate) ttl: Option<Duration>,
    /// The share of the time to live by which it is shortened at random.
    pub(crate) jitter: f64,
    /// How long invalidated values may be served while they are reloaded.
    pub(crate) keep_stale: Option<Duration>,
}

type Locked<K, V, T> = Padded<Mutex<Shard<K, V, T>>>;

/// On cache lines of its own: two, because processors fetch neighbours in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<X>(X);

impl<K, V, T> Store<K, V, T>
where
    K: Hash + Eq + Clone,
    T: Hash + Eq + Clone,
{
    pub(crate) fn new(options: StoreOptions) -> Self {
        let capacity = options.capacity.get();
        let count = (capacity / ENTRIES_PER_SHARD).clamp(1, most_shards());
        // Rounded down to a power of two.
        let count = 1 << count.ilog2();
        let hasher = RandomState::default();
        let shard = |number: usize| {
            let room = capacity / count + usize::from(number < capacity % count);
            let room = NonZeroUsize::new(room).unwrap_or(NonZeroUsize::MIN);
            Padded(Mutex::new(Shard::new(room)))
        };
        let slots = capacity.min(MAX_SLOTS).next_power_of_two().max(64);
        // Not from `sync`: only uniqueness matters here.
        static LAST: Counter = Counter::new(0);
        Self {
            id: LAST.fetch_add(1, Relaxed),
            options,
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
        // These bits differ from those by which the tables inside choose their buckets.
        (key.hash >> 32) as usize & (self.shards.len() - 1)
    }

    /// Removes a key from the index if it is neither stored nor in flight.
    fn forget(&self, shard: &Shard<K, V, T>, key: &Sought<'_, K>, tags: &[T]) {
        if !shard.entries.contains(key.probe()) && !shard.rest.flights.contains_key(key.probe()) {
            self.index.remove(key.key, tags);
        }
    }

    fn slot(&self, hash: u64) -> &AtomicU64 {
        &self.slots[hash as usize & (self.slots.len() - 1)]
    }

    fn note(&self, hash: u64) {
        let sequence = self.sequence.fetch_add(1, AcqRel) + 1;
        self.slot(hash).fetch_max(sequence, AcqRel);
    }
}

/// Enough shards for the cores to meet rarely: each hit moves a shard's lock from core to core.
fn most_shards() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    (128 * cores).next_power_of_two().min(512)
}

/// Drops user values one by one. A panic of a destructor does not propagate.
fn discard<X>(dropped: impl IntoIterator<Item = X>) {
    for value in dropped {
        if let Err(message) = contained(|| drop(value)) {
            tracing::error!(message, "the destructor of a cached value panicked");
        }
    }
}
