//! The relay, with PostgreSQL and NATS servers of the test kit.
//!
//! `exactly_once` compares the stream with the outbox after faults of all parties. Its relays run in processes of their own, which
//! `process` starts: this program again. The other tests run relays in the test's process.

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
mod exactly_once;
mod fencing;
mod full;
mod lost;
mod process;
mod restored;
mod support;
