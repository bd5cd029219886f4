//! What pgherald measures, and under which names: they are a contract with dashboards and alerts.
//!
//! Numbers go to whatever recorder the program has installed for the [`metrics`] facade, and nowhere if it has none. It has
//! to be there before listeners, caches and handlers are started: what was begun before it stays unmeasured. Each constant
//! here names a metric; [`METRICS`] lists all of them with unit and labels, and [`describe`] tells them to the recorder.
//!
//! Subscriptions, handlers and caches are told apart by the names that the program gave them. Several of one name in one
//! process are added up. Hits of caches are counted in the cache, and told to the recorder once a second.
//!
//! Spans are of the `tracing` crate. The span of an attempt ([`SPAN_ATTEMPT`]) carries what is known of the event from its
//! commit on, so that whatever the handler logs, or asks of others, is found by it.
//!
//! ```
//! use pgherald_core::telemetry;
//!
//! // After the recorder was installed:
//! telemetry::describe();
//! assert!(telemetry::METRICS.iter().any(|metric| metric.name == "pgherald_events_dropped_total"));
//! ```

mod cache;
mod handler;
mod names;
mod record;
mod unlogged;

pub use handler::{HandlerMetrics, attempt_span};
pub use names::*;
pub use record::{Level, describe, dropped};
pub use unlogged::{FailureLog, FailureSummary};

pub(crate) use cache::CacheMetrics;
pub(crate) use record::{counter, gauge, histogram};
pub(crate) use unlogged::Unlogged;
