//! Connecting, losing the connections, restarting and ending.

use tokio::time::{Instant, timeout};

use super::Engine;
use super::command::Ledger;
use super::work::Work;
use crate::error::{Error, ErrorKind};
use crate::group::connections::CONNECT;
use crate::group::requests::Requests;

impl<W: Work> Engine<W> {
    pub(super) fn opened(&mut self, requests: Box<Requests>, now: Instant) {
        self.attempts.connected(&requests);
        if !self.connection.opened(requests) {
            // The server may assign ids again, so drop everything that was read before. The cursors in the database are consistent
            // with its present history.
            let group = &*self.options.group;
            tracing::warn!(
                group,
                "the server has crashed, or was promoted or restored; continuing from the cursors in the database"
            );
            self.drop_work();
        }
        self.membership.connected(now);
        self.intake.connected(now);
        self.acknowledger.connected(now);
    }

    pub(super) fn lost(&mut self, error: &Error, now: Instant) {
        self.attempts.disconnected();
        let (unfinished, delay) = self.connection.lost(error);
        if let Some(unfinished) = unfinished {
            self.acknowledger
                .not_answered(&unfinished.sent, &mut self.ledger);
            for (row, id) in unfinished.fetching {
                self.ledger.parked.put_back(&row, id, now);
            }
        }
        self.published.lost(error, delay);
    }

    /// Restarts as a new node. The slices of the old node are free when its lease expires.
    pub(super) fn restart(&mut self, message: &str) {
        self.drop_work();
        self.membership.rejoin();
        let error = Error::new(
            ErrorKind::Panic,
            format!("the consumer panicked: {message}"),
        );
        self.lost(&error, Instant::now());
    }

    /// Drops all jobs, running attempts and slices.
    pub(super) fn drop_work(&mut self) {
        self.attempts.clear();
        self.acknowledger.clear();
        self.ledger = Ledger::new(W::MODE);
    }

    pub(super) fn has_ended(&self, now: Instant) -> bool {
        let Some(at) = self.membership.stop_at() else {
            return false;
        };
        let is_written = self
            .connection
            .requests()
            .is_none_or(|requests| !requests.is_writing() && !self.acknowledger.has_settlements());
        let is_done = self.attempts.are_idle() && is_written;
        at <= now || (is_done && self.ledger.slices.are_given_back())
    }

    pub(super) async fn end(mut self) {
        self.attempts.outcomes().log_all_summaries();
        self.membership.released(self.ledger.parked.events());
        self.drop_work();
        let node = self.membership.node();
        if let Some(requests) = self.connection.requests_mut() {
            // Also if this node does not know yet that it has joined.
            let leaving = requests.leave(node);
            if !matches!(timeout(CONNECT, leaving).await, Ok(Ok(()))) {
                let group = &*self.options.group;
                tracing::warn!(
                    group,
                    "cannot leave the group; its slices stay assigned to this consumer until the lease expires"
                );
            }
        }
        self.publish();
    }

    pub(super) fn publish(&mut self) {
        self.attempts.publish(&self.ledger);
        let outcomes = self.attempts.outcomes();
        outcomes.log_due_summaries(Instant::now());
        outcomes.unfinished(self.ledger.slices.pending());
        self.published
            .update(&self.ledger, &self.membership, &self.acknowledger);
    }
}
