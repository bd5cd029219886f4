//! What a command ends with when it cannot do what it was asked.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use tokio_postgres::error::SqlState;

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
    },
    /// Whoever read the output has gone away; nobody is there to be told.
    Unread,
}

impl Failure {
    /// Something is wrong: exit code 1.
    pub(crate) fn problem(message: impl Into<String>) -> Self {
        Self::Told {
            message: message.into(),
            hint: None,
            code: 1,
        }
    }

    /// The command line is wrong: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Told {
            message: message.into(),
            hint: None,
            code: 2,
        }
    }

    /// Adds the way out.
    pub(crate) fn hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Told { message, code, .. } => Self::Told {
                message,
                hint: Some(text.into()),
                code,
            },
            Self::Unread => Self::Unread,
        }
    }

    /// Tells it on standard error.
    pub(crate) fn report(self) -> ExitCode {
        use std::io::Write;
        let Self::Told {
            message,
            hint,
            code,
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

/// The server's code, if one of the causes is the server's refusal.
fn code<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a SqlState> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref::<tokio_postgres::Error>() {
            return refusal.code();
        }
        next = error.source();
    }
    None
}

/// The way out of what the server refused, where its code tells.
fn way_out(code: &SqlState, is_connecting: bool) -> Option<&'static str> {
    let way_out = match *code {
        SqlState::INSUFFICIENT_PRIVILEGE if is_connecting => {
            "have its owner run: GRANT CONNECT ON DATABASE … TO …;"
        }
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "connect as the owner of the table, or as a role with the right that the message names"
        }
        SqlState::INVALID_CATALOG_NAME => {
            "create the database, or name another one: --database-url, DATABASE_URL or PGDATABASE"
        }
        SqlState::QUERY_CANCELED => {
            "if a limit of time has ended it, lift it: PGOPTIONS='-c statement_timeout=0'"
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            "connect to the primary; if this is it: PGOPTIONS='-c default_transaction_read_only=off'"
        }
        // Of another session's statements, or of those that are gone.
        SqlState::DUPLICATE_PSTATEMENT | SqlState::INVALID_SQL_STATEMENT_NAME => NO_POOLER,
        _ if is_connecting
            && ["22", "42"]
                .iter()
                .any(|class| code.code().starts_with(class)) =>
        {
            "correct PGOPTIONS, or options in the connection string"
        }
        _ => return None,
    };
    Some(way_out)
}

impl From<pgherald_core::Error> for Failure {
    fn from(error: pgherald_core::Error) -> Self {
        let code = if error.is_connection() { 2 } else { 1 };
        let message = error.chain();
        let known = self::code(&error).and_then(|code| way_out(code, error.is_connection()));
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
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let message = match error.as_db_error() {
            Some(refusal) => format!("the server refused: {}", refusal.message()),
            None => format!("the server did not answer: {error}"),
        };
        let known = error.code().and_then(|code| way_out(code, false));
        let hint = known.map(str::to_owned).or_else(|| {
            error
                .as_db_error()
                .and_then(|refusal| refusal.hint().map(str::to_owned))
        });
        Self::Told {
            message,
            hint,
            code: if error.is_closed() { 2 } else { 1 },
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
