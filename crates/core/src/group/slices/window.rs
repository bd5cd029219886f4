//! The events of a slice that were taken in and are not all done.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::outbox::{Cursor, Point, Reading};

/// The pending events, in the order in which they were read, and the position before which all events are done.
#[derive(Debug)]
pub(super) struct Window {
    events: VecDeque<Pending>,
    /// The number of the first pending event.
    first: u64,
    /// The position from which the first pending event was read.
    base: Cursor,
    /// The last event since `base` that is done together with every event before it.
    done: Option<(Arc<Span>, i64)>,
}

#[derive(Debug)]
pub(super) struct Pending {
    span: Arc<Span>,
    id: i64,
    pub(super) bytes: usize,
    is_done: bool,
}

/// The difference that an event was read from. It turns the event's id into a cursor.
#[derive(Debug)]
pub(in crate::group) struct Span {
    pub(super) done: Point,
    pub(super) to: Point,
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

impl Pending {
    /// Returns the cursor behind the event.
    pub(super) fn cursor(&self) -> Cursor {
        self.span.cursor(self.id)
    }
}

impl Window {
    pub(super) fn new(base: Cursor) -> Self {
        Self {
            events: VecDeque::new(),
            first: 0,
            base,
            done: None,
        }
    }

    /// The number of the first pending event, or of the next event if none is pending.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Returns the cursor after a pending event, and after the done events that directly follow it.
    pub(super) fn cursor_after(&self, event: u64) -> Option<Cursor> {
        let index = usize::try_from(event.checked_sub(self.first)?).ok()?;
        let one = self.events.get(index)?;
        let later = self.events.iter().skip(index + 1);
        let done = later.take_while(|later| later.is_done).last();
        Some(done.unwrap_or(one).cursor())
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn front(&self) -> Option<&Pending> {
        self.events.front()
    }

    pub(super) fn unfinished(&self) -> impl Iterator<Item = &Pending> {
        self.events.iter().filter(|event| !event.is_done)
    }

    /// Takes in an event that was read from `read`, or later. Returns its number.
    pub(super) fn push(&mut self, read: &Cursor, span: &Arc<Span>, id: i64, bytes: usize) -> u64 {
        if self.events.is_empty() {
            (self.base, self.done) = (read.clone(), None);
        }
        self.events.push_back(Pending {
            span: Arc::clone(span),
            id,
            bytes,
            is_done: false,
        });
        self.first + self.events.len() as u64 - 1
    }

    /// Marks an event as done. Returns whether it was pending.
    pub(super) fn finish(&mut self, event: u64) -> bool {
        let index = event.checked_sub(self.first).map(|index| index as usize);
        let pending = index.and_then(|index| self.events.get_mut(index));
        let was_pending = pending.is_some_and(|one| !std::mem::replace(&mut one.is_done, true));
        while self.events.front().is_some_and(|event| event.is_done) {
            if let Some(event) = self.events.pop_front() {
                self.first += 1;
                self.done = Some((event.span, event.id));
            }
        }
        was_pending
    }

    /// Returns the cursor before which every event is done. `read` is the position up to which events were taken in.
    pub(super) fn cursor(&self, read: &Cursor) -> Cursor {
        match (&self.done, self.events.is_empty()) {
            (_, true) => read.clone(),
            (Some((span, id)), false) => span.cursor(*id),
            (None, false) => self.base.clone(),
        }
    }
}
