//! The one error type of this crate.
//!
//! [`Error`] is opaque: what went wrong is asked with predicates such as [`Error::is_retryable`], so that
//! kinds can be added without breaking anyone. `Display` prints this level only; the cause is in
//! [`source`](std::error::Error::source); [`Error::hint`] says what an operator can do about it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use tokio_postgres::error::SqlState;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, at which step, and why.
///
/// Cheap to clone: one failure is told to every subscription.
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
    /// A setting, connection string or environment variable that cannot be used.
    Config,
    /// A channel, schema, table or column name that PostgreSQL would not accept.
    Name,
    /// A certificate, root store or handshake.
    Tls,
    /// The server refused or did not answer the connection attempt.
    Connect,
    /// The server refused the credentials.
    Authentication,
    /// An established connection broke or fell silent.
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
    /// A payload that is not an event.
    Decode,
    /// A statement failed.
    Query,
    /// A trigger specification does not fit the table it names.
    Spec,
    /// The server, or what somebody else installed there, is not what triggers can be installed on.
    Unsuitable,
    /// User code, or a source, panicked.
    Panicked,
    /// Something did not happen in the time that was allowed for it.
    Deadline,
    /// It was asked to stop, and did.
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

    /// Of a statement: the server refused it, or the connection is lost.
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

    /// The options of a handler with which no attempt could succeed.
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

    /// The cause of being degraded after a shutdown that was asked for.
    #[must_use]
    pub fn shut_down() -> Self {
        Self::new(Kind::ShutDown, "shut down as asked")
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

    /// A listener or a consumer was not live in time, for `cause` if an attempt has failed. Of the cause's kind, with its hint.
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

    /// For sources of your own: what to say [`Down`](crate::Signal::Down) with when the connection failed.
    pub fn disconnected(
        message: impl Into<String>,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::with_source(Kind::Disconnected, message, cause)
    }

    /// Whether the same attempt can succeed later without anybody changing the program.
    ///
    /// Sources retry these by themselves, forever, with backoff; a wrong password or a replica counts,
    /// because it is put right on the server.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        policy(self.inner.kind).retryable
    }

    /// Whether the connection could not be made or was lost, for whatever reason.
    #[must_use]
    pub fn is_connection(&self) -> bool {
        matches!(
            self.inner.kind,
            Kind::Tls | Kind::Connect | Kind::Authentication | Kind::Disconnected
        )
    }

    /// Whether the server refused what a statement has to write, rather than the statement, its role or its session: data,
    /// constraints, limits, or what a trigger raised, whatever code that chose.
    pub(crate) fn is_refused_value(&self) -> bool {
        // Connection, unsupported, transaction state, authorization, names of statements, databases and schemas, rollback,
        // syntax and rights, resources, not in state, intervention, system, configuration, foreign data, internal.
        const OTHERS: [&str; 16] = [
            "08", "0A", "25", "26", "28", "3D", "3F", "40", "42", "53", "55", "57", "58", "F0",
            "HV", "XX",
        ];
        self.code()
            .is_some_and(|code| !OTHERS.iter().any(|class| code.code().starts_with(class)))
    }

    /// The server's code, if it is the server that refused.
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

    /// Whether the server refused user name or password, or the
    /// [password provider](crate::ConnectConfig::password_provider) failed.
    #[must_use]
    pub fn is_authentication(&self) -> bool {
        self.inner.kind == Kind::Authentication
    }

    /// Whether a setting, a connection string or a name given to pgherald cannot be used, or not on this server.
    #[must_use]
    pub fn is_config(&self) -> bool {
        matches!(
            self.inner.kind,
            Kind::Config | Kind::Name | Kind::Spec | Kind::Unsuitable
        )
    }

    /// Whether a payload could not be understood.
    #[must_use]
    pub fn is_decode(&self) -> bool {
        self.inner.kind == Kind::Decode
    }

    /// Whether LISTEN succeeds but notifications do not arrive.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        self.inner.kind == Kind::Deaf
    }

    /// Whether a pooler gives the session another server process for each transaction. Sources and consumers refuse such
    /// a session before they execute LISTEN.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.inner.kind == Kind::Pooled
    }

    /// Whether the server is a replica.
    #[must_use]
    pub fn is_replica(&self) -> bool {
        self.inner.kind == Kind::Replica
    }

    /// Whether triggers of a watched table are missing, disabled or outdated.
    #[must_use]
    pub fn is_triggers(&self) -> bool {
        self.inner.kind == Kind::Triggers
    }

    /// Whether the history of the outbox has changed: the database was restored or replaced, or a sequence of the outbox was
    /// set back. Everything read from the database so far has to be read again.
    #[must_use]
    pub fn is_history(&self) -> bool {
        self.inner.kind == Kind::History
    }

    /// Whether user code or a source panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.inner.kind == Kind::Panicked
    }

    /// Whether something did not happen in the time that was allowed for it.
    #[must_use]
    pub fn is_deadline(&self) -> bool {
        self.inner.kind == Kind::Deadline
    }

    /// What an operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        let is_forbidden = self.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
        match self.inner.kind {
            Kind::Query if is_forbidden => {
                "have the role that installed run pgherald grant ROLE --to consume --commit, or --to read"
            }
            kind => policy(kind).hint,
        }
    }

    /// This error and its causes on one line, for logs: `a: b: c`.
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

/// One row of the decision table.
struct Policy {
    retryable: bool,
    hint: &'static str,
}

/// What each kind means for the program and for whoever is on call.
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
            "nothing to do if it comes back; else look at the server's log",
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
        Kind::Triggers => (true, "install the triggers again"),
        Kind::History => (
            true,
            "if the database was restored, do nothing: subscribers resync by themselves; otherwise check whether a sequence in schema pgherald was reset",
        ),
        Kind::Decode => (
            false,
            "find out who writes to this channel besides pgherald's triggers",
        ),
        Kind::Query => (false, "read the cause; it is the server's own message"),
        Kind::Spec => (
            false,
            "correct what is asked of the table named in the message; nothing was changed",
        ),
        Kind::Unsuitable => (
            false,
            "put it right as the message says; nothing was changed",
        ),
        Kind::Deadline => (
            true,
            "see whether the listener is live and on time, and listens to the channel in the message",
        ),
        Kind::ShutDown => (false, "nothing to do"),
        Kind::Panicked => (
            true,
            "this is a bug in the code that panicked; its message is in the log",
        ),
    };
    Policy { retryable, hint }
}

/// What a program prints whose `main` returns the error: kind, message, causes and hint, on one line.
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
    fn display_prints_its_own_level_and_chain_prints_all() {
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
