//! The one error type of this crate.
//!
//! [`Error`] is opaque: use predicates such as [`Error::is_retryable`] to distinguish failures. New kinds can then be added
//! without a breaking change. `Display` prints this level only, and [`source`](std::error::Error::source) returns the cause.
//! [`Error::hint`] returns what an operator can do about it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use tokio_postgres::error::SqlState;

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
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A setting, connection string or environment variable is invalid.
    Config,
    /// PostgreSQL would not accept a channel, schema, table or column name.
    Name,
    /// A certificate, the root store or the TLS handshake failed.
    Tls,
    /// The server refused or did not answer the connection attempt.
    Connect,
    /// The server refused the credentials.
    Authentication,
    /// An established connection broke or no longer answers.
    Disconnected,
    /// Notifications do not reach the session although LISTEN succeeded.
    Deaf,
    /// A pooler gives the session another server process for each transaction.
    Pooled,
    /// The server is a replica, where LISTEN is impossible.
    Replica,
    /// Triggers of a watched table are missing, disabled or outdated.
    Triggers,
    /// A position in the outbox that only moves forward has gone back.
    History,
    /// A payload is not an event.
    Decode,
    /// A statement failed.
    Query,
    /// A trigger specification does not fit its table.
    Spec,
    /// The server, or an object on it that pgherald did not install, prevents the installation of triggers.
    Unsuitable,
    /// User code, or a source, panicked.
    Panicked,
    /// Something did not happen within its time limit.
    Deadline,
    /// The component was shut down on request.
    ShutDown,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
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
            _ if cause.is_closed() => Kind::Disconnected,
            Some(&(SqlState::DUPLICATE_PSTATEMENT | SqlState::INVALID_SQL_STATEMENT_NAME)) => {
                Kind::Pooled
            }
            _ => Kind::Query,
        };
        Self::with_source(kind, message, cause)
    }

    pub(crate) fn with_source(
        kind: Kind,
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

    /// An option of a handler is zero, so no attempt could succeed.
    #[doc(hidden)]
    #[must_use]
    pub fn zero_option(handler: &str, option: &str) -> Self {
        let message = format!(
            "{option} of handler {handler:?} is 0, so no attempt could succeed; it must be greater"
        );
        Self::new(Kind::Config, message)
    }

    /// A herald that would wait for no time at all until it is live.
    #[doc(hidden)]
    #[must_use]
    pub fn no_time_to_be_live() -> Self {
        Self::new(
            Kind::Config,
            "live_within is 0, so no start could succeed; it must be longer, or start_without_waiting() waits for nothing",
        )
    }

    /// The cause that a component reports after a requested shutdown.
    #[must_use]
    pub fn shut_down() -> Self {
        Self::new(Kind::ShutDown, "shut down on request")
    }

    /// Actors cannot be started on this thread, because no actix system runs there.
    #[doc(hidden)]
    #[must_use]
    pub fn no_actix() -> Self {
        Self::new(
            Kind::Config,
            "the current arbiter cannot be used: no actix system runs on this thread; use #[actix::main] or \
             #[actix_web::main] in place of #[tokio::main], #[actix::test] in tests, or have the herald start threads of its own",
        )
    }

    /// A herald cannot be started, because no runtime runs on this thread.
    #[doc(hidden)]
    #[must_use]
    pub fn no_runtime() -> Self {
        Self::new(
            Kind::Config,
            "the herald cannot be started: no runtime runs on this thread; use #[tokio::main], #[actix::main] or \
             #[actix_web::main], #[tokio::test] or #[actix::test] in tests",
        )
    }

    /// A thread for actors cannot be started.
    #[doc(hidden)]
    #[must_use]
    pub fn no_thread(cause: std::io::Error) -> Self {
        Self::with_source(Kind::Config, "cannot start a thread for actors", cause)
    }

    /// Code that starts an actor has panicked, such as the code of its `started` method.
    #[doc(hidden)]
    #[must_use]
    pub fn start_panicked(message: &str) -> Self {
        Self::new(
            Kind::Panicked,
            format!("an actor cannot be started: its start panicked: {message}"),
        )
    }

    /// A listener or a consumer was not live within the limit. Has the kind and hint of `cause`, the failure of the last
    /// attempt.
    #[doc(hidden)]
    #[must_use]
    pub fn not_live(owner: &str, within: std::time::Duration, cause: Option<Self>) -> Self {
        let message = format!("{owner} is not live after {within:?}");
        match cause {
            Some(cause) => Self::with_source(cause.inner.kind, message, cause),
            None => Self::new(
                Kind::Connect,
                format!("{message}: the server has not answered"),
            ),
        }
    }

    /// For sources of your own: returns the error for [`Down`](crate::Signal::Down) after the connection failed.
    pub fn disconnected(
        message: impl Into<String>,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::with_source(Kind::Disconnected, message, cause)
    }

    /// Returns whether the same attempt can succeed later without a change to the program.
    ///
    /// Sources retry such errors by themselves, forever, with backoff. A wrong password and a connection to a replica count
    /// as retryable, because they are corrected on the server.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        policy(self.inner.kind).retryable
    }

    /// Returns whether the connection failed or was lost, for any reason.
    #[must_use]
    pub fn is_connection(&self) -> bool {
        matches!(
            self.inner.kind,
            Kind::Tls | Kind::Connect | Kind::Authentication | Kind::Disconnected
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

    /// Returns whether the server refused user name or password, or the [password
    /// provider](crate::ConnectConfig::password_provider) failed.
    #[must_use]
    pub fn is_authentication(&self) -> bool {
        self.inner.kind == Kind::Authentication
    }

    /// Returns whether a setting, a connection string or a name given to pgherald is invalid, or cannot be used on this
    /// server.
    #[must_use]
    pub fn is_config(&self) -> bool {
        matches!(
            self.inner.kind,
            Kind::Config | Kind::Name | Kind::Spec | Kind::Unsuitable
        )
    }

    /// Returns whether a payload could not be decoded.
    #[must_use]
    pub fn is_decode(&self) -> bool {
        self.inner.kind == Kind::Decode
    }

    /// Returns whether LISTEN succeeds but notifications do not arrive.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        self.inner.kind == Kind::Deaf
    }

    /// Returns whether a pooler gives the session another server process for each transaction. Sources and consumers refuse
    /// such a session before they execute LISTEN.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.inner.kind == Kind::Pooled
    }

    /// Returns whether the server is a replica.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.inner.kind == Kind::Replica
    }

    /// Returns whether triggers of a watched table are missing, disabled or outdated.
    #[must_use]
    pub fn is_triggers(&self) -> bool {
        self.inner.kind == Kind::Triggers
    }

    /// Returns whether the history of the outbox has changed: the database was restored or replaced, or a sequence of the
    /// outbox was set back. Everything read from the database so far must be read again.
    #[must_use]
    pub fn is_history(&self) -> bool {
        self.inner.kind == Kind::History
    }

    /// Returns whether user code or a source panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.inner.kind == Kind::Panicked
    }

    /// Returns whether something did not happen within its time limit.
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        self.inner.kind == Kind::Deadline
    }

    /// Returns what an operator can do about the error.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        let is_forbidden = self.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
        match self.inner.kind {
            Kind::Query if is_forbidden => {
                "as the role that installed pgherald, run `pgherald grant ROLE --to consume --commit`, or `--to read`"
            }
            kind => policy(kind).hint,
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

struct Policy {
    retryable: bool,
    hint: &'static str,
}

/// What each kind means for the program and for the operator.
const fn policy(kind: Kind) -> Policy {
    let (retryable, hint) = match kind {
        Kind::Config => (false, "correct the setting named in the message"),
        Kind::Name => (false, "use a name of 1 to 63 bytes without NUL"),
        Kind::Tls => (
            true,
            "check sslmode, sslrootcert and the server's certificate",
        ),
        Kind::Connect => (
            true,
            "check that the server runs and that host and port are right",
        ),
        Kind::Authentication => (true, "check user, password and pg_hba.conf"),
        Kind::Disconnected => (
            true,
            "do nothing if the connection comes back; otherwise look at the server's log",
        ),
        Kind::Deaf => (
            true,
            "connect the listener directly to the server: a proxy or pooler on the path drops notifications",
        ),
        Kind::Pooled => (
            true,
            "connect to the server itself, or have the pooler keep sessions: LISTEN does not work through a pooler in transaction mode",
        ),
        Kind::Replica => (
            true,
            "connect to the primary: NOTIFY does not reach replicas",
        ),
        Kind::Triggers => (
            true,
            "install them: `pgherald install TABLE --commit`, with `--mode outbox` for durable handlers; or call `install_triggers()` on the herald",
        ),
        Kind::History => (
            true,
            "if the database was restored, do nothing: subscribers resync by themselves; otherwise check whether a sequence in schema pgherald was reset",
        ),
        Kind::Decode => (false, "check which other program writes to this channel"),
        Kind::Query => (false, "read the cause; it is the server's own message"),
        Kind::Spec => (
            false,
            "correct the specification of the table named in the message; nothing was changed",
        ),
        Kind::Unsuitable => (
            false,
            "put it right as the message says; nothing was changed",
        ),
        Kind::Deadline => (
            true,
            "check that the listener is live, keeps up, and listens to the channel named in the message",
        ),
        Kind::ShutDown => (false, "nothing to do"),
        Kind::Panicked => (
            true,
            "this is a bug in the code that panicked; its message is in the log",
        ),
    };
    Policy { retryable, hint }
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
    use super::{Error, Kind};

    #[test]
    fn display_omits_causes_and_chain_includes_them() {
        let cause = std::io::Error::other("connection refused");
        let error = Error::with_source(Kind::Connect, "cannot connect to db:5432", cause);
        assert_eq!(error.to_string(), "cannot connect to db:5432");
        assert_eq!(
            error.chain(),
            "cannot connect to db:5432: connection refused"
        );
        assert!(error.is_retryable() && error.is_connection() && !error.is_config());
    }
}
