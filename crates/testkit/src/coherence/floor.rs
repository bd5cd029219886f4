//! What a read has to return at least, per key.
//!
//! No history is kept: a floor only rises, and a read is compared with the floor at its beginning. So any
//! number of reads is checked in constant memory.
//!
//! - The *event floor* is the newest version whose event was applied (R1).
//! - The *flush floor* is what was acknowledged when the latest flush came into force (R2).
//! - The *reopening floor* is what was acknowledged before the source became live (R7).
//! - *Acknowledged* is what a writer knows to be committed. It feeds the flush floor, and, with the times of
//!   the latest acknowledgements, tells how outdated an answer is (R3).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many acknowledgements of a key are remembered with their time.
const REMEMBERED: usize = 64;

#[derive(Debug)]
pub(super) struct Floors {
    keys: Vec<Key>,
}

#[derive(Debug, Default)]
struct Key {
    event: AtomicI64,
    /// The newest version whose event the cache holds back, or has held back.
    held: AtomicI64,
    flush: AtomicI64,
    reopening: AtomicI64,
    acknowledged: AtomicI64,
    times: Mutex<VecDeque<(i64, Instant)>>,
}

/// The floors of one key at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Floor {
    pub(super) event: i64,
    pub(super) flush: i64,
    pub(super) reopening: i64,
}

/// Everything that was acknowledged at one moment, by key.
pub(super) type Snapshot = Vec<i64>;

impl Floors {
    /// Floors for keys from 0 to `last`.
    pub(super) fn new(last: i64) -> Self {
        Self {
            keys: (0..=last).map(|_| Key::default()).collect(),
        }
    }

    pub(super) fn of(&self, key: i64) -> Floor {
        match self.key(key) {
            Some(key) => Floor {
                event: key.event.load(Ordering::Acquire),
                flush: key.flush.load(Ordering::Acquire),
                reopening: key.reopening.load(Ordering::Acquire),
            },
            None => Floor::default(),
        }
    }

    pub(super) fn raise_event(&self, key: i64, version: i64) {
        if let Some(key) = self.key(key) {
            key.event.fetch_max(version, Ordering::AcqRel);
        }
    }

    /// The cache holds the event of this version back.
    pub(super) fn hold(&self, key: i64, version: i64) {
        if let Some(key) = self.key(key) {
            key.held.fetch_max(version, Ordering::AcqRel);
        }
    }

    /// The cache has applied all that it held back.
    pub(super) fn release(&self) {
        for key in &self.keys {
            let held = key.held.load(Ordering::Acquire);
            key.event.fetch_max(held, Ordering::AcqRel);
        }
    }

    /// Whether the cache holds the event of this version back.
    pub(super) fn is_held(&self, key: i64, version: i64) -> bool {
        self.key(key).is_some_and(|key| {
            let held = key.held.load(Ordering::Acquire);
            held >= version && key.event.load(Ordering::Acquire) < version
        })
    }

    pub(super) fn acknowledge(&self, key: i64, version: i64) {
        if let Some(key) = self.key(key) {
            key.acknowledged.fetch_max(version, Ordering::AcqRel);
            let mut times = key.times();
            times.push_back((version, Instant::now()));
            if times.len() > REMEMBERED {
                times.pop_front();
            }
        }
    }

    pub(super) fn acknowledged(&self) -> Snapshot {
        let acknowledged = |key: &Key| key.acknowledged.load(Ordering::Acquire);
        self.keys.iter().map(acknowledged).collect()
    }

    pub(super) fn acknowledged_of(&self, key: i64) -> i64 {
        let acknowledged = |key: &Key| key.acknowledged.load(Ordering::Acquire);
        self.key(key).map_or(0, acknowledged)
    }

    pub(super) fn raise_flush(&self, snapshot: &Snapshot) {
        for (key, version) in self.keys.iter().zip(snapshot) {
            key.flush.fetch_max(*version, Ordering::AcqRel);
        }
    }

    /// Takes what was acknowledged before `moment`, as far as that is still known.
    pub(super) fn raise_reopening(&self, moment: Instant) {
        for key in &self.keys {
            let times = key.times();
            let before = times.iter().filter(|(_, at)| *at < moment);
            if let Some(version) = before.map(|(version, _)| *version).max() {
                key.reopening.fetch_max(version, Ordering::AcqRel);
            }
        }
    }

    /// A moment at which `version` was certainly no longer the newest of `key`; `None` if it may still be.
    pub(super) fn superseded(&self, key: i64, version: i64) -> Option<Instant> {
        self.key(key)?
            .times()
            .iter()
            .find(|(newer, _)| *newer > version)
            .map(|(_, at)| *at)
    }

    fn key(&self, key: i64) -> Option<&Key> {
        self.keys.get(usize::try_from(key).ok()?)
    }
}

impl Key {
    fn times(&self) -> MutexGuard<'_, VecDeque<(i64, Instant)>> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Floor, Floors};

    #[test]
    fn floors_only_rise() {
        let floors = Floors::new(2);
        floors.raise_event(1, 5);
        floors.raise_event(1, 3);
        floors.acknowledge(2, 7);
        let before = floors.acknowledged();
        floors.acknowledge(2, 8);
        floors.raise_flush(&floors.acknowledged());
        floors.raise_flush(&before);
        let (event, flush) = (5, 8);
        let none = Floor::default();
        assert_eq!(floors.of(1), Floor { event, ..none });
        assert_eq!(floors.of(2), Floor { flush, ..none });
        assert!(floors.superseded(2, 7).is_some());
        assert!(floors.superseded(2, 8).is_none());
    }

    #[test]
    fn a_reopening_takes_what_came_before_it() {
        let floors = Floors::new(1);
        floors.acknowledge(1, 3);
        let moment = Instant::now();
        floors.acknowledge(1, 4);
        floors.raise_reopening(moment);
        assert_eq!(floors.of(1).reopening, 3);
    }

    #[test]
    fn what_is_held_becomes_a_floor_when_it_is_released() {
        let floors = Floors::new(1);
        floors.hold(1, 5);
        assert!(floors.is_held(1, 5) && floors.is_held(1, 4) && !floors.is_held(1, 6));
        assert_eq!(floors.of(1), Floor::default());
        floors.release();
        assert!(!floors.is_held(1, 5));
        assert_eq!(floors.of(1).event, 5);
    }

    #[test]
    fn unknown_keys_have_no_floor() {
        let floors = Floors::new(2);
        floors.raise_event(-1, 5);
        floors.raise_event(3, 5);
        assert_eq!(floors.of(3), Floor::default());
    }
}
