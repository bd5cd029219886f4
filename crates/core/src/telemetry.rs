//! The names under which pgherald measures, in one place: they are a contract with dashboards.
//!
//! | name | kind, unit | labels | meaning |
//! |---|---|---|---|
//! | [`CACHE_READS`] | counter, reads | `cache`, `result` = `hit`, `miss`, `stale_not_live`, `stale_revalidating` | looks into a cache |
//! | [`CACHE_JOINED`] | counter, reads | `cache` | reads that waited for another one's load |
//! | [`CACHE_LOADS`] | counter, loads | `cache`, `result` = `loaded`, `error`, `cancelled`, `panicked` | loads |
//! | [`CACHE_LOADS_OVERTAKEN`] | counter, loads | `cache` | loads not stored because they were invalidated meanwhile |
//! | [`CACHE_LOAD_SECONDS`] | counter, seconds | `cache` | time spent in loads |
//! | [`CACHE_BYPASSES`] | counter, reads | `cache`, `reason` = `not_live`, `not_driven` | reads that went past a cache |
//! | [`CACHE_INVALIDATIONS`] | counter, keys | `cache`, `cause` = `event`, `by_hand` | values and loads invalidated by key |
//! | [`CACHE_FLUSHES`] | counter, flushes | `cache`, `cause` = `event`, `strategy`, `resync`, `mismatch`, `panic`, `by_hand` | how often everything was invalidated |
//! | [`CACHE_EVICTIONS`] | counter, values | `cache` | values that went for want of room |
//! | [`CACHE_EXPIRATIONS`] | counter, values | `cache` | values found too old |
//! | [`CACHE_ENTRIES`] | gauge, values | `cache` | values in memory |
//! | [`CACHE_CAPACITY`] | gauge, values | `cache` | how many there may be |
//!
//! The label `cache` is the cache's name, and is added by whoever collects: see
//! [`CacheStats::measurements`](crate::cache::CacheStats::measurements).

use crate::cache::CacheStats;

/// Looks into a cache.
pub const CACHE_READS: &str = "pgherald_cache_reads_total";
/// Reads that waited for another one's load.
pub const CACHE_JOINED: &str = "pgherald_cache_joined_total";
/// Loads.
pub const CACHE_LOADS: &str = "pgherald_cache_loads_total";
/// Loads that were not stored because they were invalidated meanwhile.
pub const CACHE_LOADS_OVERTAKEN: &str = "pgherald_cache_loads_overtaken_total";
/// Time spent in loads.
pub const CACHE_LOAD_SECONDS: &str = "pgherald_cache_load_seconds_total";
/// Reads that went past a cache.
pub const CACHE_BYPASSES: &str = "pgherald_cache_bypasses_total";
/// Values and loads invalidated by key.
pub const CACHE_INVALIDATIONS: &str = "pgherald_cache_invalidations_total";
/// How often everything was invalidated.
pub const CACHE_FLUSHES: &str = "pgherald_cache_flushes_total";
/// Values that went for want of room.
pub const CACHE_EVICTIONS: &str = "pgherald_cache_evictions_total";
/// Values found too old.
pub const CACHE_EXPIRATIONS: &str = "pgherald_cache_expirations_total";
/// Values in memory.
pub const CACHE_ENTRIES: &str = "pgherald_cache_entries";
/// How many values there may be.
pub const CACHE_CAPACITY: &str = "pgherald_cache_capacity";

/// One value of one name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// One of the names of this module.
    pub name: &'static str,
    /// A further label and its value, where the name has one.
    pub label: Option<(&'static str, &'static str)>,
    /// In the unit of the name.
    pub value: f64,
}

pub(crate) fn cache(stats: &CacheStats) -> Vec<Measurement> {
    let plain = |name, value: u64| measurement(name, None, value);
    let labelled = |name, label, value, count: u64| measurement(name, Some((label, value)), count);
    vec![
        labelled(CACHE_READS, "result", "hit", stats.hits),
        labelled(CACHE_READS, "result", "miss", stats.misses),
        labelled(
            CACHE_READS,
            "result",
            "stale_not_live",
            stats.stale_not_live,
        ),
        labelled(
            CACHE_READS,
            "result",
            "stale_revalidating",
            stats.stale_revalidating,
        ),
        plain(CACHE_JOINED, stats.joined),
        labelled(CACHE_LOADS, "result", "loaded", stats.loads),
        labelled(CACHE_LOADS, "result", "error", stats.load_errors),
        labelled(CACHE_LOADS, "result", "cancelled", stats.loads_cancelled),
        labelled(CACHE_LOADS, "result", "panicked", stats.loads_panicked),
        plain(CACHE_LOADS_OVERTAKEN, stats.loads_overtaken),
        Measurement {
            name: CACHE_LOAD_SECONDS,
            label: None,
            value: stats.load_time.as_secs_f64(),
        },
        labelled(
            CACHE_BYPASSES,
            "reason",
            "not_live",
            stats.bypassed_not_live,
        ),
        labelled(
            CACHE_BYPASSES,
            "reason",
            "not_driven",
            stats.bypassed_not_driven,
        ),
        labelled(
            CACHE_INVALIDATIONS,
            "cause",
            "event",
            stats.invalidated_by_event,
        ),
        labelled(
            CACHE_INVALIDATIONS,
            "cause",
            "by_hand",
            stats.invalidated_by_hand,
        ),
        labelled(CACHE_FLUSHES, "cause", "event", stats.flushed_by_event),
        labelled(
            CACHE_FLUSHES,
            "cause",
            "strategy",
            stats.flushed_by_strategy,
        ),
        labelled(CACHE_FLUSHES, "cause", "resync", stats.flushed_by_resync),
        labelled(
            CACHE_FLUSHES,
            "cause",
            "mismatch",
            stats.flushed_by_mismatch,
        ),
        labelled(CACHE_FLUSHES, "cause", "panic", stats.flushed_by_panic),
        labelled(CACHE_FLUSHES, "cause", "by_hand", stats.flushed_by_hand),
        plain(CACHE_EVICTIONS, stats.evictions),
        plain(CACHE_EXPIRATIONS, stats.expirations),
        plain(CACHE_ENTRIES, stats.entries),
        plain(CACHE_CAPACITY, stats.capacity),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "what metrics are made of")]
fn measurement(
    name: &'static str,
    label: Option<(&'static str, &'static str)>,
    count: u64,
) -> Measurement {
    Measurement {
        name,
        label,
        value: count as f64,
    }
}
