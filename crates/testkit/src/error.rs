//! The error type of this crate.
//!
//! It is opaque, because tests need the message and rarely the kind of an error. [`Display`](fmt::Display) shows what
//! failed. The cause is in [`source`](std::error::Error::source) only.

use std::error::Error as StdError;
use std::fmt;

type Cause = Box<dyn StdError + Send + Sync>;

/// An error of the test kit.
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Cause>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    BinariesMissing,
    PortTaken,
    Other,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Other,
            message: message.into(),
            source: None,
        }
    }

    /// Adds a message to a cause. For `map_err`.
    pub(crate) fn during<E: Into<Cause>>(message: impl Into<String>) -> impl FnOnce(E) -> Self {
        let message = message.into();
        move |cause| Self {
            kind: Kind::Other,
            message,
            source: Some(cause.into()),
        }
    }

    pub(crate) fn binaries_missing(message: String) -> Self {
        Self {
            kind: Kind::BinariesMissing,
            message,
            source: None,
        }
    }

    pub(crate) fn port_taken(message: String) -> Self {
        Self {
            kind: Kind::PortTaken,
            message,
            source: None,
        }
    }

    /// Returns whether no program of a server was found, or only one that is too old. The message then lists the searched
    /// places.
    pub fn is_binaries_missing(&self) -> bool {
        self.kind == Kind::BinariesMissing
    }

    pub(crate) fn is_port_taken(&self) -> bool {
        self.kind == Kind::PortTaken
    }
}

/// Includes the causes and the hint of the error in the message.
impl From<pgherald_core::Error> for Error {
    fn from(error: pgherald_core::Error) -> Self {
        Self::new(format!("{}; {}", error.chain(), error.hint()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

// `unwrap`, and a test that returns `Err`, print this: the message and all causes, with line breaks.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, "\ncaused by: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|cause| cause as &(dyn StdError + 'static))
    }
}
