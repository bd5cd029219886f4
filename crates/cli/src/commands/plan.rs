//! A plan is shown, or run.

use std::process::ExitCode;

use pgherald_core::trigger::{Actual, Plan, TriggerSpec};
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

/// Why `spec` cannot be installed, if it cannot: a later version has, or another role.
pub(super) fn refusal(actual: &Actual, spec: &TriggerSpec) -> Option<String> {
    let plan = actual.plan(std::slice::from_ref(spec));
    plan.err().map(|error| error.chain())
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
    plan.rehearse(client).await?;
    if commit {
        plan.apply(client).await?;
    }
    present(output, plan.warnings(), &plan.sql(), commit, said)
}

/// Makes a plan and runs it, again if somebody else has changed meanwhile what it was made for.
pub(super) async fn replanned(
    mut run: impl AsyncFnMut() -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    const ATTEMPTS: u32 = 20;
    for _ in 1..ATTEMPTS {
        match run().await {
            Err(failure) if failure.is_overtaken() => {}
            done => return done,
        }
    }
    run().await
}

/// Tells of `sql`, which was run if `commit`, and says what is to be said.
pub(super) fn present(
    output: &mut Output,
    warnings: &[String],
    sql: &str,
    commit: bool,
    said: &Said<'_>,
) -> Result<ExitCode, Failure> {
    let Said { done, idle, notes } = *said;
    let notes = warnings.iter().chain(notes);
    let notes: Vec<&str> = notes.map(String::as_str).collect();
    if output.is_json() {
        output.object(&Report {
            sql,
            committed: commit && !sql.is_empty(),
            notes: &notes,
        })?;
    } else if sql.is_empty() {
        // What is shown instead of being run may be piped to psql.
        let comment = if commit { "" } else { "-- " };
        if !idle.is_empty() {
            output.line(&format!("{comment}{idle}"))?;
        }
        for note in notes {
            output.line(&format!("{comment}{note}"))?;
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
