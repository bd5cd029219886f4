//! A plan: SQL statements to show or run.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::limits::Trial;
use super::template::render;
use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind, Result};

const LOCK: &str = include_str!("sql/objects/lock.sql");
const UNLOCK: &str = include_str!("sql/objects/unlock.sql");

/// The number of attempts while other transactions lock the tables, and the delays between them.
const ATTEMPTS: u32 = 20;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// A plan of SQL statements that have not run yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a plan changes nothing until it is applied"]
pub struct Plan {
    statements: String,
    trials: Vec<Trial>,
    warnings: Vec<String>,
}

impl Plan {
    /// Wraps `statements` in the lock that excludes other installers. `schema` creates the schema, or is empty if it exists.
    pub(super) fn new(schema: &str, statements: &str, trials: Vec<Trial>) -> Result<Self> {
        let lock = render(LOCK, &[("schema", schema)])?;
        Ok(Self {
            statements: format!("{lock}{statements}{UNLOCK}"),
            trials,
            warnings: Vec::new(),
        })
    }

    pub(super) fn warning(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }

    /// Returns texts that describe what the plan removes, and tables that remain to be installed again: renamed tables that
    /// still announce changes under a name that the plan installs on. The latter covers only inspected tables, and
    /// [`plan`](super::plan()) inspects only the tables of its specifications.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Returns the plan as a script of one transaction, to read it or run it by other means. Empty if there is nothing to do.
    #[must_use]
    pub fn sql(&self) -> String {
        match self.is_empty() {
            true => String::new(),
            false => format!("BEGIN;\n{}COMMIT;\n", self.statements),
        }
    }

    /// Checks whether the server accepts the statements of functions with more than a hundred columns, because only the server
    /// knows its limits. [`plan`](super::plan()) calls this. Changes nothing, and
    /// runs no statement if the plan has no such functions.
    ///
    /// # Errors
    /// If a specification has more columns than the server supports, or the connection is lost.
    pub async fn rehearse(&self, client: &Client) -> Result<()> {
        for trial in &self.trials {
            trial.run(client).await?;
        }
        Ok(())
    }

    /// Runs the plan. Either all of it takes effect or nothing, even if this future is dropped. If the client is inside a
    /// transaction, the plan becomes part of it.
    ///
    /// Waits for other installers. To avoid deadlocks, it waits for transactions that write to the tables for at most half a
    /// second at a time. It then retries, up to 20 attempts. Requires ownership of the tables, or the TRIGGER right on them.
    ///
    /// # Errors
    /// If the server refuses a statement; if a table was renamed, or changed by another installation, since it was inspected;
    /// or if the connection is lost (then either all of the plan took effect or nothing). The error is retryable if the tables
    /// stay in use, or, inside a transaction, if they are in use at all.
    pub async fn apply(&self, client: &Client) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        // The statements of one simple query are one transaction. No BEGIN is sent, so none is left open.
        let mut attempt = 0;
        let mut in_use = None;
        loop {
            let Err(error) = client.batch_execute(&self.statements).await else {
                return Ok(());
            };
            match in_use.take() {
                // The lock timeout has aborted the caller's transaction, so the cause is the former error.
                Some(cause) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => {
                    return Err(tables_in_use(cause));
                }
                _ => {}
            }
            if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) {
                let message = "cannot change the triggers; nothing was changed";
                return Err(Error::of_statement(message, error));
            }
            attempt += 1;
            if attempt == ATTEMPTS {
                return Err(tables_in_use(error));
            }
            in_use = Some(error);
            tokio::time::sleep(BACKOFF.delay(attempt)).await;
        }
    }
}

fn tables_in_use(cause: tokio_postgres::Error) -> Error {
    let message =
        "cannot change the triggers while other transactions use the tables; try again later";
    Error::with_source(ErrorKind::Triggers, message, cause)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql())
    }
}
