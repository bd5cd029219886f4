//! Decides which tasks may run.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use crate::event::{Event, Relation, RowKey};

/// The key that orders tasks: tasks of the same row run one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    relation: Arc<Relation>,
    key: RowKey,
}

impl Lane {
    /// Returns the lane of an event. `None` if it is about a whole table.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        let key = event.key()?.clone();
        Some(Self {
            relation: Arc::clone(event.relation()),
            key,
        })
    }
}

/// Schedules tasks with bounded concurrency, in order for each row.
///
/// ```text
///             ┌──────── parked behind its row ────────┐
///   push ─► queued ─────────────────────────► ready ─► running ─► finish
///                                               ▲         │
///                                               └─ resume ─ pause (backing off)
/// ```
///
/// Guarantees:
/// - At most `concurrency` tasks run at a time. A paused task does not count.
/// - Tasks of one lane run one after the other, in the order of their `push`. A paused task keeps its lane.
/// - A task without a lane runs alone: after all tasks pushed before it, and before all tasks pushed after it.
///
/// This type is pure: it uses no clock, no I/O and no user code.
#[derive(Debug)]
pub struct Schedule<T, L = Lane> {
    concurrency: usize,
    running: usize,
    /// Whether a task without a lane has started and is not finished.
    exclusive: bool,
    queued: VecDeque<(Option<L>, T)>,
    ready: VecDeque<(Option<L>, T)>,
    /// Lanes with a task that has started, and the tasks parked behind it.
    busy: HashMap<L, VecDeque<T>>,
    /// The number of tasks that were pushed and are not finished.
    unfinished: usize,
}

impl<T, L: Clone + Eq + Hash> Schedule<T, L> {
    /// Makes an empty schedule that runs up to `concurrency` tasks (0 counts as 1).
    #[must_use]
    pub fn new(concurrency: usize) -> Self {
        Self {
            concurrency: concurrency.max(1),
            running: 0,
            exclusive: false,
            queued: VecDeque::new(),
            ready: VecDeque::new(),
            busy: HashMap::new(),
            unfinished: 0,
        }
    }

    /// Returns how many tasks were pushed and are not finished.
    #[must_use]
    pub fn len(&self) -> usize {
        self.unfinished
    }

