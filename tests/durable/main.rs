//! Durable handlers: groups of consumers on a real PostgreSQL server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests may panic"
)]

mod altered;
mod attempts;
mod bad_input;
mod batches;
mod calls;
mod clock;
mod connections;
mod counts;
mod fencing;
mod forged;
mod handling;
mod held_up;
mod herald;
mod history;
mod lag;
mod large;
mod leftovers;
mod logs;
mod meter;
mod migrations;
mod operations;
mod parked;
#[path = "../remote/process.rs"]
mod process;
mod requirements;
mod restored;
mod retention;
mod script;
mod sharing;
mod stale;
mod support;
mod surroundings;
mod survival;
mod transactions;
mod workers;
