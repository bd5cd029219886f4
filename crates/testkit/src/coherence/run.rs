//! The state that all parts of a check share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;

use super::floor::Floors;
use super::liveness::Liveness;
use super::tally::Tally;
use super::{SENTINEL, Settings};

#[derive(Debug)]
pub(super) struct Run {
    pub(super) settings: Settings,
    pub(super) floors: Floors,
    pub(super) tally: Tally,
    pub(super) liveness: Liveness,
    /// The thread of the check, on which writers receive acknowledgements.
    pub(super) thread: ThreadId,
    /// Whether a flood was committed, and no cache has paused since.
    flooded: AtomicBool,
    stopped: AtomicBool,
}

impl Run {
    pub(super) fn new(settings: Settings, liveness: Liveness) -> Self {
        Self {
            floors: Floors::new(settings.keys),
            tally: Tally::new(&settings.kinds),
            liveness,
            thread: std::thread::current().id(),
            flooded: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            settings,
        }
    }

    /// Returns a random key. Half of the choices are among the first four keys.
    pub(super) fn random_key(&self, random: &mut fastrand::Rng) -> i64 {
        let last = match random.bool() {
            true => self.settings.keys.min(4),
            false => self.settings.keys,
        };
        random.i64(SENTINEL + 1..=last)
    }

    /// Returns the random numbers of one part of the check, which depend only on the seed.
    pub(super) fn random(&self, part: u64) -> fastrand::Rng {
        let mut seeds = fastrand::Rng::with_seed(self.settings.seed ^ part.rotate_left(40));
        fastrand::Rng::with_seed(seeds.u64(..))
    }

    pub(super) fn flooded(&self) {
        self.flooded.store(true, Ordering::Release);
    }

    /// Returns whether a flood was committed since the last call.
    pub(super) fn take_flooded(&self) -> bool {
        self.flooded.swap(false, Ordering::AcqRel)
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Returns whether the configured reads, faults and duration are reached, or the violation that ends the check.
    pub(super) fn is_done(&self) -> bool {
        let Settings {
            reads,
            faults,
            duration,
            until_violation,
            ..
        } = self.settings;
        let took = self.tally.began.elapsed();
        match until_violation {
            Some(limit) => self.tally.is_violated() || took >= limit,
            None => {
                self.tally.reads.get() >= reads
                    && self.tally.fault_count() >= faults
                    && took >= duration
            }
        }
    }
}
