//! Times in half the room that an `Instant` takes: there are up to three with each value.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::sync::now;

/// Counts from when the store was made.
#[derive(Debug)]
pub(super) struct Clock {
    origin: Instant,
}

/// A time on the clock of its store, in nanoseconds and one: enough for five hundred years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(NonZeroU64);

impl Clock {
    pub(super) fn new() -> Self {
        Self { origin: now() }
    }

    pub(super) fn now(&self) -> Time {
        self.time(now())
    }

    /// What was before the store is the time at which it was made.
    pub(super) fn time(&self, at: Instant) -> Time {
        Time::after(at.saturating_duration_since(self.origin)).unwrap_or(Time(NonZeroU64::MAX))
    }
}

impl Time {
    /// When the store was made.
    pub(super) const ORIGIN: Self = Self(NonZeroU64::MIN);

    fn after(elapsed: Duration) -> Option<Self> {
        let nanos = u64::try_from(elapsed.as_nanos()).ok()?;
        nanos.checked_add(1).and_then(NonZeroU64::new).map(Self)
    }

    pub(super) fn nanos(self) -> u64 {
        self.0.get()
    }

    /// `None` if that is too late to be represented.
    pub(super) fn checked_add(self, duration: Duration) -> Option<Self> {
        let nanos = u64::try_from(duration.as_nanos()).ok()?;
        self.0.checked_add(nanos).map(Self)
    }
}
