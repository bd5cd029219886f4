//! Failures of attempts, and tasks that were given up.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::event::Event;
use crate::panic::contained;
use crate::signal::{Resync, ResyncReason};

/// Why a handler failed, and whether to retry. Any error converts into it by `?`, and is then retried according to the
/// [`RetryPolicy`](super::RetryPolicy).
///
/// ```
/// use std::time::Duration;
/// use pgherald_core::HandlerError;
///
/// let plain: HandlerError = std::io::Error::other("no answer").into();
/// assert!(!plain.is_permanent());
/// // The other side names the time of the next attempt. Counts as an attempt.
/// let later = HandlerError::retry_after("too many requests", Duration::from_secs(30));
/// // Not ready yet, which is not a failure. Does not count as an attempt.
/// let snoozed = HandlerError::snooze(Duration::from_secs(5));
/// // No further attempt can succeed.
/// assert!(HandlerError::permanent("no such address").is_permanent());
/// # let _ = (later, snoozed);
/// ```
///
/// Like `anyhow::Error`, it does not implement `Error`, because it converts from every error.
pub struct HandlerError {
    cause: Box<dyn StdError + Send + Sync>,
    next: Next,
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Another attempt, if the policy allows one.
    Retry,
    /// Another attempt after this time.
    RetryAfter(Duration),
    /// The same attempt after this time.
    Snooze(Duration),
    /// Nothing.
    GiveUp,
    /// No attempt: the handler does not implement `resync`.
    WithoutResync,
}

impl HandlerError {
    fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>, next: Next) -> Self {
        let cause = cause.into();
        Self { cause, next }
    }

    /// Makes a failure that no further attempt can fix: the event is given up at once. In a [durable](crate::group) handler
    /// it becomes a dead letter.
    pub fn permanent(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(cause, Next::GiveUp)
    }

    /// Makes a failure that is retried after `delay` instead of the delay of the policy, if attempts are left.
    pub fn retry_after(cause: impl Into<Box<dyn StdError + Send + Sync>>, delay: Duration) -> Self {
        Self::new(cause, Next::RetryAfter(delay))
    }

    /// Postpones the event by `delay`. This is not a failure, and does not count as an attempt.
    #[must_use]
    pub fn snooze(delay: Duration) -> Self {
        Self::new("snoozed", Next::Snooze(delay))
    }

    /// The default result for a resync. The first resync of a group succeeds, because it reports no gap.
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

    /// Returns whether no further attempt is made, as for [`permanent`](Self::permanent).
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self.next, Next::GiveUp | Next::WithoutResync)
    }

    /// Returns the underlying error.
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
    /// The handler returned an error.
    Error {
        /// The error and its causes, on one line.
        message: String,
        /// Whether the error was [permanent](HandlerError::permanent).
        permanent: bool,
        /// The delay that the handler [requested](HandlerError::retry_after), if any.
        retry_after: Option<Duration>,
    },
    /// The handler [postponed](HandlerError::snooze) the event by this time. Does not count as an attempt.
    Snoozed(Duration),
    /// The attempt exceeded this limit, and was dropped at its next await.
    TimedOut(Duration),
    /// The attempt panicked with this message.
    Panicked(String),
}

impl Failure {
    /// Converts an error of a handler. It is a value of the user, so formatting or dropping it can panic.
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

    /// Returns whether another attempt makes sense.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Error { permanent, .. } => !permanent,
            Self::Snoozed(_) | Self::TimedOut(_) | Self::Panicked(_) => true,
        }
    }

    /// Returns the word for logs and metrics.
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

/// The failure on one line.
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

/// A task of a handler.
// Not `non_exhaustive`: a host that ignored an unknown task would lose it.
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

/// A task that is not tried again.
#[derive(Debug)]
#[non_exhaustive]
pub struct GivenUp {
    /// The task.
    pub task: Task,
    /// The number of attempts made.
    pub attempts: u32,
    /// How the last attempt failed.
    pub failure: Failure,
}

impl GivenUp {
    /// Makes the report of a task, for hosts and for tests of [`EventHandler::given_up`](super::EventHandler::given_up).
    #[must_use]
    pub fn new(task: Task, attempts: u32, failure: Failure) -> Self {
        Self {
            task,
            attempts,
            failure,
        }
    }
}
