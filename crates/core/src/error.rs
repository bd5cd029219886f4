//! The one error type of this crate.
//!
//! [`Error`] is opaque: [`Error::kind`], and predicates for several kinds such as [`Error::is_retryable`], distinguish
//! failures. `Display` prints this level only, and [`source`](std::error::Error::source) returns the cause. [`Error::hint`]
//! returns what an operator can do about it.

pub mod host;
mod kind;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use tokio_postgres::error::SqlState;

pub use kind::ErrorKind;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error: the step that failed, and the cause.
///
/// Cheap to clone, because one failure is reported to every subscription.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            inner: Arc::new(Inner {
                kind,
                message: message.into(),
                source: None,
            }),
        }
    }

    /// An error for a failed statement: the server refused it, or the connection was lost.
    pub(crate) fn of_statement(message: &str, cause: tokio_postgres::Error) -> Self {
        let kind = match cause.code() {
            _ if host::ends_session(&cause) => ErrorKind::Disconnected,
            Some(&(SqlState::DUPLICATE_PSTATEMENT | SqlState::INVALID_SQL_STATEMENT_NAME)) => {
                ErrorKind::Pooler
            }
            _ => ErrorKind::Query,
        };
        Self::with_source(kind, message, cause)
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                kind,
                message: message.into(),
                source: Some(source.into()),
            }),
        }
    }

    /// The cause that a component reports after a requested shutdown.
    #[must_use]
    pub fn shut_down() -> Self {
        Self::new(ErrorKind::ShutDown, "shut down on request")
    }

    /// For sources of your own: returns the error for [`Down`](crate::Signal::Down) after the connection failed.
    pub fn disconnected(
        message: impl Into<String>,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::with_source(ErrorKind::Disconnected, message, cause)
    }

    /// Returns the kind of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns whether the same attempt can succeed later without a change to the program.
    ///
    /// Sources retry such errors by themselves, forever, with backoff. A wrong password and a connection to a replica count
    /// as retryable, because they are corrected on the server.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.inner.kind.policy().retryable
    }

    /// Returns whether the connection failed or was lost, for any reason.
    #[must_use]
    pub fn is_connection(&self) -> bool {
        matches!(
            self.inner.kind,
            ErrorKind::Tls
                | ErrorKind::Connect
                | ErrorKind::Authentication
                | ErrorKind::Disconnected
        )
    }

    /// Returns whether the server refused the values that a statement writes: data, constraints, limits, or an error that a
    /// trigger raised with any code. False if the statement itself, its role or its session is the cause.
    pub(crate) fn is_refused_value(&self) -> bool {
        // Classes of errors with other causes: connection, unsupported feature, transaction state, authorization, names of
        // statements, databases and schemas, rollback, syntax and access rights, resources, object state, operator
        // intervention, system, configuration, foreign data, internal.
        const OTHERS: [&str; 16] = [
            "08", "0A", "25", "26", "28", "3D", "3F", "40", "42", "53", "55", "57", "58", "F0",
            "HV", "XX",
        ];
        self.code()
            .is_some_and(|code| !OTHERS.iter().any(|class| code.code().starts_with(class)))
    }

    /// Returns the server's error code, if the server reported the error.
    pub(crate) fn code(&self) -> Option<&SqlState> {
        let mut cause = self.source();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<tokio_postgres::Error>() {
                return error.code();
            }
            cause = error.source();
        }
        None
    }

    /// Returns whether a setting, a connection string or a name given to pgherald is invalid, or cannot be used on this
    /// server.
    #[must_use]
    pub fn is_config(&self) -> bool {
        matches!(
            self.inner.kind,
            ErrorKind::Config | ErrorKind::Name | ErrorKind::Spec | ErrorKind::Unsuitable
        )
    }

    /// Returns what an operator can do about the error.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        let is_forbidden = self.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
        match self.inner.kind {
            ErrorKind::Query if is_forbidden => {
                "as the role that installed pgherald, run `pgherald grant ROLE --to consume --commit`, or `--to read`"
            }
            kind => kind.policy().hint,
        }
    }

    /// Returns this error and its causes on one line, for logs: `a: b: c`.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}

/// Prints kind, message, causes and hint on one line: the output of a program whose `main` returns the error.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, chain, hint) = (self.inner.kind, self.chain(), self.hint());
        write!(f, "{kind:?}: {chain} (hint: {hint})")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner
            .source
            .as_ref()
            .map(|source| source.as_ref() as _)
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, ErrorKind};

    #[test]
    fn display_omits_causes_and_chain_includes_them() {
        let cause = std::io::Error::other("connection refused");
        let error = Error::with_source(ErrorKind::Connect, "cannot connect to db:5432", cause);
        assert_eq!(error.to_string(), "cannot connect to db:5432");
        assert_eq!(
            error.chain(),
            "cannot connect to db:5432: connection refused"
        );
        assert!(error.is_retryable() && error.is_connection() && !error.is_config());
    }
}
