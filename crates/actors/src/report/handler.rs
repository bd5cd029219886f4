//! The outcome of a handler's work.

use std::fmt;

use pgherald_core::group::ConsumerReport;

/// The outcome of a handler's tasks: events and resyncs.
///
/// `received = handled + given_up + parked + dropped + left_to_others + unfinished`, at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerReport {
    /// The handler's name.
    pub name: String,
    /// Tasks received.
    pub received: u64,
    /// Tasks that succeeded.
    pub handled: u64,
    /// Tasks that were given up after their last attempt. Those of a durable handler became dead letters.
    pub given_up: u64,
    /// The given-up tasks that are kept as dead letters.
    pub dead_letters: u64,
    /// Tasks of a durable handler that failed and wait for another attempt, or wait behind an earlier task of the same row.
    /// They stay parked in the database.
    pub parked: u64,
    /// Tasks that were not finished at the deadline of a [`Drain`](crate::Drain).
    pub dropped: u64,
    /// Tasks of a durable handler that were left to another consumer of its group, which handles them, maybe again.
    pub left_to_others: u64,
    /// Tasks that currently wait, run, or back off.
    pub unfinished: u64,
    /// Attempts that returned an error.
    pub errors: u64,
    /// Attempts that exceeded their time limit.
    pub timeouts: u64,
    /// Attempts that panicked.
    pub panics: u64,
}

impl HandlerReport {
    /// Returns the number of failed attempts: errors, timeouts and panics.
    #[must_use]
    pub fn failed_attempts(&self) -> u64 {
        self.errors + self.timeouts + self.panics
    }
}

impl fmt::Display for HandlerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failed_attempts();
        let Self {
            name,
            received,
            handled,
            given_up,
            dead_letters,
            parked,
            dropped,
            left_to_others,
            unfinished,
            ..
        } = self;
        write!(
            f,
            "{name}: {received} received, {handled} handled, {failed} attempts failed, {given_up} given up, {dropped} dropped"
        )?;
        if *dead_letters > 0 {
            write!(f, ", {dead_letters} dead letters")?;
        }
        if *parked > 0 {
            write!(f, ", {parked} parked")?;
        }
        if *left_to_others > 0 {
            write!(f, ", {left_to_others} left to others")?;
        }
        if *unfinished > 0 {
            write!(f, ", {unfinished} unfinished")?;
        }
        Ok(())
    }
}

impl From<ConsumerReport> for HandlerReport {
    fn from(report: ConsumerReport) -> Self {
        let ConsumerReport {
            group,
            handled,
            dead_letters,
            parked,
            left_to_others,
            errors,
            timeouts,
            panics,
            in_flight,
            ..
        } = report;
        let unfinished = in_flight as u64;
        Self {
            name: group,
            received: handled + dead_letters + parked + left_to_others + unfinished,
            handled,
            given_up: dead_letters,
            dead_letters,
            parked,
            dropped: 0,
            left_to_others,
            unfinished,
            errors,
            timeouts,
            panics,
        }
    }
}
