//! Metrics for Prometheus; with the feature `prometheus`.
//!
//! ```no_run
//! # #[actix::main]
//! # async fn main() -> Result<(), pgherald::prometheus::BuildError> {
//! // Before listeners, caches and handlers are started: what is begun before it stays unmeasured.
//! pgherald::prometheus::serve(([127, 0, 0, 1], 9187))?;
//! # Ok(())
//! # }
//! ```
//!
//! Which metrics there are is told by [`telemetry`](crate::telemetry); `docs/grafana.json` is a dashboard of them.

use std::net::SocketAddr;

use metrics_exporter_prometheus::Matcher;
pub use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// In seconds: from an event that is there at once to an attempt that takes minutes.
const BUCKETS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    15.0, 60.0, 300.0,
];

/// Installs the recorder of this process, and serves `http://address/metrics` (any path, in fact) on the runtime that this is
/// called in, or on a thread of its own where there is none.
///
/// # Errors
/// If there is a recorder already, or nothing can listen on `address`.
pub fn serve(address: impl Into<SocketAddr>) -> Result<(), BuildError> {
    builder()?.with_http_listener(address).install()?;
    crate::telemetry::describe();
    Ok(())
}

/// A recorder with buckets that suit pgherald's histograms, to be changed, installed and served by whoever has a server of
/// his own: see [`PrometheusBuilder`]. [`telemetry::describe`](crate::telemetry::describe) is to be called afterwards.
///
/// # Errors
/// None, as long as there are buckets.
pub fn builder() -> Result<PrometheusBuilder, BuildError> {
    let ours = Matcher::Prefix("pgherald_".to_owned());
    PrometheusBuilder::new().set_buckets_for_metric(ours, &BUCKETS)
}
