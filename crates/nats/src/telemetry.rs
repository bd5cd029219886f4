//! The names of the metrics of relays. They are a contract with dashboards and alerts. All have the label `group`. The metrics of
//! the group's consumers are recorded as well.

use metrics::Unit;

/// Batches that relays of this process sent.
///
/// Counter; unit: batches; labels: `group`, `result`. `result` is `stored`; `fenced` (refused, because another relay has stored
/// events of the slice); `refused` (not stored for another reason: the relay sends the batch again); or `unknown` (not
/// acknowledged: the relay reads from the stream whether it is stored).
pub const RELAY_BATCHES: &str = "pgherald_relay_batches_total";
/// Events that relays of this process stored.
///
/// Counter; unit: events; labels: `group`.
pub const RELAY_EVENTS: &str = "pgherald_relay_events_total";
/// Resyncs that relays of this process sent: changes may be missing in the stream.
///
/// Counter; unit: resyncs; labels: `group`, `reason`. `reason` is a label of a
/// [`ResyncReason`](pgherald_core::ResyncReason::label), such as `restored` (the database was restored to an earlier state) or
/// `undecodable`; `destination_lost` (the stream has lost messages); `other_group` (another group has stored the messages of the
/// slice); or `too_large` (an event exceeds the server's limit even without its columns).
pub const RELAY_RESYNCS: &str = "pgherald_relay_resyncs_total";
/// Events that relays of this process sent without columns, because they were too large for the server.
///
/// Counter; unit: events; labels: `group`.
pub const RELAY_TRUNCATED_EVENTS: &str = "pgherald_relay_truncated_events_total";
/// The greatest lag of the slices of a relay: all older changes are stored. Slices with an unknown lag do not count. While the
/// relay is not live, the lag grows.
///
/// Gauge; unit: seconds; labels: `group`.
pub const RELAY_LAG_SECONDS: &str = "pgherald_relay_lag_seconds";
/// The share of the stream's limits of messages and bytes that is in use, as of the last
/// [`StreamStatus::record`](crate::StreamStatus::record).
///
/// Gauge; unit: a share from 0 to 1; labels: `group`, `discard`. `discard` is `new` if a full stream refuses events, and the relay
/// waits; or `old` if it deletes the oldest messages.
pub const RELAY_STREAM_USAGE: &str = "pgherald_relay_stream_usage_ratio";

/// Registers the description of each metric with the recorder. Call it once, after the recorder was installed.
pub fn describe() {
    let counters = [
        (RELAY_BATCHES, "Batches that relays sent, by result"),
        (RELAY_EVENTS, "Events that relays stored"),
        (
            RELAY_RESYNCS,
            "Resyncs that relays sent: changes may be missing in the stream",
        ),
        (
            RELAY_TRUNCATED_EVENTS,
            "Events that relays sent without columns, because they were too large",
        ),
    ];
    for (name, help) in counters {
        metrics::describe_counter!(name, Unit::Count, help);
    }
    let help = "The greatest lag of the slices: all older changes are stored";
    metrics::describe_gauge!(RELAY_LAG_SECONDS, Unit::Seconds, help);
    let help = "The share of the stream's limits that is in use";
    metrics::describe_gauge!(RELAY_STREAM_USAGE, Unit::Count, help);
}
