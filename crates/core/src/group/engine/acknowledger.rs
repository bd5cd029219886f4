//! Writes progress: the cursors of slices with the events to park, and the settlements of parked events.
//!
//! ```text
//!                 ┌──────────── refused, or not written ───────────┐
//!                 ▼                                                │
//!   attempts ─► queued ── at most every 50 ms ──► sent ── answered ┴─► written
//!                                                  └── not answered: the slices are claimed again
//! ```
//!
//! Owns the settlements that are not sent, and the refusals. Pure: the caller passes the time, and sends what
//! [`due`](Acknowledger::due) returns.
//!
//! Guarantees:
//! - A write has an effect only under the slice's epoch, so a node that has lost a slice writes nothing about it.
//! - The server may apply a write late that it did not answer. Claiming the slice again fences such a write.
//! - If the database refuses a write of a slice, the slice is *held up*: nothing of it is read, and the write is retried after
//!   pauses. Other slices continue. A slice is not acknowledged before its refused settlements were written.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::command::{Command, Commands, Ledger};
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::group::requests::{Refusal, Sent, Written};
use crate::group::slices::{Gone, Slices};
use crate::group::store::Settlement;

/// The pause between writes. After a crash, the events of about that time are handled again.
const PAUSE: Duration = Duration::from_millis(50);
/// The pause between two writes of the cursors of idle slices. A node that takes over a slice reads again what other slices had in
/// that time, and takes nothing of it in.
const IDLE_PAUSE: Duration = Duration::from_secs(30);
/// The pauses before a refused write is retried.
const HELD_UP: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

pub(super) struct Acknowledger {
    group: Arc<str>,
    /// Whether attempts acknowledge their own events.
    by_themselves: bool,
    settlements: Vec<Settlement>,
    /// Parked events that were settled while the last tick ran, or whose settlement was unwritten when it began. The tick may have
    /// read an outdated state of them.
    settled: HashSet<i64>,
    /// Slices whose progress the database refuses to store.
    held_up: BTreeMap<i32, HeldUp>,
    /// Whether there may be something to write.
    has_progress: bool,
    next_write: Instant,
    /// When to write the cursors of idle slices too, if there may be any to write.
    idle_write: Option<Instant>,
}

/// A slice with a refused write.
struct HeldUp {
    epoch: i64,
    cause: Error,
    /// The number of retries that were refused.
    failures: u32,
    /// When the write is retried; `None` while the retry runs.
    until: Option<Instant>,
}

impl Acknowledger {
    pub(super) fn new(group: Arc<str>, by_themselves: bool, now: Instant) -> Self {
        Self {
            group,
            by_themselves,
            settlements: Vec::new(),
            settled: HashSet::new(),
            held_up: BTreeMap::new(),
            has_progress: false,
            next_write: now,
            idle_write: None,
        }
    }

    /// New connections: what was not written before is due.
    pub(super) fn connected(&mut self, now: Instant) {
        (self.has_progress, self.next_write) = (true, now);
    }

    /// Drops everything that was not sent.
    pub(super) fn clear(&mut self) {
        self.settlements.clear();
        self.held_up.clear();
    }

    // Requests of other parts.

    pub(super) fn settle(&mut self, settlement: Settlement) {
        self.settled.insert(settlement.id);
        self.settlements.push(settlement);
    }

    pub(super) fn note_progress(&mut self) {
        self.has_progress = true;
    }

    pub(super) fn write_now(&mut self, now: Instant) {
        self.has_progress = true;
        self.next_write = self.next_write.min(now);
    }

    /// A tick has begun, while the settlements of these parked events are being written.
    pub(super) fn tick_began(&mut self, settling: impl Iterator<Item = i64>) {
        let unwritten = self.settlements.iter().map(|one| one.id);
        self.settled = unwritten.chain(settling).collect();
    }

    pub(super) fn was_settled(&self, event: i64) -> bool {
        self.settled.contains(&event)
    }

