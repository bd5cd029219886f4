//! `pgherald group`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use pgherald_core::group::{self, Seek};
use serde::Serialize;
use tokio_postgres::{Client, Row};

use crate::arguments::Group;
use crate::database::Database;
use crate::failure::{Failure, is_bad_input};
use crate::guarded::guarded;
use crate::output::Output;
use crate::words;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    arguments: &Group,
) -> Result<ExitCode, Failure> {
    let client = Arc::new(database.client().await?);
    let (Group::Pause { group: name }
    | Group::Resume { group: name }
    | Group::Seek { group: name, .. }) = arguments;
    must_exist(&client, name).await?;
    let group = group::Group::new(&client, name);
    let mut notes = Vec::new();
    let said = match arguments {
        Group::Pause { .. } => {
            group.pause().await?;
            format!("{name} pauses: what is under way is finished, and nothing more is begun.")
        }
        Group::Resume { .. } => {
            group.resume().await?;
            format!("{name} goes on.")
        }
        Group::Seek { to, .. } => {
            let before = group.status().await?.lag_events;
            let target = target(&client, to).await?;
            group.seek(target.seek).await?;
            notes.extend(target.note);
            if target.seek == Seek::Now && before > 0 {
                let passed = words::count(before, "event");
                notes.push(format!("Passed over without being handled: {passed}."));
            }
            format!("{name} goes on {}.", target.place)
        }
    };
    let status = group.status().await?;
    conclude(output, &status, &said, notes)
}

/// What is to be known of a group after it was told something.
#[derive(Debug, Serialize)]
struct Report<'a> {
    group: &'a str,
    is_paused: bool,
    lag_events: i64,
    nodes: i64,
    parked: i64,
    failing: i64,
    dead_letters: i64,
    said: &'a str,
    notes: &'a [String],
}

