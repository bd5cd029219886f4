//! The handle of a consumer: its report, its health, and the request to stop.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::signal::Health;

/// Reports on a running [`Consumer`](super::Consumer), and stops it. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct ConsumerHandle {
    shared: Arc<Shared>,
}

/// Counts of a consumer since it was created, and its present state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerReport {
    /// The group's name.
    pub group: String,
    /// Events and resyncs that were handled.
    pub handled: u64,
    /// Failed attempts after which the event is retried.
    pub retried: u64,
    /// Attempts that the handler snoozed.
    pub snoozed: u64,
    /// Events that became dead letters.
    pub dead_letters: u64,
    /// Parked events of its slices: they wait for another attempt, or behind an earlier event of the same row. The parked events
    /// of slices that the consumer gives back while it stops are counted too; they stay parked in the database. If the
    /// connection is lost while progress is being written, the slices concerned count as lost until they are claimed again, and
    /// their parked events are not counted meanwhile.
    pub parked: u64,
    /// Events that were taken in but not finished, and that are left to the next owner of their slice.
    pub left_to_others: u64,
    /// Attempts whose transaction was rolled back, because another consumer had claimed the slice, or the group was moved.
    pub fenced: u64,
    /// Attempts that failed with an error.
    pub errors: u64,
    /// Attempts that exceeded the [timeout](super::DurableOptions::timeout).
    pub timeouts: u64,
    /// Attempts that panicked.
    pub panics: u64,
    /// Slices that the consumer owns now.
    pub slices: usize,
    /// Rows of tables that have parked events. While there are 100,000 of them, the consumer reads nothing new.
    pub parked_rows: usize,
    /// Slices whose progress the database refuses to store, and the error: for example of a constraint, or of a trigger that
    /// raises one. The consumer retries after pauses of up to 10 s. Other slices continue.
    pub held_up: BTreeMap<i32, String>,
    /// Events that were taken in and are not finished.
    pub in_flight: usize,
    /// For a relay: why it stores nothing at present, for example because the stream is full, or no server can be reached.
    pub destination_error: Option<String>,
}

impl ConsumerReport {
    /// Returns the number of failed attempts: errors, timeouts and panics.
    #[must_use]
    pub fn failed_attempts(&self) -> u64 {
        self.errors + self.timeouts + self.panics
    }
}

impl fmt::Display for ConsumerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failed_attempts();
        let Self {
            group,
            handled,
            parked,
            dead_letters,
            left_to_others,
            ..
        } = self;
        write!(
            f,
            "{group}: {handled} handled, {failed} attempts failed, {parked} parked, {dead_letters} dead letters, \
             {left_to_others} left to others"
        )
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    report: Mutex<ConsumerReport>,
    pub(super) health: watch::Sender<Health>,
    /// The deadline by which the consumer must have ended.
    pub(super) stop: watch::Sender<Option<Instant>>,
    pub(super) has_ended: watch::Sender<bool>,
}

impl Shared {
    pub(super) fn new(group: &str) -> Arc<Self> {
        Arc::new(Self {
            report: Mutex::new(ConsumerReport {
                group: group.to_owned(),
                ..ConsumerReport::default()
            }),
            health: watch::Sender::new(Health::Connecting),
            stop: watch::Sender::new(None),
            has_ended: watch::Sender::new(false),
        })
    }

    pub(super) fn report(&self) -> MutexGuard<'_, ConsumerReport> {
        // The report is mere counts, so one that a panic interrupted is still usable.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConsumerHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Returns a copy of the consumer's report.
    #[must_use]
    pub fn report(&self) -> ConsumerReport {
        self.shared.report().clone()
    }

    /// Returns a receiver of the consumer's health, to be read or awaited.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Stops the consumer, and returns its report when it has ended.
    ///
    /// The consumer starts no more attempts, waits for running ones, acknowledges them, and gives its slices back. At
    /// `deadline`, it drops the attempts that still run; other consumers handle their events again. Then it leaves the group,
    /// which may take up to 10 s more.
    ///
    /// If the consumer was dropped, the report is returned at once. The future waits for ever if the consumer is neither run nor
    /// dropped.
    pub async fn drain(&self, deadline: Duration) -> ConsumerReport {
        let at = Instant::now() + deadline;
        self.shared.stop.send_if_modified(|stop| {
            let is_sooner = stop.is_none_or(|before| at < before);
            if is_sooner {
                *stop = Some(at);
            }
            is_sooner
        });
        let mut ended = self.shared.has_ended.subscribe();
        // The sender is in `shared`.
        let _ = ended.wait_for(|ended| *ended).await;
        self.report()
    }
}
