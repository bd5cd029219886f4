//! The statements of a node: one function for each. Writes of progress are in [`progress`].

mod progress;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, GenericClient, Row as SqlRow, ToStatement};

pub(super) use self::progress::{Settlement, acknowledge, acknowledge_one, settle, settle_done};
use super::destination::Condition;
use super::job::{LONGEST_DELAY, Row};
use super::leases::Lease;
use super::options::DurableOptions;
use super::patience::within;
use crate::error::{Error, ErrorKind, Result};
use crate::outbox::{Cursor, OutboxReader, Recorded, get, some};

/// The operation of a parked row that is a resync.
pub(super) const RESYNC: i8 = b'R' as i8;

/// Returns whether the database can store any character.
pub(super) async fn is_utf8(client: &Client) -> Result<bool> {
    let sql = "SELECT current_setting('server_encoding') = 'UTF8' AS is_utf8";
    let row = client.query_one(sql, &[]).await.map_err(failed)?;
    get(&row, "is_utf8")
}

/// Creates the group unless it exists, and replaces cursors that fail to parse. Fails if the group has another number of slices
/// than the options.
pub(super) async fn open(
    client: &Client,
    reader: &mut OutboxReader,
    options: &DurableOptions,
) -> Result<()> {
    let group = &*options.group;
    let slices = loop {
        let sql = "SELECT slices, destination FROM pgherald.consumer_group WHERE name = $1";
        if let Some(row) = client.query_opt(sql, &[&group]).await.map_err(failed)? {
            check_destination(options, get(&row, "destination")?)?;
            break get::<i32>(&row, "slices")?;
        }
        let cursor = match options.from_beginning {
            true => reader.beginning().await?,
            false => reader.now().await?,
        };
        let parameters: [&(dyn ToSql + Sync); 5] = [
            &group,
            &options.slices_when_made(),
            &cursor.to_string(),
            &(options.first_resync && !options.from_beginning),
            &options.destination.as_deref(),
        ];
        let sql = include_str!("sql/open.sql");
        execute(client, sql, &parameters).await?;
    };
    let unreadable = unreadable_cursors(client, group).await?;
    if !unreadable.is_empty() {
        let parameters: [&(dyn ToSql + Sync); 2] = [&group, &unreadable];
        let sql = include_str!("sql/replace_unreadable.sql");
        execute(client, sql, &parameters).await?;
    }
    match options.slices {
        Some(requested) if requested != slices => {
            let message = format!(
                "group {group:?} has {slices} slices, and {requested} were asked for: leave that out, use another name, or \
                 stop its consumers and drop the group"
            );
            Err(Error::new(ErrorKind::Config, message))
        }
        _ => Ok(()),
    }
}

/// Fails if the group does not store its events where this consumer does.
fn check_destination(options: &DurableOptions, stored: Option<&str>) -> Result<()> {
    if options.destination.as_deref() == stored {
        return Ok(());
    }
    let place = |destination: Option<&str>| match destination {
        Some(place) => format!("relays to {place}"),
        None => "runs a handler".to_owned(),
    };
    let message = format!(
        "group {:?} {}, and this consumer {}: use another name of the group, or stop its consumers and drop the group",
        options.group,
        place(stored),
        place(options.destination.as_deref())
    );
    Err(Error::new(ErrorKind::Config, message))
}

/// Returns the cursors that fail to parse, after logging each.
async fn unreadable_cursors(client: &Client, group: &str) -> Result<Vec<String>> {
    let sql = "SELECT slice, cursor FROM pgherald.consumer_cursor WHERE group_name = $1";
    let mut unreadable = Vec::new();
    for row in query(client, sql, &[&group]).await? {
        let (slice, text): (i32, &str) = (get(&row, "slice")?, get(&row, "cursor")?);
        if let Err(error) = cursor(group, slice, text) {
            tracing::error!(group, slice, error = %error, "reading the events in the outbox again");
            unreadable.push(text.to_owned());
        }
    }
    Ok(unreadable)
}

