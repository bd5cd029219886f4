//! Writes progress, and holds up slices whose progress the database refuses to store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Engine, State};
use crate::backoff::Backoff;
use crate::error::Error;
use crate::group::runner::{ExecutionMode, Runner};
use crate::group::session::{Acknowledged, Refusal, Written};
use crate::group::slices::{Acknowledgement, Hold};
use crate::group::store::Settlement;

/// The pauses before a refused write is retried.
const HELD_UP: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// A slice with a refused write.
pub(super) struct HeldUp {
    pub(super) cause: Error,
    /// The number of retries that were refused.
    failures: u32,
    /// When the write is retried; `None` while the retry runs.
    pub(super) until: Option<Instant>,
    settlements: Vec<Settlement>,
}

impl<R: Runner> Engine<R> {
    /// Writes the cursors of slices, and the settlements of parked events.
    pub(super) fn acknowledge(&mut self, now: Instant) {
        let State::Open(session) = &mut self.state else {
            return;
        };
        if !session.may_acknowledge(now) {
            return;
        }
        let by_themselves = R::MODE == ExecutionMode::Transactional;
        let all = self.slices.acknowledge(by_themselves);
        let mut settlements = std::mem::take(&mut self.settlements);
        // Drop settlements of slices that this node has lost: the server would refuse them.
        settlements.retain_mut(|one| {
            let generation = self.slices.generation(one.slice, one.epoch);
            one.generation = generation.unwrap_or_default();
            generation.is_some()
        });
        // Settlements of held-up slices wait for the retry.
        let settlements = settlements.into_iter().filter_map(|one| {
            let held_up = self.held_up.get_mut(&one.slice);
            match held_up.filter(|held_up| held_up.until.is_some()) {
                Some(held_up) => {
                    held_up.settlements.push(one);
                    None
                }
                None => Some(one),
            }
        });
        let settlements = settlements.collect();
        session.acknowledge(now, all, settlements);
        for (slice, error) in self.slices.take_went_back() {
            self.went_back(slice, &error);
        }
    }

    /// Claims a slice again, to continue from its cursor in the database. Writing its cursor in memory would move that one back.
    pub(super) fn went_back(&mut self, slice: i32, error: &Error) {
        let group = &*self.options.group;
        tracing::error!(group, slice, error = %error, "claiming the slice again");
        self.forget(slice);
        if let Some(session) = self.session() {
            session.tick_soon();
        }
    }

    pub(super) fn acknowledged(&mut self, acknowledged: Acknowledged) {
        let Acknowledged {
            sent,
            settlements,
            written,
        } = acknowledged;
        match written {
            Ok(written) => self.written(sent, settlements, written),
            Err(error) => {
                match error.is_connection() {
                    true => self.not_answered(&sent, settlements),
                    false => self.not_written(sent, settlements),
                }
                self.lose_session(&error);
            }
        }
    }

    fn written(
        &mut self,
        sent: Vec<Acknowledgement>,
        settlements: Vec<Settlement>,
        mut written: Written,
    ) {
        let has_parked = sent.iter().any(|one| !one.parks.is_empty());
        let of_parked = settlements.iter().map(|one| (one.slice, one.epoch));
        let epochs = sent.iter().map(|one| (one.slice, one.epoch));
        let epochs: Vec<(i32, i64)> = epochs.chain(of_parked).collect();
        let (unwritten, sent): (Vec<_>, Vec<_>) =
            sent.into_iter().partition(|one: &Acknowledgement| {
                written.has_refused(one.slice) || written.untried.contains(&one.slice)
            });
        let failure = written.failure.take();
        let gone = self.slices.acknowledged(sent, &written.slices);
        let again = match failure {
            None => Vec::new(),
            Some(_) => settlements,
        };
        // Refused settlements are retried with their slice.
        let refused = |one: &Settlement| written.settlements.iter().any(|other| other.id == one.id);
        let again = again.into_iter().filter(|one| !refused(one)).collect();
        self.not_written(unwritten, again);
        let untried = std::mem::take(&mut written.untried);
        self.hold_up(&epochs, &untried, written);
        for slice in gone.lost {
            let group = &*self.options.group;
            tracing::warn!(
                group,
                slice,
                "not acknowledged: another consumer has claimed the slice, or the group has moved"
            );
            self.parked.forget(slice);
        }
        for slice in &gone.released {
            let parked = self.parked.forget(*slice);
            if self.stop_at.is_some() {
                self.parked_at_stop += parked;
            }
        }
        if !gone.released.is_empty()
            && let Some(session) = self.session()
        {
            tokio::spawn(session.notify_others());
        }
        self.resume_deferred();
        // A slice may have more events to park than one acknowledgement takes.
        if has_parked {
            self.note_progress();
        }
        if let Some(error) = failure {
            self.lose_session(&error);
        }
    }

