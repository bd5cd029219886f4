//! Reports the counts of caches at intervals, because a hit has no time to report itself.

use metrics::Counter;

use super::names::{
    CACHE_BYPASSES, CACHE_BYTES, CACHE_CAPACITY, CACHE_CAPACITY_BYTES, CACHE_ENTRIES,
    CACHE_ERRORS_SERVED, CACHE_EVICTIONS, CACHE_EXPIRATIONS, CACHE_FLUSHES, CACHE_FREED,
    CACHE_INVALIDATIONS, CACHE_JOINED, CACHE_LOADS, CACHE_LOADS_OVERTAKEN, CACHE_LOADS_TIMED_OUT,
    CACHE_READS,
};
use super::record::{Level, counter};
use crate::cache::CacheStats;

type Count = (
    &'static str,
    Option<(&'static str, &'static str)>,
    fn(&CacheStats) -> u64,
);

const COUNTS: [Count; 26] = [
    (CACHE_READS, Some(("result", "hit")), |s| s.hits),
    (CACHE_READS, Some(("result", "miss")), |s| s.misses),
    (CACHE_READS, Some(("result", "stale_not_live")), |s| {
        s.stale_not_live
    }),
    (CACHE_READS, Some(("result", "stale_revalidating")), |s| {
        s.stale_revalidating
    }),
    (CACHE_JOINED, None, |s| s.joined),
    (CACHE_ERRORS_SERVED, None, |s| s.errors_served),
    (CACHE_LOADS, Some(("result", "loaded")), |s| s.loads),
    (CACHE_LOADS, Some(("result", "error")), |s| s.load_errors),
    (CACHE_LOADS, Some(("result", "cancelled")), |s| {
        s.loads_cancelled
    }),
    (CACHE_LOADS, Some(("result", "panicked")), |s| {
        s.loads_panicked
    }),
    (CACHE_LOADS_TIMED_OUT, None, |s| s.loads_timed_out),
    (CACHE_LOADS_OVERTAKEN, None, |s| s.loads_overtaken),
    (CACHE_BYPASSES, Some(("reason", "not_live")), |s| {
        s.bypassed_not_live
    }),
    (CACHE_BYPASSES, Some(("reason", "not_driven")), |s| {
        s.bypassed_not_driven
    }),
    (CACHE_BYPASSES, Some(("reason", "unmatched_key")), |s| {
        s.bypassed_unmatched_key
    }),
    (CACHE_INVALIDATIONS, Some(("cause", "event")), |s| {
        s.invalidated_by_event
    }),
    (CACHE_INVALIDATIONS, Some(("cause", "by_hand")), |s| {
        s.invalidated_by_hand
    }),
    (CACHE_FLUSHES, Some(("cause", "event")), |s| {
        s.flushed_by_event
    }),
    (CACHE_FLUSHES, Some(("cause", "strategy")), |s| {
        s.flushed_by_strategy
    }),
    (CACHE_FLUSHES, Some(("cause", "resync")), |s| {
        s.flushed_by_resync
    }),
    (CACHE_FLUSHES, Some(("cause", "mismatch")), |s| {
        s.flushed_by_mismatch
    }),
    (CACHE_FLUSHES, Some(("cause", "panic")), |s| {
        s.flushed_by_panic
    }),
    (CACHE_FLUSHES, Some(("cause", "by_hand")), |s| {
        s.flushed_by_hand
    }),
    (CACHE_EVICTIONS, None, |s| s.evictions),
    (CACHE_EXPIRATIONS, None, |s| s.expirations),
    (CACHE_FREED, None, |s| s.freed),
];

type Size = (&'static str, fn(&CacheStats) -> u64);

const SIZES: [Size; 4] = [
    (CACHE_ENTRIES, |s| s.entries),
    (CACHE_CAPACITY, |s| s.capacity),
    (CACHE_BYTES, |s| s.bytes),
    (CACHE_CAPACITY_BYTES, |s| s.capacity_bytes),
];

/// The metrics of a cache, with the counts that were last reported.
#[derive(Debug)]
pub(crate) struct CacheMetrics {
    counts: [(Counter, u64); COUNTS.len()],
    sizes: [Level; SIZES.len()],
}

impl CacheMetrics {
    pub(crate) fn new(cache: &str) -> Self {
        let named = ("cache", cache);
        let count = |(name, label, _): Count| {
            let labels = [Some(named), label];
            let labels: Vec<_> = labels.into_iter().flatten().collect();
            (counter(name, &labels), 0)
        };
        Self {
            counts: COUNTS.map(count),
            sizes: SIZES.map(|(name, _)| Level::new(name, &[named])),
        }
    }

    /// Reports what was counted since the last call.
    pub(crate) fn record(&mut self, stats: &CacheStats) {
        for ((counter, reported), (.., read)) in self.counts.iter_mut().zip(COUNTS) {
            let now = read(stats);
            counter.increment(now.saturating_sub(*reported));
            *reported = now;
        }
        for (level, (_, read)) in self.sizes.iter_mut().zip(SIZES) {
            level.set(usize::try_from(read(stats)).unwrap_or(usize::MAX));
        }
    }
}
