//! How attempts are made: one event at a time, in a transaction, or many at once.

use futures_util::future::LocalBoxFuture;

use super::job::{Finished, Job};
use super::options::Durable;
use super::slices::Acknowledgement;
use crate::error::Error;
use crate::filter::Filter;
use crate::handler::{Attempt, Failure, GivenUp, IdempotencyKey};
use crate::outbox::History;

/// Runs attempts of a user's handler.
pub(super) trait Runner: 'static {
    /// What keeps jobs in order, and how they are acknowledged.
    const MANNER: Manner;

    /// The events that the handler stands for.
    fn narrow(filter: Filter) -> Filter;

    /// One attempt at each of `jobs`: at one, unless they come in batches.
    fn attempt(&self, jobs: Vec<Assignment>) -> LocalBoxFuture<'static, Vec<Finished>>;

    /// What cursors, hence acknowledgements, belong to from now on.
    fn set_history(&self, history: &History) {
        let _ = history;
    }

    /// Tells the handler.
    fn give_up(&self, given_up: &GivenUp);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Rows are kept in order.
    OneByOne,
    /// Slices are kept in order, and attempts acknowledge by themselves.
    Transactional,
    /// Rows are kept in order; one batch at a time.
    Batches,
}

/// A job, and what to write if it succeeds, where attempts write that by themselves.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) job: Job,
    pub(super) acknowledgement: Acknowledge,
    /// Of the slice.
    pub(super) generation: i64,
}

/// How an attempt acknowledges its event by itself.
#[derive(Debug)]
pub(super) enum Acknowledge {
    /// It moves the cursor of the slice.
    Cursor(Acknowledgement),
    /// It deletes the parked event.
    Parked,
    /// It writes nothing: no outbox has the event.
    Nothing,
}

impl Job {
    /// The attempt that is made now.
    pub(super) fn attempt(&self, terms: &Durable) -> Attempt {
        let key = IdempotencyKey::new(terms.group.clone(), self.row.id);
        let number = self.attempts.saturating_add(1);
        Attempt::new(number, terms.retry.max_attempts()).with_key(key)
    }
}

/// What cannot be understood now will not be later.
pub(super) fn not_understood(error: &Error) -> Failure {
    Failure::Error {
        message: error.chain(),
        permanent: true,
        retry_after: None,
    }
}
