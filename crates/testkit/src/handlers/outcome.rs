//! The result of a handler test.

use std::fmt;

use host::group::trial::Tried;
use pgherald_core::__private::host;
use pgherald_core::Event;
use pgherald_core::group::ParkedEvent;

/// How many events a handler handled, and which ones it failed to handle.
#[derive(Clone, Debug)]
#[must_use = "an outcome may contain failures"]
pub struct Outcome {
    pub(super) handled: u64,
    pub(super) failures: Vec<FailedEvent>,
}

/// An event that a handler failed to handle.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailedEvent {
    /// The event; `None` for a resync, and for an event that cannot be decoded.
    pub event: Option<Event>,
    /// Attempts made. A snooze does not count.
    pub attempts: u32,
    /// The error of the last attempt and its causes, on one line.
    pub error: String,
}

impl Outcome {
    /// Returns whether the handler received at least one event, and handled all of them. A transactional handler's effects
    /// on each event are then committed.
    #[must_use]
    pub fn is_handled(&self) -> bool {
        self.handled > 0 && self.failures.is_empty()
    }

    /// Returns the number of handled events. A transactional handler's effects on them are committed.
    #[must_use]
    pub fn handled(&self) -> u64 {
        self.handled
    }

    /// Returns the events that were not handled. A transactional handler's effects on them are rolled back.
    #[must_use]
    pub fn failures(&self) -> &[FailedEvent] {
        &self.failures
    }

    /// Returns the error of the first failure.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.failures.first().map(|failure| &*failure.error)
    }
}

impl FromIterator<Tried> for Outcome {
    fn from_iter<I: IntoIterator<Item = Tried>>(tried: I) -> Self {
        let mut outcome = Self {
            handled: 0,
            failures: Vec::new(),
        };
        for tried in tried {
            match tried.failure {
                None => outcome.handled += 1,
                Some(failure) => outcome.failures.push(FailedEvent {
                    event: Some(tried.event),
                    attempts: tried.attempts,
                    error: failure.to_string(),
                }),
            }
        }
        outcome
    }
}

impl From<ParkedEvent> for FailedEvent {
    fn from(parked: ParkedEvent) -> Self {
        let reason = if parked.due_at.is_some() {
            "snoozed"
        } else {
            "waits behind an earlier event of the same row"
        };
        Self {
            event: parked.event,
            attempts: parked.attempts,
            error: parked.error.unwrap_or_else(|| reason.to_owned()),
        }
    }
}

/// `1 handled, 1 failed; insert public.users 7: no such address (attempt 1)`
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { handled, failures } = self;
        if *handled == 0 && failures.is_empty() {
            return f.write_str(
                "no event was handled: there was no event that the handler's event type and filter include; check that the \
                 triggers of its table are installed in outbox mode",
            );
        }
        write!(f, "{handled} handled, {} failed", failures.len())?;
        for failure in failures {
            write!(f, "; {failure}")?;
        }
        Ok(())
    }
}

impl fmt::Display for FailedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.event {
            Some(event) => write!(f, "{event}")?,
            None => f.write_str("a resync or undecodable event")?,
        }
        write!(f, ": {} (attempt {})", self.error, self.attempts)
    }
}
