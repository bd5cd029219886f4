//! One event to handle, and the outcome of an attempt at it.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::handler::{Failure, Task};
use crate::outbox::Recorded;
use crate::trigger::without_types;

/// An event that was taken in, and not handled yet.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) slice: i32,
    /// The epoch of the slice when the event was taken in.
    pub(super) epoch: i64,
    pub(super) origin: Origin,
    pub(super) row: Recorded,
    /// What to handle, or why the row cannot be decoded.
    pub(super) task: Result<Task, Error>,
    /// Attempts made so far.
    pub(super) attempts: u32,
}

/// Where an event came from, and so where its progress is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The outbox, with the event's number within the slice.
    Read(u64),
    /// Parked events.
    Parked,
}

/// The row that an event is about. It has the values of the outbox, which are there even if the event cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    relation: i64,
    key: Option<Arc<str>>,
}

/// What orders jobs: jobs of the same lane run one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// The jobs of a row.
    Row(Row),
    /// The jobs of a slice.
    Slice(i32),
}

impl Job {
    pub(super) fn row(&self) -> Row {
        Row::of(&self.row)
    }
}

impl Row {
    pub(super) fn new(relation: i64, key: Option<Arc<str>>) -> Self {
        let relation = without_types(relation);
        Self { relation, key }
    }

    pub(super) fn of(recorded: &Recorded) -> Self {
        Self::new(recorded.relation, recorded.key.clone())
    }
}

/// An attempt that has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) job: Job,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// The attempt succeeded. The consumer has yet to acknowledge the event.
    Done,
    /// The attempt succeeded, and acknowledged the event in the transaction of its effects.
    Committed,
    /// The attempt failed. The consumer has yet to write that.
    Failed(Failure),
    /// Another consumer owns the slice. The transaction was rolled back.
    Fenced,
    /// The attempt got no connection, or no transaction. The handler was not called, and no attempt is counted.
    NotBegun(Error),
    /// The connection was lost during COMMIT: only the server knows whether the transaction was committed.
    InDoubt(Error),
}

/// An event to be written to the parked events.
#[derive(Clone, Debug)]
pub(super) struct Park {
    pub(super) slice: i32,
    pub(super) row: Recorded,
    pub(super) attempts: u32,
    pub(super) error: Option<String>,
    pub(super) disposition: Disposition,
}

/// The longest delay that is written: 10 years, which every server accepts as an interval.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// What happens to a parked event next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Disposition {
    /// It waits for earlier events of its row.
    Behind,
    /// It is retried after this time.
    Due(Duration),
    /// It is a dead letter.
    Dead,
}

impl Disposition {
    /// The seconds until the retry, if there is one.
    pub(super) fn delay(self) -> Option<f64> {
        match self {
            Self::Due(delay) => Some(delay.as_secs_f64()),
            Self::Behind | Self::Dead => None,
        }
    }
}
