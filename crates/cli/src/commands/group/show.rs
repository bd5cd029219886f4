//! `pgherald group show`.

use std::process::ExitCode;

use pgherald_core::__private::host;
use serde::Serialize;
use tokio_postgres::Client;

use super::state::{GroupState, Required, groups, requirements};
use crate::commands::status::show;
use crate::failure::Failure;
use crate::guarded::guarded;
use crate::output::{Output, Tone};
use crate::report::{Part, cells, print};
use crate::words;

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    state: GroupState,
    requirements: Vec<Required>,
    slice_states: Vec<Slice>,
    reasons: Vec<Reason>,
}

/// One slice of the keys.
#[derive(Debug, Serialize)]
struct Slice {
    slice: i32,
    /// The description of the slice's consumer. `None` if the slice is free.
    consumer: Option<String>,
    epoch: i64,
    /// `None` if the slice's cursor cannot be parsed.
    lag_events: Option<i64>,
    parked: i64,
    dead_letters: i64,
}

/// Events that were set aside for the same reason.
#[derive(Debug, Serialize)]
struct Reason {
    is_dead: bool,
    /// The error of the last attempt. `None` for parked events that have not failed.
    error: Option<String>,
    events: i64,
    /// The id of the oldest event.
    example: i64,
}

pub(super) async fn show(
    client: &Client,
    output: &mut Output,
    name: &str,
) -> Result<ExitCode, Failure> {
    let shown = guarded(client, look(client, name)).await?;
    match output.is_json() {
        true => output.object(&shown)?,
        false => {
            let parts = parts(output, &shown);
            print(output, &parts)?;
        }
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

async fn look(client: &Client, name: &str) -> Result<Shown, Failure> {
    let mut requirements = requirements(&host::trigger::inspect_all(client, &[]).await?);
    requirements.retain(|one| one.group == name);
    let state = groups(client)
        .await?
        .into_iter()
        .find(|one| one.group == name);
    let state = state.ok_or_else(|| Failure::problem(format!("group {name:?} was deleted")))?;
    let rows = client
        .query(include_str!("../sql/slices.sql"), &[&name])
        .await?;
    let slices = rows.iter().map(|row| {
        Ok(Slice {
            slice: row.try_get(0)?,
            consumer: row.try_get(1)?,
            epoch: row.try_get(2)?,
            lag_events: row.try_get(3)?,
            parked: row.try_get(4)?,
            dead_letters: row.try_get(5)?,
        })
    });
    let slice_states = slices.collect::<Result<_, Failure>>()?;
    let rows = client
        .query(include_str!("../sql/reasons.sql"), &[&name])
        .await?;
    let reasons = rows.iter().map(|row| {
        Ok(Reason {
            is_dead: row.try_get(0)?,
            error: row.try_get(1)?,
            events: row.try_get(2)?,
            example: row.try_get(3)?,
        })
    });
    let reasons = reasons.collect::<Result<_, Failure>>()?;
    Ok(Shown {
        state,
        requirements,
        slice_states,
        reasons,
    })
}

fn parts(output: &Output, shown: &Shown) -> Vec<Part> {
    let Shown {
        state,
        requirements,
        slice_states,
        reasons,
    } = shown;
    let tone = match &*state.state {
        "up to date" => Tone::Good,
        _ => Tone::Bad,
    };
    let is_owned = |slice: &&Slice| slice.consumer.is_some();
    let owned = slice_states.iter().filter(is_owned).count();
    let lag = words::lag(state.lag_events, state.lag_is_estimate);
    let facts = [
        (
            "Lag",
            format!(
                "{lag}, the oldest for {}",
                words::duration(state.lag_seconds)
            ),
        ),
        (
            "Slices",
            format!("{}, {owned} with a consumer", state.slices),
        ),
        (
            "Parked",
            format!(
                "{}, {} failing",
                words::count(state.parked, "event"),
                state.failing
            ),
        ),
        ("Dead", words::count(state.dead_letters, "dead letter")),
    ];
    let mut parts = vec![
        Part::line(&format!("Group   {}", state.group)),
        Part::line(output.toned(tone, &format!("State   {}", state.state))),
    ];
    parts.extend(facts.map(|(name, fact)| Part::line(&format!("{name:<6}  {fact}"))));
    parts.extend(show::relays(output, std::slice::from_ref(state)));
    match show::requirements(output, requirements) {
        Some(table) => parts.push(table),
        None => parts.push(Part::table("Required", &[], Vec::new())),
    }
    parts.push(show::nodes(std::slice::from_ref(state)));
    parts.push(slices(slice_states));
    parts.push(why(reasons));
    let option = words::option("group", &state.group);
    if state.parked > 0 {
        parts.push(Part::line(&format!("pgherald parked list {option}")));
    }
    if state.dead_letters > 0 {
        parts.push(Part::line(&format!("pgherald dead-letters list {option}")));
    }
    parts
}

fn slices(slices: &[Slice]) -> Part {
    let row = |slice: &Slice| {
        cells(&[
            slice.slice.to_string(),
            slice.consumer.clone().unwrap_or_else(|| "none".to_owned()),
            slice.epoch.to_string(),
            slice.lag_events.map_or_else(
                || "unreadable cursor".to_owned(),
                |events| events.to_string(),
            ),
            slice.parked.to_string(),
            slice.dead_letters.to_string(),
        ])
    };
    let headings = [
        "SLICE",
        "CONSUMER",
        "EPOCH",
        "LAG",
        "PARKED",
        "DEAD LETTERS",
    ];
    Part::table("Slices", &headings, slices.iter().map(row).collect())
}

/// Lists why events were set aside.
fn why(reasons: &[Reason]) -> Part {
    let row = |reason: &Reason| {
        cells(&[
            if reason.is_dead { "dead" } else { "parked" }.to_owned(),
            reason.events.to_string(),
            reason.example.to_string(),
            match &reason.error {
                Some(error) => words::shortened_error(error, 120),
                None => "not failed: snoozed, behind another event of the row, or to be retried"
                    .to_owned(),
            },
        ])
    };
    let headings = ["KIND", "EVENTS", "OLDEST ID", "REASON"];
    Part::table(
        "Parked events and dead letters",
        &headings,
        reasons.iter().map(row).collect(),
    )
}
