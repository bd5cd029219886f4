//! Shows or runs a plan.

use std::process::ExitCode;

use pgherald_core::__private::host::trigger::Actual;
use pgherald_core::trigger::{Plan, TriggerSpec};
use serde::Serialize;
use tokio_postgres::Client;

use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Empty if there was nothing to do.
    sql: &'a str,
    committed: bool,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    summary: &'a [String],
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    notes: &'a [&'a str],
}

/// Returns why `spec` cannot be installed, if it cannot. For example, a later version or another role has installed the triggers.
pub(super) fn refusal(actual: &Actual, spec: &TriggerSpec) -> Option<String> {
    let plan = actual.plan(std::slice::from_ref(spec));
    plan.err().map(|error| error.chain())
}

/// The messages of a plan besides its SQL.
#[derive(Debug, Default)]
pub(super) struct Messages<'a> {
    /// The message after the plan was run.
    pub(super) done: &'a str,
    /// The message if there was nothing to do. Empty for none.
    pub(super) idle: &'a str,
    pub(super) notes: &'a [String],
    /// What the SQL does, in a few lines that come before it. Empty for none.
    pub(super) summary: &'a [String],
    /// Whether the summary is shown instead of the SQL.
    pub(super) hides_sql: bool,
}

/// The usual message if there was nothing to do.
pub(super) const IDLE: &str = "Nothing to do: everything is as it should be.";

/// Shows `plan` or, if `commit`, runs it. Prints the messages.
pub(super) async fn conclude(
    client: &Client,
    output: &mut Output,
    plan: &Plan,
    commit: bool,
    messages: &Messages<'_>,
) -> Result<ExitCode, Failure> {
    plan.rehearse(client).await?;
    if commit {
        plan.apply(client).await?;
    }
    present(output, plan.warnings(), &plan.sql(), commit, messages)
}

/// Runs `run`, which plans and carries out the plan. Repeats it if another session has changed the planned tables meanwhile.
pub(super) async fn replanned(
    mut run: impl AsyncFnMut() -> Result<ExitCode, Failure>,
) -> Result<ExitCode, Failure> {
    const ATTEMPTS: u32 = 20;
    for _ in 1..ATTEMPTS {
        match run().await {
            Err(failure) if failure.is_concurrent_change() => {}
            done => return done,
        }
    }
    run().await
}

/// Prints `sql` or, if `commit`, that it was run. Prints the messages.
pub(super) fn present(
    output: &mut Output,
    warnings: &[String],
    sql: &str,
    commit: bool,
    messages: &Messages<'_>,
) -> Result<ExitCode, Failure> {
    let Messages {
        done,
        idle,
        notes,
        summary,
        hides_sql,
    } = *messages;
    let notes = warnings.iter().chain(notes);
    let notes: Vec<&str> = notes.map(String::as_str).collect();
    if output.is_json() {
        output.object(&Report {
            sql,
            committed: commit && !sql.is_empty(),
            summary,
            notes: &notes,
        })?;
    } else if sql.is_empty() {
        // SQL that is shown may be piped to psql, so messages are comments.
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
    } else if hides_sql {
        for line in summary.iter().map(String::as_str).chain(notes) {
            output.line(line)?;
        }
        output.line("Nothing was changed. Add --commit to run this, or --sql to see its SQL.")?;
    } else {
        for line in summary {
            output.line(&format!("-- {line}"))?;
        }
        output.sql(sql.trim_end())?;
        for note in notes {
            output.line(&format!("-- {note}"))?;
        }
        output.line("-- Nothing was changed. Add --commit to run this.")?;
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}
