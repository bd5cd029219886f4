//! One event that was set aside, as it is shown.

use std::io;
use std::time::SystemTime;

use pgherald_core::group::ParkedEvent;
use serde::Serialize;
use serde_json::Value;

use crate::keys::Key;
use crate::output::Output;
use crate::words;

/// An event that was set aside, as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    pub(super) group: &'a str,
    pub(super) id: i64,
    /// `insert public.users 7`
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
    /// When it is tried again. `None` of a dead letter, and behind an earlier event of the same row.
    due_at: Option<String>,
    pub(super) dead_at: Option<String>,
    pub(super) attempts: u32,
    pub(super) error: Option<String>,
    /// When it is tried again, for people.
    #[serde(skip)]
    pub(super) due: Option<String>,
}

fn parsed(json: &str) -> Option<Value> {
    serde_json::from_str(json).ok()
}

impl<'a> Shown<'a> {
    pub(super) fn of(group: &'a str, letter: &'a ParkedEvent) -> Self {
        let event = letter.event.as_ref();
        let described = match event {
            Some(event) => event.to_string(),
            None if letter.id < 0 => "resync".to_owned(),
            None => "cannot be understood".to_owned(),
        };
        Self {
            group,
            id: letter.id,
            event: described,
            schema: event.and_then(|event| event.schema().map(str::to_owned)),
            table: event.map(|event| event.table().to_owned()),
            operation: event.map(|event| event.operation().as_str()),
            key: event.and_then(Key::of),
            columns: event.and_then(|event| parsed(&event.columns_json()?)),
            old_columns: event.and_then(|event| parsed(&event.old_columns_json()?)),
            changed: event.and_then(|event| event.changed().map(<[String]>::to_vec)),
            recorded_at: event.map(|event| words::time(event.sent_at())),
            parked_at: words::time(letter.parked_at),
            due_at: letter.due_at.map(words::time),
            dead_at: letter.dead_at.map(words::time),
            attempts: letter.attempts,
            error: letter.error.clone(),
            due: letter.dead_at.is_none().then(|| due(letter.due_at)),
        }
    }
}

/// When an event is tried again.
fn due(at: Option<SystemTime>) -> String {
    let Some(at) = at else {
        return "behind an earlier event".to_owned();
    };
    match at.duration_since(SystemTime::now()) {
        Ok(left) if !left.is_zero() => format!("in {}", words::duration(left.as_secs_f64())),
        _ => "now".to_owned(),
    }
}

pub(super) fn show(output: &mut Output, letter: &Shown<'_>) -> io::Result<()> {
    if output.is_json() {
        return output.object(letter);
    }
    let json = |value: &Value| value.to_string();
    let lines = [
        ("Group", Some(letter.group.to_owned())),
        ("Id", Some(letter.id.to_string())),
        ("Event", Some(letter.event.clone())),
        ("Columns", letter.columns.as_ref().map(json)),
        ("Before", letter.old_columns.as_ref().map(json)),
        (
            "Changed",
            letter.changed.as_ref().map(|names| names.join(", ")),
        ),
        ("Recorded", letter.recorded_at.clone()),
        ("Parked", Some(letter.parked_at.clone())),
        ("Due", letter.due.clone()),
        ("Dead since", letter.dead_at.clone()),
        ("Attempts", Some(letter.attempts.to_string())),
        ("Error", letter.error.clone()),
    ];
    for (name, value) in lines {
        let Some(value) = value else { continue };
        // What an error has to say on further lines is set in.
        for (place, line) in value.split('\n').enumerate() {
            let name = if place == 0 { name } else { "" };
            output.line(&format!("{name:<10}  {line}"))?;
        }
    }
    Ok(())
}
