//! The names of all metrics and spans.

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only increases.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A metric that pgherald records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// The name as it is recorded. Exporters may add suffixes, such as Prometheus with `_bucket`, `_sum` and `_count` of a
    /// histogram.
    pub name: &'static str,
    /// The kind of the metric.
    pub kind: MetricKind,
    /// What is counted, `seconds`, or `bytes`.
    pub unit: &'static str,
    /// The labels of the metric. Their values are names that the program gave, or words of a fixed set, but never keys of rows.
    pub labels: &'static [&'static str],
    /// The description.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($name:ident = $text:literal, $kind:ident, $unit:literal, [$($label:literal),*], $help:literal $(, $more:literal)*;)*) => {
        $(
            #[doc = concat!($help, ".", "\n\n", stringify!($kind), "; unit: ", $unit, "; labels:" $(, " `", $label, "`")*, ".")]
            $(#[doc = $more])*
            pub const $name: &str = $text;
        )*

        /// All metrics.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: MetricKind::$kind,
            unit: $unit,
            labels: &[$($label),*],
            help: $help,
        }),*];
    };
}

metrics! {
    LISTENERS = "pgherald_listeners", Gauge, "listeners", [],
        "Listeners that are running";
    LISTENERS_LIVE = "pgherald_listeners_live", Gauge, "listeners", [],
        "Listeners that are live: if fewer than all, changes are currently missed";
    LISTENER_EVENTS = "pgherald_listener_events_total", Counter, "events", [],
        "Events that listeners received";
    LISTENER_BATCHES = "pgherald_listener_batches_total", Counter, "batches", [],
        "Batches of events that listeners received";
    LISTENER_LATE_EVENTS = "pgherald_listener_late_events_total", Counter, "events", [],
        "Events that took longer than the threshold of the latency warning";
    LISTENER_RESYNCS = "pgherald_listener_resyncs_total", Counter, "resyncs", ["reason"],
        "Resyncs that sources emitted: events before them may be missing",
        "`reason` is a [label](crate::ResyncReason::label).";
    LISTENER_CONNECTIONS = "pgherald_listener_connections_total", Counter, "connections", [],
        "How often a listener became live";
    LISTENER_DISCONNECTS = "pgherald_listener_disconnects_total", Counter, "disconnects", [],
        "How often a listener stopped being live";
    LISTENER_FAILED_ATTEMPTS = "pgherald_listener_failed_attempts_total", Counter, "attempts", [],
        "Attempts to become live that failed";
    EVENT_LATENCY_SECONDS = "pgherald_event_latency_seconds", Histogram, "seconds", [],
        "Time from the statement that made a change to its arrival at the listener";

    SUBSCRIPTION_EVENTS = "pgherald_subscription_events_total", Counter, "events", ["subscription", "result"],
        "Events that subscriptions delivered or coalesced",
        "`result` is `delivered`, or `coalesced` if a later event of the same row replaced the event.";
    SUBSCRIPTION_QUEUED_EVENTS = "pgherald_subscription_queued_events", Gauge, "events", ["subscription"],
        "Events waiting in the queues of subscriptions";
    EVENTS_DROPPED = "pgherald_events_dropped_total", Counter, "events", ["subscriber", "reason", "intentional"],
        "Events that were received but not handled",
        "`subscriber` is the subscription or handler; `reason` is `overflow`, `subscriber_failed`, `subscriber_gone`,
`drain_deadline`, or, for events that an ephemeral handler gave up, `error`, `timeout` or `panic`; `intentional` is `true` if
the program requested it by a shutdown with a deadline.";

    HANDLER_ATTEMPTS = "pgherald_handler_attempts_total", Counter, "attempts", ["handler", "result"],
        "Attempts of handlers, counted per event of a batch",
        "`handler` is the name of an ephemeral handler, or the group of a durable one; `result` is `done`, `error`, `timeout`,
`panic`, `snoozed`, `fenced` (rolled back, because the slice has another consumer) or `in_doubt` (the connection was lost).";
    HANDLER_ATTEMPT_SECONDS = "pgherald_handler_attempt_seconds", Histogram, "seconds", ["handler"],
        "Duration of attempts; a batch counts as one attempt";
    HANDLER_DELAY_SECONDS = "pgherald_handler_delay_seconds", Histogram, "seconds", ["handler"],
        "Time from the statement that made a change to the end of its handling, including retries";
    HANDLER_UNFINISHED_EVENTS = "pgherald_handler_unfinished_events", Gauge, "events", ["handler"],
        "Events that handlers have taken in and not finished";
    HANDLER_DEAD_LETTERS = "pgherald_handler_dead_letters_total", Counter, "events", ["handler"],
        "Events that durable handlers gave up and kept as dead letters";

    CONSUMERS = "pgherald_consumers", Gauge, "consumers", ["group"],
        "Consumers of this process that are running";
    CONSUMERS_LIVE = "pgherald_consumers_live", Gauge, "consumers", ["group"],
        "Consumers of this process that are live: the others currently handle no events";
    GROUP_SLICES = "pgherald_group_slices", Gauge, "slices", ["group"],
        "Slices owned by consumers of this process";
    GROUP_PARKED_ROWS = "pgherald_group_parked_rows", Gauge, "rows", ["group"],
        "Rows of tables in these slices with an event that waits for another attempt";
    GROUP_HELD_UP_SLICES = "pgherald_group_held_up_slices", Gauge, "slices", ["group"],
        "Slices whose progress the database refuses to store";
    GROUP_LAG_EVENTS = "pgherald_group_lag_events", Gauge, "events", ["group"],
        "Events of the outbox that a group has not read",
        "Covers all consumers of the group, as do the following metrics up to `GROUP_STATUS_TIMESTAMP_SECONDS`. Recorded by
[`GroupStatus::record`](crate::group::GroupStatus::record).";
    GROUP_LAG_SECONDS = "pgherald_group_lag_seconds", Gauge, "seconds", ["group"],
        "The age of the oldest event that a group has not read";
    GROUP_NODES = "pgherald_group_nodes", Gauge, "nodes", ["group"],
        "Nodes of a group whose lease is valid";
    GROUP_PARKED_EVENTS = "pgherald_group_parked_events", Gauge, "events", ["group"],
        "Events of a group that wait for another attempt";
    GROUP_FAILING_EVENTS = "pgherald_group_failing_events", Gauge, "events", ["group"],
        "Parked events of a group with a failed attempt: their effects have not happened";
    GROUP_FAILING_SECONDS = "pgherald_group_failing_seconds", Gauge, "seconds", ["group"],
        "How long the oldest failing event has been parked";
    GROUP_DEAD_LETTERS = "pgherald_group_dead_letters", Gauge, "events", ["group"],
        "Dead letters of a group";
    GROUP_STATUS_TIMESTAMP_SECONDS = "pgherald_group_status_timestamp_seconds", Gauge, "seconds", [],
        "When the status of a group was last recorded, in seconds since 1970",
        "If it does not advance, the metrics of groups are outdated.";

    OUTBOX_BYTES = "pgherald_outbox_bytes", Gauge, "bytes", [],
        "The size of the outbox with its indexes",
        "Recorded by [`OutboxStatus::record`](crate::outbox::OutboxStatus::record), as are the two following metrics.";
    OUTBOX_MAX_BYTES = "pgherald_outbox_max_bytes", Gauge, "bytes", [],
        "The size beyond which rows are removed although groups have not read them";
    OUTBOX_OLDEST_SECONDS = "pgherald_outbox_oldest_seconds", Gauge, "seconds", [],
        "The age of the oldest row of the outbox";

    CACHE_READS = "pgherald_cache_reads_total", Counter, "reads", ["cache", "result"],
        "Reads of caches",
        "`result` is `hit`, `miss`, `stale_not_live` or `stale_revalidating`.";
    CACHE_JOINED = "pgherald_cache_joined_total", Counter, "reads", ["cache"],
        "Reads that waited for the load of another read";
    CACHE_ERRORS_SERVED = "pgherald_cache_errors_served_total", Counter, "reads", ["cache"],
        "Reads that were given the error of an earlier load",
        "Only of caches that keep errors. These reads are among the misses.";
    CACHE_LOADS = "pgherald_cache_loads_total", Counter, "loads", ["cache", "result"],
        "Loads of caches",
        "`result` is `loaded`, `error`, `cancelled` or `panicked`.";
    CACHE_LOADS_TIMED_OUT = "pgherald_cache_loads_timed_out_total", Counter, "keys", ["cache"],
        "Keys whose load ended at the time limit",
        "A load that ended by itself is a load with the result `error` too. A caller that waited ends a load that is not polled.";
    CACHE_LOADS_OVERTAKEN = "pgherald_cache_loads_overtaken_total", Counter, "loads", ["cache"],
        "Loads that were not stored because they were invalidated while running";
    CACHE_LOAD_SECONDS = "pgherald_cache_load_seconds", Histogram, "seconds", ["cache"],
        "Duration of loads that returned a value or an error";
    CACHE_BYPASSES = "pgherald_cache_bypasses_total", Counter, "reads", ["cache", "reason"],
        "Reads that bypassed the cache",
        "`reason` is `not_live`, `not_driven` or `unmatched_key`.";
    CACHE_INVALIDATIONS = "pgherald_cache_invalidations_total", Counter, "keys", ["cache", "cause"],
        "Values and loads that were invalidated by key",
        "`cause` is `event` or `by_hand`.";
    CACHE_FLUSHES = "pgherald_cache_flushes_total", Counter, "flushes", ["cache", "cause"],
        "How often all values of a cache were invalidated",
        "`cause` is `event`, `strategy`, `resync`, `mismatch`, `panic` or `by_hand`.";
    CACHE_EVICTIONS = "pgherald_cache_evictions_total", Counter, "values", ["cache"],
        "Values that were evicted to make room";
    CACHE_EXPIRATIONS = "pgherald_cache_expirations_total", Counter, "values", ["cache"],
        "Values whose time to live has expired";
    CACHE_FREED = "pgherald_cache_freed_total", Counter, "values", ["cache"],
        "Values that were freed in the background because they could not be served any more";
    CACHE_ENTRIES = "pgherald_cache_entries", Gauge, "values", ["cache"],
        "Values in memory";
    CACHE_CAPACITY = "pgherald_cache_capacity", Gauge, "values", ["cache"],
        "The largest number of values";
    CACHE_BYTES = "pgherald_cache_bytes", Gauge, "bytes", ["cache"],
        "What the values weigh together, by the weigher of the cache";
    CACHE_CAPACITY_BYTES = "pgherald_cache_capacity_bytes", Gauge, "bytes", ["cache"],
        "What the values may weigh together; 0 if there is no limit";
}

/// The span around each attempt of a handler, at level INFO.
///
/// Fields: `handler`; `event_id`, the event's number in the outbox if it was recorded there (for a batch, that of the first
/// event); `table`; `operation`; `attempt`, counted from 1; `committed_at`, the time of the statement that made the change;
/// `events`, the number of events in a batch.
pub const SPAN_ATTEMPT: &str = "pgherald.attempt";

/// The span around each load of a cache, at level DEBUG. Fields: `cache`; `keys`, the number of keys to load.
pub const SPAN_LOAD: &str = "pgherald.load";

/// All spans.
pub const SPANS: &[&str] = &[SPAN_ATTEMPT, SPAN_LOAD];
