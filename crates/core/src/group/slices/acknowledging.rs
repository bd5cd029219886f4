//! What the database has of each slice, and what to write next.

use std::sync::Arc;

use super::parks::bytes_of;
use super::{Slice, Slices};
use crate::error::{Error, Result};
use crate::group::job::Park;
use crate::outbox::Cursor;

/// How often a cursor is written before its generation, which is part of its key, is raised. The new key leaves behind the
/// index entries of dead row versions.
const MAX_WRITES: u32 = 200;

/// The cursor in the database.
#[derive(Debug)]
pub(super) struct Stored {
    cursor: Cursor,
    pub(super) generation: i64,
    /// How often the cursor was written in this generation.
    writes: u32,
    /// Whether rows of the slice, matching or not, may lie between the cursor and what was read. If not, the slice is idle: a node
    /// that continues from the cursor finds the same rows as one that continues from here.
    pub(super) is_behind_rows: bool,
    /// For relays: what is stored of the slice, if the database does not know it yet.
    pub(super) unwritten: Option<Arc<str>>,
}

impl Stored {
    pub(super) fn new(cursor: Cursor) -> Self {
        Self {
            cursor,
            generation: 0,
            writes: 0,
            is_behind_rows: false,
            unwritten: None,
        }
    }

    /// Whether the next write raises the generation.
    fn is_renewed(&self) -> bool {
        self.writes >= MAX_WRITES
    }

    fn was_written(&mut self, is_renewed: bool) {
        match is_renewed {
            true => (self.generation, self.writes) = (self.generation + 1, 0),
            false => self.writes += 1,
        }
    }
}

/// What to write about one slice.
#[derive(Clone, Debug)]
pub(in crate::group) struct Acknowledgement {
    pub(in crate::group) slice: i32,
    pub(in crate::group) epoch: i64,
    pub(in crate::group) generation: i64,
    /// This write raises the generation.
    pub(in crate::group) is_renewed: bool,
    pub(in crate::group) cursor: Cursor,
    pub(in crate::group) is_released: bool,
    pub(in crate::group) parks: Vec<Park>,
    /// For relays: what is stored of the slice. `None` if that has not changed.
    pub(in crate::group) stored: Option<Arc<str>>,
}

impl Acknowledgement {
    /// The approximate size in bytes.
    pub(in crate::group) fn bytes(&self) -> usize {
        bytes_of(&self.parks)
    }
}

/// Slices that this node no longer owns.
#[derive(Debug, Default)]
pub(in crate::group) struct Gone {
    pub(in crate::group) released: Vec<i32>,
    pub(in crate::group) lost: Vec<i32>,
}

impl Slices {
    /// Whether something of the slice has to be written before a transactional attempt may write. That includes events to park: an
    /// attempt does not write them, so that it does not fail if the database refuses them.
    pub(in crate::group) fn has_to_write(&self, slice: i32) -> bool {
        self.owned
            .get(&slice)
            .is_some_and(|slice| slice.is_writing || slice.is_held_up || !slice.parks.is_empty())
    }

    /// Returns what to write now, except of slices that `may_write` excludes. Includes the cursors of idle slices only with
    /// `with_idle`, so that the cost of an event does not depend on the number of slices. The caller has to report the result with
    /// [`acknowledged`](Self::acknowledged) or [`not_acknowledged`](Self::not_acknowledged). With `by_themselves`, attempts
    /// acknowledge their own event, so slices with a running attempt are left out.
    pub(in crate::group) fn acknowledge(
        &mut self,
        by_themselves: bool,
        with_idle: bool,
        may_write: impl Fn(i32) -> bool,
    ) -> Vec<Acknowledgement> {
        self.totals.take();
        let mut due = Vec::new();
        for (number, slice) in &mut self.owned {
            let is_busy = slice.is_writing || by_themselves && slice.running > 0;
            if is_busy
                || slice.opening.is_some() && !slice.is_releasing
                || !with_idle && slice.is_idle()
                || !may_write(*number)
            {
                continue;
            }
            match slice.acknowledge(*number) {
                Ok(acknowledgement) => due.extend(acknowledgement),
                Err(error) => self.went_back.push((*number, error)),
            }
        }
        due
    }

    /// Returns the slices that were left out of an acknowledgement because their cursor would move back.
    pub(in crate::group) fn take_went_back(&mut self) -> Vec<(i32, Error)> {
        std::mem::take(&mut self.went_back)
    }

