//! The progress of each slice that a node owns. A slice is a share of the group's keys.
//!
//! ```text
//!                    ┌──────────── pending: taken in, not all done ───────────┐
//!   … acknowledged … │ done │ done │  running  │ done │ waiting │ waiting │   │ … not read …
//!                    └──────┴──────┴─ the cursor goes to here ─┴─────────┘   read
//! ```
//!
//! A slice has an epoch from its claim until it is forgotten. Each part of its progress has one owner:
//! - [`window`]: the events that were taken in, and the cursor up to which all of them are done.
//! - [`parks`]: the events to be written to the parked events, with their cursors.
//! - [`reading`]: the position up to which rows were taken in, and the pages to read next.
//! - [`acknowledging`]: the cursor in the database, and what to write next.
//!
//! Pure: no time, no I/O, no user code. Guarantees:
//! - A cursor never passes an event that is neither done nor parked.
//! - Slices at the same position are read together. A slice that lags behind is read up to the position of another slice, and
//!   from then on together with it.

mod acknowledging;
mod parks;
mod reading;
mod relaying;
mod window;

use std::cell::Cell;
use std::collections::BTreeMap;

use self::acknowledging::Stored;
pub(super) use self::acknowledging::{Acknowledgement, Gone};
pub(super) use self::parks::MAX_BYTES;
use self::parks::Parks;
pub(super) use self::reading::Turn;
use self::relaying::Completeness;
pub(super) use self::relaying::Opening;
use self::window::Window;
use super::job::Park;
use crate::error::Error;
use crate::outbox::Cursor;

/// The slices of a node.
#[derive(Debug, Default)]
pub(super) struct Slices {
    owned: BTreeMap<i32, Slice>,
    /// The number of slices in the group.
    of: i32,
    /// Events of all slices that were taken in and are not finished.
    pending: usize,
    /// The index of the stream that was read last.
    turn: usize,
    /// Slices whose cursor would move back. Such a cursor is not written.
    went_back: Vec<(i32, Error)>,
    /// Whether slices are opened at their destination before they are read.
    are_relayed: bool,
    /// `None` after a change that may concern many slices.
    totals: Cell<Option<Totals>>,
}

/// Sums over all slices. The limits of the intake need them after each event, so they are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    /// The number of slices that are not being given back.
    kept: usize,
    /// The number and the bytes of the pending events of held-up slices.
    held_up: (usize, usize),
    /// The bytes of the events to park, without those of held-up slices.
    parking: usize,
}

#[derive(Debug)]
struct Slice {
    epoch: i64,
    /// The position up to which rows were taken in.
    read: Cursor,
    window: Window,
    parks: Parks,
    stored: Stored,
    /// The number of running attempts.
    running: usize,
    /// The slice is to be given back: no attempt of it begins.
    is_releasing: bool,
    /// An acknowledgement was sent and not answered.
    is_writing: bool,
    /// The database has refused a write. Nothing of the slice is read until a retry succeeds.
    is_held_up: bool,
    /// For relays: the slice waits for its position at the destination. Nothing of it is read or written meanwhile.
    opening: Option<Opening>,
    /// For relays: up to when everything is stored.
    complete: Completeness,
}

impl Slices {
    /// Adds a slice that was claimed.
    pub(super) fn insert(&mut self, of: i32, slice: i32, epoch: i64, cursor: &Cursor) {
        self.forget(slice);
        self.of = of;
        let claimed = Slice {
            epoch,
            read: cursor.clone(),
            window: Window::new(cursor.clone()),
            parks: Parks::default(),
            stored: Stored::new(cursor.clone()),
            running: 0,
            is_releasing: false,
            is_writing: false,
            is_held_up: false,
            opening: None,
            complete: Completeness::default(),
        };
        self.owned.insert(slice, claimed);
        self.totals.take();
    }

    /// Removes a slice that another node owns, or may own.
    pub(super) fn forget(&mut self, slice: i32) {
        if let Some(slice) = self.owned.remove(&slice) {
            self.pending -= slice.window.unfinished().count();
            self.totals.take();
        }
    }

    pub(super) fn numbers(&self) -> Vec<i32> {
        self.owned.keys().copied().collect()
    }

    pub(super) fn epochs(&self) -> impl Iterator<Item = (i32, i64)> {
        self.owned
            .iter()
            .map(|(number, slice)| (*number, slice.epoch))
    }

    pub(super) fn epoch(&self, slice: i32) -> Option<i64> {
        self.owned.get(&slice).map(|slice| slice.epoch)
    }

    /// Returns the slice, if its epoch is still that of the job.
    fn current(&self, slice: i32, epoch: i64) -> Option<&Slice> {
        self.owned.get(&slice).filter(|slice| slice.epoch == epoch)
    }

    fn current_mut(&mut self, slice: i32, epoch: i64) -> Option<&mut Slice> {
        let slice = self.owned.get_mut(&slice);
        slice.filter(|slice| slice.epoch == epoch)
    }

