//! Times in half the size of an `Instant`: each entry has up to three.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::sync::now;

/// Counts from the creation of the store.
#[derive(Debug)]
pub(super) struct Clock {
    origin: Instant,
}

/// A time on the clock of its store, in nanoseconds plus one. The range is five hundred years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(NonZeroU64);

impl Clock {
    pub(super) fn new() -> Self {
        Self { origin: now() }
    }

    pub(super) fn now(&self) -> Time {
        self.time(now())
    }

    /// A time before the creation of the store becomes the creation time.
    pub(super) fn time(&self, at: Instant) -> Time {
        Time::after(at.saturating_duration_since(self.origin)).unwrap_or(Time(NonZeroU64::MAX))
    }
}

impl Time {
    /// The creation of the store.
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
