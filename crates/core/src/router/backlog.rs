//! The events that wait for one subscriber.
//!
//! A queue of batches with resyncs between them, bounded by the number of events. Pure: no time, no I/O,
//! no waking; [`Subscription`](super::Subscription) adds those.
//!
//! Guarantees:
//! - Order: what is delivered is in the order of its arrival.
//! - Every event is delivered, lost or coalesced, and counted as such.
//! - Where events are lost, the next delivery that follows the gap begins with a resync that tells how
//!   many. The resync waits in the queue itself and takes no room, so it cannot be lost.
//! - The beginning of a session, of which nothing is missing, waits there in the same way: as a resync without
//!   reasons, which goes into one that has some if they meet.
//! - Items carry the numbers that the router gave them; see [`order`](super::order). An item that stands in the place of several
//!   has the numbers of all of them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::options::Overflow;
use crate::event::{Event, Relation, RowKey};
use crate::gate::Session;
use crate::signal::{Resync, ResyncReason};

/// What a subscriber is handed: a resync, events that follow it, or both.
#[derive(Clone, Debug)]
pub struct Delivery {
    resync: Option<Resync>,
    events: Arc<[Event]>,
    coalesced: u64,
}

impl Delivery {
    /// Makes a delivery by hand, for tests of whatever receives them.
    #[must_use]
    pub fn new(resync: Option<Resync>, events: impl Into<Arc<[Event]>>) -> Self {
        Self {
            resync,
            events: events.into(),
            coalesced: 0,
        }
    }

    /// Set if events are missing *before* those of this delivery.
    #[must_use]
    pub fn resync(&self) -> Option<&Resync> {
        self.resync
            .as_ref()
            .filter(|resync| resync.is_of_something())
    }

    /// Set if a session begins before the events of this delivery, with a resync or without.
    pub(crate) fn session(&self) -> Option<Session> {
        self.resync.as_ref().and_then(Resync::session)
    }

    /// The events, oldest first. May be empty if there is a resync, or the subscription is a cache's.
    #[must_use]
    pub fn events(&self) -> &Arc<[Event]> {
        &self.events
    }

    /// How many events since the last delivery were superseded by a newer one of the same row
    /// ([`Overflow::CoalesceByKey`]).
    #[must_use]
    pub fn coalesced(&self) -> u64 {
        self.coalesced
    }
}

#[derive(Debug)]
struct Item {
    /// The numbers of what it consists of: the lowest and the highest.
    numbers: (u64, u64),
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// A batch from `from` on.
    Events {
        batch: Arc<[Event]>,
        from: usize,
    },
    Resync(Resync),
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) matched: u64,
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) coalesced: u64,
    pub(super) resyncs: u64,
}

#[derive(Debug)]
pub(super) struct Backlog {
    items: VecDeque<Item>,
    len: usize,
    capacity: usize,
    overflow: Overflow,
    counts: Counts,
    /// Coalesced since the last delivery.
    coalesced: u64,
    last: Last,
}

/// The last delivery.
#[derive(Debug, Default)]
struct Last {
    resync: Option<Resync>,
    events: u64,
    numbers: Option<(u64, u64)>,
}

/// What [`Backlog::pop`] found.
#[derive(Debug)]
pub(super) enum Popped {
    Delivery(Delivery),
    /// The next item has this number, which is too high.
    Early(u64),
    Nothing,
}