/// Parses the cursor of a slice.
fn cursor(group: &str, slice: i32, text: &str) -> Result<Cursor> {
    text.parse().map_err(|cause| {
        let message = format!(
            "cannot parse the cursor of slice {slice} of group {group:?}; the next consumer that connects reads the \
             events in the outbox again, unless Group::seek moves the group before"
        );
        Error::with_source(ErrorKind::Decode, message, cause)
    })
}

pub(super) async fn join(client: &Client, options: &DurableOptions, node: i64) -> Result<()> {
    let description = format!("{} pid {}", host(), std::process::id());
    let lease = options.lease.as_secs_f64();
    let sql = include_str!("sql/join.sql");
    let group = &*options.group;
    execute(client, sql, &[&group, &node, &description, &lease])
        .await
        .map(drop)
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.ok().or_else(|| std::env::var("HOSTNAME").ok());
    name.map_or_else(|| "unknown host".to_owned(), |name| name.trim().to_owned())
}

pub(super) async fn leave(client: &Client, group: &str, node: i64) -> Result<()> {
    execute(client, include_str!("sql/leave.sql"), &[&group, &node])
        .await
        .map(drop)
}

/// Renews the lease. Returns `false` if another node has deleted this one, because its lease had expired.
pub(super) async fn renew(
    client: &Client,
    options: &DurableOptions,
    node: i64,
    destination: &Condition,
) -> Result<bool> {
    let lease = options.lease.as_secs_f64();
    let sql = include_str!("sql/renew.sql");
    let group = &*options.group;
    let Condition { problem, usage } = destination;
    let renewed = execute(client, sql, &[&group, &node, &lease, problem, usage]).await?;
    Ok(renewed > 0)
}

/// Deletes nodes whose lease has expired by the server's clock, and nodes that still have one of the leases in `expired`.
pub(super) async fn remove_expired(client: &Client, group: &str, expired: &[Lease]) -> Result<u64> {
    let nodes: Vec<i64> = expired.iter().map(|lease| lease.node).collect();
    let until: Vec<SystemTime> = expired.iter().map(|lease| lease.until).collect();
    let sql = include_str!("sql/remove_expired.sql");
    execute(client, sql, &[&group, &nodes, &until]).await
}

/// The state of the group, and the slices of this node.
#[derive(Debug)]
pub(super) struct GroupState {
    pub(super) slices: i32,
    pub(super) is_paused: bool,
    pub(super) revision: i64,
    pub(super) nodes: Vec<Lease>,
    /// Slices that this node owns, and their epochs.
    pub(super) owned: Vec<(i32, i64)>,
}

pub(super) async fn group_state(client: &Client, group: &str, node: i64) -> Result<GroupState> {
    let sql = include_str!("sql/group_state.sql");
    let rows = query(client, sql, &[&group, &node]).await?;
    let Some(row) = rows.first() else {
        let message = format!("group {group:?} was dropped");
        return Err(Error::new(ErrorKind::Query, message));
    };
    let (slices, epochs): (Vec<i32>, Vec<i64>) = (get(row, "owned")?, get(row, "epochs")?);
    let nodes: (Vec<i64>, Vec<SystemTime>, Vec<f64>) = (
        get(row, "nodes")?,
        get(row, "leases_until")?,
        get(row, "lease_seconds")?,
    );
    let nodes = nodes.0.into_iter().zip(nodes.1).zip(nodes.2);
    let nodes = nodes.map(|((node, until), length)| Lease {
        node,
        until,
        length: seconds(length),
    });
    Ok(GroupState {
        slices: get(row, "slices")?,
        is_paused: get(row, "is_paused")?,
        revision: get(row, "revision")?,
        nodes: nodes.collect(),
        owned: slices.into_iter().zip(epochs).collect(),
    })
}

/// A slice that was claimed.
#[derive(Clone, Debug)]
pub(super) struct Claimed {
    pub(super) slice: i32,
    pub(super) epoch: i64,
    pub(super) cursor: Cursor,
    /// What the group's relay knew to be stored of the slice.
    pub(super) stored: Option<String>,
}

