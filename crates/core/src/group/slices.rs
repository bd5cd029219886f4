//! The progress of each slice that a node owns.
//!
//! ```text
//!                    ┌──────────── pending: taken in, not all done ───────────┐
//!   … acknowledged … │ done │ done │  running  │ done │ waiting │ waiting │   │ … not read …
//!                    └──────┴──────┴─ the cursor goes to here ─┴─────────┘   read
//! ```
//!
//! Pure: no time, no I/O, no user code. Guarantees:
//! - A cursor never passes an event that is neither done nor parked.
//! - Slices at the same position are read together. A slice that lags behind is read up to the position of another slice, and
//!   from then on together with it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::job::Park;
use crate::error::{Error, Result};
use crate::outbox::{Cursor, Point, Reading, Share};

/// Parked events of about so many bytes are written at once. The last event may exceed it.
pub(super) const MOST_BYTES: usize = 16 << 20;
/// How often a cursor is written before its generation, which is part of its key, is raised. The new key leaves behind the
/// index entries of dead row versions.
const MOST_WRITES: u32 = 200;

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
}

#[derive(Debug)]
struct Slice {
    epoch: i64,
    generation: i64,
    /// How often the cursor was written in this generation.
    writes: u32,
    /// The cursor in the database.
    acknowledged: Cursor,
    /// The position up to which rows were taken in.
    read: Cursor,
    pending: VecDeque<Pending>,
    /// The number of the first pending event.
    first: u64,
    /// The position from which the first pending event was read.
    base: Cursor,
    /// The last event since `base` that is done together with every event before it.
    done: Option<(Arc<Span>, i64)>,
    /// Events to park with the next acknowledgements.
    parks: Vec<Park>,
    /// Divides `parks` into parts: so many are written at once, with this cursor. Every event before the cursor is done, or parked
    /// in this part or an earlier one.
    cuts: VecDeque<(usize, Cursor)>,
    /// Bytes of the events in `parks` after the last part.
    weight: usize,
    /// Bytes of all events in `parks`.
    bytes: usize,
    running: usize,
    /// The slice is to be given back: no attempt of it begins.
    releasing: bool,
    /// An acknowledgement was sent and not answered.
    acknowledging: bool,
    hold: Hold,
}

/// Whether the database accepts the writes of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Free,
    /// It has refused a write. Nothing of the slice is read or written.
    Held,
    /// It has refused a write, and the write is being retried. Nothing of the slice is read.
    Trying,
}

#[derive(Debug)]
struct Pending {
    span: Arc<Span>,
    id: i64,
    bytes: usize,
    is_done: bool,
}

/// The difference that an event was read from. It turns the event's id into a cursor.
#[derive(Debug)]
pub(super) struct Span {
    done: Point,
    to: Point,
}

impl Span {
    fn cursor(&self, position: i64) -> Cursor {
        Cursor {
            done: self.done.clone(),
            reading: Some(Reading {
                to: self.to.clone(),
                position,
            }),
        }
    }
}

/// The next page to read.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) cursor: Cursor,
    pub(super) until: Option<Point>,
    pub(super) share: Share,
    /// The epochs, in the order of the slices.
    epochs: Vec<i64>,
}

/// What to write about one slice.
#[derive(Clone, Debug)]
pub(super) struct Acknowledgement {
    pub(super) slice: i32,
    pub(super) epoch: i64,
    pub(super) generation: i64,
    /// This write raises the generation.
    pub(super) is_renewed: bool,
    pub(super) cursor: Cursor,
    pub(super) is_released: bool,
    pub(super) parks: Vec<Park>,
}

impl Acknowledgement {
    /// The approximate size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.parks.iter().map(|park| park.row.bytes()).sum()
    }
}

