//! Counts of a cache.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::observer::{BypassReason, FlushCause, InvalidationCause};
use super::store::ShardCounts;

/// Counts since the cache was built.
///
/// `hits + stale_not_live + stale_revalidating + misses` is the number of lookups. Of the misses, some loaded, some
/// joined another caller's load, some got a kept error, and some, by [`get`](crate::CacheHandle::get), did none of
/// these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Valid values served from memory.
    pub hits: u64,
    /// Lookups that found no value to serve.
    pub misses: u64,
    /// Values served while the source was not live ([`WhenNotLive::ServeStale`](crate::WhenNotLive)).
    pub stale_not_live: u64,
    /// Invalidated values served while they were reloaded ([`Refresh`](crate::Refresh)).
    pub stale_revalidating: u64,
    /// Reads that waited for another caller's load.
    pub joined: u64,
    /// Loads that ended without an error. A batch counts as one.
    pub loads: u64,
    /// Loads that ended with an error.
    pub load_errors: u64,
    /// Reads that got the kept error of an earlier load; see [`errors_for`](crate::CacheBuilder::errors_for). They are
    /// among the misses.
    pub errors_served: u64,
    /// Keys whose load ended at the [`load_timeout`](crate::CacheBuilder::load_timeout). The load ended itself, which
    /// counts as an error too, or a waiting caller ended it, because the load's own caller did not poll it.
    pub loads_timed_out: u64,
    /// Keys whose load was dropped by its caller.
    pub loads_cancelled: u64,
    /// Keys whose load panicked.
    pub loads_panicked: u64,
    /// Values that were loaded but not stored, because they were invalidated during the load.
    pub loads_overtaken: u64,
    /// The total duration of all loads, including those that failed.
    pub load_time: Duration,
    /// Reads that bypassed the cache because the source was not live.
    pub bypassed_not_live: u64,
    /// Reads that bypassed the cache because no driver applied events to it: it was not started, or was stopped.
    pub bypassed_not_driven: u64,
    /// Reads that bypassed the cache because of their key: it is not equal to itself, or no event can name it; see
    /// [`row_of`](crate::CacheBuilder::row_of).
    pub bypassed_unmatched_key: u64,
    /// Values and loads invalidated by events about rows.
    pub invalidated_by_event: u64,
    /// Values and loads invalidated by [`invalidate`](crate::CacheHandle::invalidate).
    pub invalidated_by_hand: u64,
    /// Flushes because an event concerned a whole table.
    pub flushed_by_event: u64,
    /// Flushes that the strategy requested.
    pub flushed_by_strategy: u64,
    /// Flushes because events were missing.
    pub flushed_by_resync: u64,
    /// Flushes because an event's row key did not fit the cache's dependencies.
    pub flushed_by_mismatch: u64,
    /// Flushes because user code panicked while events were applied.
    pub flushed_by_panic: u64,
    /// Flushes by [`invalidate_all`](crate::CacheHandle::invalidate_all), or by a [`WriteToken`](crate::WriteToken)
    /// that could not determine whether its commit had been applied.
    pub flushed_by_hand: u64,
    /// Values that were evicted to make room.
    pub evictions: u64,
    /// Values found to be older than their time to live.
    pub expirations: u64,
    /// Values that could not be served any more and were freed in the background: invalidated, expired or stale for too
    /// long. The expired ones count as expirations too.
    pub freed: u64,
    /// Values in memory now. Dead ones among them are freed within seconds.
    pub entries: u64,
    /// Errors that are kept now, apart from the values. Dead ones among them are freed within seconds.
    pub errors: u64,
    /// The maximum number of values.
    pub capacity: u64,
    /// The total weight of the values in memory, by the cache's [`weigher`](crate::CacheBuilder::weigher).
    pub bytes: u64,
    /// The maximum total weight; 0 if there is no limit.
    pub capacity_bytes: u64,
}

impl CacheStats {
    /// Returns the share of lookups that were served from memory, stale values included: 0.0 to 1.0. `None` before the first
    /// lookup.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share needs no more precision"
    )]
    pub fn hit_ratio(&self) -> Option<f64> {
        let served = self.hits + self.stale_not_live + self.stale_revalidating;
        match served + self.misses {
            0 => None,
            lookups => Some(served as f64 / lookups as f64),
        }
    }
}

