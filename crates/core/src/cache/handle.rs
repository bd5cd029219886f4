//! The handle, which reads a cache from any thread without a mailbox.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use super::inner::{Admission, Inner};
use super::key::CacheKey;
use super::loaded::Loaded;
use super::observer::{FlushCause, InvalidationCause};
use super::stats::CacheStats;
use super::store::{Moment, Stale};
use super::write_token::{self, WriteToken};
use crate::error::{Error, ErrorKind, Result};
use crate::gate::Gate;

/// Reads a cache, and invalidates or inserts values. Clones are cheap and share the cache.
///
/// A hit takes the lock of one shard for one lookup, and awaits nothing.
///
/// When the last handle is dropped, the cache [closes](Self::close). A [cached function](crate::CachedFn) keeps its
/// handle.
///
/// The [module's documentation](super) lists the guarantees.
pub struct CacheHandle<K, V> {
    pub(super) inner: Arc<Inner<K, V>>,
    /// Separate from `inner`, which the driver and loads share: only handles count as readers.
    readers: Arc<Readers>,
}

/// Shared by all handles of a cache. Its drop, with the last handle, closes the cache.
struct Readers(Arc<Gate>);

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl<K, V> Clone for CacheHandle<K, V> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            readers: Arc::clone(&self.readers),
        }
    }
}

/// A moment before a value is read that is then [inserted](CacheHandle::insert).
#[derive(Clone, Copy, Debug)]
pub struct Stamp(Moment);

impl<K: CacheKey, V: Send + Sync + 'static> CacheHandle<K, V> {
    /// Creates the first handle.
    pub(super) fn new(inner: Arc<Inner<K, V>>) -> Self {
        let readers = Arc::new(Readers(Arc::clone(&inner.gate)));
        Self { inner, readers }
    }

    /// Returns the value of `key`, if it is in memory and may be served.
    ///
    /// The key may be in a borrowed form, as for a [`HashMap`](std::collections::HashMap): a `&str` where keys are
    /// `String`s.
    ///
    /// ```
    /// # fn look(countries: &pgherald_core::CacheHandle<String, u32>) {
    /// let population = countries.get("NO");
    /// # }
    /// ```
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = &*self.inner;
        if let Some(value) = inner.hit(key) {
            return Some(value);
        }
        match inner.admit() {
            Admission::Read(accept) => inner.look(key, accept),
            Admission::Bypass(reason) => {
                inner.bypassed(reason);
                None
            }
        }
    }

    /// Returns a stamp. Take it before you read a value from the database, then [insert](Self::insert) the value with
    /// it.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp(self.inner.store.moment())
    }

    /// Inserts a value that was read after `stamp` was taken: for example, to fill a cache with one query.
    ///
    /// Returns `false` and inserts nothing if the key may have been invalidated since, or if the cache does not answer
    /// at the moment. Invalidations are tracked by hash, so a collision may refuse a value without need.
    ///
    /// ```
    /// # fn fill(users: &pgherald_core::CacheHandle<i64, String>, all: fn() -> Vec<(i64, String)>) {
    /// let before = users.stamp();
    /// for (id, name) in all() {
    ///     users.insert(&before, id, name);
    /// }
    /// # }
    /// ```
    pub fn insert(&self, stamp: &Stamp, key: K, value: V) -> bool {
        self.insert_with(stamp, key, Loaded::new(value))
    }

    /// As [`insert`](Self::insert), for a value with options of its own.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a key is given as one is stored"
    )]
    pub fn insert_with(&self, stamp: &Stamp, key: K, value: Loaded<V>) -> bool {
        let inner = &*self.inner;
        if !inner.follows(&key) {
            return false;
        }
        let (tags, fresh) = (inner.tags(&key), inner.fresh(&key, value));
        let inserted = inner.gate.is_open() && inner.store.insert(stamp.0, &key, fresh, tags);
        if inserted {
            inner.forget_error(&key);
        }
        inserted
    }

    /// Invalidates one key. Reads that begin from now on reload it, and join no load that began before.
    ///
    /// Returns whether there was a value, or a load of it. With [`Refresh`](crate::Refresh), the old value is not
    /// served either. The key may be in a borrowed form, as for [`get`](Self::get).
    pub fn invalidate<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = &*self.inner;
        let found = inner.store.invalidate(key, Stale::Drop);
        inner.forget_error(key);
        inner.invalidated(InvalidationCause::ByHand, u64::from(found));
        found
    }

    /// Invalidates everything. The cost does not depend on the number of values.
    pub fn invalidate_all(&self) {
        self.inner.flush(FlushCause::ByHand);
    }

    /// Returns the counts of the cache since it was built.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.inner.stats()
    }

    /// Returns the name that the cache was built with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Whether no driver applies events to the cache any more. This is permanent.
    pub(super) fn is_abandoned(&self) -> bool {
        self.inner.gate.is_abandoned()
    }

    /// Returns whether cached values may be served as current: the source is live, and the cache was flushed for the
    /// changes that it may have missed, or has applied them.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.inner.gate.is_open()
    }

    /// Returns why the cache was closed permanently, if an event has shown that its key type does not fit a key column;
    /// see [`CacheBuilder::row_of`](crate::CacheBuilder::row_of). The cache stays closed until the program
    /// starts it again.
    #[must_use]
    pub fn refused(&self) -> Option<&Error> {
        self.inner.refused.get()
    }

    /// Waits until the cache answers, that is, until [`is_live`](Self::is_live).
    ///
    /// Use it at startup: the cache may cease to be live at any time afterwards. There is no time limit. Use
    /// [`tokio::time::timeout`] if the source may stay unavailable.
    ///
    /// ```
    /// # async fn start(users: &pgherald_core::CacheHandle<i64, String>) -> pgherald_core::Result<()> {
    /// users.live().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the cache was closed or [refused](Self::refused), or its driver was dropped: the cache will never answer.
    pub async fn live(&self) -> Result<()> {
        let inner = &*self.inner;
        if inner.gate.opened().await {
            return Ok(());
        }
        if let Some(error) = self.refused() {
            return Err(error.clone());
        }
        let message = format!(
            "cache {:?} was closed, or its driver has stopped",
            inner.name
        );
        Err(Error::new(ErrorKind::ShutDown, message))
    }

    /// Ends the subscription of the cache and frees its values. From now on, reads by all its handles bypass it.
    ///
    /// The values are freed as soon as the driver, or its actor, runs. Values that callers hold stay valid. Dropping
    /// the last handle has the same effect.
    pub fn close(&self) {
        self.inner.gate.abandon();
    }

    /// Returns a token that lets a writer wait until the cache has applied its commit; see [`WriteToken`].
    pub fn write_token(&self) -> WriteToken {
        let inner = &self.inner;
        let cache = Box::new(self.clone());
        WriteToken::new(&inner.marks, inner.channel.clone(), cache)
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> write_token::Cache for CacheHandle<K, V> {
    fn flush(&self) {
        self.inner.flush(FlushCause::ByHand);
    }

    fn is_open(&self) -> bool {
        self.inner.gate.is_open()
    }

    fn is_bypassed(&self) -> bool {
        matches!(self.inner.admit(), Admission::Bypass(_))
    }
}

impl<K, V> fmt::Debug for CacheHandle<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHandle")
            .field("name", &self.inner.name)
            .field("gate", &self.inner.gate)
            .finish_non_exhaustive()
    }
}
