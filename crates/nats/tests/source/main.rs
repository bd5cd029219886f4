//! `NatsSource`: listeners and heralds on machines without access to the database.
//!
//! ```text
//!   PostgreSQL ── FaultProxy ──► relay ──► NatsServer ── FaultProxy ──► NatsSource ──► subscribers
//!                                kill, suspend   kill, pause
//! ```
//!
//! `fake` is a relay that stores and sends what a test scripts. The other tests use a relay in a process of its own: `process`
//! starts this program again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    reason = "tests may panic, and use parts of the modules that they share with others"
)]

#[path = "../../../../tests/coherence/cached.rs"]
mod cached;
mod clients;
mod coherence;
mod fake;
mod faults;
mod gap;
mod heartbeats;
mod herald;
#[path = "../../../../tests/it/numbers.rs"]
mod numbers;
mod process;
#[path = "../../../../tests/coherence/settings.rs"]
mod settings;
mod signals;
mod streams;
#[path = "../../../../tests/it/support.rs"]
mod support;
