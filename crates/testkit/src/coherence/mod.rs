#![doc = include_str!("coherence.md")]

mod check;
mod clients;
mod confirm;
mod faults;
mod floor;
mod followers;
mod judge;
mod lifecycle;
mod liveness;
mod loader;
mod quiet;
mod reader;
mod reopening;
mod report;
mod reporter;
mod run;
mod settings;
mod stage;
mod subject;
mod tally;
mod writer;

use pgherald_core::Table;

pub use check::CoherenceCheck;
pub use faults::Fault;
pub use loader::{LoadFailure, Loader};
pub use report::{CoherenceReport, Rule, Violation};
pub use reporter::{Flushing, Reporter};
pub use settings::NotLive;
use settings::Settings;
pub use subject::{CoherenceContext, Confirmation, ReadFailure, Reading, Subject};

/// A row of the table that a check reads and writes: `public.coherence (key bigint, version bigint)`.
///
/// Its events include the version, from which [`Reporter::applied_event`] takes it.
#[derive(Clone, Copy, Debug)]
pub struct Row;

impl Table for Row {
    const NAME: &'static str = "coherence";
    const KEY: &'static [&'static str] = &["key"];
    type Key = i64;
}

/// The row that readers and writers do not use.
const SENTINEL: i64 = 0;

/// The key is in the upper half of a version, so versions of different keys differ.
const KEY_SHIFT: u32 = 32;

fn key_of(version: i64) -> i64 {
    version >> KEY_SHIFT
}

/// Returns a version without its key: 1, plus the number of writes.
fn number_of(version: i64) -> i64 {
    version & ((1 << KEY_SHIFT) - 1)
}
