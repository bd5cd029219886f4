//! The kinds of errors, and what each means for the program and for the operator.

use std::fmt;

/// The kind of an [`Error`](crate::Error).
///
/// Sources and consumers retry retryable errors by themselves, with backoff, forever. A program meets these errors in its
/// health, in reports and in logs. It has to react to the others, which `connect`, `start` and similar calls return.
///
/// ```
/// use pgherald_core::{Error, ErrorKind};
///
/// fn advice(error: &Error) -> &'static str {
///     match error.kind() {
///         ErrorKind::Authentication => "ask for a new password",
///         ErrorKind::Triggers => "run the migrations",
///         _ if error.is_retryable() => "wait",
///         _ => error.hint(),
///     }
/// }
/// # let error = "x".repeat(64).parse::<pgherald_core::ChannelName>().unwrap_err();
/// # assert_eq!((error.kind(), advice(&error)), (ErrorKind::Name, error.hint()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, connection string or environment variable is invalid, or a call needs something that the program has not
    /// started. Not retryable. Correct what the message names.
    Config,
    /// PostgreSQL would not accept a channel, schema, table or column name. Not retryable. Use a name of 1 to 63 bytes without
    /// NUL.
    Name,
    /// A certificate, the root store or the TLS handshake failed. Retryable. Check `sslmode`, `sslrootcert` and the server's
    /// certificate.
    Tls,
    /// The server refused or did not answer the connection attempt. Retryable. Check that the server runs, and that host and port
    /// are right.
    Connect,
    /// The server refused user name or password, or the
    /// [password provider](crate::ConnectConfig::password_provider) failed. Retryable, because credentials are also corrected
    /// on the server. Check user, password and `pg_hba.conf`.
    ///
    /// Also if a distributor refuses the token of a `DistributorSource`.
    Authentication,
    /// An established connection broke or no longer answers. Retryable. If it does not come back, read the server's log.
    Disconnected,
    /// LISTEN succeeded, but notifications do not arrive. Retryable. Connect to the server itself: a proxy or pooler drops
    /// notifications.
    NoNotifications,
    /// A pooler gives the session another server process for each transaction. Sources and consumers refuse such a session
    /// before they execute LISTEN. Retryable. Connect to the server itself, or let the pooler keep sessions.
    Pooler,
    /// The server is a replica, where LISTEN is impossible. Retryable, because a replica may be promoted. Connect to the
    /// primary.
    Replica,
    /// Triggers of a watched table are missing, disabled or outdated. Retryable. Install them.
    Triggers,
    /// The history of the outbox has changed: the database was restored or replaced, or a sequence of the outbox was set back.
    /// Retryable. Everything that was read from the database so far must be read again; subscribers get a
    /// [resync](crate::Signal::Resync).
    History,
    /// A distributor has answered with something other than its messages, or with those of another version. Retryable, because it
    /// may be replaced. Check that the URL leads to a distributor, and compare the versions.
    Protocol,
    /// A payload is not an event, or its values do not fit the program's types. Not retryable. Check which other program writes
    /// to the channel, or the types.
    Decode,
    /// The server refused a statement. Not retryable. The cause is the server's message.
    Query,
    /// Too many rows have parked events, so a consumer reads no new ones. Retryable. Correct the cause of the failures.
    Parked,
    /// The destination of a relay, such as a stream of NATS, is full, or refuses events for another reason. Retryable. Correct the
    /// cause that the message names; no event is lost meanwhile.
    Destination,
    /// A trigger specification does not fit its table. Not retryable. Nothing was changed. Correct the specification.
    Spec,
    /// The server, or an object on it that pgherald did not install, prevents the installation of triggers. Not retryable.
    /// Nothing was changed. The message says what to correct.
    Unsuitable,
    /// A handler, a loader or a source panicked. Retryable. This is a bug in the code that panicked; its message is in the log.
    Panic,
    /// Something did not happen within its time limit. Retryable. Check that the listener is live and keeps up.
    Timeout,
    /// The component was shut down on request. Not retryable. Nothing to do.
    ShutDown,
}

pub(super) struct Policy {
    pub(super) retryable: bool,
    pub(super) hint: &'static str,
}

impl ErrorKind {
    pub(super) const fn policy(self) -> Policy {
        let (retryable, hint) = match self {
            Self::Config => (false, "correct the setting named in the message"),
            Self::Name => (false, "use a name of 1 to 63 bytes without NUL"),
            Self::Tls => (
                true,
                "check sslmode, sslrootcert and the server's certificate",
            ),
            Self::Connect => (
                true,
                "check that the server runs and that host and port are right",
            ),
            Self::Authentication => (
                true,
                "check user, password and pg_hba.conf; if a distributor has refused the connection, its token",
            ),
            Self::Disconnected => (
                true,
                "do nothing if the connection comes back; otherwise look at the server's log",
            ),
            Self::NoNotifications => (
                true,
                "connect the listener directly to the server: a proxy or pooler on the path drops notifications",
            ),
            Self::Pooler => (
                true,
                "connect to the server itself, or have the pooler keep sessions: LISTEN does not work through a pooler in transaction mode",
            ),
            Self::Replica => (
                true,
                "connect to the primary: NOTIFY does not reach replicas",
            ),
            Self::Triggers => (
                true,
                "install them: `pgherald install TABLE --commit`, with `--mode outbox` for durable handlers; or call `install_triggers()` on the herald",
            ),
            Self::History => (
                true,
                "if the database was restored, do nothing: subscribers resync by themselves; otherwise check whether a sequence in schema pgherald was reset",
            ),
            Self::Protocol => (
                true,
                "check that the URL leads to a distributor of pgherald, and compare the versions of both programs",
            ),
            Self::Decode => (false, "check which other program writes to this channel"),
            Self::Parked => (
                true,
                "correct the cause of the failures that `pgherald parked list` shows: the consumer continues when fewer rows have parked events",
            ),
            Self::Destination => (
                true,
                "correct the cause named in the message: the relay continues by itself, and no event is lost meanwhile",
            ),
            Self::Query => (false, "read the cause; it is the server's own message"),
            Self::Spec => (
                false,
                "correct the specification of the table named in the message; nothing was changed",
            ),
            Self::Unsuitable => (false, "correct what the message names; nothing was changed"),
            Self::Timeout => (
                true,
                "check that the listener is live, keeps up, and listens to the channel named in the message",
            ),
            Self::ShutDown => (false, "nothing to do"),
            Self::Panic => (
                true,
                "this is a bug in the code that panicked; its message is in the log",
            ),
        };
        Policy { retryable, hint }
    }
}

/// A few words, for logs and metrics: `authentication failed`.
impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "invalid configuration",
            Self::Name => "invalid name",
            Self::Tls => "TLS failed",
            Self::Connect => "cannot connect",
            Self::Authentication => "authentication failed",
            Self::Destination => "the destination refuses events",
            Self::Disconnected => "disconnected",
            Self::NoNotifications => "notifications do not arrive",
            Self::Pooler => "pooler in transaction mode",
            Self::Replica => "server is a replica",
            Self::Triggers => "triggers missing or outdated",
            Self::History => "history of the outbox changed",
            Self::Protocol => "unexpected answer",
            Self::Decode => "cannot decode",
            Self::Parked => "too many parked events",
            Self::Query => "statement failed",
            Self::Spec => "invalid trigger specification",
            Self::Unsuitable => "unsuitable for triggers",
            Self::Panic => "panicked",
            Self::Timeout => "timed out",
            Self::ShutDown => "shut down",
        })
    }
}
