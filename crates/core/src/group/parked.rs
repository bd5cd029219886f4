//! The parked events of a node's slices: which rows have some, in which order, and when the first event of each row is due.
//! The events themselves stay in the database until they are due.
//!
//! Pure: no I/O, no user code. The caller passes the time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::time::Instant;

use super::job::Row;

#[derive(Debug, Default)]
pub(super) struct Parked {
    rows: HashMap<Row, Queue>,
    /// The first event of each row, except rows with an event that was given out.
    waiting: BTreeMap<(Instant, i64), Row>,
    /// The number of events of all rows.
    events: usize,
}

/// The parked events of one row.
#[derive(Debug)]
struct Queue {
    slice: i32,
    /// The ids, without the event that was given out. Their order is the commit order.
    events: BTreeSet<i64>,
    head: Head,
}

/// The state of the first event of a row.
#[derive(Debug)]
enum Head {
    /// The first event is due then.
    Waiting(Instant),
    /// This event is being fetched or handled.
    GivenOut(i64),
}

impl Queue {
    fn has(&self, event: i64) -> bool {
        self.events.contains(&event) || matches!(self.head, Head::GivenOut(out) if out == event)
    }
}

impl Parked {
    /// The number of rows that have parked events.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn events(&self) -> usize {
        self.events
    }

    pub(super) fn has(&self, row: &Row) -> bool {
        self.rows.contains_key(row)
    }

    /// The slices that have parked events, some of them more than once.
    pub(super) fn slices(&self) -> impl Iterator<Item = i32> {
        self.rows.values().map(|queue| queue.slice)
    }

    /// The slice that the row belongs to.
    pub(super) fn slice(&self, row: &Row) -> Option<i32> {
        self.rows.get(row).map(|queue| queue.slice)
    }

    /// Whether this event is known, in any row. Searches all rows.
    pub(super) fn knows(&self, event: i64) -> bool {
        self.rows.values().any(|queue| queue.has(event))
    }

    pub(super) fn is_known(&self, row: &Row, event: i64) -> bool {
        self.rows.get(row).is_some_and(|queue| queue.has(event))
    }

    /// Adds an event that was found in the database, like [`park`](Self::park). If the event is the first of its row and is known
    /// with a later due time, it becomes due at `due`: an operator has made it due earlier.
    pub(super) fn found(&mut self, row: &Row, slice: i32, event: i64, due: Instant) {
        self.park(row, slice, event, due);
        if let Some(queue) = self.rows.get_mut(row)
            && let Head::Waiting(before) = queue.head
            && due < before
            && queue.events.first() == Some(&event)
        {
            self.waiting.remove(&(before, event));
            self.waiting.insert((due, event), row.clone());
            queue.head = Head::Waiting(due);
        }
    }

    /// Adds an event, unless it is known, in the order of its row. If it is the first of the row, it is due at `due`.
    pub(super) fn park(&mut self, row: &Row, slice: i32, event: i64, due: Instant) {
        let Some(queue) = self.rows.get_mut(row) else {
            let queue = Queue {
                slice,
                events: BTreeSet::from([event]),
                head: Head::Waiting(due),
            };
            self.waiting.insert((due, event), row.clone());
            self.rows.insert(row.clone(), queue);
            self.events += 1;
            return;
        };
        let first = queue.events.first().copied();
        match queue.head {
            Head::GivenOut(out) if out == event => {}
            Head::GivenOut(_) => self.events += usize::from(queue.events.insert(event)),
            Head::Waiting(before) => {
                let is_new = queue.events.insert(event);
                self.events += usize::from(is_new);
                if is_new && let Some(first) = first.filter(|first| event < *first) {
                    self.waiting.remove(&(before, first));
                    self.waiting.insert((due, event), row.clone());
                    queue.head = Head::Waiting(due);
                }
            }
        }
    }

    /// Returns when the next event is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|(due, _)| *due)
    }

    /// Gives out up to `limit` events that are due.
    pub(super) fn give_out(&mut self, now: Instant, limit: usize) -> Vec<(Row, i64)> {
        let mut due = Vec::new();
        while due.len() < limit
            && let Some(first) = self.waiting.first_entry()
            && first.key().0 <= now
        {
            let ((_, event), row) = first.remove_entry();
            if let Some(queue) = self.rows.get_mut(&row) {
                queue.events.remove(&event);
                queue.head = Head::GivenOut(event);
            }
            due.push((row, event));
        }
        due
    }

    /// Takes back an event that was given out. It is given out again at `due`.
    pub(super) fn put_back(&mut self, row: &Row, event: i64, due: Instant) {
        if let Some(queue) = self.given_out(row, event) {
            queue.events.insert(event);
            // An earlier event may have been found meanwhile.
            let first = queue.events.first().copied().unwrap_or(event);
            queue.head = Head::Waiting(due);
            self.waiting.insert((due, first), row.clone());
        }
    }

    /// Removes an event that was given out. The next event of its row is due at `now`.
    pub(super) fn done(&mut self, row: &Row, event: i64, now: Instant) {
        let Some(queue) = self.given_out(row, event) else {
            return;
        };
        match queue.events.first().copied() {
            Some(next) => {
                queue.head = Head::Waiting(now);
                self.waiting.insert((now, next), row.clone());
            }
            None => {
                self.rows.remove(row);
            }
        }
        self.events -= 1;
    }

    fn given_out(&mut self, row: &Row, event: i64) -> Option<&mut Queue> {
        let is_out = |queue: &&mut Queue| matches!(queue.head, Head::GivenOut(out) if out == event);
        self.rows.get_mut(row).filter(is_out)
    }

    /// Removes the events of a slice that this node no longer owns. Returns their number.
    pub(super) fn forget(&mut self, slice: i32) -> usize {
        let (rows, mut gone) = (&mut self.rows, 0);
        rows.retain(|_, queue| {
            let is_gone = queue.slice == slice;
            if is_gone {
                gone += queue.events.len() + usize::from(matches!(queue.head, Head::GivenOut(_)));
            }
            !is_gone
        });
        self.waiting.retain(|_, row| rows.contains_key(row));
        self.events -= gone;
        gone
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Parked, Row};

    fn row(relation: i64) -> Row {
        Row::new(relation, None)
    }

    fn given_out(parked: &mut Parked, now: Instant) -> Vec<i64> {
        parked
            .give_out(now, 10)
            .into_iter()
            .map(|(_, event)| event)
            .collect()
    }

    #[test]
    fn events_of_a_row_are_given_out_one_at_a_time_in_order() {
        let (mut parked, now) = (Parked::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        parked.park(&row(1), 0, 10, later);
        parked.park(&row(1), 0, 11, now);
        parked.park(&row(2), 0, 20, now);
        assert_eq!(given_out(&mut parked, now), [20]);
        assert!(parked.knows(20) && parked.knows(11) && !parked.knows(12));
        assert_eq!(parked.events(), 3);
        assert_eq!(parked.next_due(), Some(later));
        assert_eq!(given_out(&mut parked, later), [10]);
        assert!(given_out(&mut parked, later).is_empty(), "11 is behind 10");
        parked.put_back(&row(1), 10, later + (later - now));
        assert!(given_out(&mut parked, later).is_empty());
        assert_eq!(given_out(&mut parked, later + (later - now)), [10]);
        parked.done(&row(1), 10, later);
        assert_eq!(given_out(&mut parked, later), [11]);
        parked.done(&row(1), 11, later);
        parked.done(&row(1), 11, later);
        assert_eq!(parked.events(), 1);
        parked.done(&row(2), 20, later);
        assert_eq!(
            (parked.rows(), parked.events(), parked.next_due()),
            (0, 0, None)
        );
    }

    #[test]
    fn event_that_is_found_due_earlier_is_given_out_earlier() {
        let (mut parked, now) = (Parked::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        parked.park(&row(1), 0, 10, later);
        parked.park(&row(1), 0, 11, later);
        // Only the first of a row is due by itself.
        parked.found(&row(1), 0, 11, now);
        assert!(given_out(&mut parked, now).is_empty());
        parked.found(&row(1), 0, 10, later + (later - now));
        assert_eq!(parked.next_due(), Some(later), "not later than known");
        parked.found(&row(1), 0, 10, now);
        assert_eq!(given_out(&mut parked, now), [10]);
        assert!(parked.is_known(&row(1), 10) && !parked.is_known(&row(2), 10));
        // The event was given out already.
        parked.found(&row(1), 0, 10, now);
        assert!(given_out(&mut parked, later).is_empty());
        parked.put_back(&row(1), 10, later);
        assert_eq!((parked.events(), parked.next_due()), (2, Some(later)));
    }

    #[test]
    fn found_events_are_given_out_in_the_order_of_their_ids() {
        let (mut parked, now) = (Parked::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        parked.park(&row(1), 0, 10, later);
        parked.park(&row(1), 0, 10, now);
        parked.park(&row(1), 0, 5, now);
        assert_eq!(given_out(&mut parked, later), [5]);
        parked.park(&row(1), 0, 3, now);
        parked.done(&row(1), 5, now);
        assert_eq!(
            given_out(&mut parked, now),
            [3],
            "after the event that was given out"
        );
        assert_eq!(
            (parked.events(), parked.forget(1), parked.forget(0)),
            (2, 0, 2)
        );
        parked.done(&row(1), 3, now);
        assert_eq!(
            (parked.rows(), parked.events(), parked.next_due()),
            (0, 0, None)
        );
    }
}
