//! Metrics and spans are emitted as documented. Dashboards, alerts and documented figures refer only to what exists.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may panic"
)]

mod alerts;
mod dashboard;
mod figures;
mod metrics;
mod spans;
