//! Groups, sources and readers lose nothing beside writers that never pause, and under faults.
//!
//! ```text
//!   Workload ── jobs, written ──► outbox ──► three worker processes ──► effects
//!      (threads)                     ├─────► OutboxSource (Follower)
//!   Faults: stop, kill, restart …    └─────► OutboxReader (bare)
//!                                                     │
//!                            Audit: written against effects, row by row
//! ```
//!
//! Each transaction of the workload records its writes in the table `written`, which no trigger watches. At the end the audit
//! compares that table with the consumers' effects. It never compares times. It waits until the group has nothing left to do, or
//! until a marker row has arrived, and fails only if the group stops making progress.
//!
//! | mode (test) | consumers | faults | promise |
//! |---|---|---|---|
//! | `transactional` | three processes, one group | all | each write has one effect, in the order of its key |
//! | `plain`, `batch` | three processes, one group | all | each write has an effect, first effects in the order of its key |
//! | `source` | one `OutboxSource` | all except those of processes | each write is an event, or a `Resync` follows its commit |
//! | `reader` | two `OutboxReader`s | none, but writers at full speed | each write is read once |
//!
//! Every second worker process also runs a consumer of another group, which shares its connections and its reads with the first.
//!
//! `cargo test --test stress` runs one round of faults in each mode. A long run has a stated duration:
//!
//! ```console
//! $ PGHERALD_STRESS_SECONDS=1200 cargo test --release --test stress transactional -- --nocapture
//! ```
//!
//! - `PGHERALD_SEED=n` repeats the decisions of a run: the faults, their times and the writes. It does not repeat how the
//!   operating system schedules them.
//! - `PGHERALD_STRESS_FAULTS=stop,kill` restricts the faults. An empty value disables all of them. See [`faults::Fault`].
//!
//! A failed run prints each lost row with its place in the outbox, the cursors before and after they passed it, and the faults
//! shortly before. The logs of the workers are kept, and the message ends with their path.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests may panic"
)]

mod audit;
mod cursors;
mod faults;
mod follower;
mod group;
mod handlers;
#[path = "../remote/process.rs"]
mod process;
mod reader;
mod settings;
mod source;
mod stage;
mod watch;
mod worker;
mod workload;

use worker::Kind;

#[tokio::test]
async fn transactional_effects_are_made_once_and_in_order() {
    group::run(Kind::Transactional).await;
}

#[tokio::test]
async fn plain_handlers_lose_no_effect_and_keep_the_order() {
    group::run(Kind::Plain).await;
}

#[tokio::test]
async fn batch_handlers_lose_no_effect_and_keep_the_order() {
    group::run(Kind::Batch).await;
}

#[tokio::test]
async fn source_delivers_every_commit_or_a_resync_after_it() {
    source::run().await;
}

#[tokio::test]
async fn reader_skips_no_commit_of_fast_writers() {
    reader::run().await;
}
