//! One part of the store: what one lock protects.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroUsize;

use lru::LruCache;

use super::clock::{Clock, Time};
use super::flight::Flight;
use super::hashed::{AsHashed, Hashed, Sought};
use crate::sync::Arc;

/// A value, and what is known of it; first what a hit looks at.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Entry<V, T> {
    pub(super) value: Arc<V>,
    /// The store's epoch before the load began; another one now means that it was flushed.
    pub(super) epoch: u64,
    /// Invalidated, and kept only until there is something better.
    pub(super) stale_since: Option<Time>,
    pub(super) expires_at: Option<Time>,
    /// When it last went to the front, on the clock of its shard.
    pub(super) moved: u64,
    pub(super) loaded_at: Time,
    /// The rows it depends on, as far as the index is needed to find them.
    pub(super) tags: Box<[T]>,
    /// Somebody was asked to load it anew.
    pub(super) revalidating: bool,
    /// What it counts towards the capacity in bytes.
    pub(super) weight: u64,
}

impl<V, T> Entry<V, T> {
    #[inline]
    pub(super) fn is_valid(&self, epoch: u64, clock: &Clock) -> bool {
        self.epoch == epoch
            && self.stale_since.is_none()
            && self.expires_at.is_none_or(|at| clock.now() < at)
    }

    /// It was invalidated at this time, if not before.
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
    /// How often an entry went to the front.
    moves: u64,
    /// After so many moves, an entry may be in the rear half.
    half: u64,
    /// Apart from it: what a hit touches is to lie in one place, which travels between cores as a whole.
    pub(super) rest: Box<ShardRest<K, V, T>>,
}

/// What hits have nothing to do with.
pub(super) struct ShardRest<K, V, T> {
    /// The loads that may be joined and whose result may be stored; a load that was overtaken by an
    /// invalidation is not here any more.
    pub(super) flights: HashMap<Hashed<K>, Registered<V, T>, AsHashed>,
    pub(super) capacity: NonZeroUsize,
    /// But for the hits.
    pub(super) counts: ShardCounts,
    /// No entry is dead before this, unless there was a flush since `due_epoch`. None if there is no such time.
    pub(super) due: Option<Time>,
    pub(super) due_epoch: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardCounts {
    /// Counted by the shards themselves.
    pub(crate) hits: u64,
    /// Held by the shards now, dead ones included.
    pub(crate) entries: u64,
    pub(crate) misses: u64,
    pub(crate) evictions: u64,
    pub(crate) expirations: u64,
    /// Dropped in the background: dead, and not read since.
    pub(crate) freed: u64,
    /// Served although invalidated.
    pub(crate) stale_hits: u64,
    /// Served while nobody would have invalidated.
    pub(crate) blind_hits: u64,
}

impl<K: Eq, V, T> Shard<K, V, T> {
    pub(super) fn new(capacity: NonZeroUsize) -> Self {
        Self {
            // The bound is kept by hand: with one, `lru` would take the memory for it at once.
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

    /// An entry is dead from then on. Returns whether none was before.
    pub(super) fn due(&mut self, at: Time) -> bool {
        let is_first = self.rest.due.is_none_or(|due| at < due);
        if is_first {
            self.rest.due = Some(at);
        }
        is_first
    }

    /// An entry goes to the front now: what it is to remember as [`moved`](Entry::moved).
    pub(super) fn moving(&mut self) -> u64 {
        self.moves += 1;
        self.moves
    }

    /// An entry that was last moved then is used: it goes to the front, unless it certainly is in the front half of
    /// the room. There, it is long until its place matters, and most reads stay mere reads.
    #[inline]
    pub(super) fn used<Q>(&mut self, key: &Sought<'_, Q>, moved: u64)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        // Only what moved since can stand before it.
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
