//! The relay, with PostgreSQL and NATS servers of the test kit.
//!
//! `exactly_once` compares the stream with the outbox after faults of relays, PostgreSQL and NATS. Its relays run in processes of
//! their own: `process` starts this program again, to run `program`. The other tests run relays in the test's process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::large_futures,
    reason = "tests may panic, and each has one future"
)]

mod bad_input;
mod basics;
mod contested;
mod credentials;
mod exactly_once;
mod fencing;
mod full;
mod health;
mod herald;
mod lost;
#[path = "../../../../tests/remote/process.rs"]
mod process;
mod program;
mod restored;
mod support;
mod trimmed;
