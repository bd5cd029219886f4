//! The settings of a check.

use std::time::Duration;

use super::{Fault, key_of};
use crate::Error;

/// What a cache may return while its source is not live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotLive {
    /// Nothing from memory.
    Bypass,
    /// Values from memory that have not been outdated for longer than `max_age`.
    ServeStale {
        /// Counted from the moment when the source stopped being live, or when the value's load began if that is later.
        max_age: Duration,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) keys: i64,
    pub(super) readers: usize,
    pub(super) threads: usize,
    pub(super) writers: usize,
    pub(super) reads: u64,
    pub(super) faults: u64,
    pub(super) kinds: Vec<Fault>,
    pub(super) duration: Duration,
    pub(super) deadline: Duration,
    pub(super) max_lag: Duration,
    pub(super) capacity: usize,
    pub(super) not_live: NotLive,
    pub(super) reopening: bool,
    pub(super) outbox: bool,
    pub(super) handlers: bool,
    pub(super) until_violation: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: fastrand::u64(..),
            keys: 100,
            readers: 6,
            threads: 1,
            writers: 2,
            reads: 10_000,
            faults: 10,
            kinds: Fault::ALL.to_vec(),
            duration: Duration::ZERO,
            deadline: Duration::from_secs(10),
            max_lag: Duration::ZERO,
            capacity: 16,
            not_live: NotLive::Bypass,
            reopening: false,
            outbox: false,
            handlers: false,
            until_violation: None,
        }
    }
}

impl Settings {
    pub(super) fn checked(self) -> Result<Self, Error> {
        let largest = key_of(i64::MAX);
        let setting = match () {
            () if self.keys < 1 || self.keys > largest => "the number of keys",
            () if self.readers == 0 => "the number of readers",
            () if self.capacity == 0 => "the capacity",
            () if self.kinds.is_empty() && self.faults > 0 => "the number of kinds of faults",
            () if self.deadline < Duration::from_millis(10) => "the deadline",
            () => return Ok(self),
        };
        Err(Error::new(format!(
            "{setting} of the coherence check is out of range"
        )))
    }

    /// The time limit until the source is live and all changes have arrived.
    pub(super) fn quiet_deadline(&self) -> Duration {
        self.deadline * 3 + self.max_lag + Duration::from_secs(10)
    }
}