/// One line: the hit ratio and the counts that matter first.
impl fmt::Display for CacheStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hit_ratio() {
            // Rounded down, so that only a cache without misses shows 100%.
            Some(ratio) => write!(f, "{:.1}% hits", (ratio * 1000.0).floor() / 10.0)?,
            None => f.write_str("no lookups")?,
        }
        let bypassed =
            self.bypassed_not_live + self.bypassed_not_driven + self.bypassed_unmatched_key;
        let flushed = self.flushed_by_event
            + self.flushed_by_strategy
            + self.flushed_by_resync
            + self.flushed_by_mismatch
            + self.flushed_by_panic
            + self.flushed_by_hand;
        write!(
            f,
            ", {} of {} values, {} loads, {} failed, {bypassed} bypassed, {} invalidated, {flushed} flushes, {} evicted, {} expired",
            self.entries,
            self.capacity,
            self.loads,
            self.load_errors,
            self.invalidated_by_event + self.invalidated_by_hand,
            self.evictions,
            self.expirations,
        )
    }
}

/// The counts that the store does not keep.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) joined: AtomicU64,
    pub(super) loads: AtomicU64,
    pub(super) load_errors: AtomicU64,
    pub(super) loads_timed_out: AtomicU64,
    pub(super) loads_cancelled: AtomicU64,
    pub(super) loads_panicked: AtomicU64,
    pub(super) loads_overtaken: AtomicU64,
    pub(super) load_nanos: AtomicU64,
    bypassed: [AtomicU64; BypassReason::COUNT],
    invalidated: [AtomicU64; InvalidationCause::COUNT],
    flushed: [AtomicU64; FlushCause::COUNT],
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Counters {
    pub(super) fn took(&self, elapsed: Duration) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.load_nanos.fetch_add(nanos, Relaxed);
    }

    pub(super) fn bypassed(&self, reason: BypassReason) {
        count(&self.bypassed[reason as usize]);
    }

    pub(super) fn invalidated(&self, cause: InvalidationCause, keys: u64) {
        self.invalidated[cause as usize].fetch_add(keys, Relaxed);
    }

    pub(super) fn flushed(&self, cause: FlushCause) {
        count(&self.flushed[cause as usize]);
    }

    /// Returns all counts except those of errors, capacity and weight.
    pub(super) fn stats(&self, store: ShardCounts) -> CacheStats {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let flushed = |cause: FlushCause| read(&self.flushed[cause as usize]);
        CacheStats {
            hits: store.hits,
            misses: store.misses,
            stale_not_live: store.blind_hits,
            stale_revalidating: store.stale_hits,
            joined: read(&self.joined),
            loads: read(&self.loads),
            load_errors: read(&self.load_errors),
            loads_timed_out: read(&self.loads_timed_out),
            loads_cancelled: read(&self.loads_cancelled),
            loads_panicked: read(&self.loads_panicked),
            loads_overtaken: read(&self.loads_overtaken),
            load_time: Duration::from_nanos(read(&self.load_nanos)),
            bypassed_not_live: read(&self.bypassed[BypassReason::NotLive as usize]),
            bypassed_not_driven: read(&self.bypassed[BypassReason::NotDriven as usize]),
            bypassed_unmatched_key: read(&self.bypassed[BypassReason::UnmatchedKey as usize]),
            invalidated_by_event: read(&self.invalidated[InvalidationCause::Event as usize]),
            invalidated_by_hand: read(&self.invalidated[InvalidationCause::ByHand as usize]),
            flushed_by_event: flushed(FlushCause::Event),
            flushed_by_strategy: flushed(FlushCause::Strategy),
            flushed_by_resync: flushed(FlushCause::Resync),
            flushed_by_mismatch: flushed(FlushCause::Mismatch),
            flushed_by_panic: flushed(FlushCause::Panic),
            flushed_by_hand: flushed(FlushCause::ByHand),
            evictions: store.evictions,
            expirations: store.expirations,
            freed: store.freed,
            entries: store.entries,
            ..CacheStats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CacheStats;

    #[test]
    fn the_hit_ratio_counts_stale_values_and_is_none_before_the_first_lookup() {
        let mut stats = CacheStats::default();
        assert_eq!(stats.hit_ratio(), None);
        assert!(stats.to_string().starts_with("no lookups, 0 of 0 values"));
        (stats.hits, stats.stale_not_live, stats.misses) = (1_997, 2, 1);
        assert_eq!(stats.hit_ratio(), Some(0.9995));
        let line = stats.to_string();
        assert!(line.starts_with("99.9% hits, "), "{line}");
        assert!(!line.contains('\n'));
    }
}
