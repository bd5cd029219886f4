//! When events take effect on a cache.
//!
//! A strategy decides about time, not about keys: the cache determines which keys an event affects. The cache's driver
//! owns the strategy, keeps the events that it holds, and carries out its decisions.
//!
//! ```text
//!          Ignore                         Hold
//!          ┌───┐                         ┌────┐
//!          │   ▼         Hold            │    ▼
//!        ┌───────┐ ───────────────────► ┌────────┐ deadline(), unless only
//!   ───► │ empty │                      │ holding│ a further event can
//!        └───────┘ ◄─────────────────── └────────┘ end the wait
//!          ▲   │   Apply, Everything,
//!          └───┘   on_flushed
//!          Apply, Everything
//! ```
//!
//! Guarantees of the strategies here:
//! - Pure: no I/O and no clock. The driver passes the time, and the same calls return the same decisions.
//! - No held event is forgotten. While an event is held, there is a deadline, or a further event can end the wait
//!   ([`Windowed::events`] and [`Windowed::sequence`] without [`Windowed::or_after`]).
//! - A deadline lies after the call that set it. The first call after a deadline honours it, even if that is an event.
//!   For [`Debounced`] this is the bound, since an event ends the quiet time.
//! - No duration is too long. If the end cannot be represented as an [`Instant`] (centuries ahead), there is no
//!   deadline: the wait ends with a flush, or with an event if events can end it.

mod debounced;
mod greedy;
mod timed;
mod windowed;

use std::time::{Duration, Instant};

pub use debounced::Debounced;
pub use greedy::Greedy;
pub use timed::Timed;
pub use windowed::Windowed;

use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;

/// The decision of a [`Strategy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a decision does nothing until a driver acts on it"]
#[non_exhaustive]
pub enum Decision {
    /// Drop the event: it does not matter. At a deadline: do nothing.
    Ignore,
    /// Hold the event. The keys that it affects are invalidated with a later `Apply` or `Everything`, and may be read
    /// until then. At a deadline: do nothing.
    Hold,
    /// Invalidate now all keys that this event and the held events affect.
    Apply,
    /// Invalidate the whole cache now. No event is held afterwards.
    Everything,
}

/// Decides when events take effect on a cache.
///
/// [`Greedy`], [`Windowed`], [`Timed`] and [`Debounced`] implement it. Only [`on_event`](Self::on_event) is required.
///
/// The driver of a cache guarantees:
/// - [`on_started`](Self::on_started) is the first call, and comes once.
/// - `now` never goes backwards from call to call.
/// - After every call, the driver asks for the [`deadline`](Self::deadline), and calls
///   [`on_deadline`](Self::on_deadline) at that time or later, never earlier.
///
/// A strategy that has returned [`Decision::Hold`] must return [`Decision::Apply`] or [`Decision::Everything`] later.
/// Otherwise the affected keys stay stale until the cache is flushed.
///
/// Calls run in the driver's task, between two events. They must be quick and must not block.
///
/// ```
/// use std::time::Instant;
/// use pgherald_core::{Decision, Event, Operation, Strategy};
///
/// /// Applies deletions at once, and other events in groups of a hundred.
/// #[derive(Default)]
/// struct DeletionsFirst {
///     held: usize,
/// }
///
/// impl Strategy for DeletionsFirst {
///     fn on_event(&mut self, event: &Event, _now: Instant) -> Decision {
///         if event.operation() == Operation::Delete || self.held == 99 {
///             self.held = 0;
///             return Decision::Apply;
///         }
///         self.held += 1;
///         Decision::Hold
///     }
///
///     fn on_flushed(&mut self, _now: Instant) {
///         self.held = 0;
///     }
/// }
///
/// let mut strategy = DeletionsFirst::default();
/// let update = Event::builder("public", "users", Operation::Update).key(7).build();
/// let delete = Event::builder("public", "users", Operation::Delete).key(8).build();
/// assert_eq!(strategy.on_event(&update, Instant::now()), Decision::Hold);
/// assert_eq!(strategy.on_event(&delete, Instant::now()), Decision::Apply);
/// ```
pub trait Strategy: Send + 'static {
    /// Called when the cache begins to follow its tables. Strategies that measure time from the start use it.
    fn on_started(&mut self, now: Instant) {
        let _ = now;
    }

    /// Called for each event that affects keys of the cache. Returns what to do with it.
    fn on_event(&mut self, event: &Event, now: Instant) -> Decision;

    /// Returns when to call [`on_deadline`](Self::on_deadline), or `None` for never. The driver asks again after every
    /// other call.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Called at the deadline, or later.
    fn on_deadline(&mut self, now: Instant) -> Decision {
        let _ = now;
        Decision::Ignore
    }

    /// Called after everything was invalidated for another reason, such as a resync: no event is held any more. It is
    /// not called for [`invalidate_all`](crate::CacheHandle::invalidate_all), after which held events still take
    /// effect.
    fn on_flushed(&mut self, now: Instant) {
        let _ = now;
    }
}

/// Returns `value`, or an error if it is zero.
fn positive(setting: &str, value: Duration) -> Result<Duration> {
    if value.is_zero() {
        let message = format!("{setting} is {value:?}, it must be longer than 0");
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(value)
}

/// Whether the deadline has passed.
fn due(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}

#[cfg(test)]
mod tests;
