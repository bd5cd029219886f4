//! `OutboxReader` and `OutboxSource` on a real PostgreSQL server: reading, retention and retries.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests may panic"
)]

mod cursors;
mod floor;
mod interleaved;
mod reading;
mod replay;
mod replicated;
mod retention;
mod source;
mod support;
mod surroundings;
mod undecodable;
