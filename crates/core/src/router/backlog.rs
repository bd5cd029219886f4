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

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::options::Overflow;
use crate::event::{Event, Relation, RowKey};
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
        self.resync.as_ref()
    }

    /// The events, oldest first. May be empty if there is a resync.
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
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn push_resync(&mut self, resync: Resync) {
        match self.items.back_mut() {
            Some(Item::Resync(waiting)) => waiting.absorb(resync),
            _ => self.items.push_back(Item::Resync(resync)),
        }
    }

    /// The subscriber failed with the last delivery, of so many events, in hand.
    pub(super) fn take_back(&mut self, events: u64) {
        self.counts.delivered -= events;
        self.counts.lost += events;
        self.push_resync_front(Resync::losing(events, ResyncReason::SubscriberFailed));
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
        self.counts.resyncs += u64::from(resync.is_some());
        self.counts.delivered += events.len() as u64;
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
            let to = batch.len().min(*from + max - events.len());
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
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::{Backlog, Overflow};
    use crate::{Event, Key, Operation, Resync, ResyncReason};

    /// An event about row `row`, numbered by its transaction id.
    fn event(number: u64, row: i64) -> Event {
        Event::builder("public", "t", Operation::Update)
            .key(row)
            .transaction_id(number)
            .build()
    }

    fn number(event: &Event) -> u64 {
        event.transaction_id().unwrap()
    }

    fn row(event: &Event) -> i64 {
        i64::from_row_key(event.key().unwrap()).unwrap()
    }

    fn push(backlog: &mut Backlog, numbers: std::ops::Range<u64>) {
        backlog.push_events(numbers.map(|n| event(n, n as i64)).collect());
    }

    fn numbers(backlog: &mut Backlog, max: usize) -> (Option<u64>, Vec<u64>) {
        let delivery = backlog.pop(max).unwrap();
        (
            delivery.resync().map(Resync::lost),
            delivery.events().iter().map(number).collect(),
        )
    }

    #[test]
    fn a_lone_batch_is_handed_on_without_copying() {
        let mut backlog = Backlog::new(10, Overflow::Resync);
        let batch: std::sync::Arc<[Event]> = [event(1, 1), event(2, 2)].into();
        backlog.push_events(batch.clone());
        let delivery = backlog.pop(2).unwrap();
        assert!(std::sync::Arc::ptr_eq(delivery.events(), &batch));
    }

    #[test]
    fn small_batches_are_joined_up_to_the_credit() {
        let mut backlog = Backlog::new(10, Overflow::Resync);
        (0..5).for_each(|n| push(&mut backlog, n..n + 1));
        assert_eq!(numbers(&mut backlog, 3), (None, vec![0, 1, 2]));
        assert_eq!(numbers(&mut backlog, 3), (None, vec![3, 4]));
        assert!(backlog.pop(3).is_none());
    }

    #[test]
    fn a_resync_stands_where_it_arrived() {
        let mut backlog = Backlog::new(10, Overflow::Resync);
        push(&mut backlog, 0..2);
        backlog.push_resync(Resync::new(ResyncReason::Reconnected));
        backlog.push_resync(Resync::new(ResyncReason::TriggersRestored));
        push(&mut backlog, 5..6);
        assert_eq!(numbers(&mut backlog, 9), (None, vec![0, 1]));
        let delivery = backlog.pop(9).unwrap();
        assert_eq!(
            delivery.resync().unwrap().to_string(),
            "reconnected+triggers_restored"
        );
        assert_eq!(delivery.events().len(), 1);
    }

    #[test]
    fn resync_drops_the_backlog_and_keeps_what_follows_the_gap() {
        let mut backlog = Backlog::new(4, Overflow::Resync);
        push(&mut backlog, 0..3);
        push(&mut backlog, 3..5);
        push(&mut backlog, 5..6);
        assert_eq!(numbers(&mut backlog, 9), (Some(3), vec![3, 4, 5]));
        push(&mut backlog, 6..8);
        push(&mut backlog, 8..20);
        assert_eq!(numbers(&mut backlog, 9), (Some(14), vec![]));
    }

    #[test]
    fn a_batch_that_finds_the_queue_empty_is_taken_whatever_its_size() {
        for overflow in [
            Overflow::Resync,
            Overflow::DropOldest,
            Overflow::CoalesceByKey,
        ] {
            let mut backlog = Backlog::new(4, overflow);
            push(&mut backlog, 0..9);
            assert_eq!(numbers(&mut backlog, 9), (None, (0..9).collect()));
        }
    }

    #[test]
    fn what_a_failed_subscriber_had_in_hand_is_told_before_the_rest() {
        let mut backlog = Backlog::new(9, Overflow::Resync);
        push(&mut backlog, 0..5);
        assert_eq!(numbers(&mut backlog, 3), (None, vec![0, 1, 2]));
        backlog.take_back(3);
        assert_eq!(numbers(&mut backlog, 3), (Some(3), vec![3, 4]));
        let counts = backlog.counts();
        assert_eq!((counts.matched, counts.delivered, counts.lost), (5, 2, 3));
    }

    #[test]
    fn drop_oldest_drops_no_more_than_it_must() {
        let mut backlog = Backlog::new(4, Overflow::DropOldest);
        push(&mut backlog, 0..3);
        push(&mut backlog, 3..6);
        push(&mut backlog, 6..7);
        assert_eq!(numbers(&mut backlog, 9), (Some(3), vec![3, 4, 5, 6]));
    }

    #[test]
    fn coalescing_keeps_the_newest_event_per_row() {
        let mut backlog = Backlog::new(3, Overflow::CoalesceByKey);
        push(&mut backlog, 0..1);
        backlog.push_events((1..9).map(|n| event(n, (n % 3) as i64)).collect());
        let delivery = backlog.pop(9).unwrap();
        assert!(delivery.resync().is_none());
        assert_eq!(delivery.coalesced(), 6);
        assert_eq!(
            delivery.events().iter().map(number).collect::<Vec<_>>(),
            [6, 7, 8]
        );
        // More rows than room: nothing to coalesce, so the backlog goes.
        push(&mut backlog, 0..1);
        push(&mut backlog, 1..7);
        assert_eq!(numbers(&mut backlog, 9), (Some(7), vec![]));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Events { size: usize, rows: i64 },
        Resync,
        Pop { max: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1_usize..12, 1_i64..8).prop_map(|(size, rows)| Step::Events { size, rows }),
            1 => Just(Step::Resync),
            3 => (1_usize..9).prop_map(|max| Step::Pop { max }),
        ];
        proptest::collection::vec(step, 1..80)
    }

    fn policy() -> impl Strategy<Value = Overflow> {
        prop_oneof![
            Just(Overflow::Resync),
            Just(Overflow::DropOldest),
            Just(Overflow::CoalesceByKey)
        ]
    }

    proptest! {
        /// Every event is delivered in order, or lies in a gap that a resync announces with its exact
        /// size, or was superseded by a newer event of its row.
        #[test]
        fn nothing_is_missing_without_being_told(
            steps in steps(), capacity in 1_usize..20, overflow in policy(),
        ) {
            let mut backlog = Backlog::new(capacity, overflow);
            let mut next = 0_u64;
            let mut pushed: Vec<i64> = Vec::new();
            let (mut told_lost, mut told_coalesced) = (0, 0);
            let mut delivered: Vec<(u64, i64)> = Vec::new();
            // Which numbers were skipped, and whether a resync stood between their neighbours.
            let mut announced = false;
            let mut gaps: HashMap<u64, bool> = HashMap::new();
            let mut last: Option<u64> = None;
            let mut drain = steps;
            drain.extend((0..1_000).map(|_| Step::Pop { max: 8 }));
            for step in drain {
                match step {
                    Step::Events { size, rows } => {
                        let batch = (0..size as u64)
                            .map(|n| event(next + n, (next + n) as i64 % rows))
                            .collect::<Vec<_>>();
                        pushed.extend(batch.iter().map(row));
                        next += size as u64;
                        backlog.push_events(batch.into());
                        let limit = match overflow {
                            Overflow::CoalesceByKey => 2 * capacity,
                            _ => capacity,
                        };
                        prop_assert!(backlog.len() <= limit.max(size));
                    }
                    Step::Resync => {
                        backlog.push_resync(Resync::new(ResyncReason::Reconnected));
                    }
                    Step::Pop { max } => {
                        let Some(delivery) = backlog.pop(max) else { continue };
                        prop_assert!(delivery.events().len() <= max);
                        told_lost += delivery.resync().map_or(0, Resync::lost);
                        told_coalesced += delivery.coalesced();
                        announced |= delivery.resync().is_some();
                        for event in delivery.events().iter() {
                            let number = number(event);
                            prop_assert!(last.is_none_or(|last| last < number), "out of order");
                            let expected = last.map_or(0, |last| last + 1);
                            for missing in expected..number {
                                gaps.insert(missing, announced);
                            }
                            announced = false;
                            last = Some(number);
                            delivered.push((number, row(event)));
                        }
                    }
                }
                let counts = backlog.counts();
                prop_assert_eq!(
                    counts.matched,
                    counts.delivered + counts.lost + counts.coalesced + backlog.len() as u64
                );
            }
            prop_assert_eq!(backlog.len(), 0);
            prop_assert_eq!(told_lost, backlog.counts().lost);
            prop_assert_eq!(told_coalesced, backlog.counts().coalesced);
            for (missing, announced) in gaps {
                let row = pushed[missing as usize];
                let superseded = delivered.iter().any(|(number, r)| *number > missing && *r == row);
                let coalesces = overflow == Overflow::CoalesceByKey;
                prop_assert!(
                    announced || (coalesces && (superseded || told_lost > 0)),
                    "{} is missing without a word", missing
                );
            }
        }
    }
}