    /// Whether settlements are to be written, without those that wait for a retry of their slice.
    pub(super) fn has_settlements(&self) -> bool {
        let mut slices = self.settlements.iter().map(|one| one.slice);
        slices.any(|slice| self.retry_at(slice).is_none())
    }

    /// Returns when the refused write of a held-up slice is retried.
    pub(super) fn retry_at(&self, slice: i32) -> Option<Instant> {
        self.held_up.get(&slice)?.until
    }

    pub(super) fn is_held_up(&self, slice: i32) -> bool {
        self.held_up.contains_key(&slice)
    }

    /// The held-up slices, and why the database has refused a write.
    pub(super) fn held_up(&self) -> impl ExactSizeIterator<Item = (i32, &Error)> {
        let held_up = self.held_up.iter();
        held_up.map(|(slice, held_up)| (*slice, &held_up.cause))
    }

    // Writing.

    /// Returns when to write, unless a write is running.
    pub(super) fn alarm(&self) -> Option<Instant> {
        let retries = self.held_up.values().filter_map(|held_up| held_up.until);
        let write = self.has_progress.then_some(self.next_write);
        let idle = self.idle_write.map(|at| at.max(self.next_write));
        retries.chain(write).chain(idle).min()
    }

    /// Drops what is about slices that this node has lost: the server would refuse it.
    pub(super) fn forget_lost(&mut self, slices: &Slices) {
        self.held_up
            .retain(|slice, held_up| slices.is_current(*slice, held_up.epoch));
    }

    /// Returns what to write now, if something is due. Must not be called while a write is running.
    pub(super) fn due(
        &mut self,
        now: Instant,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) -> Option<Sent> {
        for held_up in self.held_up.values_mut() {
            if held_up.until.is_some_and(|until| until <= now) {
                held_up.until = None;
                self.has_progress = true;
            }
        }
        let with_idle = self.idle_write.is_some_and(|at| at <= now);
        if !(self.has_progress || with_idle) || self.next_write > now {
            return None;
        }
        self.has_progress = false;
        match with_idle {
            true => self.idle_write = None,
            false => _ = self.idle_write.get_or_insert(now + IDLE_PAUSE),
        }
        let is_waiting = |slice| {
            self.held_up
                .get(&slice)
                .is_some_and(|one| one.until.is_some())
        };
        let slices = &mut ledger.slices;
        let acknowledgements =
            slices.acknowledge(self.by_themselves, with_idle, |slice| !is_waiting(slice));
        let queued = std::mem::take(&mut self.settlements).into_iter();
        let queued = queued.filter_map(|one| {
            let generation = slices.generation(one.slice, one.epoch)?;
            Some(Settlement { generation, ..one })
        });
        let (waiting, settlements) = queued.partition(|one| is_waiting(one.slice));
        self.settlements = waiting;
        for (slice, error) in slices.take_went_back() {
            went_back(&self.group, slice, &error, ledger, commands);
        }
        let sent = Sent {
            acknowledgements,
            settlements,
        };
        if sent.is_empty() {
            return None;
        }
        self.next_write = now + PAUSE;
        Some(sent)
    }

    /// Handles the end of a write.
    pub(super) fn answered(
        &mut self,
        sent: Sent,
        written: Result<Written>,
        now: Instant,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) {
        match written {
            Ok(written) => self.written(sent, written, now, ledger, commands),
            Err(error) => {
                match error.is_connection() {
                    true => self.not_answered(&sent, ledger),
                    false => self.not_written(sent, &mut ledger.slices),
                }
                commands.push(Command::Disconnect(error));
            }
        }
    }

