//! The caches of the process.

use std::fmt;
use std::sync::Arc;

use pgherald_core::cache::CacheKey;
use pgherald_core::{CacheHandle, CacheStats};
use serde::Serialize;

/// A cache of any type.
#[derive(Clone)]
pub(super) struct Observed(Arc<dyn Fn() -> Cache + Send + Sync>);

/// The state of a cache.
#[derive(Debug, Serialize)]
pub(super) struct Cache {
    pub(super) name: String,
    pub(super) is_live: bool,
    /// Why it was closed for good, if it was.
    pub(super) refused: Option<String>,
    hit_ratio: Option<f64>,
    hits: u64,
    misses: u64,
    /// Reads that went to the database because the cache could not answer.
    bypassed: u64,
    /// Values that events about rows, and calls, have invalidated.
    invalidated: u64,
    /// How often all values were invalidated.
    flushes: u64,
    loads: u64,
    load_errors: u64,
    evictions: u64,
    entries: u64,
    capacity: u64,
}

impl Observed {
    pub(super) fn new<K: CacheKey, V: Send + Sync + 'static>(cache: CacheHandle<K, V>) -> Self {
        Self(Arc::new(move || {
            let refused = cache.refused().map(|error| error.chain());
            Cache::new(cache.name(), cache.is_live(), refused, &cache.stats())
        }))
    }

    pub(super) fn read(&self) -> Cache {
        (self.0)()
    }
}

impl Cache {
    fn new(name: &str, is_live: bool, refused: Option<String>, stats: &CacheStats) -> Self {
        Self {
            name: name.to_owned(),
            is_live,
            refused,
            hit_ratio: stats.hit_ratio(),
            hits: stats.hits + stats.stale_not_live + stats.stale_revalidating,
            misses: stats.misses,
            bypassed: stats.bypassed_not_live
                + stats.bypassed_not_driven
                + stats.bypassed_unmatched_key,
            invalidated: stats.invalidated_by_event + stats.invalidated_by_hand,
            flushes: stats.flushed_by_event
                + stats.flushed_by_strategy
                + stats.flushed_by_resync
                + stats.flushed_by_mismatch
                + stats.flushed_by_panic
                + stats.flushed_by_hand,
            loads: stats.loads,
            load_errors: stats.load_errors,
            evictions: stats.evictions,
            entries: stats.entries,
            capacity: stats.capacity,
        }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observed").field(&self.read().name).finish()
    }
}
