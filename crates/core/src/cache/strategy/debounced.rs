//! The strategy that waits for a quiet time.

use std::time::{Duration, Instant};

use super::{Decision, Strategy, due, positive};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;

/// Applies events when no other has come for a quiet time, at the latest after a bound.
///
/// For bursts: one invalidation after an import instead of one per row. A reader may see the row of an event in its old
/// version for at least the quiet time, even if the event is the only one, and for at most the bound.
///
/// ```
/// use std::time::{Duration, Instant};
/// use pgherald_core::{Debounced, Decision, Event, Operation, Strategy};
///
/// # fn main() -> pgherald_core::Result<()> {
/// let (quiet, at_most) = (Duration::from_millis(200), Duration::from_secs(2));
/// let mut strategy = Debounced::new(quiet, at_most)?;
/// let event = Event::builder("public", "users", Operation::Update).key(7).build();
/// let now = Instant::now();
/// assert_eq!(strategy.on_event(&event, now), Decision::Hold);
/// let later = now + Duration::from_millis(150);
/// assert_eq!(strategy.on_event(&event, later), Decision::Hold);
/// assert_eq!(strategy.deadline(), Some(later + quiet));
/// assert_eq!(strategy.on_deadline(later + quiet), Decision::Apply);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a strategy does nothing until a cache is built with it"]
pub struct Debounced {
    quiet: Duration,
    at_most: Duration,
    pending: Option<Pending>,
}

/// The deadlines of the held events.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// The end of the quiet time after the last event.
    calm: Option<Instant>,
    /// The bound, counted from the first event.
    bound: Option<Instant>,
}

impl Debounced {
    /// Applies when no event has come for `quiet`, and at the latest `at_most` after the first pending event.
    ///
    /// # Errors
    /// `quiet` is zero, or `at_most` is shorter than `quiet`.
    pub fn new(quiet: Duration, at_most: Duration) -> Result<Self> {
        let quiet = positive("quiet of Debounced", quiet)?;
        if at_most < quiet {
            let message = format!(
                "at_most of Debounced is {at_most:?}, it must be at least quiet, which is {quiet:?}"
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(Self {
            quiet,
            at_most,
            pending: None,
        })
    }
}

impl Strategy for Debounced {
    fn on_event(&mut self, _event: &Event, now: Instant) -> Decision {
        let bound = match self.pending {
            Some(pending) => pending.bound,
            None => now.checked_add(self.at_most),
        };
        if due(bound, now) {
            self.pending = None;
            return Decision::Apply;
        }
        let calm = now.checked_add(self.quiet);
        self.pending = Some(Pending { calm, bound });
        Decision::Hold
    }

    fn deadline(&self) -> Option<Instant> {
        let Pending { calm, bound } = self.pending?;
        calm.into_iter().chain(bound).min()
    }

    fn on_deadline(&mut self, now: Instant) -> Decision {
        if !due(self.deadline(), now) {
            return Decision::Ignore;
        }
        self.pending = None;
        Decision::Apply
    }

    fn on_flushed(&mut self, _now: Instant) {
        self.pending = None;
    }
}
