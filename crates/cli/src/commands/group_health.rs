//! The problems of a group. `doctor` and `status` use the same criteria.

use std::time::Duration;

use pgherald_core::group::GroupStatus;

/// From this lag on, a group counts as behind.
pub(super) const LAG: Duration = Duration::from_secs(5 * 60);

/// A problem of a group, which prevents or delays the effects of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Paused,
    NoConsumer,
    /// Cursors fail to parse. All events of their slices are handled again.
    Unreadable,
    /// Consumers read no new events, because too many rows have parked events.
    Full,
    /// Parked events have failed and wait for another attempt.
    Failing,
    DeadLetters,
    Behind,
}

/// Returns all problems of a group.
pub(super) fn problems(group: &GroupStatus) -> Vec<Problem> {
    let found = [
        (Problem::Paused, group.is_paused),
        (Problem::NoConsumer, group.nodes == 0),
        (Problem::Unreadable, !group.unreadable_slices.is_empty()),
        (Problem::Full, group.full_nodes > 0),
        (Problem::Failing, group.failing > 0),
        (Problem::DeadLetters, group.dead_letters > 0),
        // Without a consumer, or while the group is paused, lag is a consequence and not reported.
        (
            Problem::Behind,
            group.lag > LAG && group.nodes > 0 && !group.is_paused,
        ),
    ];
    let found = found.into_iter().filter(|(_, is_there)| *is_there);
    found.map(|(problem, _)| problem).collect()
}

/// Returns the state of a group in a few words.
pub(super) fn state(group: &GroupStatus) -> String {
    let words = problems(group).into_iter().map(|problem| match problem {
        Problem::Paused => "paused".to_owned(),
        Problem::NoConsumer => "no consumer".to_owned(),
        Problem::Unreadable => format!("unreadable {}", cursors(group)),
        Problem::Full => "not live".to_owned(),
        Problem::Failing => "failing".to_owned(),
        Problem::DeadLetters => "dead letters".to_owned(),
        Problem::Behind => "behind".to_owned(),
    });
    match words.collect::<Vec<_>>() {
        words if words.is_empty() => "up to date".to_owned(),
        words => words.join(", "),
    }
}

/// Names the cursors that fail to parse, by their slices.
pub(super) fn cursors(group: &GroupStatus) -> String {
    match &*group.unreadable_slices {
        [slice] => format!("cursor of slice {slice}"),
        slices => {
            let slices: Vec<String> = slices.iter().map(ToString::to_string).collect();
            format!("cursors of slices {}", slices.join(", "))
        }
    }
}