/// Claims up to `count` free slices.
pub(super) async fn claim(
    client: &Client,
    group: &str,
    node: i64,
    count: usize,
    known: &[i32],
) -> Result<Vec<Claimed>> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let sql = include_str!("sql/claim.sql");
    let rows = query(client, sql, &[&group, &node, &count, &known]).await?;
    let claimed = |row: &SqlRow| {
        let slice = get(row, "slice")?;
        Ok(Claimed {
            slice,
            epoch: get(row, "epoch")?,
            cursor: cursor(group, slice, get(row, "cursor")?)?,
            stored: get(row, "stored")?,
        })
    };
    rows.iter().map(claimed).collect()
}

/// A parked event, without its content.
#[derive(Debug)]
pub(super) struct ParkedEntry {
    pub(super) id: i64,
    pub(super) slice: i32,
    pub(super) row: Row,
    pub(super) due: Instant,
}

/// Which parked events to read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Which {
    All,
    /// Those that were made due at once. An operator does that to retry them.
    DueAtOnce,
}

/// Returns parked events of some slices, without dead letters.
pub(super) async fn parked_of(
    client: &Client,
    group: &str,
    slices: &[i32],
    which: Which,
) -> Result<Vec<ParkedEntry>> {
    if slices.is_empty() {
        return Ok(Vec::new());
    }
    let which = match which {
        Which::All => "",
        // The condition of the index.
        Which::DueAtOnce => " AND due_at IS NOT NULL AND coalesce(delay, 0) = 0",
    };
    let sql = include_str!("sql/parked_of.sql").replace("{{which}}", which);
    let rows = query(client, &sql, &[&group, &slices]).await?;
    let now = Instant::now();
    let event = |row: &SqlRow| {
        Ok(ParkedEntry {
            id: get(row, "id")?,
            slice: get(row, "slice")?,
            row: Row::new(
                get(row, "relation")?,
                get::<Option<&str>>(row, "key")?.map(Arc::from),
            ),
            due: now + seconds(get(row, "due_in")?),
        })
    };
    rows.iter().map(event).collect()
}

/// Converts a number of seconds, which may be negative or infinite, into a bounded duration.
pub(super) fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.max(0.0))
        .unwrap_or(Duration::MAX)
        .min(LONGEST_DELAY)
}

/// A parked event with its content.
#[derive(Debug)]
pub(super) struct ParkedRow {
    pub(super) row: Recorded,
    pub(super) attempts: u32,
    /// Whether the handler's filter was not applied yet.
    pub(super) is_unfiltered: bool,
}

/// Returns parked events of some slices, without events that no longer exist. The second value is `true` if the size limit was
/// reached: then events are missing at the end, and at least one is returned.
pub(super) async fn parked_rows(
    client: &Client,
    group: &str,
    ids: &[i64],
    slices: &[i32],
) -> Result<(Vec<ParkedRow>, bool)> {
    let sql = include_str!("sql/parked_rows.sql");
    let parameters: [&(dyn ToSql + Sync); 3] = [&group, &ids, &slices];
    let rows = client.query_raw(sql, parameters).await.map_err(failed)?;
    some(rows, failed, |row| {
        let parked = ParkedRow {
            row: Recorded::of(row)?,
            attempts: get::<i32>(row, "attempts")?.unsigned_abs(),
            is_unfiltered: get(row, "is_unfiltered")?,
        };
        let bytes = parked.row.bytes();
        Ok((parked, bytes))
    })
    .await
}

/// Waits for an answer of the server, for at most `limit`. A server that takes longer counts as disconnected.
pub(super) async fn answer_within<T>(
    limit: Duration,
    request: impl Future<Output = Result<T>>,
) -> Result<T> {
    within(limit, request).await.unwrap_or_else(|| {
        let message = format!("no answer from the server within {limit:?}");
        Err(Error::new(ErrorKind::Disconnected, message))
    })
}

pub(super) async fn execute<S: ?Sized + ToStatement + Sync + Send>(
    client: &impl GenericClient,
    statement: &S,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<u64> {
    client.execute(statement, parameters).await.map_err(failed)
}

pub(super) async fn query<S: ?Sized + ToStatement + Sync + Send>(
    client: &impl GenericClient,
    statement: &S,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<SqlRow>> {
    client.query(statement, parameters).await.map_err(failed)
}

pub(super) fn failed(cause: tokio_postgres::Error) -> Error {
    Error::of_statement("cannot read or write the state of a group", cause)
}
