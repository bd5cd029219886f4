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

/// The plan for each of `specs` by itself, or why it cannot be installed: a later version has, or another role.
pub(super) async fn plans(
    client: &Client,
    specs: &[TriggerSpec],
) -> Result<Vec<Result<Plan, String>>, Failure> {
    if specs.is_empty() {
        return Ok(Vec::new());
    }
    match trigger::plan_each(client, specs).await {
        Ok(plans) => plans.into_iter().map(or_refusal).collect(),
        // It is about none of them.
        Err(error) => {
            let refusal = or_refusal(Err(error))?;
            Ok(vec![refusal; specs.len()])
        }
    }
}

fn or_refusal(plan: pgherald_core::Result<Plan>) -> Result<Result<Plan, String>, Failure> {
    match plan {
        Ok(plan) => Ok(Ok(plan)),
        Err(error) if error.is_config() => Ok(Err(error.chain())),
        Err(error) => Err(error.into()),
    }
}

/// Why each of `specs` cannot be installed, if it cannot.
pub(super) async fn refusals(
    client: &Client,
    specs: &[TriggerSpec],
) -> Result<Vec<Option<String>>, Failure> {
    let plans = plans(client, specs).await?;
    Ok(plans.into_iter().map(Result::err).collect())
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
