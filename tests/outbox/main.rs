//! Reading the outbox of a real server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests stop at once"
)]

mod floor;
mod interleaved;
mod reading;
mod replicated;
mod retention;
mod source;
mod support;
mod surroundings;
mod undecodable;
