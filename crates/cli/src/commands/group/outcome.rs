//! The outcome of an operation on a group: what was done, and the state of the group afterwards.

use std::process::ExitCode;

use pgherald_core::group::GroupStatus;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;
use crate::words;

#[derive(Debug, Serialize)]
struct Report<'a> {
    group: &'a str,
    is_paused: bool,
    lag_events: i64,
    lag_is_estimate: bool,
    nodes: i64,
    parked: i64,
    failing: i64,
    dead_letters: i64,
    said: &'a str,
    notes: &'a [String],
}

/// Prints what was done, and notes about the state of the group.
pub(super) fn conclude(
    output: &mut Output,
    status: &GroupStatus,
    done: &str,
    mut notes: Vec<String>,
) -> Result<ExitCode, Failure> {
    notes.push(match status.lag_events {
        0 if status.parked > 0 => "All recorded events were read.".to_owned(),
        0 => "No recorded event waits to be handled.".to_owned(),
        1 => "1 event waits to be handled.".to_owned(),
        events if status.lag_is_estimate => format!("About {events} events wait to be handled."),
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
            lag_is_estimate: status.lag_is_estimate,
            nodes: status.nodes,
            parked: status.parked,
            failing: status.failing,
            dead_letters: status.dead_letters,
            said: done,
            notes: &notes,
        })?;
    } else {
        output.line(done)?;
        for note in &notes {
            output.line(note)?;
        }
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}
