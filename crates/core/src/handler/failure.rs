//! What can become of an attempt, and of a task in the end.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::event::Event;
use crate::panic::contained;
use crate::signal::{Resync, ResyncReason};

/// Why a handler did not do its work, and what is to follow. Any error converts into it by `?`, and means: try again, when
/// the [`RetryPolicy`](super::RetryPolicy) says so.
///
/// ```
/// use std::time::Duration;
/// use pgherald_core::HandlerError;
///
/// let plain: HandlerError = std::io::Error::other("no answer").into();
/// assert!(!plain.is_permanent());
/// // When the other side says when to come back; counts as an attempt.
/// let later = HandlerError::retry_after("too many requests", Duration::from_secs(30));
/// // Not ready yet, which is no failure; costs no attempt.
/// let snoozed = HandlerError::snooze(Duration::from_secs(5));
/// // No further attempt will mend it.
/// assert!(HandlerError::permanent("no such address").is_permanent());
/// # let _ = (later, snoozed);
/// ```
///
/// Like `anyhow::Error` it is not an `Error` itself, which is what makes that conversion possible.
pub struct HandlerError {
    cause: Box<dyn StdError + Send + Sync>,
    next: Next,
}

/// What is to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Another attempt, when the policy says so.
    Retry,
    /// Another attempt after this time.
    RetryAfter(Duration),
    /// The same attempt after this time.
    Snooze(Duration),
    /// Nothing.
    GiveUp,
    /// None: the handler does not implement `resync`.
    WithoutResync,
}

impl HandlerError {
    fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>, next: Next) -> Self {
        let cause = cause.into();
        Self { cause, next }
    }

    /// A failure that no further attempt will mend: the event is given up at once. A [durable](crate::group) handler's
    /// becomes a dead letter.
    pub fn permanent(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(cause, Next::GiveUp)
    }

    /// A failure to be followed by another attempt after `delay`, whatever the policy would wait, if attempts are left.
    pub fn retry_after(cause: impl Into<Box<dyn StdError + Send + Sync>>, delay: Duration) -> Self {
        Self::new(cause, Next::RetryAfter(delay))
    }

    /// No failure, but not the time yet: the event comes again after `delay`, and this does not count as an attempt.
    #[must_use]
    pub fn snooze(delay: Duration) -> Self {
        Self::new("snoozed", Next::Snooze(delay))
    }

    /// What a handler that does not implement `resync` returns for a resync. The first resync of a group reports no gap.
    pub(crate) fn without_resync(resync: &Resync) -> Result<(), Self> {
        if let [ResyncReason::Started] = resync.reasons() {
            return Ok(());
        }
        let message = format!(
            "events may be missing ({resync}), and the handler does not implement resync: implement it and retry this dead \
             letter, or check by hand what is missing and discard it"
        );
        Err(Self::new(message, Next::WithoutResync))
    }

    /// Whether the handler does not implement `resync`.
    pub(crate) fn is_without_resync(&self) -> bool {
        self.next == Next::WithoutResync
    }

    /// Whether it was made by [`permanent`](Self::permanent).
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self.next, Next::GiveUp | Next::WithoutResync)
    }

    /// The error behind it.
    #[must_use]
    pub fn cause(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.cause
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for HandlerError {
    fn from(cause: E) -> Self {
        Self::new(cause, Next::Retry)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("cause", &self.cause)
            .field("next", &self.next)
            .finish()
    }
}

/// How an attempt failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The handler said so.
    Error {
        /// The error and its causes, on one line.
        message: String,
        /// Whether it was [permanent](HandlerError::permanent).
        permanent: bool,
        /// When to try again, if the handler [said](HandlerError::retry_after) so.
        retry_after: Option<Duration>,
    },
    /// The handler wants to see it again [after](HandlerError::snooze) this time. Not counted as an attempt.
    Snoozed(Duration),
    /// It took longer than allowed and was dropped at its next await.
    TimedOut(Duration),
    /// It panicked, with this message.
    Panicked(String),
}

impl Failure {
    /// Takes from an error what is to be known of it. It is a user's value: showing and dropping it can
    /// panic.
    pub(crate) fn render(error: HandlerError) -> Self {
        let permanent = error.is_permanent();
        let retry_after = match error.next {
            Next::RetryAfter(delay) => Some(delay),
            Next::Snooze(delay) => {
                return match contained(move || drop(error)) {
                    Ok(()) => Self::Snoozed(delay),
                    Err(message) => Self::Panicked(message),
                };
            }
            Next::Retry | Next::GiveUp | Next::WithoutResync => None,
        };
        let shown = contained(move || {
            let mut message = error.cause().to_string();
            let mut cause = error.cause().source();
            while let Some(error) = cause {
                message.push_str(": ");
                message.push_str(&error.to_string());
                cause = error.source();
            }
            message
        });
        shown.map_or_else(Self::Panicked, |message| Self::Error {
            message,
            permanent,
            retry_after,
        })
    }

    /// Whether another attempt makes sense.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Error { permanent, .. } => !permanent,
            Self::Snoozed(_) | Self::TimedOut(_) | Self::Panicked(_) => true,
        }
    }

    /// The word for logs and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Error { .. } => "error",
            Self::Snoozed(_) => "snoozed",
            Self::TimedOut(_) => "timeout",
            Self::Panicked(_) => "panic",
        }
    }
}

/// What happened, on one line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snoozed(delay) => write!(f, "snoozed for {delay:?}"),
            Self::TimedOut(limit) => write!(f, "took longer than {limit:?}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Error { message, .. } => f.write_str(message),
        }
    }
}

/// What a handler is to do.
#[derive(Clone, Debug)]
pub enum Task {
    /// Handle an event.
    Event(Event),
    /// Catch up.
    Resync(Resync),
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(event) => event.fmt(f),
            Self::Resync(resync) => write!(f, "resync {resync}"),
        }
    }
}

/// A task that nobody will try again.
#[derive(Debug)]
pub struct GivenUp {
    /// Which task.
    pub task: Task,
    /// How many attempts it had.
    pub attempts: u32,
    /// How the last one failed.
    pub failure: Failure,
}
