//! What can become of an attempt, and of a task in the end.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::event::Event;
use crate::panic::contained;
use crate::signal::Resync;

/// Why a handler could not do its work. Any error converts into it by `?`.
///
/// Like `anyhow::Error` it is not an `Error` itself, which is what makes that conversion possible.
pub struct HandlerError {
    cause: Box<dyn StdError + Send + Sync>,
    permanent: bool,
}

impl HandlerError {
    /// A failure that no further attempt will mend: the event is given up at once.
    pub fn permanent(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            cause: cause.into(),
            permanent: true,
        }
    }

    /// Whether it was made by [`permanent`](Self::permanent).
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }

    /// The error behind it.
    #[must_use]
    pub fn cause(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.cause
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for HandlerError {
    fn from(cause: E) -> Self {
        Self {
            cause: cause.into(),
            permanent: false,
        }
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerError")
            .field("cause", &self.cause)
            .field("permanent", &self.permanent)
            .finish()
    }
}

/// How an attempt failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The handler said so.
    Error {
        /// The error and its causes, on one line.
        message: String,
        /// Whether it was [permanent](HandlerError::permanent).
        permanent: bool,
    },
    /// It took longer than allowed and was dropped at its next await.
    TimedOut(Duration),
    /// It panicked, with this message.
    Panicked(String),
}

impl Failure {
    /// Takes from an error what is to be known of it. It is a user's value: showing and dropping it can
    /// panic.
    pub(super) fn render(error: HandlerError) -> Self {
        let permanent = error.is_permanent();
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
        shown.map_or_else(Self::Panicked, |message| Self::Error { message, permanent })
    }

    /// Whether another attempt makes sense.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Error { permanent, .. } => !permanent,
            Self::TimedOut(_) | Self::Panicked(_) => true,
        }
    }

    /// The word for logs and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Error { .. } => "error",
            Self::TimedOut(_) => "timeout",
            Self::Panicked(_) => "panic",
        }
    }
}

/// What happened, on one line.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
