//! What there is to do for one event, and what becomes of it.

use std::sync::Arc;

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
    /// The connection was lost before anything was acknowledged. Not the event's fault, unless that happens again and again.
    Lost(Failure),
    /// The connection was lost: nobody knows whether it was committed.
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

/// In seconds: what a server takes, and nobody waits for.
const LONGEST_DELAY: f64 = 10.0 * 365.0 * 24.0 * 3_600.0;

/// What is to become of a parked event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    /// Waits for those of its row that came before it.
    Behind,
    /// Tried again after this many seconds.
    Due(f64),
    /// A dead letter.
    Dead,
}

impl Fate {
    /// Seconds until it is tried again.
    pub(super) fn delay(self) -> Option<f64> {
        match self {
            Self::Due(seconds) => Some(seconds.min(LONGEST_DELAY)),
            Self::Behind | Self::Dead => None,
        }
    }
}
