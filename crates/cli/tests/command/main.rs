//! Runs the `pgherald` binary against a real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests stop at once"
)]

mod check;
mod connection;
mod consumers;
mod dead_letters;
mod demo;
mod doctor;
mod dumps;
mod failing;
mod fixes;
mod grant;
mod group;
mod groups;
mod hostile;
mod install;
mod migrations;
mod parked;
#[path = "../../../../tests/it/pgbouncer.rs"]
mod pgbouncer;
mod pgcachewatch;
mod relay;
mod script;
mod serve;
mod status;
mod summary;
mod support;
mod terminal;
mod watch;
