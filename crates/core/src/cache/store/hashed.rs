//! Keys that are hashed once, whatever is asked about them.
//!
//! A key is hashed to find its shard. The tables of the shard are then told the hash: they keep it with the key, and
//! take it along with what they are asked.

use std::borrow::Borrow;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A key that is kept, with its hash.
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

/// A key that is looked for, with its hash.
#[derive(Debug)]
pub(super) struct Sought<'a, K: ?Sized> {
    pub(super) hash: u64,
    pub(super) key: &'a K,
}

impl<K: ?Sized> Sought<'_, K> {
    /// In the form in which tables with [`Hashed`] keys want it.
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

/// What a key that is kept and one that is looked for, perhaps in its borrowed form, have in common. Both types are known wherever they meet, so
/// that nothing of this is left in the program.
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

/// For tables with [`Hashed`] keys: takes the hash as it is.
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
