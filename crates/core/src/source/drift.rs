//! What becomes of the triggers between two looks at them.

use crate::error::{Error, Kind};
use crate::signal::{Resync, ResyncReason, Signal};
use crate::trigger::Check;

/// What there is to say when the triggers are `now` after they were as `before`.
pub(super) fn compare(before: &Check, now: &Check) -> Vec<Signal> {
    if before == now {
        return Vec::new();
    }
    // While some of it lasts, what was mended or altered must still be told; and what is new, named.
    let mut news: Vec<Signal> = restored(before, now).into_iter().collect();
    match (deaf(before), deaf(now)) {
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
    let altered = before.fingerprint != now.fingerprint;
    (mended || altered).then(|| Signal::Resync(Resync::new(ResyncReason::TriggersRestored)))
}

/// What makes changes go unheard, as an error.
pub(super) fn deaf(check: &Check) -> Option<Error> {
    let list: Vec<String> = check.deaf().map(ToString::to_string).collect();
    (!list.is_empty()).then(|| Error::new(Kind::Triggers, list.join("; ")))
}

pub(super) fn warn_of_untidiness(check: &Check) {
    for drift in check.drifts.iter().filter(|drift| !drift.is_deaf()) {
        tracing::warn!(table = %drift.table, %drift, "triggers are not as specified");
    }
}
