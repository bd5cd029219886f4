//! The problems of a group. The command and the live page use the same criteria.

use std::time::Duration;

use super::GroupStatus;
use crate::group::destination;

/// From this lag on, a group counts as behind. Events that have failed for as long count as failing for long.
const LAG: Duration = Duration::from_secs(5 * 60);

/// From this number of failing events on, the problem is severe.
const MANY_FAILING: i64 = 1_000;

/// A problem of a group, which prevents or delays the effects of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "the command and the live page describe each one"
)]
pub enum Problem {
    /// An operator has paused the group.
    Paused,
    /// No consumer runs.
    NoConsumer,
    /// Cursors fail to parse. All events of their slices are handled again.
    Unreadable,
    /// Consumers read no new events, because too many rows have parked events.
    Full,
    /// A relay stores nothing, because its destination is full, out of reach, or refuses events.
    Destination,
    /// The destination of a relay is nearly full, and refuses events when it is full.
    NearlyFull,
    /// Parked events have failed and wait for another attempt.
    Failing,
    /// Events are not retried any more.
    DeadLetters,
    /// The lag is above five minutes.
    Behind,
}

/// Returns all problems of a group.
#[must_use]
pub fn problems(group: &GroupStatus) -> Vec<Problem> {
    let found = [
        (Problem::Paused, group.is_paused),
        (Problem::NoConsumer, group.nodes == 0),
        (Problem::Unreadable, !group.unreadable_slices.is_empty()),
        (Problem::Full, group.full_nodes > 0),
        (Problem::Destination, group.destination_error.is_some()),
        (Problem::NearlyFull, nearly_full(group).is_some()),
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

/// Describes the destination of a relay's group if it is [nearly full](Problem::NearlyFull).
#[must_use]
pub fn nearly_full(group: &GroupStatus) -> Option<String> {
    let name = group.destination.as_deref().unwrap_or("its destination");
    destination::nearly_full(name, group.destination_usage)
}

impl Problem {
    /// Returns whether effects of events do not happen, as opposed to a state that may be intended or end by itself.
    #[must_use]
    pub fn is_severe(self, group: &GroupStatus) -> bool {
        let fails_for_long = group.oldest_failing.is_some_and(|oldest| oldest > LAG);
        match self {
            // Consumers renew their leases: during a deployment there may be none for a moment.
            Self::NoConsumer => group.lag > LAG || fails_for_long,
            Self::Failing => group.failing >= MANY_FAILING || fails_for_long,
            Self::Full | Self::Destination => true,
            Self::Paused
            | Self::Unreadable
            | Self::NearlyFull
            | Self::DeadLetters
            | Self::Behind => false,
        }
    }
}
