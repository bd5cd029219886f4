//! What a command ends with when it cannot do what it was asked.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use tokio_postgres::error::{DbError, SqlState};

use crate::output::visible;

/// The way out where a pooler is in the way.
pub(crate) const NO_POOLER: &str = "connect to the server itself, or have the pooler keep sessions: pool_mode = session (pgbouncer.ini)";

/// One line that names the cause, one that names the way out, and an exit code.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be told.
    Told {
        message: String,
        hint: Option<String>,
        code: u8,
        /// The server's code, if it is the server that refused.
        refusal: Option<SqlState>,
    },
    /// Whoever read the output has gone away; nobody is there to be told.
    Unread,
}

/// A connection string for a table or a command; it may have a password, so it is not shown.
pub(crate) fn stray_url() -> Failure {
    Failure::usage("unexpected connection string on the command line")
        .hint("give the database as --database-url URL, or in DATABASE_URL")
}

impl Failure {
    /// Something is wrong: exit code 1.
    pub(crate) fn problem(message: impl Into<String>) -> Self {
        Self::Told {
            message: message.into(),
            hint: None,
            code: 1,
            refusal: None,
        }
    }

    /// The command line is wrong: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Told {
            message: message.into(),
            hint: None,
            code: 2,
            refusal: None,
        }
    }

    /// Adds the way out.
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Told { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// What is wrong, if it is to be told.
    pub(crate) fn message(self) -> Option<String> {
        match self {
            Self::Told { message, .. } => Some(message),
            Self::Unread => None,
        }
    }

    /// Whether this role lacks a right, in whatever language the server says so.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(
            self,
            Self::Told {
                refusal: Some(SqlState::INSUFFICIENT_PRIVILEGE),
                ..
            }
        )
    }

    /// Whether another session has changed the planned objects, so that the command has to plan again.
    pub(crate) fn is_overtaken(&self) -> bool {
        matches!(
            self,
            Self::Told {
                // The server reports an internal error if two sessions change the same row of the catalog, by GRANT for example.
                refusal: Some(SqlState::T_R_SERIALIZATION_FAILURE | SqlState::INTERNAL_ERROR),
                ..
            }
        )
    }

    /// Tells it on standard error.
    pub(crate) fn report(self) -> ExitCode {
        use std::io::Write;
        let Self::Told {
            message,
            hint,
            code,
            ..
        } = self
        else {
            return ExitCode::SUCCESS;
        };
        let mut stderr = io::stderr().lock();
        // Nothing can be done about a standard error that is closed.
        let _ = writeln!(stderr, "pgherald: {}", one_line(&message));
        if let Some(hint) = hint {
            let _ = writeln!(stderr, "hint: {}", one_line(&hint));
        }
        ExitCode::from(code)
    }
}

fn one_line(text: &str) -> String {
    // What is to be pasted keeps its blanks.
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    visible(&lines.join(" ")).into_owned()
}

/// What the server or the driver said, if it is one of the causes.
fn refusal<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a tokio_postgres::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref() {
            return Some(refusal);
        }
        next = error.source();
    }
    None
}

fn is_of_class(code: &SqlState, class: &str) -> bool {
    code.code().starts_with(class)
}

/// Class 22: what was written cannot be read as such.
pub(crate) fn is_bad_input(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| is_of_class(code, "22"))
}

/// The way out of what the server refused when it was connected to, where its code tells, but for those of [`way_out`].
fn way_in(refusal: &DbError) -> Option<&'static str> {
    let way_in = match *refusal.code() {
        // The code is the same for settings; its texts may be translated.
        SqlState::INSUFFICIENT_PRIVILEGE if refusal.routine() == Some("CheckMyDatabase") => {
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
    Some(way_in)
}

/// The way out of what the server refused, where its code tells.
fn way_out(code: &SqlState) -> Option<&'static str> {
    let way_out = match *code {
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
        // Of another session's statements, or of those that are gone.
        SqlState::DUPLICATE_PSTATEMENT | SqlState::INVALID_SQL_STATEMENT_NAME => NO_POOLER,
        _ => return None,
    };
    Some(way_out)
}

impl From<pgherald_core::Error> for Failure {
    fn from(error: pgherald_core::Error) -> Self {
        let code = if error.is_connection() { 2 } else { 1 };
        let message = error.chain();
        let refusal = refusal(&error);
        let said = refusal.and_then(tokio_postgres::Error::as_db_error);
        let known = match error.is_connection() {
            true => said.and_then(way_in),
            false => None,
        };
        let known = known.or_else(|| said.and_then(|said| way_out(said.code())));
        let hint = match known {
            Some(hint) => hint,
            None if message.contains("password missing") => {
                "give PGPASSWORD, or a line host:port:database:user:password in ~/.pgpass, which nobody else may read \
                 (chmod 600)"
            }
            None => error.hint(),
        };
        Self::Told {
            message,
            hint: Some(hint.to_owned()),
            code,
            refusal: refusal.and_then(|refusal| refusal.code().cloned()),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let message = match error.as_db_error() {
            Some(refusal) => format!("the server refused: {}", refusal.message()),
            None => format!("the server did not answer: {error}"),
        };
        let known = error.code().and_then(way_out);
        let hint = known.map(str::to_owned).or_else(|| {
            error
                .as_db_error()
                .and_then(|refusal| refusal.hint().map(str::to_owned))
        });
        Self::Told {
            message,
            hint,
            code: if error.is_closed() { 2 } else { 1 },
            refusal: error.code().cloned(),
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
