//! The slices of relays: the position at the destination when a slice is opened, the cursor after each batch, and the time up to
//! which everything is stored.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Slice, Slices, Turn, Window};
use crate::group::store::Claimed;
use crate::outbox::Cursor;

/// A slice that was claimed, and whose position at the destination is not known yet.
#[derive(Clone, Debug)]
pub(in crate::group) struct Opening {
    pub(in crate::group) slice: i32,
    pub(in crate::group) epoch: i64,
    /// The cursor in the database.
    pub(in crate::group) cursor: Cursor,
    /// The last message of the slice when the previous relay wrote the cursor.
    pub(in crate::group) stored: Option<String>,
}

/// The maximum number of differences that [`Completeness`] tracks before their events are stored.
const MAX_MARKS: usize = 64;

/// The time up to which every committed change is stored.
#[derive(Debug, Default)]
pub(super) struct Completeness {
    /// When the difference that is being read began.
    began: Option<Instant>,
    /// For differences that were read: everything up to this time is stored once the events before this number are.
    marks: VecDeque<(u64, Instant)>,
    until: Option<Instant>,
}

impl Completeness {
    /// Records that the events before the number `first` are stored.
    pub(super) fn finished(&mut self, first: u64) {
        while let Some((number, at)) = self.marks.front()
            && *number <= first
        {
            self.until = Some(*at);
            self.marks.pop_front();
        }
    }

    fn mark(&mut self, number: u64, at: Instant) {
        if self.marks.len() >= MAX_MARKS {
            // Replace the last mark: the new one waits for more events, and covers more time.
            self.marks.pop_back();
        }
        self.marks.push_back((number, at));
    }
}

impl Slices {
    /// Makes slices wait for [`opened`](Self::opened) after they were claimed.
    pub(in crate::group) fn relayed() -> Self {
        Self {
            are_relayed: true,
            ..Self::default()
        }
    }

    /// Adds a slice that was claimed.
    pub(in crate::group) fn claimed(&mut self, of: i32, claimed: &Claimed) {
        let Claimed {
            slice,
            epoch,
            cursor,
            stored,
        } = claimed;
        self.insert(of, *slice, *epoch, cursor);
        if self.are_relayed
            && let Some(owned) = self.owned.get_mut(slice)
        {
            owned.opening = Some(Opening {
                slice: *slice,
                epoch: *epoch,
                cursor: cursor.clone(),
                stored: stored.clone(),
            });
        }
    }

    /// Returns the slices that wait for their position at the destination.
    pub(in crate::group) fn opening(&self) -> impl Iterator<Item = &Opening> {
        let kept = self.owned.values().filter(|slice| !slice.is_releasing);
        kept.filter_map(|slice| slice.opening.as_ref())
    }

    /// Returns the number of slices in the group.
    pub(in crate::group) fn of(&self) -> i32 {
        self.of
    }

    /// Continues a slice from its position at the destination. `stored` describes its last message there.
    pub(in crate::group) fn opened(
        &mut self,
        number: i32,
        epoch: i64,
        cursor: Cursor,
        stored: Option<Arc<str>>,
    ) {
        if let Some(slice) = self.current_mut(number, epoch) {
            slice.opening = None;
            slice.window = Window::new(cursor.clone());
            slice.read = cursor;
            slice.stored.unwritten = stored;
            slice.stored.is_behind_rows = true;
        }
    }

    /// Records the last message of a slice.
    pub(in crate::group) fn stored(&mut self, number: i32, epoch: i64, stored: Arc<str>) {
        if let Some(slice) = self.current_mut(number, epoch) {
            slice.stored.unwritten = Some(stored);
        }
    }

    /// Returns the cursor after a pending event, for a batch that stores it and all earlier events. The cursor also covers skipped
    /// events that directly follow, because nothing else records that they are stored. Without an event, returns the cursor up to
    /// which every event is stored.
    pub(in crate::group) fn cursor_after(&self, number: i32, event: Option<u64>) -> Option<Cursor> {
        let slice = self.owned.get(&number)?;
        match event {
            Some(event) => slice.window.cursor_after(event),
            None => Some(slice.cursor()),
        }
    }

    /// Records that a page was requested at `at` and read. If it ends a difference, all changes up to the beginning of that
    /// difference are pending or stored.
    pub(in crate::group) fn note_complete(&mut self, turn: &Turn, after: &Cursor, at: Instant) {
        for (number, epoch) in turn.of() {
            let Some(slice) = self.current_mut(number, epoch) else {
                continue;
            };
            if turn.cursor.reading.is_none() {
                // A difference with a given end ends before the request, so the time of the request says nothing about it.
                slice.complete.began = turn.until.is_none().then_some(at);
            }
            if after.reading.is_none()
                && let Some(began) = slice.complete.began.take()
            {
                slice.note_complete(began);
            }
        }
    }

