//! `NatsSource`: listeners and heralds on machines without access to the database.
//!
//! ```text
//!   PostgreSQL ── FaultProxy ──► relay ──► NatsServer ── FaultProxy ──► NatsSource ──► subscribers
//!                                kill, suspend   kill, pause
//! ```
//!
//! `fake` is a relay that stores and sends what a test scripts. The other tests use a relay in a process of its own: `process`
//! starts this program again, to run `program`. Some modules are those of `tests/remote`, which tests another source.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    reason = "tests may panic, and use parts of the modules that they share with others"
)]

#[path = "../../../../tests/remote/cache_check.rs"]
mod cache_check;
#[path = "../../../../tests/coherence/cached.rs"]
mod cached;
mod clients;
mod coherence;
mod fake;
mod faults;
mod gap;
mod heartbeats;
#[path = "../../../../tests/remote/herald.rs"]
mod herald;
mod max_lag;
#[path = "../../../../tests/it/numbers.rs"]
mod numbers;
mod permissions;
#[path = "../../../../tests/remote/process.rs"]
mod process;
mod program;
#[path = "../../../../tests/coherence/settings.rs"]
mod settings;
mod signals;
mod streams;
#[path = "../../../../tests/it/support.rs"]
mod support;
