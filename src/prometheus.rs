//! Metrics for Prometheus. Requires the feature `prometheus`.
//!
//! ```no_run
//! # #[actix::main]
//! # async fn main() -> Result<(), pgherald::prometheus::BuildError> {
//! // Before listeners, caches and handlers are started: anything started earlier is not measured.
//! pgherald::prometheus::serve(([127, 0, 0, 1], 9187))?;
//! # Ok(())
//! # }
//! ```
//!
//! [`telemetry`](crate::telemetry) lists the metrics. `docs/grafana.json` is a dashboard of them.

use std::net::SocketAddr;

use metrics_exporter_prometheus::Matcher;
pub use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// In seconds, from events that arrive at once to attempts that take minutes.
const BUCKETS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    15.0, 60.0, 300.0,
];

/// Installs the recorder of this process and serves its metrics at `http://address/metrics`.
///
/// The server answers on every path. It runs on the current runtime, or on a thread of its own if there is none.
///
/// # Errors
/// If a recorder is already installed, or `address` cannot be bound.
pub fn serve(address: impl Into<SocketAddr>) -> Result<(), BuildError> {
    builder()?.with_http_listener(address).install()?;
    crate::telemetry::describe();
    Ok(())
}

/// Returns the builder of a recorder whose buckets suit pgherald's histograms, for programs that have an HTTP server of their own.
///
/// Adjust it, install the recorder as described at [`PrometheusBuilder`], then call
/// [`telemetry::describe`](crate::telemetry::describe).
///
/// # Errors
/// None, because the list of buckets is not empty.
pub fn builder() -> Result<PrometheusBuilder, BuildError> {
    let ours = Matcher::Prefix("pgherald_".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(ours, &BUCKETS)
}