    /// Returns whether all tasks are finished.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unfinished == 0
    }

    /// Returns how many tasks are running.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }

    /// Returns how many tasks wait only for a free slot. Includes tasks whose lane has not been checked yet.
    #[must_use]
    pub fn startable(&self) -> usize {
        self.queued.len() + self.ready.len()
    }

    /// Adds a task.
    pub fn push(&mut self, lane: Option<L>, task: T) {
        self.unfinished += 1;
        self.queued.push_back((lane, task));
    }

    /// Returns the next task that may start. It runs until [`finish`](Self::finish) or [`pause`](Self::pause).
    pub fn start_next(&mut self) -> Option<(Option<L>, T)> {
        if self.running == self.concurrency || (self.exclusive && self.running > 0) {
            return None;
        }
        if let Some(task) = self.ready.pop_front() {
            self.running += 1;
            return Some(task);
        }
        if self.exclusive {
            return None;
        }
        loop {
            match self.queued.front()? {
                (None, _) if self.busy.is_empty() => self.exclusive = true,
                (None, _) => return None,
                (Some(lane), _) if self.busy.contains_key(lane) => {
                    if let Some((Some(lane), task)) = self.queued.pop_front() {
                        self.busy.entry(lane).or_default().push_back(task);
                    }
                    continue;
                }
                (Some(lane), _) => {
                    self.busy.insert(lane.clone(), VecDeque::new());
                }
            }
            self.running += 1;
            return self.queued.pop_front();
        }
    }

    /// Ends the running task of this lane, whether it succeeded or was given up.
    pub fn finish(&mut self, lane: Option<L>) {
        self.running -= 1;
        self.unfinished -= 1;
        let Some(lane) = lane else {
            self.exclusive = false;
            return;
        };
        let Some(parked) = self.busy.get_mut(&lane) else {
            return;
        };
        match parked.pop_front() {
            Some(task) => self.ready.push_back((Some(lane), task)),
            None => {
                self.busy.remove(&lane);
            }
        }
    }

    /// Pauses a running task until its next attempt.
    pub fn pause(&mut self) {
        self.running -= 1;
    }

    /// Makes a paused task ready to run again.
    pub fn resume(&mut self, lane: Option<L>, task: T) {
        self.ready.push_back((lane, task));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::{Lane, Schedule};
    use crate::{Event, Operation};

    fn lane(row: i64) -> Option<Lane> {
        Lane::of(
            &Event::builder("public", "t", Operation::Insert)
                .key(row)
                .build(),
        )
    }

    fn started(schedule: &mut Schedule<u32>) -> Vec<u32> {
        std::iter::from_fn(|| schedule.start_next())
            .map(|(_, task)| task)
            .collect()
    }

    #[test]
    fn rows_run_concurrently_and_each_in_order() {
        let mut schedule = Schedule::new(2);
        for (row, task) in [(1, 10), (1, 11), (2, 20), (3, 30)] {
            schedule.push(lane(row), task);
        }
        assert_eq!(started(&mut schedule), [10, 20]);
        schedule.finish(lane(2));
        assert_eq!(started(&mut schedule), [30]);
        schedule.finish(lane(1));
        assert_eq!(started(&mut schedule), [11]);
    }

    #[test]
    fn paused_tasks_keep_their_lane_and_free_their_slot() {
        let mut schedule = Schedule::new(1);
        for (row, task) in [(1, 10), (1, 11), (2, 20)] {
            schedule.push(lane(row), task);
        }
        assert_eq!(started(&mut schedule), [10]);
        schedule.pause();
        assert_eq!(started(&mut schedule), [20]);
        schedule.finish(lane(2));
        assert!(started(&mut schedule).is_empty());
        schedule.resume(lane(1), 10);
        assert_eq!(started(&mut schedule), [10]);
        schedule.finish(lane(1));
        assert_eq!(started(&mut schedule), [11]);
    }

    #[test]
    fn tasks_without_a_lane_run_alone() {
        let mut schedule = Schedule::new(9);
        schedule.push(lane(1), 10);
        schedule.push(None, 99);
        schedule.push(lane(2), 20);
        assert_eq!(started(&mut schedule), [10]);
        schedule.finish(lane(1));
        assert_eq!(started(&mut schedule), [99]);
        schedule.pause();
        assert!(started(&mut schedule).is_empty());
        schedule.resume(None, 99);
        assert_eq!(started(&mut schedule), [99]);
        schedule.finish(None);
        assert_eq!(started(&mut schedule), [20]);
    }

    proptest! {
        /// Every task starts once, plus once for each pause, within the guarantees of the type.
        #[test]
        fn order_and_bounds_hold(
            rows in proptest::collection::vec(proptest::option::weighted(0.9, 0_i64..5), 1..60),
            concurrency in 1_usize..5,
            choices in proptest::collection::vec((0_usize..8, 0_u8..4), 400),
        ) {
            let mut schedule = Schedule::new(concurrency);
            for (task, row) in rows.iter().enumerate() {
                schedule.push(row.and_then(lane), task);
            }
            let mut running: Vec<usize> = Vec::new();
            let mut paused: Vec<usize> = Vec::new();
            let mut finished: Vec<usize> = Vec::new();
            for (pick, choice) in choices.into_iter().chain(std::iter::repeat((0, 0))).take(2_000) {
                while let Some((_, task)) = schedule.start_next() {
                    running.push(task);
                    prop_assert!(running.len() <= concurrency);
                    let must_follow = |other: &usize| match (rows[*other], rows[task]) {
                        (Some(theirs), Some(ours)) => theirs == ours,
                        _ => true,
                    };
                    let in_order =
                        (0..task).filter(must_follow).all(|other| finished.contains(&other));
                    prop_assert!(in_order);
                    prop_assert!(rows[task].is_some() || running.len() == 1);
                }
                if choice == 3 && !running.is_empty() {
                    let task = running.remove(pick % running.len());
                    schedule.pause();
                    paused.push(task);
                } else if choice == 2 && !paused.is_empty() || running.is_empty() && !paused.is_empty() {
                    let task = paused.remove(pick % paused.len());
                    schedule.resume(rows[task].and_then(lane), task);
                } else if !running.is_empty() {
                    let task = running.remove(pick % running.len());
                    schedule.finish(rows[task].and_then(lane));
                    finished.push(task);
                }
                prop_assert_eq!(schedule.running(), running.len());
            }
            prop_assert!(schedule.is_empty());
            let times: HashMap<usize, usize> =
                finished.iter().fold(HashMap::new(), |mut times, task| {
                    *times.entry(*task).or_default() += 1;
                    times
                });
            prop_assert!((0..rows.len()).all(|task| times.get(&task) == Some(&1)));
        }
    }
}
