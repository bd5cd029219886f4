//! Metrics of handlers of all kinds.

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

/// The metrics of a handler. `HandlerActor` and the [consumers](crate::group) of groups record them.
#[derive(Debug)]
pub struct HandlerMetrics {
    attempts: [Counter; RESULTS.len()],
    attempt_seconds: Histogram,
    delay_seconds: Histogram,
    dead_letters: Counter,
    unfinished: Level,
}

impl HandlerMetrics {
    /// Makes the metrics of the handler or group with this name.
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

    /// Counts an attempt at an event with this [result](HANDLER_ATTEMPTS), such as a failure's
    /// [label](crate::handler::Failure::label).
    pub fn attempted(&self, result: &str) {
        let known = RESULTS.iter().position(|known| *known == result);
        if let Some(index) = known {
            self.attempts[index].increment(1);
        }
    }

    /// Records the duration of an attempt, which may have handled a batch.
    pub fn took(&self, elapsed: Duration) {
        self.attempt_seconds.record(elapsed);
    }

    /// Records that an event of `sent_at` was handled at `now`.
    pub fn handled(&self, sent_at: SystemTime, now: SystemTime) {
        // The clocks of two machines may differ.
        let delay = now.duration_since(sent_at).unwrap_or_default();
        self.delay_seconds.record(delay);
    }

    /// Counts a dead letter.
    pub fn dead_letter(&self) {
        self.dead_letters.increment(1);
    }

    /// Records how many events were taken in and are not finished.
    pub fn unfinished(&mut self, count: usize) {
        self.unfinished.set(count);
    }
}

/// Makes the span of an attempt; see [`SPAN_ATTEMPT`]. `event` is `None` for a resync, and for an event that fails to decode.
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
