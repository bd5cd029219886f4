//! Errors that only the actors, the distributor and relays report, and what the command reads from errors.

use std::time::Duration;

use tokio_postgres::error::{DbError, Severity};

use super::{Error, ErrorKind};

/// Returns whether the session has ended: the connection was closed, or the server ended it, because it shuts down, for example.
#[must_use]
pub fn ends_session(error: &tokio_postgres::Error) -> bool {
    let severity = error.as_db_error().and_then(DbError::parsed_severity);
    error.is_closed() || matches!(severity, Some(Severity::Fatal | Severity::Panic))
}

/// An option of a handler is zero, so no attempt could succeed.
#[must_use]
pub fn zero_option(handler: &str, option: &str) -> Error {
    let message = format!(
        "{option} of handler {handler:?} is 0, so no attempt could succeed; it must be greater"
    );
    Error::new(ErrorKind::Config, message)
}

/// A limit of a distributor is out of its range.
#[must_use]
pub fn bad_limit(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}

/// Tokens, rights or origins of a distributor are not usable.
#[must_use]
pub fn bad_access(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}

/// As [`bad_access`], with a cause.
#[must_use]
pub fn bad_access_because(
    message: String,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::with_source(ErrorKind::Config, message, cause)
}

/// A setting of a relay, or of a source that reads a stream of NATS, is not usable.
#[must_use]
pub fn bad_nats(message: String) -> Error {
    Error::new(ErrorKind::Config, message)
}

/// A request to NATS has failed.
#[must_use]
pub fn nats(
    kind: ErrorKind,
    message: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    match cause {
        Some(cause) => Error::with_source(kind, message, cause),
        None => Error::new(kind, message),
    }
}

/// The limit within which a herald has to be live is zero.
#[must_use]
pub fn no_time_to_be_live() -> Error {
    Error::new(
        ErrorKind::Config,
        "live_within is 0, so no start could succeed; it must be longer, or start_without_waiting() waits for nothing",
    )
}

/// Actors cannot be started on this thread, because no actix system runs there.
#[must_use]
pub fn no_actix() -> Error {
    Error::new(
        ErrorKind::Config,
        "the current arbiter cannot be used: no actix system runs on this thread; use #[actix::main] or \
         #[actix_web::main] in place of #[tokio::main], #[actix::test] in tests, or have the herald start threads of its own",
    )
}

/// A herald cannot be started, because no runtime runs on this thread.
#[must_use]
pub fn no_runtime() -> Error {
    Error::new(
        ErrorKind::Config,
        "the herald cannot be started: no runtime runs on this thread; use #[tokio::main], #[actix::main] or \
         #[actix_web::main], #[tokio::test] or #[actix::test] in tests",
    )
}

/// A thread for actors cannot be started.
#[must_use]
pub fn no_thread(cause: std::io::Error) -> Error {
    Error::with_source(ErrorKind::Config, "cannot start a thread for actors", cause)
}

/// Code that starts an actor has panicked, such as the code of its `started` method.
#[must_use]
pub fn start_panicked(message: &str) -> Error {
    Error::new(
        ErrorKind::Panic,
        format!("an actor cannot be started: its start panicked: {message}"),
    )
}

/// A listener or a consumer was not live within the limit. Has the kind and hint of `cause`, the failure of the last attempt.
#[must_use]
pub fn not_live(owner: &str, within: Duration, cause: Option<Error>) -> Error {
    let message = format!("{owner} is not live after {within:?}");
    match cause {
        Some(cause) => Error::with_source(cause.kind(), message, cause),
        None => Error::new(
            ErrorKind::Connect,
            format!("{message}: the server has not answered"),
        ),
    }
}
