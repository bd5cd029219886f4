//! Writes of progress. Each has an effect only under the slice's epoch and generation.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Serialize;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, GenericClient};

use super::{RESYNC, execute, query};
use crate::error::{Error, ErrorKind, Result};
use crate::group::job::{Disposition, Job, Park};
use crate::group::slices::Acknowledgement;
use crate::outbox::{Statements, get};

/// Moves cursors and parks events. Returns the slices that were written: those that this node still owns.
pub(in crate::group) async fn acknowledge(
    client: &impl GenericClient,
    statements: &mut Statements,
    group: &str,
    all: &[&Acknowledgement],
) -> Result<Vec<i32>> {
    let by_id = acknowledge_by(client, statements, group, all, Transfer::ById).await?;
    let written = match by_id {
        Some(written) => Some(written),
        None => acknowledge_by(client, statements, group, all, Transfer::Whole).await?,
    };
    Ok(written.unwrap_or_default())
}

/// How events to park are sent to the server.
#[derive(Clone, Copy, PartialEq)]
enum Transfer {
    /// By their ids, if possible: the server copies them from the outbox.
    ById,
    /// With their content.
    Whole,
}

/// Returns `None` if an event was trimmed after it was read. Nothing was written then.
async fn acknowledge_by(
    client: &impl GenericClient,
    statements: &mut Statements,
    group: &str,
    all: &[&Acknowledgement],
    transfer: Transfer,
) -> Result<Option<Vec<i32>>> {
    let statement = statements
        .get(client, include_str!("../sql/acknowledge.sql"))
        .await?;
    let slices: Vec<i32> = all.iter().map(|one| one.slice).collect();
    let epochs: Vec<i64> = all.iter().map(|one| one.epoch).collect();
    let generations: Vec<i64> = all.iter().map(|one| one.generation).collect();
    let renewed: Vec<bool> = all.iter().map(|one| one.is_renewed).collect();
    let cursors: Vec<String> = all.iter().map(|one| one.cursor.to_string()).collect();
    let released: Vec<bool> = all.iter().map(|one| one.is_released).collect();
    let parks = all.iter().flat_map(|one| one.parks.iter());
    let parks: Vec<ParkJson<'_>> = parks.map(|park| ParkJson::of(park, transfer)).collect();
    let parks = serde_json::to_string(&parks).map_err(|cause| {
        Error::with_source(ErrorKind::Decode, "a parked event cannot be written", cause)
    })?;
    let stored: Vec<Option<&str>> = all.iter().map(|one| one.stored.as_deref()).collect();
    let parameters: [&(dyn ToSql + Sync); 9] = [
        &group,
        &slices,
        &epochs,
        &generations,
        &cursors,
        &renewed,
        &released,
        &parks,
        &stored,
    ];
    let rows = query(client, &statement, &parameters).await?;
    rows.iter().map(|row| get(row, "slice")).collect()
}

/// Moves the cursor past the event of one attempt. Returns `false` if this node no longer owns the slice.
pub(in crate::group) async fn acknowledge_one(
    client: &impl GenericClient,
    statements: &mut Statements,
    group: &str,
    one: &Acknowledgement,
) -> Result<bool> {
    let sql = include_str!("../sql/move_one.sql");
    let statement = statements.get(client, sql).await?;
    let parameters: [&(dyn ToSql + Sync); 6] = [
        &group,
        &one.slice,
        &one.epoch,
        &one.generation,
        &one.cursor.to_string(),
        &one.is_renewed,
    ];
    Ok(execute(client, &statement, &parameters).await? > 0)
}

/// Deletes a parked event that was handled. Returns `false` if this node no longer owns the slice, or the event no longer exists.
pub(in crate::group) async fn settle_done(
    client: &impl GenericClient,
    statements: &mut Statements,
    group: &str,
    job: &Job,
    generation: i64,
) -> Result<bool> {
    let statement = statements
        .get(client, include_str!("../sql/settle_done.sql"))
        .await?;
    let parameters: [&(dyn ToSql + Sync); 5] =
        [&group, &job.slice, &job.epoch, &generation, &job.row.id];
    Ok(execute(client, &statement, &parameters).await? > 0)
}

/// The outcome of an attempt at a parked event.
#[derive(Clone, Debug)]
pub(in crate::group) struct Settlement {
    pub(in crate::group) slice: i32,
    pub(in crate::group) epoch: i64,
    pub(in crate::group) generation: i64,
    pub(in crate::group) id: i64,
    /// If the attempt failed: the attempts made, the error, and what happens next. Otherwise the event was handled.
    pub(in crate::group) failed: Option<(u32, Option<String>, Disposition)>,
}

