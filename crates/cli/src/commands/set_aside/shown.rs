//! An event that was set aside, as text or JSON.

use std::io;
use std::time::SystemTime;

use pgherald_core::group::ParkedEvent;
use serde::Serialize;
use serde_json::Value;

use crate::keys::Key;
use crate::output::Output;
use crate::words;

/// An event that was set aside, as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    pub(super) group: &'a str,
    pub(super) id: i64,
    /// A description, such as `insert public.users 7`.
    pub(super) event: String,
    schema: Option<String>,
    table: Option<String>,
    operation: Option<&'static str>,
    key: Option<Key<'a>>,
    columns: Option<Value>,
    old_columns: Option<Value>,
    changed: Option<Vec<String>>,
    recorded_at: Option<String>,
    parked_at: String,
    /// When the event is retried. `None` for a dead letter, and for an event that waits behind an earlier event of the same row.
    due_at: Option<String>,
    pub(super) dead_at: Option<String>,
    pub(super) attempts: u32,
    pub(super) error: Option<String>,
    /// When the event is retried, as text for people.
    #[serde(skip)]
    pub(super) due: Option<String>,
}

fn parsed(json: &str) -> Option<Value> {
    serde_json::from_str(json).ok()
}

impl<'a> Shown<'a> {
    pub(super) fn of(group: &'a str, parked: &'a ParkedEvent) -> Self {
        let event = parked.event.as_ref();
        let described = match event {
            Some(event) => event.to_string(),
            None if parked.id < 0 => "resync".to_owned(),
            None => "cannot be decoded".to_owned(),
        };
        Self {
            group,
            id: parked.id,
            event: described,
            schema: event.and_then(|event| event.schema().map(str::to_owned)),
            table: event.map(|event| event.table().to_owned()),
            operation: event.map(|event| event.operation().as_str()),
            key: event.and_then(Key::of),
            columns: event.and_then(|event| parsed(&event.columns_json()?)),
            old_columns: event.and_then(|event| parsed(&event.old_columns_json()?)),
            changed: event.and_then(|event| event.changed().map(<[String]>::to_vec)),
            recorded_at: event.map(|event| words::time(event.sent_at())),
            parked_at: words::time(parked.parked_at),
            due_at: parked.due_at.map(words::time),
            dead_at: parked.dead_at.map(words::time),
            attempts: parked.attempts,
            error: parked.error.clone(),
            due: parked.dead_at.is_none().then(|| due(parked.due_at)),
        }
    }
}

/// Describes when an event is retried.
fn due(at: Option<SystemTime>) -> String {
    let Some(at) = at else {
        return "behind an earlier event".to_owned();
    };
    match at.duration_since(SystemTime::now()) {
        Ok(left) if !left.is_zero() => format!("in {}", words::duration(left.as_secs_f64())),
        _ => "now".to_owned(),
    }
}

pub(super) fn show(output: &mut Output, shown: &Shown<'_>) -> io::Result<()> {
    if output.is_json() {
        return output.object(shown);
    }
    let json = |value: &Value| value.to_string();
    let lines = [
        ("Group", Some(shown.group.to_owned())),
        ("Id", Some(shown.id.to_string())),
        ("Event", Some(shown.event.clone())),
        ("Columns", shown.columns.as_ref().map(json)),
        ("Before", shown.old_columns.as_ref().map(json)),
        (
            "Changed",
            shown.changed.as_ref().map(|names| names.join(", ")),
        ),
        ("Recorded", shown.recorded_at.clone()),
        ("Parked", Some(shown.parked_at.clone())),
        ("Due", shown.due.clone()),
        ("Dead since", shown.dead_at.clone()),
        ("Attempts", Some(shown.attempts.to_string())),
        ("Error", shown.error.clone()),
    ];
    for (name, value) in lines {
        let Some(value) = value else { continue };
        // Further lines of an error are indented.
        for (place, line) in value.split('\n').enumerate() {
            let name = if place == 0 { name } else { "" };
            output.line(&format!("{name:<10}  {line}"))?;
        }
    }
    Ok(())
}
