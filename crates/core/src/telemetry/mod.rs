//! The names of pgherald's metrics and spans. They are a contract with dashboards and alerts.
//!
//! Metrics go to the recorder that the program has installed for the [`metrics`] facade, if any. Install it before listeners,
//! caches and handlers are started, because anything started earlier is not measured. [`METRICS`] lists the name, kind, unit,
//! labels and description of each metric, and [`describe`] registers the descriptions with the recorder.
//!
//! Labels distinguish subscriptions, handlers and caches by the names that the program gave them. Several of the same name in
//! one process are added up. Caches count hits by themselves, and report them to the recorder once a second.
//!
//! Spans are those of the `tracing` crate, and [`SPANS`] lists their names. The span of an attempt (`pgherald.attempt`) has the
//! event's number, table, operation and time, so logs and requests of the handler can be traced back to the event.
//!
//! ```
//! use pgherald_core::telemetry;
//!
//! // After the recorder was installed:
//! telemetry::describe();
//! assert!(telemetry::METRICS.iter().any(|metric| metric.name == "pgherald_events_dropped_total"));
//! ```

// To add a metric, add an entry to `names.rs` and record it in `tests/telemetry/metrics.rs`.

mod cache;
pub(crate) mod failure_log;
pub(crate) mod handler;
pub(crate) mod names;
pub(crate) mod record;
mod unlogged;

pub use names::{METRICS, Metric, MetricKind, SPANS};
pub use record::describe;

pub(crate) use failure_log::{FailedAttempt, FailureLog};
pub(crate) use handler::{HandlerMetrics, attempt_span};
pub(crate) use names::*;
pub(crate) use record::{Level, dropped};

pub(crate) use cache::CacheMetrics;
pub(crate) use record::{counter, gauge, histogram};
pub(crate) use unlogged::Unlogged;
