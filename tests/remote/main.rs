//! Subscribers on machines without access to the database: listeners and heralds on a [`DistributorSource`].
//!
//! ```text
//!   PostgreSQL ── FaultProxy ──► process with herald and distributor ── FaultProxy ──► DistributorSource ──► subscribers
//!                                kill, terminate, suspend
//! ```
//!
//! `fake` answers as a test scripts it. The other tests use real distributors, in a process of their own:
//! `process` starts this program again, to run `program`. The suite `source` of `crates/nats` uses these modules for its source, too:
//! `cache_check`, `herald` and `process`.
//!
//! [`DistributorSource`]: pgherald_core::DistributorSource

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    reason = "tests may panic, and use parts of the modules that they share with others"
)]

mod cache_check;
#[path = "../coherence/cached.rs"]
mod cached;
mod coherence;
mod fake;
mod faults;
mod gap;
mod herald;
#[path = "../it/numbers.rs"]
mod numbers;
mod process;
mod program;
#[path = "../coherence/settings.rs"]
mod settings;
#[path = "../it/support.rs"]
mod support;
