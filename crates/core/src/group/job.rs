//! What there is to do for one event, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::handler::{Failure, Task};
use crate::outbox::Recorded;

/// An event that was taken in, and not handled yet.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) slice: i32,
    /// Of the slice, when this was taken in.
    pub(super) epoch: i64,
    pub(super) origin: Origin,
    pub(super) row: Recorded,
    /// Or why the row cannot be understood.
    pub(super) task: Result<Task, Error>,
    /// Attempts made.
    pub(super) attempts: u32,
}

/// Where it came from, hence where it is noted that it was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The outbox: its number among those of the slice.
    Read(u64),
    /// Parked events.
    Parked,
}

/// The row it is about. By what stands in the outbox, for that is there even if it cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) relation: i64,
    pub(super) key: Option<Arc<str>>,
}

/// What keeps jobs in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Track {
    /// Those of a row follow each other.
    Row(Row),
    /// Those of a slice do.
    Slice(i32),
}

impl Job {
    pub(super) fn row(&self) -> Row {
        Row {
            relation: self.row.relation,
            key: self.row.key.clone(),
        }
    }
}

/// An attempt that is over.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) job: Job,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// To be acknowledged.
    Done,
    /// Acknowledged in the transaction of its effects.
    Committed,
    /// To be noted.
    Failed(Failure),
    /// Somebody else has the slice; what it did was rolled back.
    Fenced,
    /// The attempt got no connection, or no transaction. The handler was not called, and no attempt is counted.
    NotBegun(Error),
    /// The connection was lost during COMMIT: only the server knows whether the transaction was committed.
    InDoubt(Error),
}

/// An event on its way to the parked ones.
#[derive(Clone, Debug)]
pub(super) struct Park {
    pub(super) slice: i32,
    pub(super) row: Recorded,
    pub(super) attempts: u32,
    pub(super) error: Option<String>,
    pub(super) fate: Fate,
}

/// What a server takes, and nobody waits for.
pub(super) const LONGEST_DELAY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// What is to become of a parked event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    /// Waits for those of its row that came before it.
    Behind,
    /// Tried again after this time.
    Due(Duration),
    /// A dead letter.
    Dead,
}

impl Fate {
    /// Seconds until it is tried again.
    pub(super) fn delay(self) -> Option<f64> {
        match self {
            Self::Due(delay) => Some(delay.as_secs_f64()),
            Self::Behind | Self::Dead => None,
        }
    }
}