impl Slices {
    /// Adds a slice that was claimed.
    pub(super) fn insert(&mut self, of: i32, slice: i32, epoch: i64, cursor: &Cursor) {
        self.forget(slice);
        self.of = of;
        let claimed = Slice {
            epoch,
            generation: 0,
            writes: 0,
            acknowledged: cursor.clone(),
            read: cursor.clone(),
            pending: VecDeque::new(),
            first: 0,
            base: cursor.clone(),
            done: None,
            parks: Vec::new(),
            cuts: VecDeque::new(),
            weight: 0,
            bytes: 0,
            running: 0,
            releasing: false,
            acknowledging: false,
            hold: Hold::Free,
        };
        self.owned.insert(slice, claimed);
    }

    /// Removes a slice that another node owns, or may own.
    pub(super) fn forget(&mut self, slice: i32) {
        if let Some(slice) = self.owned.remove(&slice) {
            self.pending -= slice.pending.iter().filter(|event| !event.is_done).count();
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

    /// Returns the slice, if its epoch is still that of the job.
    fn current(&self, slice: i32, epoch: i64) -> Option<&Slice> {
        self.owned.get(&slice).filter(|slice| slice.epoch == epoch)
    }

    /// Returns the generation of the slice, if its epoch is still that of the job.
    pub(super) fn generation(&self, slice: i32, epoch: i64) -> Option<i64> {
        self.current(slice, epoch).map(|slice| slice.generation)
    }

    pub(super) fn epoch(&self, slice: i32) -> Option<i64> {
        self.owned.get(&slice).map(|slice| slice.epoch)
    }

    /// Whether this event may still have to be written to the parked events.
    pub(super) fn is_parking(&self, event: i64) -> bool {
        let mut slices = self.owned.values();
        slices
            .any(|slice| slice.acknowledging || slice.parks.iter().any(|park| park.row.id == event))
    }

    pub(super) fn len(&self) -> usize {
        self.owned.len()
    }

    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// Whether the slice's epoch is still that of the job.
    pub(super) fn is_current(&self, slice: i32, epoch: i64) -> bool {
        self.current(slice, epoch).is_some()
    }

    /// Whether jobs of the slice may begin.
    pub(super) fn may_begin(&self, slice: i32, epoch: i64) -> bool {
        self.current(slice, epoch)
            .is_some_and(|slice| !slice.releasing)
    }

    /// Whether something of the slice has to be written before a transactional attempt may write. That includes events to park: an
    /// attempt does not write them, so that it does not fail if the database refuses them.
    pub(super) fn has_to_write(&self, slice: i32) -> bool {
        self.owned.get(&slice).is_some_and(|slice| {
            slice.acknowledging || slice.hold != Hold::Free || !slice.parks.is_empty()
        })
    }

    pub(super) fn hold(&mut self, slice: i32, hold: Hold) {
        if let Some(slice) = self.owned.get_mut(&slice) {
            slice.hold = hold;
        }
    }

    /// Bytes of the events to park, without those of held-up slices.
    pub(super) fn bytes(&self) -> usize {
        let slices = self.owned.values();
        let free = slices.filter(|slice| slice.hold == Hold::Free);
        free.map(|slice| slice.bytes).sum()
    }

    /// The number and the bytes of the pending events of held-up slices.
    pub(super) fn held(&self) -> (usize, usize) {
        let slices = self.owned.values();
        let held = slices.filter(|slice| slice.hold != Hold::Free);
        let pending = held
            .flat_map(|slice| &slice.pending)
            .filter(|event| !event.is_done);
        pending.fold((0, 0), |(count, bytes), event| {
            (count + 1, bytes + event.bytes)
        })
    }

    /// The number of slices that cannot be given back, because the database refuses to store their progress.
    pub(super) fn refused(&self) -> usize {
        let slices = self.owned.values();
        slices
            .filter(|slice| slice.releasing && slice.hold == Hold::Held)
            .count()
    }

    /// Gives back `count` slices, as soon as none of their events is being handled. Chooses those with the fewest pending events.
    /// Held-up slices come last, because they cannot be given back.
    pub(super) fn release(&mut self, count: usize) {
        let mut kept: Vec<(bool, usize, i32)> = self
            .owned
            .iter()
            .filter(|(_, slice)| !slice.releasing)
            .map(|(number, slice)| (slice.hold != Hold::Free, slice.pending.len(), *number))
            .collect();
        kept.sort_unstable();
        for (_, _, number) in kept.into_iter().take(count) {
            if let Some(slice) = self.owned.get_mut(&number) {
                slice.releasing = true;
            }
        }
    }

    /// The number of slices that are not being given back.
    pub(super) fn kept(&self) -> usize {
        self.owned.values().filter(|slice| !slice.releasing).count()
    }

    // Reading.

    /// The number of streams. A stream is all slices at the same position.
    pub(super) fn streams(&self) -> usize {
        self.split().len()
    }

    fn split(&self) -> Vec<Vec<i32>> {
        let mut streams: Vec<(&Cursor, Vec<i32>)> = Vec::new();
        for (number, slice) in &self.owned {
            if slice.releasing || slice.hold != Hold::Free {
                continue;
            }
            let same = |(cursor, _): &&mut (&Cursor, _)| cursor.is_in_step_with(&slice.read);
            match streams.iter_mut().find(same) {
                Some((_, numbers)) => numbers.push(*number),
                None => streams.push((&slice.read, vec![*number])),
            }
        }
        streams.into_iter().map(|(_, numbers)| numbers).collect()
    }

    /// Returns the next page to read. Streams take turns.
    pub(super) fn turn(&mut self) -> Option<Turn> {
        let streams = self.split();
        if streams.is_empty() {
            return None;
        }
        self.turn = (self.turn + 1) % streams.len();
        let numbers = streams.into_iter().nth(self.turn)?;
        let members = || numbers.iter().filter_map(|number| self.owned.get(number));
        // Read from the slice that is farthest back. Slices of the stream that are farther skip the rows that they have.
        let cursor = members()
            .map(|slice| &slice.read)
            .min_by_key(|cursor| cursor.position())?
            .clone();
        // Read up to the nearest position that another slice is at, or is reading up to.
        let until = match cursor.reading {
            Some(_) => None,
            None => {
                let others = self.owned.values().filter(|slice| !slice.releasing);
                let places = others.flat_map(|slice| {
                    let to = slice.read.reading.as_ref().map(|reading| &reading.to);
                    std::iter::once(&slice.read.done).chain(to)
                });
                let ahead = places.filter(|place| cursor.done.is_before(place));
                ahead
                    .reduce(|nearest, place| match place.is_before(nearest) {
                        true => place,
                        false => nearest,
                    })
                    .cloned()
            }
        };
        let epochs = members().map(|slice| slice.epoch).collect();
        Some(Turn {
            cursor,
            until,
            epochs,
            share: Share {
                of: self.of,
                slices: numbers,
            },
        })
    }

    /// Returns the difference that a page of this turn belongs to.
    pub(super) fn span(turn: &Turn, after: &Cursor) -> Arc<Span> {
        let done = turn.cursor.done.clone();
        let to = match &after.reading {
            Some(reading) => reading.to.clone(),
            None => after.done.clone(),
        };
        Arc::new(Span { done, to })
    }

    /// Returns the slice's epoch if a row that was read in `turn` is to be taken in: if the slice was not lost meanwhile, and
    /// is not past the row.
    pub(super) fn accepts(&self, turn: &Turn, slice: i32, id: i64) -> Option<i64> {
        let index = turn.share.slices.binary_search(&slice).ok()?;
        let epoch = *turn.epochs.get(index)?;
        let slice = self.owned.get(&slice)?;
        let is_new = slice.epoch == epoch && slice.read.position().is_none_or(|read| id > read);
        is_new.then_some(epoch)
    }

    /// Takes an event in. Returns its number within the slice.
    pub(super) fn take_in(
        &mut self,
        number: i32,
        span: &Arc<Span>,
        id: i64,
        bytes: usize,
    ) -> Option<u64> {
        let slice = self.owned.get_mut(&number)?;
        if slice.pending.is_empty() {
            slice.base = slice.read.clone();
            slice.done = None;
        }
        slice.pending.push_back(Pending {
            span: Arc::clone(span),
            id,
            bytes,
            is_done: false,
        });
        self.pending += 1;
        Some(slice.first + slice.pending.len() as u64 - 1)
    }

    /// Moves the read position past a page whose rows were taken in.
    pub(super) fn advance(&mut self, turn: &Turn, after: &Cursor) {
        for (number, epoch) in turn.share.slices.iter().zip(&turn.epochs) {
            let Some(slice) = self.owned.get_mut(number) else {
                continue;
            };
            if slice.epoch == *epoch
                && after
                    .position()
                    .is_none_or(|to| slice.read.position() < Some(to))
            {
                slice.read = after.clone();
            }
        }
    }

    // Handling.

    pub(super) fn begin(&mut self, number: i32) {
        if let Some(slice) = self.owned.get_mut(&number) {
            slice.running += 1;
        }
    }

    pub(super) fn end(&mut self, number: i32, epoch: i64) {
        if let Some(slice) = self
            .owned
            .get_mut(&number)
            .filter(|slice| slice.epoch == epoch)
        {
            slice.running = slice.running.saturating_sub(1);
        }
    }

    /// Marks an event as done or parked.
    pub(super) fn finish(&mut self, number: i32, event: u64) {
        let Some(slice) = self.owned.get_mut(&number) else {
            return;
        };
        let index = event.checked_sub(slice.first).map(|index| index as usize);
        if let Some(pending) = index.and_then(|index| slice.pending.get_mut(index))
            && !std::mem::replace(&mut pending.is_done, true)
        {
            self.pending -= 1;
        }
        while slice.pending.front().is_some_and(|event| event.is_done) {
            if let Some(event) = slice.pending.pop_front() {
                slice.first += 1;
                slice.done = Some((event.span, event.id));
            }
        }
    }

    /// Queues an event to be written to the parked events.
    pub(super) fn park(&mut self, park: Park) {
        if let Some(slice) = self.owned.get_mut(&park.slice) {
            let bytes = park.row.bytes();
            slice.weight += bytes;
            slice.bytes += bytes;
            slice.parks.push(park);
            if slice.weight >= MOST_BYTES {
                slice.weight = 0;
                let cursor = slice.cursor();
                slice.cuts.push_back((slice.parks.len(), cursor));
            }
        }
    }

    // Acknowledging.

    /// Returns what to write now. The caller has to report the result with [`acknowledged`](Self::acknowledged) or
    /// [`not_acknowledged`](Self::not_acknowledged). With `by_themselves`, attempts acknowledge their own event, so slices with a
    /// running attempt are left out.
    pub(super) fn acknowledge(&mut self, by_themselves: bool) -> Vec<Acknowledgement> {
        let mut due = Vec::new();
        for (number, slice) in &mut self.owned {
            let is_busy = slice.acknowledging || by_themselves && slice.running > 0;
            if is_busy || slice.hold == Hold::Held {
                continue;
            }
            let cursor = match slice.cuts.front() {
                Some((_, cursor)) => cursor.clone(),
                None => slice.cursor(),
            };
            let is_released = slice.releasing && slice.running == 0 && slice.cuts.is_empty();
            if cursor == slice.acknowledged && slice.parks.is_empty() && !is_released {
                continue;
            }
            if let Err(error) = cursor.check_follows(&slice.acknowledged) {
                self.went_back.push((*number, error));
                continue;
            }
            slice.acknowledging = true;
            due.push(Acknowledgement {
                slice: *number,
                epoch: slice.epoch,
                generation: slice.generation,
                is_renewed: slice.writes >= MOST_WRITES,
                cursor,
                is_released,
                parks: slice.take_parks(),
            });
        }
        due
    }

    /// Returns the slices that were left out of an acknowledgement because their cursor would move back.
    pub(super) fn take_went_back(&mut self) -> Vec<(i32, Error)> {
        std::mem::take(&mut self.went_back)
    }

    /// Returns the acknowledgement that an attempt at the first pending event of a slice has to write when it succeeds. Returns an
    /// error if the cursor would move back. Must not be called while the slice [has to write](Self::has_to_write) something.
    pub(super) fn acknowledge_next(&self, number: i32) -> Option<Result<Acknowledgement>> {
        let slice = self.owned.get(&number)?;
        let next = slice.pending.front()?;
        let cursor = next.span.cursor(next.id);
        let follows = cursor.check_follows(&slice.acknowledged);
        Some(follows.map(|()| Acknowledgement {
            slice: number,
            epoch: slice.epoch,
            generation: slice.generation,
            is_renewed: slice.writes >= MOST_WRITES,
            cursor,
            is_released: false,
            parks: Vec::new(),
        }))
    }

    /// Handles an acknowledgement that the attempt has written itself.
    pub(super) fn committed(&mut self, number: i32, event: u64) {
        if let Some(slice) = self.owned.get_mut(&number) {
            // The parts of `parks` have older cursors, so drop the division.
            slice.cuts.clear();
            slice.weight = slice.bytes;
            if let Some(event) = slice.pending.front() {
                slice.acknowledged = event.span.cursor(event.id);
            }
            // The same value as when the attempt began.
            let is_renewed = slice.writes >= MOST_WRITES;
            slice.was_written(is_renewed);
        }
        self.finish(number, event);
    }

    /// Handles a successful write. A slice that was sent but is not among `written` is lost. Returns the slices that were given
    /// back or lost.
    pub(super) fn acknowledged(&mut self, sent: Vec<Acknowledgement>, written: &[i32]) -> Gone {
        let mut gone = Gone::default();
        for Acknowledgement {
            slice: number,
            epoch,
            is_renewed,
            cursor,
            is_released,
            ..
        } in sent
        {
            let Some(slice) = self
                .owned
                .get_mut(&number)
                .filter(|slice| slice.epoch == epoch)
            else {
                continue;
            };
            slice.acknowledging = false;
            slice.acknowledged = cursor;
            slice.was_written(is_renewed);
            let is_lost = !written.contains(&number);
            if is_lost || is_released {
                self.forget(number);
                match is_lost {
                    true => gone.lost.push(number),
                    false => gone.released.push(number),
                }
            }
        }
        gone
    }

    /// Handles acknowledgements that were not written, or whose outcome is unknown.
    pub(super) fn not_acknowledged(&mut self, sent: Vec<Acknowledgement>) {
        for mut sent in sent {
            if let Some(slice) = self
                .owned
                .get_mut(&sent.slice)
                .filter(|slice| slice.epoch == sent.epoch)
            {
                slice.acknowledging = false;
                // The write is idempotent, so an event may be parked twice.
                let count = sent.parks.len();
                if count > 0 {
                    slice.cuts.iter_mut().for_each(|cut| cut.0 += count);
                    slice.cuts.push_front((count, sent.cursor));
                }
                slice.bytes += sent
                    .parks
                    .iter()
                    .map(|park| park.row.bytes())
                    .sum::<usize>();
                sent.parks.append(&mut slice.parks);
                slice.parks = sent.parks;
            }
        }
    }
}

/// Slices that this node no longer owns.
#[derive(Debug, Default)]
pub(super) struct Gone {
    pub(super) released: Vec<i32>,
    pub(super) lost: Vec<i32>,
}

impl Slice {
    fn was_written(&mut self, is_renewed: bool) {
        match is_renewed {
            true => (self.generation, self.writes) = (self.generation + 1, 0),
            false => self.writes += 1,
        }
    }

    /// Takes the next part of the events to park.
    fn take_parks(&mut self) -> Vec<Park> {
        let parks = match self.cuts.pop_front() {
            None => {
                self.weight = 0;
                std::mem::take(&mut self.parks)
            }
            Some((count, _)) => {
                self.cuts.iter_mut().for_each(|cut| cut.0 -= count);
                self.parks.drain(..count.min(self.parks.len())).collect()
            }
        };
        let taken = parks.iter().map(|park| park.row.bytes()).sum();
        self.bytes = self.bytes.saturating_sub(taken);
        parks
    }

    /// Returns the cursor to write: every event before it is done or parked.
    fn cursor(&self) -> Cursor {
        match (&self.done, self.pending.is_empty()) {
            (_, true) => self.read.clone(),
            (Some((span, id)), false) => span.cursor(*id),
            (None, false) => self.base.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
