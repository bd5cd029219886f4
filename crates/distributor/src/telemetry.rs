//! The names of the distributor's metrics and spans. They are a contract with dashboards and alerts.
//!
//! Metrics go to the recorder that the program has installed for the [`metrics`] facade, if any, as those of
//! [`pgherald_core::telemetry`]. Labels are words of a fixed set.

use metrics::{Counter, Unit, counter, gauge};

/// Clients that are connected. Gauge; labels: `transport`, which is `websocket`, `sse` or `channel`.
pub const CLIENTS: &str = "pgherald_distributor_clients";

/// Messages that were passed to the connections of clients. Counter; labels: `transport`.
pub const MESSAGES: &str = "pgherald_distributor_messages_total";

/// Requests that were refused. Counter; labels: `code`, the code in the body of the answer.
pub const REFUSALS: &str = "pgherald_distributor_refusals_total";

/// Streams that the server closed. Counter; labels: `reason`, which is `shutdown`, `lagged`, `expired`, `disconnected`, `idle`,
/// `policy`, `size` or `protocol`.
pub const CLOSED: &str = "pgherald_distributor_closed_total";

/// Events that slow clients have missed, as reported to them by `lagged`. Counter; no labels.
pub const LAGGED: &str = "pgherald_distributor_lagged_events_total";

/// The span around the answer to a request, at level INFO. Fields: `method`; `path`, without the query.
pub const SPAN_REQUEST: &str = "pgherald.request";

/// The target of the access log, at level INFO: a line when a request was answered, and one when a stream has ended.
pub const ACCESS_LOG: &str = "pgherald_distributor::access";

/// Registers the description of each metric with the recorder. Call it once, after the recorder was installed.
pub fn describe() {
    metrics::describe_gauge!(CLIENTS, Unit::Count, "Clients that are connected");
    let counters = [
        (
            MESSAGES,
            "Messages that were passed to the connections of clients",
        ),
        (REFUSALS, "Requests that were refused"),
        (CLOSED, "Streams that the server closed"),
        (LAGGED, "Events that slow clients have missed"),
    ];
    for (name, help) in counters {
        metrics::describe_counter!(name, Unit::Count, help);
    }
}

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    Sse,
    Channel,
}

impl Transport {
    fn label(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::Channel => "channel",
        }
    }

    pub(crate) fn messages(self) -> Counter {
        counter!(MESSAGES, "transport" => self.label())
    }

    /// Adds to the number of clients.
    pub(crate) fn add_clients(self, change: f64) {
        gauge!(CLIENTS, "transport" => self.label()).increment(change);
    }
}

pub(crate) fn refused(code: &'static str) {
    counter!(REFUSALS, "code" => code).increment(1);
}

pub(crate) fn closed(reason: &'static str) {
    counter!(CLOSED, "reason" => reason).increment(1);
}

pub(crate) fn lagged(missed: u64) {
    counter!(LAGGED).increment(missed);
}
