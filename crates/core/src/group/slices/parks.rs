//! The events of a slice that are to be written to the parked events.
//!
//! They are written together with a cursor. If they have many bytes, they are divided into parts. A part is written with the
//! cursor of the moment when its last event was queued, so the cursor does not pass events of later parts.

use std::collections::VecDeque;

use crate::group::job::Park;
use crate::outbox::Cursor;

/// Parked events of about this many bytes are written at once. The last event may exceed it.
pub(in crate::group) const MAX_BYTES: usize = 16 << 20;

#[derive(Debug, Default)]
pub(super) struct Parks {
    all: Vec<Park>,
    /// Divides `all` into parts: this number of events is written at once, with this cursor. Every event before the cursor is done,
    /// or parked in this part or an earlier one.
    cuts: VecDeque<(usize, Cursor)>,
    /// Bytes of the events after the last part.
    weight: usize,
    /// Bytes of all events.
    bytes: usize,
}

impl Parks {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn has(&self, event: i64) -> bool {
        self.all.iter().any(|park| park.row.id == event)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether some events are to be written before the last part.
    pub(super) fn is_divided(&self) -> bool {
        !self.cuts.is_empty()
    }

    /// Returns the cursor to write with the next part, unless it is the last one.
    pub(super) fn next_cursor(&self) -> Option<&Cursor> {
        self.cuts.front().map(|(_, cursor)| cursor)
    }

    /// Queues an event. `cursor` returns the position before which every event is done or parked.
    pub(super) fn push(&mut self, park: Park, cursor: impl FnOnce() -> Cursor) {
        let bytes = park.row.bytes();
        self.weight += bytes;
        self.bytes += bytes;
        self.all.push(park);
        if self.weight >= MAX_BYTES {
            self.weight = 0;
            self.cuts.push_back((self.all.len(), cursor()));
        }
    }

    /// Takes the next part.
    pub(super) fn take(&mut self) -> Vec<Park> {
        let parks = match self.cuts.pop_front() {
            None => {
                self.weight = 0;
                std::mem::take(&mut self.all)
            }
            Some((count, _)) => {
                self.cuts.iter_mut().for_each(|cut| cut.0 -= count);
                self.all.drain(..count.min(self.all.len())).collect()
            }
        };
        self.bytes = self.bytes.saturating_sub(bytes_of(&parks));
        parks
    }

    /// Puts a part back that was not written. It is written again with the same cursor.
    pub(super) fn put_back(&mut self, mut parks: Vec<Park>, cursor: Cursor) {
        let count = parks.len();
        if count > 0 {
            self.cuts.iter_mut().for_each(|cut| cut.0 += count);
            self.cuts.push_front((count, cursor));
        }
        self.bytes += bytes_of(&parks);
        parks.append(&mut self.all);
        self.all = parks;
    }

    /// Removes the division, because a later cursor was written than those of the parts.
    pub(super) fn join(&mut self) {
        self.cuts.clear();
        self.weight = self.bytes;
    }
}

pub(super) fn bytes_of(parks: &[Park]) -> usize {
    parks.iter().map(|park| park.row.bytes()).sum()
}
