//! When a cache gives up what events have made stale.
//!
//! A strategy decides about time, not about keys: what an event affects is the cache's knowledge. The
//! cache's driver owns the strategy, remembers the events it holds, and does what it decides.
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
//! - Pure: no I/O, no clock. The time is what the driver says it is; the same calls give the same answers.
//! - No held event is forgotten. While one is held there is a deadline, or a further event can settle it
//!   ([`Windowed::events`] and [`Windowed::sequence`] without [`Windowed::or_after`]).
//! - A deadline lies after the call that set it. One that has passed is honoured by whichever call comes
//!   first, also by an event; for [`Debounced`] this is the bound, since an event ends the quiet.
//! - No time is too long: where an end cannot be represented as an [`Instant`] (some centuries ahead) there
//!   is no deadline, and the wait ends with a flush only, or with an event where events can end it.

mod debounced;
mod greedy;
mod timed;
mod windowed;

use std::time::{Duration, Instant};

pub use debounced::Debounced;
pub use greedy::Greedy;
pub use timed::Timed;
pub use windowed::Windowed;

use crate::error::{Error, Kind, Result};
use crate::event::Event;

/// What a [`Strategy`] wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a decision does nothing until a driver acts on it"]
pub enum Decision {
    /// The event does not matter: forget it. As the answer to a deadline: do nothing.
    Ignore,
    /// Remember the event. What it affects is invalidated with a later `Apply` or `Everything`, and may be
    /// read until then. As the answer to a deadline: do nothing.
    Hold,
    /// Invalidate now what this event and all held ones affect.
    Apply,
    /// Invalidate the whole cache now, which settles the held events too.
    Everything,
}

/// Decides when events take effect on a cache.
///
/// [`Greedy`], [`Windowed`], [`Timed`] and [`Debounced`] are strategies; so is whatever else implements
/// this. Only [`on_event`](Self::on_event) must be written.
///
/// What the driver of a cache promises:
/// - [`on_started`](Self::on_started) comes first, once.
/// - `now` never goes backwards from call to call.
/// - After every call it asks for the [`deadline`](Self::deadline) and calls
///   [`on_deadline`](Self::on_deadline) at that time or later, never earlier.
///
/// What it expects: a strategy that has answered [`Decision::Hold`] answers [`Decision::Apply`] or
/// [`Decision::Everything`] one day. What it never answers so stays stale until the cache is flushed.
///
/// Calls come from the driver's task, between two events: they must be quick and must not block.
///
/// ```
/// use std::time::Instant;
/// use pgherald_core::{Decision, Event, Operation, Strategy};
///
/// /// Lets deletions through at once, and takes its time with the rest: every hundredth event applies.
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
    /// The cache begins to follow its tables. For strategies that count time from there.
    fn on_started(&mut self, now: Instant) {
        let _ = now;
    }

    /// An event arrived that affects something in the cache's tables.
    fn on_event(&mut self, event: &Event, now: Instant) -> Decision;

    /// When to call [`on_deadline`](Self::on_deadline); `None` for not at all. Asked anew after every
    /// other call.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline has come, maybe a while ago.
    fn on_deadline(&mut self, now: Instant) -> Decision {
        let _ = now;
        Decision::Ignore
    }

    /// Everything was invalidated for another reason, a resync for example: nothing is held any more. Not told of
    /// [`invalidate_all`](super::CacheHandle::invalidate_all), after which what is held still takes effect.
    fn on_flushed(&mut self, now: Instant) {
        let _ = now;
    }
}

/// `value`, if it is any time at all.
fn positive(setting: &str, value: Duration) -> Result<Duration> {
    if value.is_zero() {
        let message = format!("{setting} is {value:?}, it must be longer than 0");
        return Err(Error::new(Kind::Config, message));
    }
    Ok(value)
}

/// Whether a deadline has come.
fn due(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}

#[cfg(test)]
mod tests;
