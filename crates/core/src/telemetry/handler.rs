//! What handlers of all kinds measure.

use std::time::{Duration, SystemTime};

use metrics::{Counter, Histogram};
use tracing::field::display;
use tracing::{Span, field};

use super::names::{
    HANDLER_ATTEMPT_SECONDS, HANDLER_ATTEMPTS, HANDLER_DEAD_LETTERS, HANDLER_DELAY_SECONDS,
    HANDLER_UNFINISHED_EVENTS, SPAN_ATTEMPT,
};
use super::record::{Level, counter, histogram};
use crate::event::Event;

const RESULTS: [&str; 7] = [
    "done", "error", "timeout", "panic", "snoozed", "fenced", "in_doubt",
];

/// The metrics of a handler. For whoever runs handlers: `HandlerActor`, and the [consumers](crate::group) of groups.
#[derive(Debug)]
pub struct HandlerMetrics {
    attempts: [Counter; RESULTS.len()],
    attempt_seconds: Histogram,
    delay_seconds: Histogram,
    dead_letters: Counter,
    unfinished: Level,
}

impl HandlerMetrics {
    /// Of the handler, or group, with this name.
    #[must_use]
    pub fn new(handler: &str) -> Self {
        let labels = [("handler", handler)];
        Self {
            attempts: RESULTS.map(|result| {
                counter(
                    HANDLER_ATTEMPTS,
                    &[("handler", handler), ("result", result)],
                )
            }),
            attempt_seconds: histogram(HANDLER_ATTEMPT_SECONDS, &labels),
            delay_seconds: histogram(HANDLER_DELAY_SECONDS, &labels),
            dead_letters: counter(HANDLER_DEAD_LETTERS, &labels),
            unfinished: Level::new(HANDLER_UNFINISHED_EVENTS, &labels),
        }
    }

    /// An attempt at an event has come to this [result](HANDLER_ATTEMPTS), a failure's [label](crate::handler::Failure::label) say.
    pub fn attempted(&self, result: &str) {
        let known = RESULTS.iter().position(|known| *known == result);
        if let Some(index) = known {
            self.attempts[index].increment(1);
        }
    }

    /// An attempt, of a batch also, took so long.
    pub fn took(&self, elapsed: Duration) {
        self.attempt_seconds.record(elapsed);
    }

    /// An event that was made at `sent_at` has been handled by `now`.
    pub fn handled(&self, sent_at: SystemTime, now: SystemTime) {
        // Clocks of two machines.
        let delay = now.duration_since(sent_at).unwrap_or_default();
        self.delay_seconds.record(delay);
    }

    /// An event has become a dead letter.
    pub fn dead_letter(&self) {
        self.dead_letters.increment(1);
    }

    /// So many events were taken in and are not finished.
    pub fn unfinished(&mut self, count: usize) {
        self.unfinished.set(count);
    }
}

/// The span of an attempt; see [`SPAN_ATTEMPT`]. `event` is none for a resync, or for what cannot be understood.
pub fn attempt_span(
    handler: &str,
    event: Option<&Event>,
    event_id: Option<i64>,
    attempt: u32,
) -> Span {
    let span = tracing::info_span!(
        SPAN_ATTEMPT,
        handler,
        event_id,
        attempt,
        table = field::Empty,
        operation = field::Empty,
        committed_at = field::Empty,
        events = field::Empty,
    );
    if let Some(event) = event
        && !span.is_disabled()
    {
        match event.schema() {
            Some(schema) => {
                span.record("table", display(format_args!("{schema}.{}", event.table())))
            }
            None => span.record("table", event.table()),
        };
        span.record("operation", event.operation().as_str());
        if let Ok(time) = jiff::Timestamp::try_from(event.sent_at()) {
            span.record("committed_at", display(time));
        }
    }
    span
}
