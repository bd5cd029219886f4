//! What is measured is what is documented; dashboards, alerts and figures in the documentation refer to nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at once"
)]

mod alerts;
mod dashboard;
mod figures;
mod metrics;
mod spans;