impl Settlement {
    /// Returns the settlement of a job. Its generation is set when it is written.
    pub(in crate::group) fn of(
        job: &Job,
        failed: Option<(u32, Option<String>, Disposition)>,
    ) -> Self {
        Self {
            slice: job.slice,
            epoch: job.epoch,
            generation: 0,
            id: job.row.id,
            failed,
        }
    }
}

/// Writes settlements of different events by one statement. Those of slices that this node no longer owns have no effect.
pub(in crate::group) async fn settle(
    client: &Client,
    statements: &mut Statements,
    group: &str,
    settlements: &[Settlement],
) -> Result<()> {
    let statement = statements
        .get(client, include_str!("../sql/settle.sql"))
        .await?;
    let slices = settlements.iter();
    let slices: BTreeSet<(i32, i64, i64)> = slices
        .map(|one| (one.slice, one.epoch, one.generation))
        .collect();
    let epochs: Vec<i64> = slices.iter().map(|(_, epoch, _)| *epoch).collect();
    let generations: Vec<i64> = slices.iter().map(|(.., generation)| *generation).collect();
    let slices: Vec<i32> = slices.iter().map(|(slice, ..)| *slice).collect();
    let ids: Vec<i64> = settlements.iter().map(|one| one.id).collect();
    let of: Vec<i32> = settlements.iter().map(|one| one.slice).collect();
    let failures = || settlements.iter().map(|one| one.failed.as_ref());
    let failed: Vec<bool> = failures().map(|failed| failed.is_some()).collect();
    let attempts = |attempts: u32| i32::try_from(attempts).unwrap_or(i32::MAX);
    let attempts: Vec<Option<i32>> = failures()
        .map(|failed| failed.map(|failed| attempts(failed.0)))
        .collect();
    let errors: Vec<Option<String>> = failures()
        .map(|failed| failed?.1.as_deref().map(storable))
        .collect();
    let delays: Vec<Option<f64>> = failures().map(|failed| failed?.2.delay()).collect();
    let parameters: [&(dyn ToSql + Sync); 10] = [
        &group,
        &slices,
        &epochs,
        &generations,
        &ids,
        &of,
        &failed,
        &attempts,
        &errors,
        &delays,
    ];
    execute(client, &statement, &parameters).await.map(drop)
}

/// An event to park, as JSON.
#[derive(Serialize)]
struct ParkJson<'a> {
    id: i64,
    slice: i32,
    attempts: u32,
    error: Option<String>,
    delay: Option<f64>,
    is_dead: bool,
    /// Whether the event is passed as a whole. Otherwise the server copies it from the outbox.
    is_whole: bool,
    #[serde(flatten)]
    content: Option<Content<'a>>,
}

/// The columns of an event in the outbox.
#[derive(Serialize)]
struct Content<'a> {
    xid: Option<String>,
    sent_at_us: i64,
    relation: i64,
    hash: i32,
    operation: i8,
    key: Option<&'a str>,
    columns: Option<&'a str>,
    old_columns: Option<&'a str>,
    changed: Option<&'a [Option<String>]>,
}

impl<'a> ParkJson<'a> {
    fn of(park: &'a Park, transfer: Transfer) -> Self {
        let row = &park.row;
        // Resyncs are not in the outbox. A row with unreadable values is sent without them, so that the parked event is readable.
        let is_whole =
            transfer == Transfer::Whole || row.operation == RESYNC || row.problem.is_some();
        Self {
            id: row.id,
            slice: park.slice,
            attempts: park.attempts,
            error: park.error.as_deref().map(storable),
            delay: park.disposition.delay(),
            is_dead: park.disposition == Disposition::Dead,
            is_whole,
            content: is_whole.then(|| Content {
                xid: row.xid.map(|xid| xid.to_string()),
                sent_at_us: row.sent_at_us(),
                relation: row.relation,
                hash: row.hash,
                operation: row.operation,
                key: row.key.as_deref(),
                columns: row.columns.as_deref(),
                old_columns: row.old_columns.as_deref(),
                changed: row.changed.as_deref(),
            }),
        }
    }
}

/// Returns an error's text as PostgreSQL can store it: without NUL, and of a bounded size.
fn storable(error: &str) -> String {
    const LONGEST: usize = 4_096;
    let mut text: String = error.chars().filter(|c| *c != '\0').take(LONGEST).collect();
    if error.len() > text.len() + 64 {
        // Writing to a string does not fail.
        let _ = write!(text, " ... ({} bytes)", error.len());
    }
    text
}
