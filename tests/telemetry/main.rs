//! What is measured is what is documented, and dashboards show nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at once"
)]

mod dashboard;
mod metrics;
mod spans;
