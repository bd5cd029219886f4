//! Invariants that hold whenever no operation is in progress.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

use super::Store;

impl<K, V, T> Store<K, V, T>
where
    K: Hash + Eq + Clone + Debug,
    T: Hash + Eq + Clone + Debug,
{
    /// Fails unless every shard keeps its capacity, and the index has exactly the keys that are stored or in flight.
    pub(crate) fn assert_consistent(&self) {
        let mut pairs = HashSet::new();
        for shard in &self.shards {
            let shard = shard.0.lock();
            assert!(shard.entries.len() <= shard.rest.capacity.get());
            let stored = shard.entries.iter().map(|(key, entry)| (key, &entry.tags));
            let in_flight = shard
                .rest
                .flights
                .iter()
                .map(|(key, (_, tags))| (key, tags));
            for (key, tags) in stored.chain(in_flight) {
                let key = key.sought().key;
                for tag in tags {
                    let indexed = self.index.contains(key, tag);
                    assert!(indexed, "{key:?} is not in the index under {tag:?}");
                    pairs.insert((key.clone(), tag.clone()));
                }
            }
        }
        assert_eq!(
            self.index.len(),
            pairs.len(),
            "more in the index than {pairs:?}"
        );
    }

    /// The number of values held, dead ones included.
    pub(crate) fn len(&self) -> usize {
        let len = |shard: &super::Locked<K, V, T>| shard.0.lock().entries.len();
        self.shards.iter().map(len).sum()
    }

    /// The capacity of the set of keys with this tag.
    pub(crate) fn indexed_capacity(&self, tag: &T) -> usize {
        self.index.capacity(tag)
    }

    /// The number of registered loads.
    pub(crate) fn in_flight(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.0.lock().rest.flights.len())
            .sum()
    }

    /// The capacity of each shard.
    pub(crate) fn capacities(&self) -> Vec<usize> {
        let capacity = |shard: &super::Locked<K, V, T>| shard.0.lock().rest.capacity.get();
        self.shards.iter().map(capacity).collect()
    }

    /// The number of the shard of a key.
    pub(crate) fn shard_of(&self, key: &K) -> usize {
        let shard = self.shard(&self.sought(key));
        let is_it = |other: &super::Locked<K, V, T>| std::ptr::eq(&raw const other.0, shard);
        self.shards.iter().position(is_it).unwrap()
    }
}
