//! The distributor in front of a real PostgreSQL server, with real clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests may panic"
)]

mod access;
mod attacks;
mod contract;
mod filters;
mod page;
mod pgcachewatch;
mod pubsub;
mod refusals;
mod resume;
mod shutdown;
mod slow_clients;
mod streams;
mod support;