fn conclude(
    output: &mut Output,
    status: &group::GroupStatus,
    said: &str,
    mut notes: Vec<String>,
) -> Result<ExitCode, Failure> {
    notes.push(match status.lag_events {
        0 if status.parked > 0 => "All recorded events were read.".to_owned(),
        0 => "Nothing that is recorded waits to be handled.".to_owned(),
        1 => "1 event waits to be handled.".to_owned(),
        events => format!("{events} events wait to be handled."),
    });
    if status.parked > 0 {
        notes.push(format!(
            "{} parked, which wait for a retry or behind an earlier event of the same row; {} of them have failed.",
            words::count(status.parked, "event"),
            status.failing
        ));
    }
    if status.dead_letters > 0 {
        let letters = words::count(status.dead_letters, "dead letter");
        let option = words::option("group", &status.name);
        notes.push(format!("{letters}: pgherald dead-letters list {option}"));
    }
    if status.nodes == 0 {
        notes.push("No consumer of the group runs.".to_owned());
    }
    if status.is_paused {
        let name = words::last(&status.name);
        notes.push(format!("It is paused: pgherald group resume {name}"));
    }
    if output.is_json() {
        output.object(&Report {
            group: &status.name,
            is_paused: status.is_paused,
            lag_events: status.lag_events,
            nodes: status.nodes,
            parked: status.parked,
            failing: status.failing,
            dead_letters: status.dead_letters,
            said,
            notes: &notes,
        })?;
    } else {
        output.line(said)?;
        for note in &notes {
            output.line(note)?;
        }
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Where to go on, and what to say of it.
#[derive(Debug)]
struct Target {
    seek: Seek,
    place: String,
    note: Option<String>,
}

async fn target(client: &Client, to: &str) -> Result<Target, Failure> {
    let (seek, place) = match to {
        "beginning" => (
            Seek::Beginning,
            "with everything that is still in the outbox",
        ),
        "now" => (Seek::Now, "with what is committed from now on"),
        _ => return guarded(client, at_time(client, to)).await,
    };
    let (place, note) = (place.to_owned(), None);
    Ok(Target { seek, place, note })
}

async fn at_time(client: &Client, text: &str) -> Result<Target, Failure> {
    use_time_zone(client).await?;
    let row = parsed(client, text).await?;
    let (time, is_future): (Option<SystemTime>, bool) = (row.try_get(0)?, row.try_get(1)?);
    let (shown, now): (&str, &str) = (row.try_get(2)?, row.try_get(3)?);
    if is_future {
        let message = format!("{shown} is in the future: the server's clock says {now}");
        return Err(Failure::problem(message).hint("write now, to go on with what is to come"));
    }
    let Some(time) = time else {
        let message = format!("{shown} is no moment");
        return Err(Failure::problem(message).hint("write beginning, for everything that is kept"));
    };
    let sql = "SELECT sent_at OPERATOR(pg_catalog.>) $1, sent_at::pg_catalog.text, trimmed OPERATOR(pg_catalog.>) 0
        FROM pgherald.outbox, pgherald.outbox_retention
        ORDER BY id LIMIT 1";
    let note = match client.query_opt(sql, &[&time]).await? {
        None => Some("The outbox is empty.".to_owned()),
        Some(oldest) if oldest.try_get(0)? => {
            let since: &str = oldest.try_get(1)?;
            Some(match oldest.try_get(2)? {
                true => format!("What was recorded before {since} is not kept any more."),
                false => format!("Nothing was recorded before {since}."),
            })
        }
        Some(_) => None,
    };
    Ok(Target {
        seek: Seek::Time(time),
        place: format!("with what was recorded from {shown} on"),
        note,
    })
}

/// Has the server read times in the zone that `PGTZ` names, for this transaction.
async fn use_time_zone(client: &Client) -> Result<(), Failure> {
    let Some(zone) = std::env::var_os("PGTZ").filter(|zone| !zone.is_empty()) else {
        return Ok(());
    };
    let sql = "SELECT pg_catalog.set_config('TimeZone', $1, true)";
    let zone = zone.to_string_lossy();
    match client.query_one(sql, &[&zone]).await {
        Ok(_) => Ok(()),
        Err(error) if is_bad_input(&error) => {
            let message = format!("PostgreSQL knows no time zone {zone:?}");
            Err(Failure::usage(message).hint("correct PGTZ"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The moment that the server reads in `text`: a time, or how long ago. Columns: the moment, unless it is infinite; whether
/// it is to come; itself as text; and the present.
async fn parsed(client: &Client, text: &str) -> Result<Row, Failure> {
    const COLUMNS: &str = "SELECT CASE WHEN pg_catalog.isfinite(t) THEN t END,
        t OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp(), t::pg_catalog.text,
        pg_catalog.clock_timestamp()::pg_catalog.text FROM";
    let mut moment = "$1::pg_catalog.text::pg_catalog.timestamptz";
    if text.trim_end().to_lowercase().ends_with("ago") {
        moment = "pg_catalog.now() OPERATOR(pg_catalog.+) $1::pg_catalog.text::pg_catalog.interval";
    }
    let sql = format!("{COLUMNS} (SELECT {moment} AS t) AS m");
    client
        .query_one(&sql, &[&text])
        .await
        .map_err(|error| match is_bad_input(&error) {
            true => Failure::usage(format!("PostgreSQL reads no time in {text:?}")).hint(
                "write beginning, now, a time such as '2026-11-24 10:00+00', or '2 hours ago'",
            ),
            false => error.into(),
        })
}

/// Whether this database has an outbox, and with it groups.
pub(super) async fn has_outbox(client: &Client) -> Result<bool, Failure> {
    // Which may be asked without the right to use the schema.
    let sql =
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n
        ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE n.nspname OPERATOR(pg_catalog.=) 'pgherald'
        AND c.relname OPERATOR(pg_catalog.=) 'outbox_retention')";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}

/// The names of all groups.
pub(super) async fn names(client: &Client) -> Result<Vec<String>, Failure> {
    names_if_any(client).await?.ok_or_else(|| {
        Failure::problem("there is no outbox in this database, and so no group")
            .hint("pgherald install TABLE --mode outbox --commit")
    })
}

/// The same; `None` if there is no outbox.
pub(super) async fn names_if_any(client: &Client) -> Result<Option<Vec<String>>, Failure> {
    if !has_outbox(client).await? {
        return Ok(None);
    }
    let sql = "SELECT name FROM pgherald.consumer_group ORDER BY name";
    let rows = client.query(sql, &[]).await?;
    let names = rows.iter().map(|row| Ok(row.try_get(0)?));
    names.collect::<Result<_, Failure>>().map(Some)
}

/// Fails, and says which groups there are, if there is no such group.
pub(super) async fn must_exist(client: &Client, name: &str) -> Result<(), Failure> {
    let names = names(client).await?;
    if names.iter().any(|other| other == name) {
        return Ok(());
    }
    let hint = match &*names {
        [] => "there is none yet: a group is made by its first consumer".to_owned(),
        names => format!(
            "there is {}; a group is made by its first consumer",
            names.join(", ")
        ),
    };
    Err(Failure::problem(format!("there is no group {name:?}")).hint(hint))
}
