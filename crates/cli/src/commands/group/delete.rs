//! `pgherald group delete`.

use std::process::ExitCode;
use std::sync::Arc;

use pgherald_core::group::Group;
use serde::Serialize;
use tokio_postgres::Client;

use crate::failure::Failure;
use crate::output::Output;
use crate::words;

/// Begins the transaction that deletes a group.
const BEGIN: &str =
    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL search_path = pg_catalog, pg_temp;";

/// A group and its rows, which are deleted with it.
#[derive(Debug, Serialize)]
struct Deleted<'a> {
    group: &'a str,
    cursors: i64,
    /// Recorded events that the cursors have not passed. `None` if a cursor cannot be parsed.
    lag_events: Option<i64>,
    lag_is_estimate: bool,
    parked: i64,
    dead_letters: i64,
    requirements: Vec<String>,
    committed: bool,
}

pub(super) async fn delete(
    client: &Arc<Client>,
    output: &mut Output,
    name: &str,
    commit: bool,
) -> Result<ExitCode, Failure> {
    // Counted before the group is locked, because counting the lag takes a while.
    let status = Group::new(client, name).status().await;
    let known = status
        .ok()
        .filter(|status| status.unreadable_slices.is_empty());
    let lag = known.map(|status| (status.lag_events, status.lag_is_estimate));
    client.batch_execute(BEGIN).await?;
    let run = async {
        let deleted = look(client, name, lag, commit).await?;
        if commit {
            Group::new(client, name).delete().await?;
            client.batch_execute("COMMIT").await?;
        }
        Ok(deleted)
    };
    let deleted: Result<_, Failure> = run.await;
    if !commit || deleted.is_err() {
        client.batch_execute("ROLLBACK").await?;
    }
    print(output, &deleted?)?;
    Ok(ExitCode::SUCCESS)
}

/// Counts the rows of the group. Fails if its consumers run. If `commit`, it locks the group first, so that consumers that join
/// wait and then find the group deleted.
async fn look<'a>(
    client: &Client,
    name: &'a str,
    lag: Option<(i64, bool)>,
    commit: bool,
) -> Result<Deleted<'a>, Failure> {
    if commit {
        client
            .query(include_str!("../sql/lock_group.sql"), &[&name])
            .await?;
    }
    let row = client
        .query_one(include_str!("../sql/running.sql"), &[&name])
        .await?;
    let consumers: Vec<String> = row.try_get(1)?;
    if !consumers.is_empty() {
        let running = match &*consumers {
            [one] => format!("consumer {one} runs"),
            several => format!("{} consumers run: {}", several.len(), several.join(", ")),
        };
        let message = format!("group {name:?} cannot be deleted: {running}");
        return Err(Failure::problem(message).hint(
            "stop the programs that run its consumers: they would create the group again. The lease of a killed consumer expires, \
             by default after ten seconds",
        ));
    }
    let row = client
        .query_opt(include_str!("../sql/group_size.sql"), &[&name])
        .await?;
    let row =
        row.ok_or_else(|| Failure::problem(format!("group {name:?} was deleted meanwhile")))?;
    Ok(Deleted {
        group: name,
        cursors: row.try_get(0)?,
        lag_events: lag.map(|(events, _)| events),
        lag_is_estimate: lag.is_some_and(|(_, is_estimate)| is_estimate),
        parked: row.try_get(1)?,
        dead_letters: row.try_get(2)?,
        requirements: row.try_get(3)?,
        committed: commit,
    })
}

fn print(output: &mut Output, deleted: &Deleted<'_>) -> Result<(), Failure> {
    if output.is_json() {
        output.object(deleted)?;
        return Ok(output.flush()?);
    }
    let Deleted {
        group, committed, ..
    } = deleted;
    output.line(&match committed {
        true => format!("Deleted group {group}:"),
        false => format!("Deletes group {group}:"),
    })?;
    let lag = match deleted.lag_events {
        Some(events) => words::lag(events, deleted.lag_is_estimate),
        None => "an unknown number of events".to_owned(),
    };
    let mut lines = vec![
        format!("{}, {lag} behind", words::count(deleted.cursors, "cursor")),
        words::count(deleted.parked, "parked event"),
        words::count(deleted.dead_letters, "dead letter"),
    ];
    if !deleted.requirements.is_empty() {
        let tables = deleted.requirements.join(", ");
        lines.push(format!(
            "the requirements on {tables}; the triggers stay installed"
        ));
    }
    for line in lines {
        output.line(&format!("  {line}"))?;
    }
    if !committed {
        output.line("Nothing was changed. Add --commit to delete it.")?;
    }
    Ok(output.flush()?)
}
