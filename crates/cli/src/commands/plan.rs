//! A plan is shown, or run.

use std::process::ExitCode;

use pgherald_core::trigger::Plan;
use serde::Serialize;
use tokio_postgres::Client;

use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Empty if there was nothing to do.
    sql: &'a str,
    committed: bool,
}

/// Shows `plan`, or, if it is to be committed, runs it and says `done`.
pub(super) async fn conclude(
    client: &Client,
    output: &mut Output,
    plan: &Plan,
    commit: bool,
    done: &str,
) -> Result<ExitCode, Failure> {
    if commit {
        plan.apply(client).await?;
    }
    let sql = plan.sql();
    if output.is_json() {
        output.object(&Report {
            sql: &sql,
            committed: commit && !plan.is_empty(),
        })?;
    } else if plan.is_empty() {
        output.line("Nothing to do: everything is as it should be.")?;
    } else if commit {
        output.line(done)?;
    } else {
        output.line(sql.trim_end())?;
        output.line("-- Nothing was changed. Add --commit to run this.")?;
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}
