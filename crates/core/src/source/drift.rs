//! Compares two checks of triggers and tables.

use crate::signal::{Resync, ResyncReason, Signal};
use crate::trigger::Check;

/// Returns the signals to emit when a check is `now` and the previous one was `before`.
pub(super) fn compare(before: &Check, now: &Check) -> Vec<Signal> {
    if before == now {
        return Vec::new();
    }
    // Report repairs and alterations even while other drift lasts, and name the new drift.
    let mut signals: Vec<Signal> = restored(before, now).into_iter().collect();
    match (before.lost_changes(), now.lost_changes()) {
        (Some(_), None) => signals.push(Signal::Live),
        (_, Some(error)) => signals.push(Signal::Down(error)),
        (None, None) => {}
    }
    signals
}

/// Returns the resync for changes that may have gone unannounced between the two checks.
pub(super) fn restored(before: &Check, now: &Check) -> Option<Signal> {
    if before.drifts != now.drifts {
        log_harmless_drift(now);
    }
    let repaired = before
        .losing()
        .any(|drift| !now.losing().any(|other| other == drift));
    let restored = repaired || now.has_other_triggers(before);
    let reasons = [
        restored.then_some(ResyncReason::TriggersRestored),
        has_altered(before, now).then_some(ResyncReason::TableAltered),
    ];
    let resyncs = reasons.into_iter().flatten().map(Resync::new);
    let resync = resyncs.reduce(|mut resync, other| {
        resync.absorb(other);
        resync
    });
    resync.map(Signal::Resync)
}

/// Returns whether DDL may have changed rows between the two checks, and logs it.
fn has_altered(before: &Check, now: &Check) -> bool {
    /// The number of tables that the log line names.
    const NAMED: usize = 5;
    let altered: Vec<_> = now.altered(before).map(ToString::to_string).collect();
    if altered.is_empty() {
        return false;
    }
    let tables = altered[..altered.len().min(NAMED)].join(", ");
    tracing::info!(%tables, count = altered.len(), "tables were altered, which no trigger announces: resync");
    true
}

pub(super) fn log_harmless_drift(check: &Check) {
    for drift in check.drifts.iter().filter(|drift| !drift.loses_changes()) {
        tracing::warn!(table = %drift.table, %drift, "triggers are not as specified");
    }
}
