//! A plan: steps in SQL, to be shown or run.

use std::fmt;
use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::limits::Trial;
use super::template::render;
use crate::backoff::Backoff;
use crate::error::{Error, Kind, Result};

const LOCK: &str = include_str!("sql/objects/lock.sql");
const UNLOCK: &str = include_str!("sql/objects/unlock.sql");

/// How often a plan is retried while other transactions lock the tables, and how long it waits in between.
const ATTEMPTS: u32 = 20;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// SQL that was planned and not yet run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a plan changes nothing until it is applied"]
pub struct Plan {
    statements: String,
    trials: Vec<Trial>,
    warnings: Vec<String>,
}

impl Plan {
    /// Runs `statements` as the only installer. `schema` creates the schema, if it does not exist.
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

    /// Returns what the plan removes, and what remains to be done: a renamed table whose changes still come under a name that
    /// the plan installs on. The latter only for inspected tables: [`plan`](super::plan()) inspects the tables of its
    /// specifications only.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// The whole plan as a script of one transaction, to be read or run by other means. Empty if there is
    /// nothing to do.
    #[must_use]
    pub fn sql(&self) -> String {
        match self.is_empty() {
            true => String::new(),
            false => format!("BEGIN;\n{}COMMIT;\n", self.statements),
        }
    }

    /// Asks the server whether it accepts the statements of functions with more than a hundred columns, because only the server
    /// knows its limits. [`plan`](super::plan()) has done so; a plan of [`Actual::plan`](super::Actual::plan) has not been
    /// checked. Changes nothing, and runs no statement if the plan has no such functions.
    ///
    /// # Errors
    /// If a specification has more columns than the server can compare, or the connection is lost.
    pub async fn rehearse(&self, client: &Client) -> Result<()> {
        for trial in &self.trials {
            trial.run(client).await?;
        }
        Ok(())
    }

    /// Runs the plan: all of it or nothing, also if this future is dropped. If the client is inside a
    /// transaction, the plan becomes part of it.
    ///
    /// Waits for other installers. It waits for transactions that write to the tables for half a second at a time, to avoid
    /// deadlocks, and retries for some seconds. Requires ownership of the tables, or their TRIGGER right.
    ///
    /// # Errors
    /// If the server refuses a statement; if a table was renamed, or another installation changed it, since it was inspected;
    /// or if the connection is lost (then either everything was done or nothing). A retryable error if the tables stay in use,
    /// or, if the client is inside a transaction, if they are in use at all.
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
                // The lock timeout has failed the transaction that this is part of.
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
    Error::with_source(Kind::Triggers, message, cause)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql())
    }
}