    /// Whether the slice's epoch is still that of the job.
    pub(super) fn is_current(&self, slice: i32, epoch: i64) -> bool {
        self.current(slice, epoch).is_some()
    }

    /// Returns the generation of the slice, if its epoch is still that of the job.
    pub(super) fn generation(&self, slice: i32, epoch: i64) -> Option<i64> {
        self.current(slice, epoch)
            .map(|slice| slice.stored.generation)
    }

    pub(super) fn len(&self) -> usize {
        self.owned.len()
    }

    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    // Giving slices back.

    /// Gives back `count` slices, as soon as none of their events is being handled. Chooses those with the fewest pending events.
    /// Held-up slices come last, because they cannot be given back.
    pub(super) fn release(&mut self, count: usize) {
        let mut kept: Vec<(bool, usize, i32)> = self
            .owned
            .iter()
            .filter(|(_, slice)| !slice.is_releasing)
            .map(|(number, slice)| (slice.is_held_up, slice.window.len(), *number))
            .collect();
        kept.sort_unstable();
        for (_, _, number) in kept.into_iter().take(count) {
            if let Some(slice) = self.owned.get_mut(&number) {
                slice.is_releasing = true;
            }
        }
        self.totals.take();
    }

    /// The number of slices that are not being given back.
    pub(super) fn kept(&self) -> usize {
        self.totals().kept
    }

    fn totals(&self) -> Totals {
        let totals = self.totals.get().unwrap_or_else(|| self.sums());
        self.totals.set(Some(totals));
        totals
    }

    fn sums(&self) -> Totals {
        let mut totals = Totals::default();
        for slice in self.owned.values() {
            totals.kept += usize::from(!slice.is_releasing);
            match slice.is_held_up {
                true => {
                    for event in slice.window.unfinished() {
                        totals.held_up.0 += 1;
                        totals.held_up.1 += event.bytes;
                    }
                }
                false => totals.parking += slice.parks.bytes(),
            }
        }
        totals
    }

    /// Whether the only slices left are held-up ones, which cannot be given back. They are free when the node leaves the group.
    pub(super) fn are_given_back(&self) -> bool {
        let mut slices = self.owned.values();
        slices.all(|slice| slice.is_releasing && slice.is_held_up && !slice.is_writing)
    }

    // Holding slices up.

    /// Holds a slice up after a refused write, or ends that. Returns whether the slice was held up before.
    pub(super) fn hold_up(&mut self, slice: i32, is_held_up: bool) -> bool {
        self.totals.take();
        let slice = self.owned.get_mut(&slice);
        slice.is_some_and(|slice| std::mem::replace(&mut slice.is_held_up, is_held_up))
    }

    /// The number and the bytes of the pending events of held-up slices.
    pub(super) fn held_up(&self) -> (usize, usize) {
        self.totals().held_up
    }

    // Handling events.

    /// Whether jobs of the slice may begin.
    pub(super) fn may_begin(&self, slice: i32, epoch: i64) -> bool {
        self.current(slice, epoch)
            .is_some_and(|slice| !slice.is_releasing)
    }

    pub(super) fn begin(&mut self, slice: i32) {
        if let Some(slice) = self.owned.get_mut(&slice) {
            slice.running += 1;
        }
    }

    pub(super) fn end(&mut self, slice: i32, epoch: i64) {
        if let Some(slice) = self.current_mut(slice, epoch) {
            slice.running = slice.running.saturating_sub(1);
        }
    }

    /// Marks an event as done or parked.
    pub(super) fn finish(&mut self, slice: i32, event: u64) {
        if let Some(slice) = self.owned.get_mut(&slice)
            && slice.window.finish(event)
        {
            self.pending -= 1;
            slice.complete.finished(slice.window.first());
            if slice.is_held_up {
                self.totals.take();
            }
        }
    }

    // Parking events.

    /// Queues an event to be written to the parked events.
    pub(super) fn park(&mut self, park: Park) {
        if let Some(slice) = self.owned.get_mut(&park.slice) {
            let Slice {
                parks,
                window,
                read,
                ..
            } = slice;
            let before = parks.bytes();
            parks.push(park, || window.cursor(read));
            if let Some(totals) = self.totals.get_mut()
                && !slice.is_held_up
            {
                totals.parking += parks.bytes() - before;
            }
        }
    }

    /// Bytes of the events to park, without those of held-up slices.
    pub(super) fn bytes(&self) -> usize {
        self.totals().parking
    }

    /// Whether this event may still have to be written to the parked events.
    pub(super) fn is_parking(&self, event: i64) -> bool {
        let mut slices = self.owned.values();
        slices.any(|slice| slice.is_writing || slice.parks.has(event))
    }
}

impl Slice {
    /// Returns the cursor to write: every event before it is done or parked.
    fn cursor(&self) -> Cursor {
        self.window.cursor(&self.read)
    }
}

#[cfg(test)]
mod tests;
