//! Groups, sources and readers under writers that leave no pause, and under faults: nothing may be lost.
//!
//! ```text
//!   Workload ── jobs, written ──► outbox ──► three worker processes ──► effects
//!      (threads)                     ├─────► OutboxSource (Follower)
//!   Faults: stop, kill, restart …    └─────► OutboxReader (bare)
//!                                                     │
//!                            Audit: written against effects, row by row
//! ```
//!
//! Each transaction of the workload notes what it writes in the table `written`, which no trigger watches. At the end the audit
//! compares that table with what the consumers did. It never compares times: it waits until the group has nothing left to do,
//! or until a row that was written last has arrived, and fails only if there is no progress for a minute.
//!
//! | mode (test) | consumers | faults | promise |
//! |---|---|---|---|
//! | `transactional` | three processes, one group | all | each write has one effect, in the order of its key |
//! | `plain`, `batch` | three processes, one group | all | each write has an effect, first effects in the order of its key |
//! | `source` | one `OutboxSource` | all but those of processes | each write is an event, or a `Resync` follows its commit |
//! | `reader` | two `OutboxReader`s | none, but writers at full speed | each write is read once |
//!
//! `cargo test --test stress` makes one round of faults in each mode. A long run lasts for a stated time:
//!
//! ```console
//! $ PGHERALD_STRESS_SECONDS=1200 cargo test --release --test stress transactional -- --nocapture
//! ```
//!
//! - `PGHERALD_SEED=n` repeats the decisions of a run: which faults, when, and what is written. It does not repeat how the
//!   operating system schedules them.
//! - `PGHERALD_STRESS_FAULTS=stop,kill` restricts the faults to these; an empty text leaves none. See [`faults::Fault`].
//!
//! A failed run prints each row that was lost, with its place in the outbox, the cursors before and after it was passed over, and
//! the faults shortly before. The logs of its workers are kept, and the message ends with their place.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests stop at once"
)]

mod audit;
mod cursors;
mod faults;
mod follower;
mod group;
mod handlers;
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
async fn plain_effects_are_not_lost_and_in_order() {
    group::run(Kind::Plain).await;
}

#[tokio::test]
async fn batch_effects_are_not_lost_and_in_order() {
    group::run(Kind::Batch).await;
}

#[tokio::test]
async fn source_announces_every_commit_or_a_resync_after_it() {
    source::run().await;
}

#[tokio::test]
async fn reader_passes_over_no_commit_of_fast_writers() {
    reader::run().await;
}
