//! A plan is shown, or run.

use std::process::ExitCode;

use pgherald_core::TableName;
use pgherald_core::trigger::{self, Plan, TriggerSpec};
use serde::Serialize;
use tokio_postgres::Client;

use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Empty if there was nothing to do.
    sql: &'a str,
    committed: bool,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    notes: &'a [&'a str],
}

/// Why what `spec` says cannot be installed, if it cannot: a later version has, or another role.
pub(super) async fn refusal(
    client: &Client,
    spec: &TriggerSpec,
) -> Result<Option<String>, Failure> {
    match trigger::plan(client, std::slice::from_ref(spec)).await {
        Ok(_) => Ok(None),
        Err(error) if error.is_config() => Ok(Some(error.chain())),
        Err(error) => Err(error.into()),
    }
}

/// What is said of a plan besides its SQL.
#[derive(Debug)]
pub(super) struct Said<'a> {
    /// When it was run.
    pub(super) done: &'a str,
    /// When there was nothing to do; nothing is said if it is empty.
    pub(super) idle: &'a str,
    pub(super) notes: &'a [String],
}

/// When there was nothing to do, and nothing stood in the way of it.
pub(super) const IDLE: &str = "Nothing to do: everything is as it should be.";

/// Shows `plan`, or, if it is to be committed, runs it; and says what is to be said.
pub(super) async fn conclude(
    client: &Client,
    output: &mut Output,
    plan: &Plan,
    commit: bool,
    said: &Said<'_>,
) -> Result<ExitCode, Failure> {
    if commit {
        plan.apply(client).await?;
    }
    let Said { done, idle, notes } = *said;
    let others = told_of_others(plan);
    let notes: Vec<&str> = others.iter().chain(notes).map(String::as_str).collect();
    let sql = plan.sql();
    if output.is_json() {
        output.object(&Report {
            sql: &sql,
            committed: commit && !plan.is_empty(),
            notes: &notes,
        })?;
    } else if plan.is_empty() {
        // What is shown instead of being run may be piped to psql.
        let comment = if commit { "" } else { "-- " };
        if !idle.is_empty() {
            output.line(&format!("{comment}{idle}"))?;
        }
    } else if commit {
        output.line(done)?;
        for note in notes {
            output.line(note)?;
        }
    } else {
        output.sql(sql.trim_end())?;
        for note in notes {
            output.line(&format!("-- {note}"))?;
        }
        output.line("-- Nothing was changed. Add --commit to run this.")?;
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What is done to tables that nobody named.
fn told_of_others(plan: &Plan) -> Vec<String> {
    let said = |tables: &[TableName], what: &str| {
        let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
        let names = names.join(", ");
        (!names.is_empty()).then(|| format!("{what}: {names}."))
    };
    let moved = said(
        plan.moved(),
        "Renamed tables keep their triggers, under their present names",
    );
    let merged = said(
        plan.merged(),
        "Watched as parts of the tables that have their former names, and no more by themselves",
    );
    moved.into_iter().chain(merged).collect()
}
