//! The one error of this crate.
//!
//! Opaque on purpose: a test cares about what went wrong in words, rarely about which variant it was.
//! [`Display`](fmt::Display) says what this crate was doing; the reason below it is in
//! [`source`](std::error::Error::source), never in both.

use std::error::Error as StdError;
use std::fmt;

type Cause = Box<dyn StdError + Send + Sync>;

/// Something the test kit could not do.
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

    /// For `map_err`: what was being done when the cause came up.
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

    /// No PostgreSQL server is installed where this crate looks for one. The message lists the places.
    pub fn is_binaries_missing(&self) -> bool {
        self.kind == Kind::BinariesMissing
    }

    pub(crate) fn is_port_taken(&self) -> bool {
        self.kind == Kind::PortTaken
    }
}

/// An error of pgherald itself, with its causes and its hint.
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

// What `unwrap` and a test returning `Err` print: the whole chain, readable, line breaks intact.
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