    /// Queues what was not written, to be written again.
    fn not_written(&mut self, sent: Vec<Acknowledgement>, settlements: Vec<Settlement>) {
        self.slices.not_acknowledged(sent);
        self.settlements.splice(..0, settlements);
    }

    /// Holds up the slices with a refused write, and frees the other slices among `written_to`, which lists slices with their
    /// epochs at the time of the write.
    fn hold_up(&mut self, written_to: &[(i32, i64)], untried: &[i32], written: Written) {
        let group = Arc::clone(&self.options.group);
        for (slice, epoch) in written_to {
            let is_free = !written.has_refused(*slice) && !untried.contains(slice);
            if is_free
                && self.slices.is_current(*slice, *epoch)
                && self.held_up.remove(slice).is_some()
            {
                tracing::info!(group = &*group, slice, "slice is no longer held up");
                self.slices.hold(*slice, Hold::Free);
                // Ticks may have left out parked events of this slice, so the next tick reads all of them.
                self.revision = None;
            }
        }
        let now = Instant::now();
        for Refusal {
            slice,
            epoch,
            cause,
        } in written.refused
        {
            // Skip slices that were lost meanwhile, and perhaps claimed again.
            if !self.slices.is_current(slice, epoch) {
                continue;
            }
            let (failures, settlements) = match self.held_up.remove(&slice) {
                Some(before) => (before.failures + 1, before.settlements),
                None => (0, Vec::new()),
            };
            let delay = HELD_UP.delay(failures);
            let group = &*group;
            match failures {
                0 => tracing::error!(group, slice, error = %cause.chain(), ?delay,
                    "the database refuses to store the progress of a slice; the slice is held up"),
                _ => tracing::info!(group, slice, error = %cause.chain(), ?delay,
                    "the slice is still held up"),
            }
            let held_up = HeldUp {
                cause,
                failures,
                until: Some(now + delay),
                settlements,
            };
            self.held_up.insert(slice, held_up);
            self.slices.hold(slice, Hold::Held);
        }
        for settlement in written.settlements {
            if self.slices.is_current(settlement.slice, settlement.epoch)
                && let Some(held_up) = self.held_up.get_mut(&settlement.slice)
            {
                held_up.settlements.push(settlement);
            }
        }
    }

    /// Retries the writes of held-up slices that are due.
    pub(super) fn try_held_up(&mut self, now: Instant) {
        let mut is_due = false;
        for (slice, held_up) in &mut self.held_up {
            if held_up.until.is_some_and(|until| until <= now) {
                held_up.until = None;
                self.slices.hold(*slice, Hold::Trying);
                self.settlements.append(&mut held_up.settlements);
                is_due = true;
            }
        }
        if is_due {
            self.note_progress();
        }
    }

    /// Drops the slices of unanswered writes. The server may apply these writes late. Claiming the slices again fences them.
    pub(super) fn not_answered(&mut self, sent: &[Acknowledgement], settlements: Vec<Settlement>) {
        let of_parked = settlements.iter().map(|settlement| settlement.slice);
        for slice in sent.iter().map(|sent| sent.slice).chain(of_parked) {
            self.forget(slice);
        }
        self.settlements.splice(..0, settlements);
    }
}
