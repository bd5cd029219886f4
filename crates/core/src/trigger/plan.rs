//! The SQL that leads from what is installed to what is wanted.

use std::fmt;

use postgres_protocol::escape::escape_identifier;
use tokio_postgres::Client;

use super::catalog::{self, Server};
use super::compare::{Finding, compare};
use super::fit::{fit, no_such_table};
use super::installed::{self, Installed, Trigger, installed};
use super::shared::{self, NOTIFY_ROWS, Shared, refuse_newer};
use super::spec::TriggerSpec;
use super::wanted::{Wanted, qualified, wanted};
use crate::error::{Error, Kind, Result};

const LOCK: &str = include_str!("sql/v1/lock.sql");

/// SQL that was worked out and not yet run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a plan changes nothing until it is applied"]
pub struct Plan {
    statements: String,
}

/// Works out how to install `specs`, whatever is installed now. Only reads.
///
/// Specifications not listed stay installed as they are.
///
/// # Errors
/// If a specification does not fit its table, the table does not exist, a later version of pgherald
/// installed its triggers, or the catalog cannot be read.
pub async fn plan(client: &Client, specs: &[TriggerSpec]) -> Result<Plan> {
    refuse_twice(specs)?;
    let server = catalog::server(client).await?;
    let helper = installed::function(client, NOTIFY_ROWS).await?;
    refuse_newer(
        "pgherald.notify_rows",
        helper.and_then(|helper| helper.comment).as_deref(),
    )?;
    let shared = shared::shared(client).await?;
    let mut changes = String::new();
    for spec in specs {
        changes.push_str(&plan_table(client, server, spec).await?);
    }
    if changes.is_empty() && (shared == Shared::Current || specs.is_empty()) {
        return Ok(Plan::new(String::new()));
    }
    Ok(Plan::new(shared::prepare(server, &shared)? + &changes))
}

async fn plan_table(client: &Client, server: Server, spec: &TriggerSpec) -> Result<String> {
    let Some(table) = catalog::table(client, &spec.table).await? else {
        return Err(no_such_table(client, &spec.table).await?);
    };
    let wanted = wanted(&fit(spec, table)?)?;
    let installed = installed(client, &wanted.table, &wanted.function).await?;
    let function = installed.function.as_ref();
    let comment = function.and_then(|function| function.comment.as_deref());
    refuse_newer(&format!("triggers of {}", spec.table), comment)?;
    changes(&wanted, &installed, server)
}

fn changes(wanted: &Wanted, installed: &Installed, server: Server) -> Result<String> {
    let mut sql = String::new();
    for finding in compare(wanted, installed) {
        match finding {
            Finding::FunctionMissing | Finding::FunctionOutdated { redefine: true, .. } => {
                sql += &wanted.define()?;
                sql += &wanted.annotate();
            }
            Finding::FunctionOutdated {
                redefine: false, ..
            } => sql += &wanted.annotate(),
            Finding::TriggerMissing(trigger) | Finding::TriggerOutdated(trigger) => {
                sql += &wanted.attach(trigger, server.version)?;
            }
            Finding::TriggerDisabled(trigger) => {
                let (table, name) = (trigger.on.quoted(), escape_identifier(&trigger.name));
                sql += &format!("ALTER TABLE ONLY {table} ENABLE TRIGGER {name};\n");
            }
            Finding::TriggerLeftOver(trigger) => sql += &drop_trigger(trigger),
            Finding::FunctionLeftOver(function) => sql += &drop_function(function),
        }
    }
    Ok(sql)
}

fn refuse_twice(specs: &[TriggerSpec]) -> Result<()> {
    for (index, spec) in specs.iter().enumerate() {
        if specs[..index]
            .iter()
            .any(|earlier| earlier.table == spec.table)
        {
            let message = format!("two specifications of {}; a table has one", spec.table);
            return Err(Error::new(Kind::Spec, message));
        }
    }
    Ok(())
}

pub(super) fn drop_trigger(trigger: &Trigger) -> String {
    let (name, table) = (escape_identifier(&trigger.name), trigger.on.quoted());
    format!("DROP TRIGGER IF EXISTS {name} ON {table};\n")
}

pub(super) fn drop_function(function: &str) -> String {
    format!("DROP FUNCTION IF EXISTS {}();\n", qualified(function))
}

impl Plan {
    pub(super) fn new(statements: String) -> Self {
        Self { statements }
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
            false => format!("BEGIN;\n{LOCK}{}COMMIT;\n", self.statements),
        }
    }

    /// Runs the plan: all of it or nothing, also if this future is dropped. If the client is inside a
    /// transaction, the plan becomes part of it.
    ///
    /// Waits for other installers, and for transactions that write to the tables; `lock_timeout` limits
    /// that. Wants ownership of the tables, or their TRIGGER right.
    ///
    /// # Errors
    /// If the server refuses a statement, or the connection is lost (then either all was done or nothing).
    pub async fn apply(&self, client: &Client) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        // The statements of one simple query are one transaction. No BEGIN is sent, so none is left open.
        let batch = format!("{LOCK}{}", self.statements);
        client.batch_execute(&batch).await.map_err(|error| {
            catalog::failed("cannot change the triggers; everything is as it was", error)
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sql())
    }
}
