//! The oldest version that a read of each key may return: its *floor*.
//!
//! A floor only rises, and a read is compared with the floors at its beginning. So any number of reads is checked in
//! constant memory, without a history.
//!
//! - The *event floor* is the newest version whose event was applied (R1).
//! - The *flush floor* is the newest version that was acknowledged when the latest flush took effect (R2).
//! - The *reopening floor* is the newest version that was acknowledged before the source became live (R7).
//! - *Acknowledged* is the newest version that a writer knows to be committed. The flush floor is taken from it. The times
//!   of the latest acknowledgements show for how long an answer has been outdated (R3).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The number of acknowledgements of a key whose time is kept.
const MAX_TIMES: usize = 64;

#[derive(Debug)]
pub(super) struct Floors {
    keys: Vec<Key>,
}

#[derive(Debug, Default)]
struct Key {
    event: AtomicI64,
    /// The newest version whose event the cache holds back or has held back.
    held: AtomicI64,
    flush: AtomicI64,
    reopening: AtomicI64,
    acknowledged: AtomicI64,
    times: Mutex<VecDeque<(i64, Instant)>>,
}

/// The floors of a key at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Floor {
    pub(super) event: i64,
    pub(super) flush: i64,
    pub(super) reopening: i64,
}

/// The acknowledged version of each key at one moment.
pub(super) type Snapshot = Vec<i64>;

impl Floors {
    /// Makes floors for the keys from 0 to `last`.
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

    /// Records that the cache holds the event of this version back.
    pub(super) fn hold(&self, key: i64, version: i64) {
        if let Some(key) = self.key(key) {
            key.held.fetch_max(version, Ordering::AcqRel);
        }
    }

    /// Records that the cache has applied all events that it held back.
    pub(super) fn release(&self) {
        for key in &self.keys {
            let held = key.held.load(Ordering::Acquire);
            key.event.fetch_max(held, Ordering::AcqRel);
        }
    }

    /// Returns whether the cache holds the event of this version back.
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
            if times.len() > MAX_TIMES {
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

    /// Raises the reopening floors to the versions that were acknowledged before `moment`, as far as the times are kept.
    pub(super) fn raise_reopening(&self, moment: Instant) {
        for key in &self.keys {
            let times = key.times();
            let before = times.iter().filter(|(_, at)| *at < moment);
            if let Some(version) = before.map(|(version, _)| *version).max() {
                key.reopening.fetch_max(version, Ordering::AcqRel);
            }
        }
    }

    /// Returns a moment at which `version` was certainly outdated. `None` if it may still be the newest version of `key`.
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
    fn reopening_floor_is_the_version_acknowledged_before_the_moment() {
        let floors = Floors::new(1);
        floors.acknowledge(1, 3);
        let moment = Instant::now();
        floors.acknowledge(1, 4);
        floors.raise_reopening(moment);
        assert_eq!(floors.of(1).reopening, 3);
    }

    #[test]
    fn held_versions_become_the_event_floor_on_release() {
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
