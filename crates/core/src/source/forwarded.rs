//! Events that another process has read from PostgreSQL and forwarded as messages of `/v1`, on their way to signals.

use std::collections::VecDeque;
use std::time::SystemTime;

use serde_json::value::RawValue;

use crate::error::{Error, ErrorKind};
use crate::event::{Decoder, Event};
use crate::signal::{Resync, ResyncReason, Signal};
use crate::telemetry::Unlogged;

/// Decodes events, and collects those that arrive together.
#[derive(Debug, Default)]
pub struct Inbox {
    decoder: Decoder,
    events: Vec<Event>,
    /// Undecodable events on this connection: the first is logged, the others are counted.
    unlogged: Unlogged,
}

impl Inbox {
    /// Adds an event to the batch. One that fails to decode becomes a resync in its place, after the events before it.
    pub fn accept(&mut self, payload: Option<&RawValue>, signals: &mut VecDeque<Signal>) {
        let payload = payload.map_or("", RawValue::get);
        let now = SystemTime::now();
        let Err(error) = self
            .decoder
            .decode_forwarded(payload, now, &mut self.events)
        else {
            return;
        };
        if self.unlogged.has_first(1) {
            tracing::warn!(error = %error.chain(), "forwarded event failed to decode");
        }
        self.seal(signals);
        let resync = Resync::new(ResyncReason::Undecodable(error));
        // A subscriber reads its state after all signals that have arrived together, so one resync covers those that follow it.
        match signals.back_mut() {
            Some(Signal::Resync(before)) if before.channel().is_none() => before.absorb(resync),
            _ => signals.push_back(Signal::Resync(resync)),
        }
    }

    /// Turns the collected events into a signal.
    pub fn seal(&mut self, signals: &mut VecDeque<Signal>) {
        if !self.events.is_empty() {
            signals.push_back(Signal::Events(self.events.drain(..).collect()));
        }
    }

    /// Logs the number of undecodable events besides the one that was logged.
    pub fn log_undecodable(&mut self) {
        if let Some(count) = self.unlogged.take() {
            tracing::warn!(count, "more forwarded events failed to decode");
        }
    }
}

/// Returns the reason that a forwarded resync has as a word. `None` if it only says where the forwarded events begin, or is not
/// known.
#[must_use]
pub fn reason(label: &str) -> Option<ResyncReason> {
    match label {
        "triggers_restored" => Some(ResyncReason::TriggersRestored),
        "table_altered" => Some(ResyncReason::TableAltered),
        "overflow" => Some(ResyncReason::Overflow),
        "undecodable" => Some(undecodable()),
        "trimmed" => Some(ResyncReason::Trimmed),
        "restored" => Some(ResyncReason::Restored),
        _ => None,
    }
}

/// Merges another resync into a resync.
pub fn absorb(resync: &mut Resync, other: Resync) {
    resync.absorb(other);
}

/// The reason of a resync if the process that forwards events has received something else.
#[must_use]
pub fn undecodable() -> ResyncReason {
    let message = "a payload that is not an event was received by the process that forwards events";
    ResyncReason::Undecodable(Error::new(ErrorKind::Decode, message))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use serde_json::value::RawValue;

    use super::Inbox;
    use crate::signal::Signal;

    const EVENT: &str =
        r#"{"operation":"insert","table":"t","sent_at":"2026-01-02T03:04:05Z","keys":[1]}"#;

    #[test]
    fn undecodable_events_become_one_resync_in_their_place() {
        let (mut inbox, mut signals) = (Inbox::default(), VecDeque::new());
        for payload in [EVENT, EVENT, "{}", "7", EVENT] {
            let raw: Box<RawValue> = serde_json::from_str(payload).unwrap();
            inbox.accept(Some(&raw), &mut signals);
        }
        inbox.accept(None, &mut signals);
        inbox.seal(&mut signals);
        let shown: Vec<String> = signals
            .iter()
            .map(|signal| match signal {
                Signal::Events(events) => format!("{} events", events.len()),
                Signal::Resync(resync) => format!("{resync} {}", resync.undecodable()),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(
            shown,
            ["2 events", "undecodable 2", "1 events", "undecodable 1"]
        );
    }
}
