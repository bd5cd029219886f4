//! Why nothing is stored at present, of all slices or of some.
//!
//! Other slices may be stored meanwhile, and a slice whose batch was not answered is claimed and opened again before the next attempt.
//! Neither ends the problem: it ends when no slice has one.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Command, Commands, Destination, Ledger, Relays};
use crate::error::Error;

#[derive(Default)]
pub(super) struct Problem {
    error: Option<Error>,
    /// The slices whose last batch has an unknown outcome: what it expected, and when it ended.
    unanswered: BTreeMap<i32, (u64, Instant)>,
}

impl Problem {
    pub(super) fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    pub(super) fn set(&mut self, error: Error) {
        self.error = Some(error);
    }

    /// The outcome of a batch is unknown that expected this sequence.
    pub(super) fn unanswered(&mut self, slice: i32, expected: u64, now: Instant) {
        self.unanswered.insert(slice, (expected, now));
    }

    /// A slice was opened. If it has another message than the batch expected, something was stored.
    pub(super) fn opened(&mut self, slice: i32, sequence: u64) {
        if self
            .unanswered
            .get(&slice)
            .is_some_and(|(expected, _)| *expected != sequence)
        {
            self.unanswered.remove(&slice);
        }
    }

    pub(super) fn stored(&mut self, slice: i32) {
        self.unanswered.remove(&slice);
    }

    /// Ends the problem if no slice has one. A slice that this node does not own may be claimed again within `patience`; later,
    /// another node has it.
    pub(super) fn end(
        &mut self,
        has_failures: bool,
        ledger: &Ledger,
        now: Instant,
        patience: Duration,
    ) {
        self.unanswered
            .retain(|slice, (_, at)| ledger.slices.epoch(*slice).is_some() || now < *at + patience);
        if !has_failures && self.unanswered.is_empty() {
            self.error = None;
        }
    }
}

impl<D: Destination> Relays<D> {
    pub(super) fn fail(&mut self, error: Error, commands: &mut Commands) {
        self.problem.set(error.clone());
        commands.push(Command::Degrade(error));
    }

    /// Something has succeeded.
    pub(super) fn recover(&mut self, ledger: &Ledger, now: Instant) {
        let has_failures = self.slices.values().any(|relay| relay.failures > 0);
        let patience = self.options.lease * 2;
        self.problem.end(has_failures, ledger, now, patience);
    }
}
