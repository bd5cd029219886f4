//! Durable handlers on a real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests stop at once"
)]

mod bad_input;
mod batches;
mod fencing;
mod handling;
mod held_up;
mod herald;
mod operations;
mod retention;
mod sharing;
mod support;
mod surroundings;
mod survival;
mod transactions;
mod workers;
