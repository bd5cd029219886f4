//! Why a relay stores no events of some or all slices at present.
//!
//! The problem ends when no slice has one. It does not end when events of another slice are stored. Nor does it end when a slice is
//! opened again after a batch with an unknown outcome: the next batch may fail in the same way.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{Command, Commands, Destination, Ledger, Relays};
use crate::error::Error;

#[derive(Default)]
pub(super) struct Problem {
    error: Option<Error>,
    /// The slices whose last batch has an unknown outcome, with the sequence that the batch expected, and the time when it ended.
    unanswered: BTreeMap<i32, (u64, Instant)>,
}

impl Problem {
    pub(super) fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    pub(super) fn set(&mut self, error: Error) {
        self.error = Some(error);
    }

    /// Records that the outcome of a batch, which expected this sequence, is unknown.
    pub(super) fn unanswered(&mut self, slice: i32, expected: u64, now: Instant) {
        self.unanswered.insert(slice, (expected, now));
    }

    /// Records that a slice was opened. If its last message is not the one that the batch expected, a batch was stored.
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

    /// Ends the problem if no slice has one. This node may claim a lost slice again within `patience`. After that, the slice
    /// belongs to another node and does not count.
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

    /// Ends the problem if no slice has one. Called after a request to the destination has succeeded.
    pub(super) fn recover(&mut self, ledger: &Ledger, now: Instant) {
        let has_failures = self.slices.values().any(|relay| relay.failures > 0);
        let patience = self.options.lease * 2;
        self.problem.end(has_failures, ledger, now, patience);
    }
}
