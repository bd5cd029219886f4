//! What becomes of triggers and tables between two looks at them.

use crate::signal::{Resync, ResyncReason, Signal};
use crate::trigger::Check;

/// What there is to say when the triggers are `now` after they were as `before`.
pub(super) fn compare(before: &Check, now: &Check) -> Vec<Signal> {
    if before == now {
        return Vec::new();
    }
    // While some of it lasts, what was mended or altered must still be told; and what is new, named.
    let mut news: Vec<Signal> = restored(before, now).into_iter().collect();
    match (before.deafness(), now.deafness()) {
        (Some(_), None) => news.push(Signal::Live),
        (_, Some(error)) => news.push(Signal::Down(error)),
        (None, None) => {}
    }
    news
}

/// The announcement that changes may have gone unheard between the two, if they may.
pub(super) fn restored(before: &Check, now: &Check) -> Option<Signal> {
    if before.drifts != now.drifts {
        warn_of_untidiness(now);
    }
    let mended = before
        .deaf()
        .any(|drift| !now.deaf().any(|other| other == drift));
    let restored = mended || now.has_other_triggers(before);
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

/// Whether DDL may have changed rows between the two, which is logged.
fn has_altered(before: &Check, now: &Check) -> bool {
    /// How many tables are named.
    const NAMED: usize = 5;
    let altered: Vec<_> = now.altered(before).map(ToString::to_string).collect();
    if altered.is_empty() {
        return false;
    }
    let tables = altered[..altered.len().min(NAMED)].join(", ");
    tracing::info!(%tables, count = altered.len(), "tables were altered, which no trigger announces: resync");
    true
}

pub(super) fn warn_of_untidiness(check: &Check) {
    for drift in check.drifts.iter().filter(|drift| !drift.is_deaf()) {
        tracing::warn!(table = %drift.table, %drift, "triggers are not as specified");
    }
}
