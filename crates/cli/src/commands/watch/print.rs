//! Prints events and the states of sources.

use std::borrow::Cow;
use std::io;
use std::time::SystemTime;

use jiff::Timestamp;
use pgherald_core::{Event, ResyncReason, Signal};
use serde_json::value::RawValue;

use crate::keys::Key;
use crate::output::{Output, Tone};

#[derive(serde::Serialize)]
struct EventLine<'a> {
    kind: &'static str,
    operation: &'static str,
    schema: Option<&'a str>,
    table: &'a str,
    key: Option<Key<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_columns: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<&'a [String]>,
    sent_at: Timestamp,
    /// From the trigger, by the server's clock, until arrival, by this machine's clock.
    latency_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    xid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox_id: Option<i64>,
    channel: &'a str,
}

#[derive(serde::Serialize)]
struct StateLine {
    kind: &'static str,
    /// `notify` or `outbox`.
    source: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

fn raw(json: Cow<'_, str>) -> serde_json::Result<Box<RawValue>> {
    RawValue::from_string(json.into_owned())
}

/// Converts a time. One that is out of range becomes the Unix epoch.
fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(super) fn event(output: &mut Output, event: &Event) -> io::Result<()> {
    let columns = event.columns_json();
    let latency_ms = event.latency().as_secs_f64() * 1000.0;
    if output.is_json() {
        return output.object(&EventLine {
            kind: "event",
            operation: event.operation().as_str(),
            schema: event.schema(),
            table: event.table(),
            key: Key::of(event),
            columns: columns.map(raw).transpose()?,
            old_columns: event.old_columns_json().map(raw).transpose()?,
            changed: event.changed(),
            sent_at: timestamp(event.sent_at()),
            latency_ms,
            xid: event.transaction_id(),
            outbox_id: event.outbox_id(),
            channel: event.channel().as_str(),
        });
    }
    let time = timestamp(event.sent_at()).strftime("%H:%M:%S%.3f");
    let schema = event
        .schema()
        .map(|schema| format!("{schema}."))
        .unwrap_or_default();
    let key = event
        .key()
        .map_or_else(|| "(any row)".to_owned(), |key| format!("key={key}"));
    let operation = event.operation().as_str();
    let mut line = format!(
        "{time}  {operation:<8}  {schema}{}  {key}  {latency_ms:.1} ms",
        event.table()
    );
    if let Some(columns) = columns {
        line.push_str("  ");
        line.push_str(&columns);
    }
    output.line(&line)
}

/// Prints a signal that is not a batch of events.
pub(super) fn state(output: &mut Output, source: &'static str, signal: &Signal) -> io::Result<()> {
    let (kind, tone, words) = match signal {
        Signal::Events(_) => return Ok(()),
        Signal::Live => (
            "live",
            Tone::Good,
            "from now on, missed changes are reported by a resync".to_owned(),
        ),
        Signal::Resumed => ("resumed", Tone::Good, "no event was missed".to_owned()),
        Signal::Down(error) => (
            "down",
            Tone::Bad,
            format!("{} (hint: {})", error.chain(), error.hint()),
        ),
        Signal::Resync(resync) => (
            "resync",
            Tone::Warning,
            format!("changes may have been missed ({resync})"),
        ),
    };
    if !output.is_json() {
        let line = output.toned(tone, &format!("-- {kind} ({source}): {words}"));
        return output.line(line);
    }
    let (reasons, error) = match signal {
        Signal::Resync(resync) => (
            resync.reasons().iter().map(ResyncReason::label).collect(),
            None,
        ),
        Signal::Down(error) => (Vec::new(), Some(error)),
        _ => (Vec::new(), None),
    };
    output.object(&StateLine {
        kind,
        source,
        reasons,
        error: error.map(pgherald_core::Error::chain),
        hint: error.map(pgherald_core::Error::hint),
    })
}
