//! What a node knows of the parked events of its slices: which rows have some, in which order, and when the first of each
//! is due. The events themselves stay in the database until then.
//!
//! Pure: no I/O, no user code; time is what it is given.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::time::Instant;

use super::job::Row;

#[derive(Debug, Default)]
pub(super) struct Parked {
    lanes: HashMap<Row, Lane>,
    /// The first of each row, but for those that were given out.
    waiting: BTreeMap<(Instant, i64), Row>,
}

#[derive(Debug)]
struct Lane {
    slice: i32,
    /// In order. The first is given out, or waits.
    events: VecDeque<i64>,
    /// When the first is due, while it waits.
    due: Option<Instant>,
}

impl Parked {
    /// How many rows have parked events.
    pub(super) fn rows(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn has(&self, row: &Row) -> bool {
        self.lanes.contains_key(row)
    }

    /// The slice that the row belongs to.
    pub(super) fn slice(&self, row: &Row) -> Option<i32> {
        self.lanes.get(row).map(|lane| lane.slice)
    }

    /// An event is parked: behind others of its row, or until it is due.
    pub(super) fn park(&mut self, row: &Row, slice: i32, event: i64, due: Instant) {
        if let Some(lane) = self.lanes.get_mut(row) {
            lane.events.push_back(event);
            return;
        }
        let lane = Lane {
            slice,
            events: VecDeque::from([event]),
            due: Some(due),
        };
        self.waiting.insert((due, event), row.clone());
        self.lanes.insert(row.clone(), lane);
    }

    /// An event that was found among the parked ones; known already, perhaps.
    pub(super) fn found(&mut self, row: &Row, slice: i32, event: i64, due: Instant) {
        let Some(lane) = self.lanes.get_mut(row) else {
            return self.park(row, slice, event, due);
        };
        if lane.events.contains(&event) {
            return;
        }
        let place = lane.events.partition_point(|other| *other < event);
        // What was given out stays in front.
        let place = if lane.due.is_none() {
            place.max(1)
        } else {
            place
        };
        lane.events.insert(place, event);
        if place == 0
            && let Some(before) = lane.due.replace(due)
            && let Some(second) = lane.events.get(1)
        {
            self.waiting.remove(&(before, *second));
            self.waiting.insert((due, event), row.clone());
        }
    }

    /// When the next is due.
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
            if let Some(lane) = self.lanes.get_mut(&row) {
                lane.due = None;
            }
            due.push((row, event));
        }
        due
    }

    /// What was given out is to be given out again.
    pub(super) fn put_back(&mut self, row: &Row, event: i64, due: Instant) {
        if let Some(lane) = self.lanes.get_mut(row)
            && lane.due.is_none()
            && lane.events.front() == Some(&event)
        {
            lane.due = Some(due);
            self.waiting.insert((due, event), row.clone());
        }
    }

    /// What was given out is done with; the next of its row is due.
    pub(super) fn done(&mut self, row: &Row, event: i64, now: Instant) {
        let Some(lane) = self.lanes.get_mut(row) else {
            return;
        };
        if lane.due.is_some() || lane.events.front() != Some(&event) {
            return;
        }
        lane.events.pop_front();
        match lane.events.front() {
            Some(next) => {
                lane.due = Some(now);
                self.waiting.insert((now, *next), row.clone());
            }
            None => {
                self.lanes.remove(row);
            }
        }
    }

    /// The slice has gone.
    pub(super) fn forget(&mut self, slice: i32) {
        let lanes = &mut self.lanes;
        lanes.retain(|_, lane| lane.slice != slice);
        self.waiting.retain(|_, row| lanes.contains_key(row));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Parked, Row};

    fn row(relation: i64) -> Row {
        Row {
            relation,
            key: None,
        }
    }

    fn given_out(parked: &mut Parked, now: Instant) -> Vec<i64> {
        parked
            .give_out(now, 10)
            .into_iter()
            .map(|(_, event)| event)
            .collect()
    }

    #[test]
    fn one_of_a_row_at_a_time_in_order() {
        let (mut parked, now) = (Parked::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        parked.park(&row(1), 0, 10, later);
        parked.park(&row(1), 0, 11, now);
        parked.park(&row(2), 0, 20, now);
        assert_eq!(given_out(&mut parked, now), [20]);
        assert_eq!(parked.next_due(), Some(later));
        assert_eq!(given_out(&mut parked, later), [10]);
        assert!(given_out(&mut parked, later).is_empty(), "11 is behind 10");
        parked.put_back(&row(1), 10, later + (later - now));
        assert!(given_out(&mut parked, later).is_empty());
        assert_eq!(given_out(&mut parked, later + (later - now)), [10]);
        parked.done(&row(1), 10, later);
        assert_eq!(given_out(&mut parked, later), [11]);
        parked.done(&row(1), 11, later);
        parked.done(&row(2), 20, later);
        assert!(parked.rows() == 0 && parked.next_due().is_none());
    }

    #[test]
    fn what_is_found_takes_its_place() {
        let (mut parked, now) = (Parked::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        parked.park(&row(1), 0, 10, later);
        parked.found(&row(1), 0, 10, now);
        parked.found(&row(1), 0, 5, now);
        assert_eq!(given_out(&mut parked, later), [5]);
        parked.found(&row(1), 0, 3, now);
        parked.done(&row(1), 5, now);
        assert_eq!(given_out(&mut parked, now), [3], "after what was given out");
        parked.forget(0);
        parked.done(&row(1), 3, now);
        assert!(parked.rows() == 0 && parked.next_due().is_none());
    }
}
