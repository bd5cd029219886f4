//! One part of the store: what one lock protects.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::time::Instant;

use lru::LruCache;

use super::flight::Flight;
use crate::sync::{Arc, RandomState, now};

/// A value and what is known of it.
#[derive(Debug)]
pub(super) struct Entry<V, T> {
    pub(super) value: Arc<V>,
    /// The store's epoch before the load began; another one now means that it was flushed.
    pub(super) epoch: u64,
    pub(super) expires_at: Option<Instant>,
    /// Invalidated, and kept only until there is something better.
    pub(super) stale_since: Option<Instant>,
    pub(super) loaded_at: Instant,
    /// When it last went to the front, on the clock of its shard.
    pub(super) moved: u64,
    /// Somebody was asked to load it anew.
    pub(super) revalidating: bool,
    /// The rows it depends on, as far as the index is needed to find them.
    pub(super) tags: Box<[T]>,
}

impl<V, T> Entry<V, T> {
    #[inline]
    pub(super) fn is_valid(&self, epoch: u64) -> bool {
        self.epoch == epoch
            && self.stale_since.is_none()
            && self.expires_at.is_none_or(|at| now() < at)
    }
}

/// A flight, and the tags of its key.
pub(super) type Registered<V, T> = (Arc<Flight<V>>, Box<[T]>);

pub(super) struct Shard<K, V, T> {
    pub(super) entries: LruCache<K, Entry<V, T>, RandomState>,
    /// The loads that may be joined and whose result may be stored; a load that was overtaken by an
    /// invalidation is not here any more.
    pub(super) flights: HashMap<K, Registered<V, T>, RandomState>,
    pub(super) capacity: NonZeroUsize,
    pub(super) counts: ShardCounts,
    /// How often an entry went to the front.
    moves: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardCounts {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) evictions: u64,
    pub(crate) expirations: u64,
    /// Served although invalidated.
    pub(crate) stale_hits: u64,
    /// Served while nobody would have invalidated.
    pub(crate) blind_hits: u64,
}

impl<K: Hash + Eq, V, T> Shard<K, V, T> {
    pub(super) fn new(capacity: NonZeroUsize, hasher: RandomState) -> Self {
        Self {
            // The bound is kept by hand: with one, `lru` would take the memory for it at once.
            entries: LruCache::unbounded_with_hasher(hasher.clone()),
            flights: HashMap::with_hasher(hasher),
            capacity,
            counts: ShardCounts::default(),
            moves: 0,
        }
    }

    /// An entry goes to the front now: what it is to remember as [`moved`](Entry::moved).
    pub(super) fn moving(&mut self) -> u64 {
        self.moves += 1;
        self.moves
    }

    /// An entry that was last moved then is used: it goes to the front, unless it certainly is in the front quarter of
    /// the room. There, it is long until its place matters, and most reads stay mere reads.
    #[inline]
    pub(super) fn used(&mut self, key: &K, moved: u64) {
        // Only what moved since can stand before it.
        if self.moves - moved >= self.capacity.get() as u64 / 4 {
            self.bring_to_front(key);
        }
    }

    #[inline(never)]
    fn bring_to_front(&mut self, key: &K) {
        let moved = self.moving();
        if let Some(entry) = self.entries.get_mut(key) {
            entry.moved = moved;
        }
    }
}
