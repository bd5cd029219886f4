//! The cache of a `#[cached]` function.

use std::fmt;

use parking_lot::RwLock;

use super::builder::CacheBuilder;
use super::driver::CacheDriver;
use super::handle::CacheHandle;
use super::key::CacheKey;
use super::scope::{self, ScopeId};
use super::stats::CacheStats;
use crate::error::{Error, ErrorKind, Result};

/// A cache that is declared at compile time and started later, if at all: `#[cached]` makes it from a function.
///
/// Before it is started, and after its herald has shut down, the function runs without a cache. A function belongs to
/// one herald at a time, or to one in each [`CacheScope`](crate::CacheScope).
pub struct CachedFn<K, V> {
    describe: fn() -> Result<CacheBuilder<K, V>>,
    /// At most one cache for each scope.
    attached: RwLock<Vec<(ScopeId, CacheHandle<K, V>)>>,
}

impl<K, V> CachedFn<K, V> {
    /// Creates a cache that `describe` builds when it is started.
    #[must_use]
    pub const fn new(describe: fn() -> Result<CacheBuilder<K, V>>) -> Self {
        Self {
            describe,
            attached: RwLock::new(Vec::new()),
        }
    }

    /// Returns the cache, if it was started in the scope of this thread.
    #[must_use]
    pub fn handle(&self) -> Option<CacheHandle<K, V>> {
        let scope = scope::current();
        let attached = self.attached.read();
        let found = attached.iter().find(|(owner, _)| *owner == scope);
        found.map(|(_, handle)| handle.clone())
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> CachedFn<K, V> {
    /// Builds the cache. [Attach](Self::attach) the handle, subscribe the driver, and run it. A herald's `cached` does
    /// all of this.
    /// `cached` does all of this.
    ///
    /// # Errors
    /// If the builder that `describe` returns is invalid.
    pub fn build(&self) -> Result<(CacheHandle<K, V>, CacheDriver<K, V>)> {
        (self.describe)()?.build()
    }

    /// Makes the function use this cache from now on, in the scope of this thread.
    ///
    /// # Errors
    /// If the function has a cache in this scope whose driver still exists. Otherwise callers of one herald would read
    /// rows of the other's database.
    pub fn attach(&self, cache: CacheHandle<K, V>) -> Result<()> {
        let scope = scope::current();
        let mut attached = self.attached.write();
        if attached
            .iter()
            .any(|(owner, handle)| *owner == scope && !handle.is_abandoned())
        {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "the cached function {:?} was started already, and its herald is still running: shut that herald down \
                     first; in tests that run at the same time, begin each with `let _scope = CacheScope::enter();`",
                    cache.name()
                ),
            ));
        }
        // An earlier cache of this scope is among the ended ones.
        let (mut kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut *attached)
            .into_iter()
            .partition(|(_, handle)| !handle.is_abandoned());
        kept.push((scope, cache));
        *attached = kept;
        drop(attached);
        // Outside of the lock: dropping its values may call the function.
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

    /// Returns the counts of the current cache; zero if there is none.
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
