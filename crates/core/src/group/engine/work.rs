//! What the loop asks of the part that handles jobs: [`Attempts`](super::attempts::Attempts) runs a handler, and
//! [`Relays`](super::relays::Relays) stores events at a destination.

use tokio::time::Instant;

use super::command::{Commands, Ledger};
use super::outcomes::Outcomes;
use crate::group::destination::Condition;
use crate::group::job::Job;
use crate::group::requests::Requests;
use crate::group::runner::ExecutionMode;

pub(in crate::group) trait Work: 'static {
    /// Decides which jobs are kept in order, and how they are acknowledged.
    const MODE: ExecutionMode;

    /// The result of something that was running.
    type Ended;

    /// New connections are open.
    fn connected(&mut self, requests: &Requests);

    /// The connections are lost.
    fn disconnected(&mut self) {}

    /// Adds a job.
    fn handle(&mut self, job: Job);

    /// Begins as much as may run. Must not be called unless attempts [may begin](super::Membership::may_begin).
    fn begin(&mut self, now: Instant, ledger: &mut Ledger, commands: &mut Commands);

    /// Looks after the destination, whether or not attempts may begin: the group may be paused, or the node may have no slices.
    fn watch(&mut self, now: Instant) {
        let _ = now;
    }

    /// When to call [`watch`](Self::watch) next, if nothing ends before.
    fn watch_at(&self, now: Instant) -> Option<Instant> {
        let _ = now;
        None
    }

    /// Waits until something ends. Cancel-safe.
    fn next_ended(&mut self) -> impl Future<Output = Self::Ended>;

    fn ended(
        &mut self,
        ended: Self::Ended,
        now: Instant,
        ledger: &mut Ledger,
        commands: &mut Commands,
    );

    /// Drops all jobs, and everything that runs.
    fn clear(&mut self);

    /// Bytes of the jobs that are not finished.
    fn bytes(&self) -> usize;

    /// Those bytes that count when parked events are fetched. Events of a row that are kept in order behind parked ones must not
    /// count, because they wait for them.
    fn bytes_of_parked(&self) -> usize {
        self.bytes()
    }

    fn are_idle(&self) -> bool;

    /// Whether jobs cannot be handled at present, so that the node is not live although its lease was renewed.
    fn are_impaired(&self) -> bool;

    /// Describes the destination, for operators.
    fn destination(&self) -> Option<Condition> {
        None
    }

    /// When to call [`begin`](Self::begin) again if nothing ends before.
    fn alarm(&self, now: Instant) -> Option<Instant> {
        let _ = now;
        None
    }

    /// Publishes the present state.
    fn publish(&mut self, ledger: &Ledger) {
        let _ = ledger;
    }

    fn outcomes(&mut self) -> &mut Outcomes;

    /// As [`outcomes`](Self::outcomes), to read.
    fn summary_due(&self) -> Option<Instant>;
}