    /// Returns the acknowledgement that an attempt at the first pending event of a slice has to write when it succeeds. Returns an
    /// error if the cursor would move back. Must not be called while the slice [has to write](Self::has_to_write) something.
    pub(in crate::group) fn acknowledge_next(
        &self,
        number: i32,
    ) -> Option<Result<Acknowledgement>> {
        let slice = self.owned.get(&number)?;
        let cursor = slice.window.front()?.cursor();
        let follows = cursor.check_follows(&slice.stored.cursor);
        Some(follows.map(|()| slice.acknowledgement(number, cursor)))
    }

    /// Handles an acknowledgement that the attempt has written itself.
    pub(in crate::group) fn committed(&mut self, number: i32, event: u64) {
        if let Some(slice) = self.owned.get_mut(&number) {
            self.totals.take();
            slice.parks.join();
            if let Some(event) = slice.window.front() {
                slice.stored.cursor = event.cursor();
            }
            // The same value as when the attempt began.
            slice.stored.was_written(slice.stored.is_renewed());
        }
        self.finish(number, event);
    }

    /// Handles a successful write. A slice that was sent but is not among `written` is lost. Returns the slices that were given
    /// back or lost.
    pub(in crate::group) fn acknowledged(
        &mut self,
        sent: Vec<Acknowledgement>,
        written: &[i32],
    ) -> Gone {
        let mut gone = Gone::default();
        for one in sent {
            let Some(slice) = self.current_mut(one.slice, one.epoch) else {
                continue;
            };
            slice.is_writing = false;
            slice.stored.cursor = one.cursor;
            slice.stored.was_written(one.is_renewed);
            if !written.contains(&one.slice) {
                gone.lost.push(one.slice);
            } else if one.is_released {
                gone.released.push(one.slice);
            }
        }
        for slice in gone.lost.iter().chain(&gone.released) {
            self.forget(*slice);
        }
        gone
    }

    /// Handles acknowledgements that were not written, or whose outcome is unknown.
    pub(in crate::group) fn not_acknowledged(&mut self, sent: Vec<Acknowledgement>) {
        self.totals.take();
        for one in sent {
            if let Some(slice) = self.current_mut(one.slice, one.epoch) {
                slice.is_writing = false;
                slice.stored.is_behind_rows = true;
                if slice.stored.unwritten.is_none() {
                    slice.stored.unwritten = one.stored;
                }
                // The write is idempotent, so an event may be parked twice.
                slice.parks.put_back(one.parks, one.cursor);
            }
        }
    }
}

impl Slice {
    /// Whether nothing of the slice has happened that its cursor in the database does not cover. A new closing does not wait: the
    /// rows before it may be trimmed once all slices have passed it.
    fn is_idle(&self) -> bool {
        !self.stored.is_behind_rows
            && !self.is_releasing
            && self.window.len() == 0
            && self.parks.is_empty()
            && self.stored.unwritten.is_none()
            && self.read.closed() == self.stored.cursor.closed()
    }

    /// Returns what to write now, if anything has changed. Fails if the cursor would move back.
    fn acknowledge(&mut self, number: i32) -> Result<Option<Acknowledgement>> {
        let cursor = match self.parks.next_cursor() {
            Some(cursor) => cursor.clone(),
            None => self.cursor(),
        };
        let is_released = self.is_releasing && self.running == 0 && !self.parks.is_divided();
        let is_written = cursor == self.stored.cursor && self.stored.unwritten.is_none();
        if is_written && self.parks.is_empty() && !is_released {
            return Ok(None);
        }
        cursor.check_follows(&self.stored.cursor)?;
        self.is_writing = true;
        self.stored.is_behind_rows = cursor != self.read;
        Ok(Some(Acknowledgement {
            is_released,
            parks: self.parks.take(),
            stored: self.stored.unwritten.take(),
            ..self.acknowledgement(number, cursor)
        }))
    }

    fn acknowledgement(&self, slice: i32, cursor: Cursor) -> Acknowledgement {
        Acknowledgement {
            slice,
            epoch: self.epoch,
            generation: self.stored.generation,
            is_renewed: self.stored.is_renewed(),
            cursor,
            is_released: false,
            parks: Vec::new(),
            stored: None,
        }
    }
}
