//! Durable handlers on a real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests stop at once"
)]

mod crashes;
mod handling;
mod herald;
mod support;
mod workers;
