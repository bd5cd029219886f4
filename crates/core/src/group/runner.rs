//! Runs attempts: one event at a time, each in a transaction, or in batches.

use futures_util::future::LocalBoxFuture;

use super::job::{Finished, Job};
use super::options::DurableOptions;
use super::slices::Acknowledgement;
use crate::error::Error;
use crate::filter::Filter;
use crate::handler::{Attempt, Failure, GivenUp, IdempotencyKey};
use crate::outbox::History;

/// Runs attempts of a user's handler.
pub(super) trait Runner: 'static {
    /// Decides which jobs are kept in order, and how they are acknowledged.
    const MODE: ExecutionMode;

    /// Narrows a filter to the handler's event type.
    fn narrow(filter: Filter) -> Filter;

    /// Makes one attempt at each of `jobs`. There is only one job unless the mode is [`Batches`](ExecutionMode::Batches).
    fn attempt(&self, jobs: Vec<Assignment>) -> LocalBoxFuture<'static, Vec<Finished>>;

    /// Sets the server's history that cursors, and so acknowledgements, belong to from now on.
    fn set_history(&self, history: &History) {
        let _ = history;
    }

    /// Calls the handler's hook for an event that became a dead letter.
    fn give_up(&self, given_up: &GivenUp);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExecutionMode {
    /// Keeps the events of a row in order.
    OneByOne,
    /// Keeps the events of a slice in order. Attempts acknowledge their own event.
    Transactional,
    /// Keeps the events of a row in order. Runs one batch at a time.
    Batches,
    /// Keeps the events of a slice in order. Stores batches of several slices at a time, see [`relays`](super::engine).
    Relayed,
}

/// A job, and what a transactional attempt writes if it succeeds.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) job: Job,
    pub(super) acknowledgement: Acknowledge,
    /// The generation of the slice.
    pub(super) generation: i64,
}

/// How a transactional attempt acknowledges its own event.
#[derive(Debug)]
pub(super) enum Acknowledge {
    /// Moves the cursor of the slice.
    Cursor(Acknowledgement),
    /// Deletes the parked event.
    Parked,
    /// Writes nothing, because the event is in no outbox.
    Nothing,
}

impl Job {
    /// Describes the next attempt to the handler.
    pub(super) fn attempt(&self, options: &DurableOptions) -> Attempt {
        let key = IdempotencyKey::new(options.group.clone(), self.row.id);
        let number = self.attempts.saturating_add(1);
        Attempt::new(number, options.retry.max_attempts()).with_key(key)
    }
}

/// The failure of an event that cannot be decoded. Permanent, because a retry would fail as well.
pub(super) fn undecodable(error: &Error) -> Failure {
    Failure::Error {
        message: error.chain(),
        permanent: true,
        retry_after: None,
    }
}
