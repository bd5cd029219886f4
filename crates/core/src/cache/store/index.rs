//! An index from tags to keys.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};

use crate::sync::{Mutex, RandomState};

const SHARDS: usize = 16;
/// A set with room for more than this many times its keys is shrunk.
const SPARSE: usize = 16;

/// Maps a tag (a row of a table) to the keys that are stored or in flight.
///
/// Lock order: after a shard of the store, or alone; never before one.
#[derive(Debug)]
pub(super) struct Index<K, T> {
    hasher: RandomState,
    shards: Box<[Keys<K, T>]>,
}

type Keys<K, T> = Mutex<HashMap<T, HashSet<K, RandomState>, RandomState>>;

impl<K: Hash + Eq + Clone, T: Hash + Eq + Clone> Index<K, T> {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            shards: (0..SHARDS)
                .map(|_| Mutex::new(HashMap::default()))
                .collect(),
        }
    }

    pub(super) fn add(&self, key: &K, tags: &[T]) {
        for tag in tags {
            let mut shard = self.shard(tag).lock();
            if let Some(keys) = shard.get_mut(tag) {
                keys.insert(key.clone());
            } else {
                shard.entry(tag.clone()).or_default().insert(key.clone());
            }
        }
    }

    pub(super) fn remove(&self, key: &K, tags: &[T]) {
        for tag in tags {
            let mut shard = self.shard(tag).lock();
            if let Some(keys) = shard.get_mut(tag) {
                keys.remove(key);
                if keys.is_empty() {
                    shard.remove(tag);
                } else if keys.len() < keys.capacity() / SPARSE {
                    // Iterating over a set takes as long as its capacity.
                    keys.shrink_to(keys.len() * 2);
                }
            }
        }
    }

    pub(super) fn keys(&self, tag: &T) -> Vec<K> {
        let shard = self.shard(tag).lock();
        shard
            .get(tag)
            .map(|keys| keys.iter().cloned().collect())
            .unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self, tag: &T) -> usize {
        self.shard(tag).lock().get(tag).map_or(0, HashSet::capacity)
    }

    #[cfg(test)]
    pub(super) fn contains(&self, key: &K, tag: &T) -> bool {
        let shard = self.shard(tag).lock();
        shard.get(tag).is_some_and(|keys| keys.contains(key))
    }

    /// The number of pairs of a tag and a key. A tag without keys counts as one.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let len = |keys: &HashSet<K, RandomState>| keys.len().max(1);
        let sum = |shard: &Keys<K, T>| shard.lock().values().map(len).sum::<usize>();
        self.shards.iter().map(sum).sum()
    }

    fn shard(&self, tag: &T) -> &Keys<K, T> {
        &self.shards[self.hasher.hash_one(tag) as usize % SHARDS]
    }
}
