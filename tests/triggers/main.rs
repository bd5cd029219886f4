//! The triggers on a real PostgreSQL server: their payloads and rows, installation, drift and removal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests may panic"
)]

mod altered;
mod changed;
mod drift;
mod install;
mod lost;
mod nested;
mod outbox;
mod owners;
mod partitions;
mod payload;
mod refused;
mod renamed;
mod replicated;
mod scale;
mod script;
mod script_states;
mod size;
mod subscribed;
mod support;
mod uninstall;
mod values;
mod writers;
