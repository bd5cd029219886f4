//! The failure of a command: a message, a hint, and an exit code.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use pgherald_core::__private::host::errors::ends_session;
use tokio_postgres::error::{DbError, SqlState};

use crate::text::visible;

/// The hint if a transaction pooler is between the command and the server.
pub(crate) const NO_POOLER: &str = "connect to the server itself, or have the pooler keep sessions: pool_mode = session (pgbouncer.ini)";

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be reported on standard error.
    Reported {
        /// The cause, on one line.
        message: String,
        /// What to do about it, on one line.
        hint: Option<String>,
        /// The exit code.
        code: u8,
        /// The server's code, if the server reported the error.
        sqlstate: Option<SqlState>,
    },
    /// The reader of the output has closed it, for example `head`. This is not reported.
    Unread,
}

/// The failure if a connection string is given in place of a table or a command. It does not show the string, which may contain
/// a password.
pub(crate) fn stray_url() -> Failure {
    Failure::usage("unexpected connection string on the command line")
        .hint("give the database as --database-url URL, or in DATABASE_URL")
}

/// The failure if the command line is wrong and has a server of NATS in a place where none is expected. It does not show the URL,
/// which may contain a token or a password.
pub(crate) fn stray_server() -> Failure {
    Failure::usage("unexpected URL on the command line").hint(
        "give all servers of NATS as one argument, with commas between them: pgherald relay nats://a,nats://b --stream NAME",
    )
}

impl Failure {
    /// A problem was found, or the server refused: exit code 1.
    pub(crate) fn problem(message: impl Into<String>) -> Self {
        Self::Reported {
            message: message.into(),
            hint: None,
            code: 1,
            sqlstate: None,
        }
    }

    /// The command line is wrong: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Reported {
            message: message.into(),
            hint: None,
            code: 2,
            sqlstate: None,
        }
    }

    /// Sets the hint.
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Reported { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// Returns the message, unless the output was closed.
    pub(crate) fn message(self) -> Option<String> {
        match self {
            Self::Reported { message, .. } => Some(message),
            Self::Unread => None,
        }
    }

    /// Whether the role lacks a right. Uses the server's code, because its messages may be translated.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(
            self,
            Self::Reported {
                sqlstate: Some(SqlState::INSUFFICIENT_PRIVILEGE),
                ..
            }
        )
    }

    /// Whether another session has changed the planned objects, so that the command has to plan again.
    pub(crate) fn is_concurrent_change(&self) -> bool {
        matches!(
            self,
            Self::Reported {
                // The server reports an internal error if two sessions change the same row of the catalog, by GRANT for example.
                sqlstate: Some(SqlState::T_R_SERIALIZATION_FAILURE | SqlState::INTERNAL_ERROR),
                ..
            }
        )
    }

    /// Writes the failure to standard error, and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        use std::io::Write;
        let Self::Reported {
            message,
            hint,
            code,
            ..
        } = self
        else {
            return ExitCode::SUCCESS;
        };
        let mut stderr = io::stderr().lock();
        // There is no place left to report that standard error is closed.
        let _ = writeln!(stderr, "pgherald: {}", one_line(&message));
        if let Some(hint) = hint {
            let _ = writeln!(stderr, "hint: {}", one_line(&hint));
        }
        ExitCode::from(code)
    }
}

fn one_line(text: &str) -> String {
    // Blanks within a line stay: the text may be a command to paste.
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    visible(&lines.join(" ")).into_owned()
}

/// Returns the driver's error among the causes of `error`, if there is one.
fn driver_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a tokio_postgres::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn is_of_class(code: &SqlState, class: &str) -> bool {
    code.code().starts_with(class)
}

/// Whether the server could not parse a value (class 22).
pub(crate) fn is_bad_input(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| is_of_class(code, "22"))
}

/// The hint for an error that the server reported while the command connected. [`statement_hint`] has further ones.
fn connection_hint(error: &DbError) -> Option<&'static str> {
    let hint = match *error.code() {
        // Settings are refused with the same code, and messages may be translated, so the routine decides.
        SqlState::INSUFFICIENT_PRIVILEGE if error.routine() == Some("CheckMyDatabase") => {
            "have its owner run: GRANT CONNECT ON DATABASE … TO …;"
        }
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "remove settings that this role may not change from PGOPTIONS and the connection string; or connect as \
             another role"
        }
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => {
            "name another database; or allow connections to it: ALTER DATABASE … ALLOW_CONNECTIONS true;"
        }
        SqlState::TOO_MANY_CONNECTIONS => {
            "end unused sessions, or raise the limit that the message names: max_connections, or CONNECTION \
             LIMIT of the role or the database"
        }
        ref code if is_of_class(code, "22") || is_of_class(code, "42") => {
            "correct PGOPTIONS, or options in the connection string"
        }
        _ => return None,
    };
    Some(hint)
}

/// The hint for an error with this code from the server.
fn statement_hint(code: &SqlState) -> Option<&'static str> {
    let hint = match *code {
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "connect as the owner of the table, or as a role with the right that the message names"
        }
        SqlState::INVALID_CATALOG_NAME => {
            "create the database, or name another one: --database-url, DATABASE_URL or PGDATABASE"
        }
        SqlState::QUERY_CANCELED => {
            "if a timeout cancelled the statement, lift it: PGOPTIONS='-c statement_timeout=0'"
        }
        SqlState::LOCK_NOT_AVAILABLE => {
            "another transaction keeps the object locked: wait until it has ended, or end it (pg_locks, pg_stat_activity), \
             and run the command again"
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            "connect to the primary; if this is it: PGOPTIONS='-c default_transaction_read_only=off'"
        }
        // A transaction pooler gave this client a session with the prepared statements of another client.
        SqlState::DUPLICATE_PSTATEMENT | SqlState::INVALID_SQL_STATEMENT_NAME => NO_POOLER,
        _ => return None,
    };
    Some(hint)
}

impl From<pgherald_core::Error> for Failure {
    fn from(error: pgherald_core::Error) -> Self {
        let code = if error.is_connection() { 2 } else { 1 };
        let message = error.chain();
        let driver_error = driver_error(&error);
        let db_error = driver_error.and_then(tokio_postgres::Error::as_db_error);
        let known = match error.is_connection() {
            true => db_error.and_then(connection_hint),
            false => None,
        };
        let known = known.or_else(|| db_error.and_then(|error| statement_hint(error.code())));
        let hint = match known {
            Some(hint) => hint,
            None if message.contains("password missing") => {
                "set PGPASSWORD, or a line host:port:database:user:password in ~/.pgpass, a file that only its owner may \
                 read (chmod 600)"
            }
            None => error.hint(),
        };
        Self::Reported {
            message,
            hint: Some(hint.to_owned()),
            code,
            sqlstate: driver_error.and_then(|error| error.code().cloned()),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let message = match error.as_db_error() {
            Some(error) => format!("the server refused: {}", error.message()),
            None => format!("the server did not answer: {error}"),
        };
        let known = error.code().and_then(statement_hint);
        let hint = known.map(str::to_owned).or_else(|| {
            error
                .as_db_error()
                .and_then(|error| error.hint().map(str::to_owned))
        });
        Self::Reported {
            message,
            hint,
            code: if ends_session(&error) { 2 } else { 1 },
            sqlstate: error.code().cloned(),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::problem(format!("cannot write the output: {error}")),
        }
    }
}
