//! One shard of the store, which one lock protects.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroUsize;

use lru::LruCache;

use super::clock::{Clock, Time};
use super::flight::Flight;
use super::hashed::{AsHashed, Hashed, Sought};
use crate::sync::Arc;

/// A value with its state. The fields that a hit reads come first.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Entry<V, T> {
    pub(super) value: Arc<V>,
    /// The store's epoch before the load began. If it differs from the current one, the entry was flushed.
    pub(super) epoch: u64,
    /// When it was invalidated. It is then kept only until it is replaced or dead.
    pub(super) stale_since: Option<Time>,
    pub(super) expires_at: Option<Time>,
    /// When it last moved to the front, on the clock of its shard.
    pub(super) moved: u64,
    pub(super) loaded_at: Time,
    /// The rows that the key depends on and that only the index maps back to the key.
    pub(super) tags: Box<[T]>,
    /// A reload has been requested.
    pub(super) revalidating: bool,
    /// The entry's weight, for the capacity in bytes.
    pub(super) weight: u64,
}

impl<V, T> Entry<V, T> {
    #[inline]
    pub(super) fn is_valid(&self, epoch: u64, clock: &Clock) -> bool {
        self.epoch == epoch
            && self.stale_since.is_none()
            && self.expires_at.is_none_or(|at| clock.now() < at)
    }

    /// Records that the entry was invalidated at this time, unless it was before.
    pub(super) fn invalidate(&mut self, at: Time) {
        self.stale_since.get_or_insert(at);
        self.revalidating = false;
    }
}

/// A flight, and the tags of its key.
pub(super) type Registered<V, T> = (Arc<Flight<V>>, Box<[T]>);

pub(super) struct Shard<K, V, T> {
    pub(super) entries: LruCache<Hashed<K>, Entry<V, T>, AsHashed>,
    pub(super) hits: u64,
    /// How often an entry moved to the front.
    moves: u64,
    /// After this many moves, an entry may be in the rear half.
    half: u64,
    /// Boxed: the fields that a hit touches stay together, because they move between cores as a whole.
    pub(super) rest: Box<ShardRest<K, V, T>>,
}

/// The fields that hits do not touch.
pub(super) struct ShardRest<K, V, T> {
    /// The loads that may be joined and whose result may be stored. An invalidation removes the loads that it
    /// overtakes.
    pub(super) flights: HashMap<Hashed<K>, Registered<V, T>, AsHashed>,
    pub(super) capacity: NonZeroUsize,
    /// All counts except hits.
    pub(super) counts: ShardCounts,
    /// No entry is dead before this, unless there was a flush since `due_epoch`. None if no entry has such a time.
    pub(super) due: Option<Time>,
    pub(super) due_epoch: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardCounts {
    /// Counted by each shard.
    pub(crate) hits: u64,
    /// Held by the shards now, dead ones included.
    pub(crate) entries: u64,
    pub(crate) misses: u64,
    pub(crate) evictions: u64,
    pub(crate) expirations: u64,
    /// Dropped in the background, dead and unread.
    pub(crate) freed: u64,
    /// Served although invalidated.
    pub(crate) stale_hits: u64,
    /// Served while the source was not live, so that nothing invalidated entries.
    pub(crate) blind_hits: u64,
}

impl<K: Eq, V, T> Shard<K, V, T> {
    pub(super) fn new(capacity: NonZeroUsize) -> Self {
        Self {
            // The bound is enforced here. With one, `lru` would allocate memory for it at once.
            entries: LruCache::unbounded_with_hasher(AsHashed::default()),
            hits: 0,
            moves: 0,
            half: capacity.get() as u64 / 2,
            rest: Box::new(ShardRest {
                flights: HashMap::default(),
                capacity,
                counts: ShardCounts::default(),
                due: None,
                due_epoch: 0,
            }),
        }
    }

    /// An entry is dead from `at` on. Returns whether no other was dead before.
    pub(super) fn due(&mut self, at: Time) -> bool {
        let is_first = self.rest.due.is_none_or(|due| at < due);
        if is_first {
            self.rest.due = Some(at);
        }
        is_first
    }

    /// Counts a move of an entry to the front. Returns the new value of [`moved`](Entry::moved).
    pub(super) fn moving(&mut self) -> u64 {
        self.moves += 1;
        self.moves
    }

    /// Moves a used entry to the front, unless it certainly is in the front half. It is then far
    /// from eviction, and most hits only read the entry.
    #[inline]
    pub(super) fn used<Q>(&mut self, key: &Sought<'_, Q>, moved: u64)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // Only entries that moved since can be in front of it.
        if self.moves - moved >= self.half {
            self.bring_to_front(key);
        }
    }

    #[inline(never)]
    fn bring_to_front<Q>(&mut self, key: &Sought<'_, Q>)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let moved = self.moving();
        if let Some(entry) = self.entries.get_mut(key.probe()) {
            entry.moved = moved;
        }
    }
}
