//! The cache of a function.

use std::fmt;
use std::sync::OnceLock;

use parking_lot::RwLock;

use super::builder::CacheBuilder;
use super::driver::CacheDriver;
use super::handle::{CacheHandle, CacheKey};
use super::stats::CacheStats;
use crate::error::Result;

/// A cache that is described at compile time and started later, if at all: what `#[cached]` makes of a function.
///
/// Until it is started the function is called as if there were no cache; and again when the herald it was started on has
/// shut down.
pub struct CachedFn<K, V> {
    describe: fn() -> Result<CacheBuilder<K, V>>,
    current: OnceLock<RwLock<CacheHandle<K, V>>>,
}

impl<K, V> CachedFn<K, V> {
    /// A cache as `describe` tells.
    #[must_use]
    pub const fn new(describe: fn() -> Result<CacheBuilder<K, V>>) -> Self {
        Self {
            describe,
            current: OnceLock::new(),
        }
    }

    /// The cache, if it was started.
    #[must_use]
    pub fn handle(&self) -> Option<CacheHandle<K, V>> {
        self.current.get().map(|handle| handle.read().clone())
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> CachedFn<K, V> {
    /// Builds the cache. When the driver is subscribed, the handle is to be [attached](Self::attach); a herald's `cached`
    /// does all of this.
    ///
    /// # Errors
    /// If what was described cannot be used.
    pub fn build(&self) -> Result<(CacheHandle<K, V>, CacheDriver<K, V>)> {
        (self.describe)()?.build()
    }

    /// Has the function use a cache from now on, in place of the one before.
    pub fn attach(&self, cache: CacheHandle<K, V>) {
        let current = self.current.get_or_init(|| RwLock::new(cache.clone()));
        let before = std::mem::replace(&mut *current.write(), cache);
        // Outside of the lock: values of it may use the function when they are dropped.
        drop(before);
    }

    /// Invalidates one key; see [`CacheHandle::invalidate`].
    pub fn invalidate(&self, key: &K) -> bool {
        self.handle().is_some_and(|handle| handle.invalidate(key))
    }

    /// Invalidates everything; see [`CacheHandle::invalidate_all`].
    pub fn invalidate_all(&self) {
        if let Some(handle) = self.handle() {
            handle.invalidate_all();
        }
    }

    /// What the current cache has done so far; nothing if there is none.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.handle()
            .map(|handle| handle.stats())
            .unwrap_or_default()
    }
}

impl<K, V> fmt::Debug for CachedFn<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedFn")
            .field("current", &self.handle())
            .finish()
    }
}
