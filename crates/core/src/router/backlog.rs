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
enum Item {
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
    /// The resync of the last delivery, and how many events it had.
    last: (Option<Resync>, u64),
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
            last: (None, 0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether a resync waits.
    pub(super) fn has_resync(&self) -> bool {
        self.items
            .iter()
            .any(|item| matches!(item, Item::Resync(resync) if resync.is_of_something()))
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The last resync that waits begins a session: whoever took it knows of everything that was lost.
    pub(super) fn begin_session(&mut self, session: Session) {
        let waiting = self.items.iter_mut().rev().find_map(|item| match item {
            Item::Resync(resync) => Some(resync),
            Item::Events { .. } => None,
        });
        if let Some(resync) = waiting {
            *resync = resync.clone().beginning(session);
        }
    }

    pub(super) fn push_resync(&mut self, resync: Resync) {
        match self.items.back_mut() {
            Some(Item::Resync(waiting)) => waiting.absorb(resync),
            _ => self.items.push_back(Item::Resync(resync)),
        }
    }

    /// The subscriber failed with the last delivery in hand.
    pub(super) fn take_back(&mut self) {
        let (resync, events) = std::mem::take(&mut self.last);
        self.counts.delivered -= events;
        self.counts.lost += events;
        let failed = Resync::losing(events, ResyncReason::SubscriberFailed);
        // What it was told then is still news.
        self.push_resync_front(match resync {
            Some(mut resync) => {
                resync.absorb(failed);
                resync
            }
            None => failed,
        });
    }

    fn push_resync_front(&mut self, mut resync: Resync) {
        if let Some(Item::Resync(next)) = self.items.front_mut() {
            resync.absorb(next.clone());
            *next = resync;
        } else {
            self.items.push_front(Item::Resync(resync));
        }
    }

    pub(super) fn push_events(&mut self, batch: Arc<[Event]>) {
        self.counts.matched += batch.len() as u64;
        let alone = self.len == 0;
        self.len += batch.len();
        self.items.push_back(Item::Events { batch, from: 0 });
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

    /// The next delivery of at most `max` events.
    pub(super) fn pop(&mut self, max: usize) -> Option<Delivery> {
        let mut resync: Option<Resync> = None;
        while let Some(Item::Resync(_)) = self.items.front() {
            if let Some(Item::Resync(next)) = self.items.pop_front() {
                match &mut resync {
                    Some(first) => first.absorb(next),
                    None => resync = Some(next),
                }
            }
        }
        let events = self.pop_events(max);
        if resync.is_none() && events.is_empty() {
            return None;
        }
        let is_told = resync.as_ref().is_some_and(Resync::is_of_something);
        self.counts.resyncs += u64::from(is_told);
        self.counts.delivered += events.len() as u64;
        self.last = (resync.clone(), events.len() as u64);
        Some(Delivery {
            resync,
            events,
            coalesced: std::mem::take(&mut self.coalesced),
        })
    }

    fn pop_events(&mut self, max: usize) -> Arc<[Event]> {
        // A batch that fits and stands alone, or is as large as allowed, is handed on as it is.
        if let Some(Item::Events { batch, from: 0 }) = self.items.front()
            && batch.len() <= max
            && (batch.len() == max || !matches!(self.items.get(1), Some(Item::Events { .. })))
        {
            let batch = Arc::clone(batch);
            self.items.pop_front();
            self.len -= batch.len();
            return batch;
        }
        let mut events = Vec::with_capacity(max.min(self.len));
        while events.len() < max
            && let Some(Item::Events { batch, from }) = self.items.front_mut()
        {
            let to = batch.len().min(from.saturating_add(max - events.len()));
            events.extend_from_slice(&batch[*from..to]);
            *from = to;
            if to == batch.len() {
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
        let newest = match self.items.pop_back() {
            Some(Item::Events { batch, from }) if batch.len() - from <= limit => {
                Some((batch, from))
            }
            _ => None,
        };
        let kept = newest
            .as_ref()
            .map_or(0, |(batch, from)| batch.len() - from);
        let mut resync = self.lose(self.len - kept);
        for item in self.items.drain(..) {
            if let Item::Resync(earlier) = item {
                resync.absorb(earlier);
            }
        }
        self.items.push_back(Item::Resync(resync));
        self.items
            .extend(newest.map(|(batch, from)| Item::Events { batch, from }));
    }

    fn drop_oldest(&mut self) {
        let mut excess = self.len.saturating_sub(self.capacity);
        if excess == 0 {
            return;
        }
        let mut resync = self.lose(excess);
        while excess > 0 {
            match self.items.front_mut() {
                Some(Item::Events { batch, from }) if batch.len() - *from > excess => {
                    *from += excess;
                    break;
                }
                Some(Item::Events { batch, from }) => excess -= batch.len() - *from,
                Some(Item::Resync(earlier)) => resync.absorb(earlier.clone()),
                None => break,
            }
            self.items.pop_front();
        }
        self.push_resync_front(resync);
    }

    /// Keeps the newest event per row, in the order of the newest.
    fn coalesce(&mut self) {
        let mut seen: HashSet<(Arc<Relation>, Option<RowKey>)> = HashSet::new();
        let mut kept = VecDeque::with_capacity(self.items.len());
        let before = self.len;
        self.len = 0;
        while let Some(item) = self.items.pop_back() {
            let Item::Events { batch, from } = item else {
                kept.push_front(item);
                continue;
            };
            let mut newest: Vec<Event> = batch[from..]
                .iter()
                .rev()
                .filter(|event| seen.insert((Arc::clone(event.relation()), event.key().cloned())))
                .cloned()
                .collect();
            if !newest.is_empty() {
                newest.reverse();
                self.len += newest.len();
                kept.push_front(Item::Events {
                    batch: newest.into(),
                    from: 0,
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

#[cfg(test)]
mod tests;
