//! What a command ends with when it cannot do what it was asked.

use std::io;
use std::process::ExitCode;

use tokio_postgres::error::SqlState;

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
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl From<pgherald_core::Error> for Failure {
    fn from(error: pgherald_core::Error) -> Self {
        let code = if error.is_connection() { 2 } else { 1 };
        let forbidden =
            error.chain().contains("permission denied") || error.chain().contains("must be owner");
        let hint = match forbidden {
            true => {
                "connect as the owner of the table, or as a role with the right that the message names"
            }
            false => error.hint(),
        };
        Self::Told {
            message: error.chain(),
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
        let hint = match error.code() {
            // Of another session's statements, or of those that are gone.
            Some(&(SqlState::DUPLICATE_PSTATEMENT | SqlState::INVALID_SQL_STATEMENT_NAME)) => {
                Some(NO_POOLER.to_owned())
            }
            _ => error
                .as_db_error()
                .and_then(|refusal| refusal.hint().map(str::to_owned)),
        };
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
