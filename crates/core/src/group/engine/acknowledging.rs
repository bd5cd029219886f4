//! What was done is written down, and slices of which the database refuses that are held up.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Engine, State};
use crate::backoff::Backoff;
use crate::error::Error;
use crate::group::runner::{Manner, Runner};
use crate::group::session::{Acknowledged, Written};
use crate::group::slices::{Acknowledgement, Hold};
use crate::group::store::Settlement;

/// The pauses after which it is tried again to write what the database has refused.
const HELD_UP: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

/// A slice of which the database has refused something.
pub(super) struct HeldUp {
    pub(super) cause: Error,
    /// How often in a row.
    failures: u32,
    /// `None` while it is tried again.
    pub(super) until: Option<Instant>,
    settlements: Vec<Settlement>,
}

impl<R: Runner> Engine<R> {
    /// Writes how far each slice is, and what became of parked events.
    pub(super) fn acknowledge(&mut self, now: Instant) {
        let State::Open(session) = &mut self.state else {
            return;
        };
        if !session.may_acknowledge(now) {
            return;
        }
        let by_themselves = R::MANNER == Manner::Transactional;
        let all = self.slices.acknowledge(by_themselves);
        let mut settlements = std::mem::take(&mut self.settlements);
        // Those of slices that are gone would be refused.
        settlements.retain_mut(|one| {
            let generation = self.slices.generation(one.slice, one.epoch);
            one.generation = generation.unwrap_or_default();
            generation.is_some()
        });
        session.acknowledge(now, all, settlements);
    }

    pub(super) fn acknowledged(&mut self, acknowledged: Acknowledged) {
        let Acknowledged {
            sent,
            settlements,
            written,
        } = acknowledged;
        match written {
            Ok(written) => {
                let has_parked = sent.iter().any(|one| !one.parks.is_empty());
                let (refused, sent): (Vec<_>, Vec<_>) =
                    sent.into_iter().partition(|one: &Acknowledgement| {
                        let mut refused = written.refused.iter();
                        refused.any(|(slice, _)| *slice == one.slice)
                    });
                let of_parked = settlements.iter().map(|settlement| settlement.slice);
                let slices: Vec<i32> = sent.iter().map(|one| one.slice).chain(of_parked).collect();
                let gone = self.slices.acknowledged(sent, &written.slices);
                self.slices.not_acknowledged(refused);
                self.hold_up(&slices, written);
                for slice in gone.lost {
                    let group = &*self.terms.group;
                    tracing::warn!(
                        group,
                        slice,
                        "not acknowledged: the slice is somebody else's"
                    );
                    self.parked.forget(slice);
                }
                for slice in &gone.released {
                    self.parked.forget(*slice);
                }
                if !gone.released.is_empty()
                    && let Some(session) = self.session()
                {
                    tokio::spawn(session.call_others());
                }
                self.resume_deferred();
                // There may be more than was written at once.
                if has_parked {
                    self.note_progress();
                }
            }
            Err(error) => {
                if error.is_connection() {
                    self.not_answered(&sent, settlements);
                } else {
                    self.slices.not_acknowledged(sent);
                    self.settlements.splice(..0, settlements);
                }
                self.lose(&error);
            }
        }
    }

    /// Slices of which the database has refused something are not written to for a while; the others of these are free.
    fn hold_up(&mut self, written_to: &[i32], written: Written) {
        let Written {
            refused,
            settlements,
            ..
        } = written;
        let group = Arc::clone(&self.terms.group);
        for slice in written_to {
            let is_refused = refused.iter().any(|(refused, _)| refused == slice);
            if !is_refused && self.held_up.remove(slice).is_some() {
                tracing::info!(group = &*group, slice, "slice goes on");
                self.slices.hold(*slice, Hold::Free);
                // What was changed meanwhile was passed over.
                self.revision = None;
            }
        }
        let now = Instant::now();
        for (slice, cause) in refused {
            let failures = self
                .held_up
                .get(&slice)
                .map_or(0, |before| before.failures + 1);
            let delay = HELD_UP.delay(failures);
            tracing::error!(group = &*group, slice, error = %cause.chain(), ?delay,
                "the database refuses to note how far a slice is; it is held up");
            let held_up = HeldUp {
                cause,
                failures,
                until: Some(now + delay),
                settlements: Vec::new(),
            };
            self.held_up.insert(slice, held_up);
            self.slices.hold(slice, Hold::Held);
        }
        for settlement in settlements {
            if let Some(held_up) = self.held_up.get_mut(&settlement.slice) {
                held_up.settlements.push(settlement);
            }
        }
    }

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

    /// Who knows when the server comes to it: perhaps after what is written next. The slices are claimed anew, after which
    /// it is refused.
    pub(super) fn not_answered(&mut self, sent: &[Acknowledgement], settlements: Vec<Settlement>) {
        let of_parked = settlements.iter().map(|settlement| settlement.slice);
        for slice in sent.iter().map(|sent| sent.slice).chain(of_parked) {
            self.forget(slice);
        }
        self.settlements.splice(..0, settlements);
    }
}