    /// Returns the time up to which every change of a slice is stored, if it is known.
    pub(in crate::group) fn complete_until(&self, number: i32) -> Option<Instant> {
        self.owned.get(&number)?.complete.until
    }
}

impl Slice {
    fn note_complete(&mut self, began: Instant) {
        let first = self.window.first();
        self.complete.mark(first + self.window.len() as u64, began);
        self.complete.finished(first);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::super::Slices;
    use crate::group::store::Claimed;
    use crate::outbox::Cursor;

    fn at(number: i64) -> Cursor {
        format!("{number}:{number}: {} {number} 0", number * 10)
            .parse()
            .unwrap()
    }

    fn claimed(slice: i32) -> Claimed {
        Claimed {
            slice,
            epoch: 1,
            cursor: at(1),
            stored: Some("known".to_owned()),
        }
    }

    #[test]
    fn claimed_slices_are_neither_read_nor_written_before_they_are_opened() {
        let mut slices = Slices::relayed();
        slices.claimed(2, &claimed(0));
        slices.claimed(2, &claimed(1));
        assert!(slices.turn().is_none() && slices.acknowledge(false, true, |_| true).is_empty());
        let opening: Vec<i32> = slices.opening().map(|one| one.slice).collect();
        assert_eq!(opening, [0, 1]);
        slices.opened(0, 1, at(3), Some("tip".into()));
        let turn = slices.turn().unwrap();
        assert_eq!((turn.share.slices.clone(), &turn.cursor), (vec![0], &at(3)));
        assert_eq!(
            turn.until, None,
            "positions of slices that are not opened are unknown"
        );
        let written = slices.acknowledge(false, false, |_| true);
        assert_eq!((written.len(), &written[0].cursor), (1, &at(3)));
        assert_eq!(written[0].stored.as_deref(), Some("tip"));
        slices.not_acknowledged(written);
        slices.stored(0, 1, "later".into());
        let written = slices.acknowledge(false, false, |_| true);
        assert_eq!(written[0].stored.as_deref(), Some("later"));
        slices.acknowledged(written, &[0]);
        assert!(slices.acknowledge(false, true, |_| true).is_empty());
    }

    #[test]
    fn cursor_after_a_batch_covers_skipped_events_that_follow() {
        let mut slices = Slices::relayed();
        slices.claimed(1, &claimed(0));
        slices.opened(0, 1, at(1), None);
        let turn = slices.turn().unwrap();
        let span = Slices::span(&turn, &at(2));
        let events: Vec<u64> = (11..=14)
            .filter_map(|id| slices.take_in(0, &span, id, 1))
            .collect();
        slices.finish(0, events[2]);
        let position = |index: usize| {
            let cursor = slices.cursor_after(0, Some(events[index])).unwrap();
            cursor.position().unwrap()
        };
        assert_eq!((position(0), position(1), position(3)), (11, 13, 14));
    }

    #[test]
    fn everything_up_to_a_difference_is_complete_when_its_events_are_stored() {
        let mut slices = Slices::relayed();
        slices.claimed(1, &claimed(0));
        slices.opened(0, 1, at(1), None);
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let turn = slices.turn().unwrap();
        let span = Slices::span(&turn, &at(2));
        let first = slices.take_in(0, &span, 11, 1).unwrap();
        let second = slices.take_in(0, &span, 12, 1).unwrap();
        slices.advance(&turn, &at(2));
        slices.note_complete(&turn, &at(2), start);
        assert_eq!(slices.complete_until(0), None, "two events are pending");
        assert_eq!(
            slices.cursor_after(0, Some(first)).unwrap().position(),
            Some(11)
        );
        slices.finish(0, first);
        assert_eq!(slices.complete_until(0), None);
        slices.finish(0, second);
        assert_eq!(slices.complete_until(0), Some(start));
        assert_eq!(slices.cursor_after(0, None), Some(at(2)));
        // A difference of two pages counts from its beginning.
        let turn = slices.turn().unwrap();
        let page: Cursor = format!("{} {} 25", at(2), at(3)).parse().unwrap();
        slices.advance(&turn, &page);
        slices.note_complete(&turn, &page, later(1));
        assert_eq!(slices.complete_until(0), Some(start));
        let turn = slices.turn().unwrap();
        slices.advance(&turn, &at(3));
        slices.note_complete(&turn, &at(3), later(2));
        assert_eq!(slices.complete_until(0), Some(later(1)));
    }
}