    fn written(
        &mut self,
        mut sent: Sent,
        mut written: Written,
        now: Instant,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) {
        // A slice may have more events to park than one acknowledgement takes.
        self.has_progress |= sent
            .acknowledgements
            .iter()
            .any(|one| !one.parks.is_empty());
        let epochs: Vec<(i32, i64)> = sent.epochs().collect();
        let acknowledgements = std::mem::take(&mut sent.acknowledgements).into_iter();
        let (left, done) = acknowledgements.partition(|one| written.has_left(one.slice));
        let gone = ledger.slices.acknowledged(done, &written.slices);
        self.free(&epochs, &written, &mut ledger.slices);
        let failure = written.failure.take();
        // Refused settlements are retried with their slice. After a failure, the other ones are written again too.
        let is_refused = |id| written.settlements.iter().any(|other| other.id == id);
        sent.settlements
            .retain(|one| failure.is_some() && !is_refused(one.id));
        let mut settlements = std::mem::take(&mut written.settlements);
        settlements.append(&mut sent.settlements);
        let unwritten = Sent {
            acknowledgements: left,
            settlements,
        };
        self.not_written(unwritten, &mut ledger.slices);
        for refusal in written.refused {
            self.hold_up(refusal, now, &mut ledger.slices);
        }
        self.gone(gone, ledger, commands);
        commands.extend(failure.map(Command::Disconnect));
    }

    fn gone(&self, gone: Gone, ledger: &mut Ledger, commands: &mut Commands) {
        for slice in gone.lost {
            let group = &*self.group;
            tracing::warn!(
                group,
                slice,
                "not acknowledged: another consumer has claimed the slice, or the group has moved"
            );
            ledger.parked.forget(slice);
        }
        if gone.released.is_empty() {
            return;
        }
        let released = gone.released.into_iter();
        let parked = released.map(|slice| ledger.parked.forget(slice)).sum();
        commands.extend([Command::Released(parked), Command::NotifyOthers]);
    }

    /// Ends holding up the slices of which everything was written.
    fn free(&mut self, epochs: &[(i32, i64)], written: &Written, slices: &mut Slices) {
        for &(slice, epoch) in epochs {
            if !written.has_left(slice)
                && slices.is_current(slice, epoch)
                && self.held_up.remove(&slice).is_some()
            {
                tracing::info!(group = &*self.group, slice, "slice is no longer held up");
                slices.hold_up(slice, false);
            }
        }
    }

    fn hold_up(&mut self, refusal: Refusal, now: Instant, slices: &mut Slices) {
        let Refusal {
            slice,
            epoch,
            cause,
        } = refusal;
        // Skip slices that were lost meanwhile, and perhaps claimed again.
        if !slices.is_current(slice, epoch) {
            return;
        }
        let before = self.held_up.remove(&slice);
        let before = before.filter(|before| before.epoch == epoch);
        let failures = before.map_or(0, |before| before.failures + 1);
        let (group, delay) = (&*self.group, HELD_UP.delay(failures));
        match failures {
            0 => tracing::error!(group, slice, error = %cause.chain(), ?delay,
                "the database refuses to store the progress of a slice; the slice is held up"),
            _ => tracing::info!(group, slice, error = %cause.chain(), ?delay,
                "the slice is still held up"),
        }
        let held_up = HeldUp {
            epoch,
            cause,
            failures,
            until: Some(now + delay),
        };
        self.held_up.insert(slice, held_up);
        slices.hold_up(slice, true);
    }

    /// Queues what was not written, to be written again.
    fn not_written(&mut self, sent: Sent, slices: &mut Slices) {
        slices.not_acknowledged(sent.acknowledgements);
        self.settlements.splice(..0, sent.settlements);
    }

    /// Drops the slices of an unanswered write. The server may apply it late. Claiming the slices again fences it.
    pub(super) fn not_answered(&mut self, sent: &Sent, ledger: &mut Ledger) {
        for (slice, _) in sent.epochs() {
            ledger.forget(slice);
        }
    }
}

/// Claims a slice again, to continue from its cursor in the database. Writing its cursor in memory would move that one back.
pub(super) fn went_back(
    group: &str,
    slice: i32,
    error: &Error,
    ledger: &mut Ledger,
    commands: &mut Commands,
) {
    tracing::error!(group, slice, error = %error, "claiming the slice again");
    ledger.forget(slice);
    commands.push(Command::TickSoon);
}

#[cfg(test)]
mod tests;
