//! Keys that are hashed only once.
//!
//! A key is hashed to find its shard. The tables of the shard then use that hash: they store it with the key, and
//! lookups pass it along.

use std::borrow::Borrow;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A stored key with its hash.
#[derive(Clone, Debug)]
pub(super) struct Hashed<K> {
    hash: u64,
    key: K,
}

impl<K> Hashed<K> {
    pub(super) fn sought(&self) -> Sought<'_, K> {
        Sought {
            hash: self.hash,
            key: &self.key,
        }
    }
}

/// A key to look up, with its hash.
#[derive(Debug)]
pub(super) struct Sought<'a, K: ?Sized> {
    pub(super) hash: u64,
    pub(super) key: &'a K,
}

impl<K: ?Sized> Sought<'_, K> {
    /// Returns the form in which tables with [`Hashed`] keys are queried.
    #[inline]
    pub(super) fn probe(&self) -> &(dyn AnyHashed<K> + '_) {
        self
    }
}

impl<K: Clone> Sought<'_, K> {
    pub(super) fn to_owned(&self) -> Hashed<K> {
        Hashed {
            hash: self.hash,
            key: self.key.clone(),
        }
    }
}

/// The interface of a stored key and of a key to look up, which may be in its borrowed form. The concrete types are
/// known at each use, so the compiler removes the dynamic dispatch.
pub(super) trait AnyHashed<K: ?Sized> {
    fn hash(&self) -> u64;
    fn key(&self) -> &K;
}

impl<K: Borrow<Q>, Q: ?Sized> AnyHashed<Q> for Hashed<K> {
    #[inline]
    fn hash(&self) -> u64 {
        self.hash
    }

    #[inline]
    fn key(&self) -> &Q {
        self.key.borrow()
    }
}

impl<K: ?Sized> AnyHashed<K> for Sought<'_, K> {
    #[inline]
    fn hash(&self) -> u64 {
        self.hash
    }

    #[inline]
    fn key(&self) -> &K {
        self.key
    }
}

impl<'a, K: Borrow<Q> + 'a, Q: ?Sized + 'a> Borrow<dyn AnyHashed<Q> + 'a> for Hashed<K> {
    #[inline]
    fn borrow(&self) -> &(dyn AnyHashed<Q> + 'a) {
        self
    }
}

impl<K: ?Sized> Hash for dyn AnyHashed<K> + '_ {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(AnyHashed::hash(self));
    }
}

impl<K: Eq + ?Sized> PartialEq for dyn AnyHashed<K> + '_ {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<K: Eq + ?Sized> Eq for dyn AnyHashed<K> + '_ {}

impl<K> Hash for Hashed<K> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<K: Eq> PartialEq for Hashed<K> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<K: Eq> Eq for Hashed<K> {}

/// A hasher for tables with [`Hashed`] keys: it uses the hash as it is.
pub(super) type AsHashed = BuildHasherDefault<Given>;

#[derive(Debug, Default)]
pub(super) struct Given(u64);

impl Hasher for Given {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a hash is given as a whole");
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
