//! The queue of one subscriber: batches with resyncs between them, bounded by the number of events.
//!
//! This type is pure: it uses no clock and no I/O, and wakes no task. [`Subscription`](super::Subscription) adds that.
//!
//! Guarantees:
//! - Items are delivered in the order of their arrival.
//! - Every event is delivered, lost or coalesced, and counted as such.
//! - After a loss, the next delivery after the gap begins with a resync that reports the number of lost events. The resync
//!   waits in the queue itself and takes no capacity, so it cannot be lost.
//! - The beginning of a session without missing events waits in the queue as well, as a resync without reasons. It is merged
//!   into an adjacent resync with reasons.
//! - Items carry the numbers that the router assigned; see [`order`](super::order). An item that replaces several items has
//!   the numbers of all of them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::options::Overflow;
use crate::event::{Event, Relation, RowKey};
use crate::gate::Session;
use crate::signal::{Resync, ResyncReason};

/// What a subscriber receives: a resync, the events after it, or both.
#[derive(Clone, Debug)]
pub struct Delivery {
    resync: Option<Resync>,
    events: Arc<[Event]>,
    coalesced: u64,
}

impl Delivery {
    /// Makes a delivery, for tests of receivers.
    #[must_use]
    pub fn new(resync: Option<Resync>, events: impl Into<Arc<[Event]>>) -> Self {
        Self {
            resync,
            events: events.into(),
            coalesced: 0,
        }
    }

    /// Returns the resync, if events are missing *before* the events of this delivery.
    #[must_use]
    pub fn resync(&self) -> Option<&Resync> {
        self.resync.as_ref().filter(|resync| resync.has_reasons())
    }

    /// Returns the session that begins before the events of this delivery, if any.
    pub(crate) fn session(&self) -> Option<Session> {
        self.resync.as_ref().and_then(Resync::session)
    }

    /// Returns the events, oldest first. May be empty if there is a resync, or if the subscription belongs to a cache.
    #[must_use]
    pub fn events(&self) -> &Arc<[Event]> {
        &self.events
    }

    /// Returns how many events since the last delivery were superseded by a newer event of the same row
    /// ([`Overflow::CoalesceByKey`]).
    #[must_use]
    pub fn coalesced(&self) -> u64 {
        self.coalesced
    }
}

#[derive(Debug)]
struct Item {
    /// The lowest and the highest number of the contents.
    numbers: (u64, u64),
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// The events of a batch from index `from` on.
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
    /// Events coalesced since the last delivery.
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

/// The result of [`Backlog::pop`].
#[derive(Debug)]
pub(super) enum Popped {
    Delivery(Delivery),
    /// The number of the next item, which is too high.
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

    pub(super) fn has_resync(&self) -> bool {
        self.items
            .iter()
            .any(|item| matches!(&item.content, Content::Resync(resync) if resync.has_reasons()))
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Returns the lowest number above `limit` of all items that are waiting, or were delivered and not yet handled.
    pub(super) fn mark(&self, limit: u64) -> Option<u64> {
        let waiting = self.items.iter().map(|item| item.numbers);
        let all = self.last.numbers.into_iter().chain(waiting);
        // Items are in the order of their numbers, except one that spans the limit.
        all.filter(|(_, highest)| *highest > limit)
            .map(|(lowest, _)| lowest.max(limit + 1))
            .next()
    }

    /// Records that the subscriber has handled the last delivery.
    pub(super) fn handled(&mut self) {
        self.last = Last::default();
    }

    /// Makes the last waiting resync begin a session. A subscriber that has handled it has learned of all losses.
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
        self.check_order(number);
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

    /// Counts the last delivery as lost, because the subscriber failed.
    pub(super) fn take_back(&mut self) {
        let Last {
            resync,
            events,
            numbers,
        } = std::mem::take(&mut self.last);
        self.counts.delivered -= events;
        self.counts.lost += events;
        let failed = Resync::losing(events, ResyncReason::SubscriberFailed);
        // The resync of the failed delivery must be delivered again.
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

    /// The first waiting item has the lowest number; see [`mark`](Self::mark).
    fn check_order(&self, number: u64) {
        let last = self.items.back().map_or(0, |item| item.numbers.1);
        debug_assert!(last <= number, "{number} after {last}");
    }

    pub(super) fn push_events(&mut self, batch: Arc<[Event]>, number: u64) {
        self.check_order(number);
        self.counts.matched += batch.len() as u64;
        let alone = self.len == 0;
        self.len += batch.len();
        self.items.push_back(Item {
            numbers: (number, number),
            content: Content::Events { batch, from: 0 },
        });
        // The size of a source's batch is not the subscriber's fault if its queue was empty.
        if alone {
            return;
        }
        match self.overflow {
            Overflow::Resync => self.drop_backlog_if_over(self.capacity),
            Overflow::DropOldest => self.drop_oldest(),
            Overflow::CoalesceByKey => {
                // Coalesce only at intervals, so that the cost per event stays constant.
                if self.len > self.capacity.saturating_mul(2) {
                    self.coalesce();
                    self.drop_backlog_if_over(self.capacity);
                }
            }
        }
    }

    /// Returns the next delivery of at most `max` events. Only takes items whose numbers are below `below`.
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
        let is_visible = last.resync.as_ref().is_some_and(Resync::has_reasons);
        self.counts.resyncs += u64::from(is_visible);
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
        // Pass a batch on without copying if it is alone, or as large as allowed.
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
        // Keep the newest batch if it fits by itself, because it follows the gap.
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

    /// Keeps the newest event per row, in the order of the newest events.
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
    /// Extends the numbers by those of another item.
    fn span(&mut self, (lowest, highest): (u64, u64)) {
        self.numbers = (self.numbers.0.min(lowest), self.numbers.1.max(highest));
    }

    /// Merges an earlier item that this one replaces: its numbers, and its resync if it is one.
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

    /// Whether the item has events, with numbers below `below`.
    fn events_below(&self, below: u64) -> bool {
        matches!(self.content, Content::Events { .. }) && self.numbers.1 < below
    }
}

#[cfg(test)]
mod tests;
