//! The problems of a group in words. `doctor` and `status` use the same criteria.

use pgherald_core::__private::host::group::{Problem, problems};
use pgherald_core::group::GroupStatus;

/// Returns the state of a group in a few words.
pub(super) fn state(group: &GroupStatus) -> String {
    let words = problems(group).into_iter().map(|problem| match problem {
        Problem::Paused => "paused".to_owned(),
        Problem::NoConsumer => "no consumer".to_owned(),
        Problem::Unreadable => format!("unreadable {}", cursors(group)),
        Problem::Full => "not live".to_owned(),
        Problem::Destination => "stores nothing".to_owned(),
        Problem::NearlyFull => "destination nearly full".to_owned(),
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
