//! The pages to read next. Slices at the same position are a stream: they are read together.

use std::sync::Arc;

use super::Slices;
use super::window::Span;
use crate::outbox::{Cursor, Point, Share};

/// The next page to read.
#[derive(Clone, Debug)]
pub(in crate::group) struct Turn {
    pub(in crate::group) cursor: Cursor,
    pub(in crate::group) until: Option<Point>,
    pub(in crate::group) share: Share,
    /// The epochs, in the order of the slices.
    epochs: Vec<i64>,
}

impl Turn {
    /// The slices to read, with their epochs.
    pub(super) fn of(&self) -> impl Iterator<Item = (i32, i64)> {
        let slices = self.share.slices.iter().copied();
        slices.zip(self.epochs.iter().copied())
    }
}

impl Slices {
    /// The number of streams.
    pub(in crate::group) fn streams(&self) -> usize {
        self.split().len()
    }

    fn split(&self) -> Vec<Vec<i32>> {
        let mut streams: Vec<(&Cursor, Vec<i32>)> = Vec::new();
        for (number, slice) in &self.owned {
            if slice.is_releasing || slice.is_held_up || slice.opening.is_some() {
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
    pub(in crate::group) fn turn(&mut self) -> Option<Turn> {
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
            None => self.nearest_ahead(&cursor).cloned(),
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

    fn nearest_ahead(&self, cursor: &Cursor) -> Option<&Point> {
        let others = self.owned.values();
        let others = others.filter(|slice| !slice.is_releasing && slice.opening.is_none());
        let places = others.flat_map(|slice| {
            let to = slice.read.reading.as_ref().map(|reading| &reading.to);
            std::iter::once(&slice.read.done).chain(to)
        });
        let ahead = places.filter(|place| cursor.done.is_before(place));
        ahead.reduce(|nearest, place| match place.is_before(nearest) {
            true => place,
            false => nearest,
        })
    }

    /// Returns the difference that a page of this turn belongs to.
    pub(in crate::group) fn span(turn: &Turn, after: &Cursor) -> Arc<Span> {
        let done = turn.cursor.done.clone();
        let to = match &after.reading {
            Some(reading) => reading.to.clone(),
            None => after.done.clone(),
        };
        Arc::new(Span { done, to })
    }

    /// Returns the slice's epoch if a row that was read in `turn` is to be taken in: if the slice was not lost meanwhile, and
    /// is not past the row. The slice is no longer idle then.
    pub(in crate::group) fn accepts(&mut self, turn: &Turn, slice: i32, id: i64) -> Option<i64> {
        let index = turn.share.slices.binary_search(&slice).ok()?;
        let epoch = *turn.epochs.get(index)?;
        let slice = self.current_mut(slice, epoch)?;
        let is_new = slice.read.position().is_none_or(|read| id > read);
        slice.stored.is_behind_rows |= is_new;
        is_new.then_some(epoch)
    }

    /// Takes an event in. Returns its number within the slice.
    pub(in crate::group) fn take_in(
        &mut self,
        slice: i32,
        span: &Arc<Span>,
        id: i64,
        bytes: usize,
    ) -> Option<u64> {
        let slice = self.owned.get_mut(&slice)?;
        self.pending += 1;
        if slice.is_held_up {
            self.totals.take();
        }
        Some(slice.window.push(&slice.read, span, id, bytes))
    }

    /// Moves the read position past a page whose rows were taken in.
    pub(in crate::group) fn advance(&mut self, turn: &Turn, after: &Cursor) {
        for (number, epoch) in turn.share.slices.iter().zip(&turn.epochs) {
            let Some(slice) = self.current_mut(*number, *epoch) else {
                continue;
            };
            if after
                .position()
                .is_none_or(|to| slice.read.position() < Some(to))
            {
                slice.read = after.clone();
            }
        }
    }
}