impl Backlog {
    pub(super) fn new(capacity: usize, overflow: Overflow) -> Self {
        let items = VecDeque::new();
        Self {
            items,
            len: 0,
            capacity,
            overflow,
            counts: Counts::default(),
            coalesced: 0,
            last: Last::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether a resync waits.
    pub(super) fn has_resync(&self) -> bool {
        self.items.iter().any(
            |item| matches!(&item.content, Content::Resync(resync) if resync.is_of_something()),
        )
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The lowest number above `limit` of what was delivered and not yet handled, or waits.
    pub(super) fn mark(&self, limit: u64) -> Option<u64> {
        let waiting = self.items.iter().map(|item| item.numbers);
        let all = self.last.numbers.into_iter().chain(waiting);
        // In the order of their numbers, but for one that spans the limit.
        all.filter(|(_, highest)| *highest > limit)
            .map(|(lowest, _)| lowest.max(limit + 1))
            .next()
    }

    /// The subscriber has handled the last delivery.
    pub(super) fn handled(&mut self) {
        self.last = Last::default();
    }

    /// The last resync that waits begins a session: a subscriber that took it knows of everything that was lost.
    pub(super) fn begin_session(&mut self, session: Session) {
        let waiting = self
            .items
            .iter_mut()
            .rev()
            .find_map(|item| match &mut item.content {
                Content::Resync(resync) => Some(resync),
                Content::Events { .. } => None,
            });
        if let Some(resync) = waiting {
            *resync = resync.clone().beginning(session);
        }
    }

    pub(super) fn push_resync(&mut self, resync: Resync, number: u64) {
        let numbers = (number, number);
        if let Some(item) = self.items.back_mut()
            && let Content::Resync(waiting) = &mut item.content
        {
            waiting.absorb(resync);
            item.span(numbers);
            return;
        }
        let content = Content::Resync(resync);
        self.items.push_back(Item { numbers, content });
    }

    /// The subscriber failed with the last delivery in hand.
    pub(super) fn take_back(&mut self) {
        let Last {
            resync,
            events,
            numbers,
        } = std::mem::take(&mut self.last);
        self.counts.delivered -= events;
        self.counts.lost += events;
        let failed = Resync::losing(events, ResyncReason::SubscriberFailed);
        // The resync that it was given then is still of interest.
        let resync = match resync {
            Some(mut resync) => {
                resync.absorb(failed);
                resync
            }
            None => failed,
        };
        self.push_resync_front(resync, numbers.unwrap_or_default());
    }

    fn push_resync_front(&mut self, mut resync: Resync, numbers: (u64, u64)) {
        if let Some(item) = self.items.front_mut()
            && let Content::Resync(next) = &mut item.content
        {
            resync.absorb(next.clone());
            *next = resync;
            item.span(numbers);
            return;
        }
        let content = Content::Resync(resync);
        self.items.push_front(Item { numbers, content });
    }

    pub(super) fn push_events(&mut self, batch: Arc<[Event]>, number: u64) {
        self.counts.matched += batch.len() as u64;
        let alone = self.len == 0;
        self.len += batch.len();
        self.items.push_back(Item {
            numbers: (number, number),
            content: Content::Events { batch, from: 0 },
        });
        // How many events a source brings at once is no fault of a subscriber that has taken all before.
        if alone {
            return;
        }
        match self.overflow {
            Overflow::Resync => self.drop_backlog_if_over(self.capacity),
            Overflow::DropOldest => self.drop_oldest(),
            Overflow::CoalesceByKey => {
                // Only every so often, so that the cost per event stays constant.
                if self.len > self.capacity.saturating_mul(2) {
                    self.coalesce();
                    self.drop_backlog_if_over(self.capacity);
                }
            }
        }
    }

    /// The next delivery of at most `max` events, of items whose numbers are all below `below`.
    pub(super) fn pop(&mut self, max: usize, below: u64) -> Popped {
        match self.items.front() {
            None => return Popped::Nothing,
            Some(Item {
                numbers: (_, highest),
                ..
            }) if *highest >= below => return Popped::Early(*highest),
            Some(_) => {}
        }
        let mut last = Last::default();
        while let Some(item) = self.items.front()
            && let Content::Resync(next) = &item.content
            && item.numbers.1 < below
        {
            match &mut last.resync {
                Some(first) => first.absorb(next.clone()),
                None => last.resync = Some(next.clone()),
            }
            last.span(item.numbers);
            self.items.pop_front();
        }
        let events = self.pop_events(max, below, &mut last);
        let is_told = last.resync.as_ref().is_some_and(Resync::is_of_something);
        self.counts.resyncs += u64::from(is_told);
        self.counts.delivered += events.len() as u64;
        last.events = events.len() as u64;
        let resync = last.resync.clone();
        self.last = last;
        Popped::Delivery(Delivery {
            resync,
            events,
            coalesced: std::mem::take(&mut self.coalesced),
        })
    }

    fn pop_events(&mut self, max: usize, below: u64, last: &mut Last) -> Arc<[Event]> {
        // A batch that fits and stands alone, or is as large as allowed, is handed on as it is.
        let next_is_events =
            |item: Option<&Item>| item.is_some_and(|item| item.events_below(below));
        if let Some(item) = self.items.front()
            && item.events_below(below)
            && let Content::Events { batch, from: 0 } = &item.content
            && batch.len() <= max
            && (batch.len() == max || !next_is_events(self.items.get(1)))
        {
            let batch = Arc::clone(batch);
            last.span(item.numbers);
            self.items.pop_front();
            self.len -= batch.len();
            return batch;
        }
        let mut events = Vec::with_capacity(max.min(self.len));
        while events.len() < max
            && let Some(item) = self.items.front_mut()
            && item.events_below(below)
            && let Content::Events { batch, from } = &mut item.content
        {
            let to = batch.len().min(from.saturating_add(max - events.len()));
            events.extend_from_slice(&batch[*from..to]);
            *from = to;
            let is_used_up = to == batch.len();
            last.span(item.numbers);
            if is_used_up {
                self.items.pop_front();
            }
        }
        self.len -= events.len();
        events.into()
    }

    /// Replaces everything by a resync if more than `limit` events wait.
    fn drop_backlog_if_over(&mut self, limit: usize) {
        if self.len <= limit {
            return;
        }
        // What came last is worth keeping if it fits by itself: it follows the gap.
        let newest = match self.items.back().map(|item| &item.content) {
            Some(Content::Events { batch, from }) if batch.len() - from <= limit => {
                self.items.pop_back()
            }
            _ => None,
        };
        let kept = newest.as_ref().map_or(0, Item::event_count);
        let resync = self.lose(self.len - kept);
        let mut gap = Item {
            numbers: self.numbers_of_all().unwrap_or_default(),
            content: Content::Resync(resync),
        };
        for item in self.items.drain(..) {
            gap.absorb(item);
        }
        self.items.push_back(gap);
        self.items.extend(newest);
    }

    fn numbers_of_all(&self) -> Option<(u64, u64)> {
        Some((self.items.front()?.numbers.0, self.items.back()?.numbers.1))
    }

    fn drop_oldest(&mut self) {
        let mut excess = self.len.saturating_sub(self.capacity);
        if excess == 0 {
            return;
        }
        let resync = self.lose(excess);
        let mut gap = Item {
            numbers: self
                .items
                .front()
                .map(|item| item.numbers)
                .unwrap_or_default(),
            content: Content::Resync(resync),
        };
        while excess > 0
            && let Some(item) = self.items.front_mut()
        {
            let count = item.event_count();
            if let Content::Events { from, .. } = &mut item.content
                && count > excess
            {
                *from += excess;
                gap.span(item.numbers);
                break;
            }
            excess -= count;
            if let Some(item) = self.items.pop_front() {
                gap.absorb(item);
            }
        }
        if let Content::Resync(resync) = gap.content {
            self.push_resync_front(resync, gap.numbers);
        }
    }

    /// Keeps the newest event per row, in the order of the newest.
    fn coalesce(&mut self) {
        let mut seen: HashSet<(Arc<Relation>, Option<RowKey>)> = HashSet::new();
        let mut kept = VecDeque::with_capacity(self.items.len());
        let before = self.len;
        self.len = 0;
        while let Some(item) = self.items.pop_back() {
            let Content::Events { batch, from } = &item.content else {
                kept.push_front(item);
                continue;
            };
            let mut newest: Vec<Event> = batch[*from..]
                .iter()
                .rev()
                .filter(|event| seen.insert((Arc::clone(event.relation()), event.key().cloned())))
                .cloned()
                .collect();
            if !newest.is_empty() {
                newest.reverse();
                self.len += newest.len();
                kept.push_front(Item {
                    numbers: item.numbers,
                    content: Content::Events {
                        batch: newest.into(),
                        from: 0,
                    },
                });
            }
        }
        self.items = kept;
        let superseded = (before - self.len) as u64;
        self.counts.coalesced += superseded;
        self.coalesced += superseded;
    }

    fn lose(&mut self, events: usize) -> Resync {
        self.len -= events;
        self.counts.lost += events as u64;
        Resync::losing(events as u64, ResyncReason::Overflow)
    }
}

impl Last {
    fn span(&mut self, (lowest, highest): (u64, u64)) {
        let (first, last) = self.numbers.unwrap_or((lowest, highest));
        self.numbers = Some((first.min(lowest), last.max(highest)));
    }
}

impl Item {
    /// Takes the numbers of another item up.
    fn span(&mut self, (lowest, highest): (u64, u64)) {
        self.numbers = (self.numbers.0.min(lowest), self.numbers.1.max(highest));
    }

    /// Stands in the place of an earlier item: a resync takes up another resync, and the numbers of events that are lost.
    fn absorb(&mut self, other: Self) {
        self.span(other.numbers);
        if let (Content::Resync(resync), Content::Resync(other)) =
            (&mut self.content, other.content)
        {
            resync.absorb(other);
        }
    }

    fn event_count(&self) -> usize {
        match &self.content {
            Content::Events { batch, from } => batch.len() - from,
            Content::Resync(_) => 0,
        }
    }

    /// Whether it is of events whose number is below `below`.
    fn events_below(&self, below: u64) -> bool {
        matches!(self.content, Content::Events { .. }) && self.numbers.1 < below
    }
}

#[cfg(test)]
mod tests;
