//! `pgherald group seek`.

use std::process::ExitCode;
use std::time::SystemTime;

use pgherald_core::group::{Group, Seek, SeekPlan, SeekRange};
use serde::Serialize;
use tokio_postgres::{Client, Row};

use super::outcome::conclude;
use crate::failure::{Failure, is_bad_input};
use crate::guarded::guarded;
use crate::output::Output;
use crate::words;

/// The number of events that may be delivered again without `--commit`. A running consumer handles them within seconds.
const MAX_REPEATED: i64 = 1_000;

/// Moves a group. If the move needs `--commit`, and that is not given, shows its effects.
pub(super) async fn seek(
    client: &Client,
    output: &mut Output,
    group: &Group<'_>,
    name: &str,
    to: &str,
    commit: bool,
) -> Result<ExitCode, Failure> {
    let target = target(client, to).await?;
    let plan = group.plan_seek(target.seek).await?;
    let mut notes: Vec<String> = target.note.into_iter().collect();
    if commit || !needs_commit(&plan) {
        group.apply_seek(&plan).await?;
        let status = group.status().await?;
        notes.extend(effects(&plan, status.parked, true));
        let done = format!("Group {name} continues {}.", target.place);
        return conclude(output, &status, &done, notes);
    }
    let parked = group.status().await.map_or(0, |status| status.parked);
    notes.extend(effects(&plan, parked, false));
    show(output, name, &target.place, &plan, &notes)
}

/// Whether the move skips events, delivers many again, or has unknown effects.
fn needs_commit(plan: &SeekPlan) -> bool {
    plan.skipped.events > 0 || plan.repeated.events > MAX_REPEATED || plan.unreadable_slices > 0
}

/// Describes the effects of the move on events.
fn effects(plan: &SeekPlan, parked: i64, is_done: bool) -> Vec<String> {
    let mut effects = Vec::new();
    let word = |done, planned| if is_done { done } else { planned };
    if plan.skipped.events > 0 {
        let skipped = word("Skipped", "Would be skipped");
        effects.push(format!("{skipped}: {}.", range(&plan.skipped)));
    }
    if plan.repeated.events > 0 {
        let repeated = word("To be delivered again", "Would be delivered again");
        effects.push(format!("{repeated}: {}.", range(&plan.repeated)));
    }
    if plan.repeated_parked > 0 {
        let events = plan.repeated_parked;
        effects.push(format!(
            "Parked events among them: {events}. They stay parked, and are not handled twice."
        ));
    }
    if plan.repeated_dead > 0 {
        let letters = plan.repeated_dead;
        effects.push(format!(
            "Dead letters among them: {letters}. They stay dead letters, even if they are handled now."
        ));
    }
    if plan.skipped.events > 0 && parked > 0 {
        effects.push(format!(
            "Parked events are not skipped: {parked}. They are retried."
        ));
    }
    if plan.unreadable_slices > 0 {
        let slices = plan.unreadable_slices;
        effects.push(format!(
            "Slices whose cursors cannot be parsed: {slices}. The effects on their events are unknown."
        ));
    }
    effects
}

/// Describes the number of events, and when they were recorded.
fn range(range: &SeekRange) -> String {
    let events = words::count(range.events, "event");
    match (range.oldest.map(words::time), range.newest.map(words::time)) {
        (Some(oldest), Some(newest)) if oldest == newest => {
            format!("{events}, recorded at {oldest}")
        }
        (Some(oldest), Some(newest)) => format!("{events}, recorded from {oldest} to {newest}"),
        _ => events,
    }
}

#[derive(Debug, Serialize)]
struct Planned<'a> {
    group: &'a str,
    committed: bool,
    repeated: Range,
    skipped: Range,
    notes: &'a [String],
}

#[derive(Debug, Serialize)]
struct Range {
    events: i64,
    oldest: Option<String>,
    newest: Option<String>,
}

impl From<SeekRange> for Range {
    fn from(range: SeekRange) -> Self {
        Self {
            events: range.events,
            oldest: range.oldest.map(words::time),
            newest: range.newest.map(words::time),
        }
    }
}

/// Shows the effects of a move that was not made. The exit code is 1, because the caller may have expected the move.
fn show(
    output: &mut Output,
    group: &str,
    place: &str,
    plan: &SeekPlan,
    notes: &[String],
) -> Result<ExitCode, Failure> {
    if output.is_json() {
        output.object(&Planned {
            group,
            committed: false,
            repeated: plan.repeated.into(),
            skipped: plan.skipped.into(),
            notes,
        })?;
    } else {
        output.line(&format!("Group {group} would continue {place}."))?;
        for note in notes {
            output.line(note)?;
        }
        output.line("Nothing was changed. Add --commit to move the group.")?;
    }
    output.flush()?;
    Ok(ExitCode::FAILURE)
}

/// The position to which a group moves.
#[derive(Debug)]
struct Target {
    seek: Seek,
    /// Completes the sentence "the group continues …".
    place: String,
    note: Option<String>,
}

async fn target(client: &Client, to: &str) -> Result<Target, Failure> {
    let (seek, place) = match to {
        "beginning" => (
            Seek::Beginning,
            "with all events that are still in the outbox",
        ),
        "now" => (Seek::Now, "with events committed from now on"),
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
        return Err(Failure::problem(message).hint("write now to continue with future events"));
    }
    let Some(time) = time else {
        let message = format!("{shown} is not a point in time");
        return Err(
            Failure::problem(message).hint("write beginning to continue with the oldest event")
        );
    };
    let sql = "SELECT sent_at OPERATOR(pg_catalog.>) $1, sent_at::pg_catalog.text, trimmed OPERATOR(pg_catalog.>) 0
        FROM pgherald.outbox, pgherald.outbox_retention
        ORDER BY id LIMIT 1";
    let note = match client.query_opt(sql, &[&time]).await? {
        None => Some("The outbox is empty.".to_owned()),
        Some(oldest) if oldest.try_get(0)? => {
            let since: &str = oldest.try_get(1)?;
            Some(match oldest.try_get(2)? {
                true => format!("Events recorded before {since} are no longer kept."),
                false => format!("Nothing was recorded before {since}."),
            })
        }
        Some(_) => None,
    };
    Ok(Target {
        seek: Seek::Time(time),
        place: format!("with events recorded from {shown} on"),
        note,
    })
}

/// Sets the time zone of this transaction to the one in `PGTZ`.
async fn use_time_zone(client: &Client) -> Result<(), Failure> {
    let Some(zone) = std::env::var_os("PGTZ").filter(|zone| !zone.is_empty()) else {
        return Ok(());
    };
    let sql = "SELECT pg_catalog.set_config('TimeZone', $1, true)";
    let zone = zone.to_string_lossy();
    match client.query_one(sql, &[&zone]).await {
        Ok(_) => Ok(()),
        Err(error) if is_bad_input(&error) => {
            let message = format!("PostgreSQL has no time zone {zone:?}");
            Err(Failure::usage(message).hint("correct PGTZ"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Has the server parse `text`, which is a time or ends with "ago". Columns: the time, or null if it is infinite; whether it is in
/// the future; the time as text; the present time as text.
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
            true => Failure::usage(format!("PostgreSQL cannot read {text:?} as a time")).hint(
                "write beginning, now, a time such as '2026-11-24 10:00+00', or '2 hours ago'",
            ),
            false => error.into(),
        })
}
