//! Subscribers on machines without access to the database: listeners and heralds on a [`DistributorSource`].
//!
//! ```text
//!   PostgreSQL ── FaultProxy ──► process with herald and distributor ── FaultProxy ──► DistributorSource ──► subscribers
//!                                kill, terminate, suspend
//! ```
//!
//! `fake` answers as a test scripts it. The other tests use real distributors, in a process of their own where faults need that:
//! `process` starts this program again.
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
#[path = "../coherence/settings.rs"]
mod settings;
#[path = "../it/support.rs"]
mod support;
