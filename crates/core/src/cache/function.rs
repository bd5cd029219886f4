//! The cache of a function.

use std::fmt;

use parking_lot::RwLock;

use super::builder::CacheBuilder;
use super::driver::CacheDriver;
use super::handle::{CacheHandle, CacheKey};
use super::scope::{self, ScopeId};
use super::stats::CacheStats;
use crate::error::{Error, Kind, Result};

/// A cache that is described at compile time and started later, if at all: what `#[cached]` makes of a function.
///
/// Until it is started the function is called as if there were no cache; and again when the herald it was started on has
/// shut down. One herald at a time has the function, or one in each [`CacheScope`](super::CacheScope).
pub struct CachedFn<K, V> {
    describe: fn() -> Result<CacheBuilder<K, V>>,
    /// At most one cache for each scope.
    attached: RwLock<Vec<(ScopeId, CacheHandle<K, V>)>>,
}

impl<K, V> CachedFn<K, V> {
    /// A cache as `describe` tells.
    #[must_use]
    pub const fn new(describe: fn() -> Result<CacheBuilder<K, V>>) -> Self {
        Self {
            describe,
            attached: RwLock::new(Vec::new()),
        }
    }

    /// The cache, if it was started in the scope of this thread.
    #[must_use]
    pub fn handle(&self) -> Option<CacheHandle<K, V>> {
        let scope = scope::current();
        let attached = self.attached.read();
        let found = attached.iter().find(|(owner, _)| *owner == scope);
        found.map(|(_, handle)| handle.clone())
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> CachedFn<K, V> {
    /// Builds the cache. The handle is to be [attached](Self::attach), and the driver to be subscribed and run; a herald's
    /// `cached` does all of this.
    ///
    /// # Errors
    /// If what was described cannot be used.
    pub fn build(&self) -> Result<(CacheHandle<K, V>, CacheDriver<K, V>)> {
        (self.describe)()?.build()
    }

    /// Has the function use this cache from now on, in the scope of this thread.
    ///
    /// # Errors
    /// If the function has a cache in this scope whose driver still exists: the callers of one would read the rows of the
    /// other's database.
    pub fn attach(&self, cache: CacheHandle<K, V>) -> Result<()> {
        let scope = scope::current();
        let mut attached = self.attached.write();
        if attached
            .iter()
            .any(|(owner, handle)| *owner == scope && !handle.is_abandoned())
        {
            return Err(Error::new(
                Kind::Config,
                format!(
                    "the cached function {:?} was started already, and its herald is still running: shut that herald down \
                     first; in tests that run at the same time, begin each with `let _scope = CacheScope::enter();`",
                    cache.name()
                ),
            ));
        }
        // One of this scope is among those that have ended.
        let (mut kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut *attached)
            .into_iter()
            .partition(|(_, handle)| !handle.is_abandoned());
        kept.push((scope, cache));
        *attached = kept;
        drop(attached);
        // Outside of the lock: values of it may use the function when they are dropped.
        drop(gone);
        Ok(())
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
