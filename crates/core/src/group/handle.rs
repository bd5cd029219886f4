//! What others see and want of a consumer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::signal::Health;

/// Asks a running [`Consumer`](super::Consumer) how it is doing, and to stop. Cheap to clone; usable from any thread.
#[derive(Clone, Debug)]
pub struct ConsumerHandle {
    shared: Arc<Shared>,
}

/// What a consumer has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerReport {
    /// The group's name.
    pub group: String,
    /// Events, and resyncs, that were handled.
    pub handled: u64,
    /// Attempts that failed, and were followed by another one or will be.
    pub retried: u64,
    /// Attempts that asked to see the event later.
    pub snoozed: u64,
    /// Events that became dead letters.
    pub dead_letters: u64,
    /// Events of its slices that wait for another attempt, or behind an earlier event of the same row. Counted while the
    /// consumer stops: the parked events of the slices that it gives back. They stay parked in the database. If the connection
    /// is lost while progress is being written, the slices concerned count as lost until they are claimed again, and their
    /// parked events are not counted meanwhile.
    pub parked: u64,
    /// Events that were taken in, and left to whoever has their slice now.
    pub left_to_others: u64,
    /// Attempts whose effects were rolled back, because the slice belonged to somebody else meanwhile.
    pub fenced: u64,
    /// Attempts that failed by an error.
    pub errors: u64,
    /// Attempts that took too long.
    pub timeouts: u64,
    /// Attempts that panicked.
    pub panics: u64,
    /// Slices it has now.
    pub slices: usize,
    /// Rows of tables of which an event waits for another attempt. With 100,000 of them nothing new is read.
    pub parked_rows: usize,
    /// Slices of which the database refuses to note how far they are, and why: a value it does not take, or a trigger that
    /// raises an error. It is asked again after pauses of up to 10 s; the other slices go on.
    pub held_up: BTreeMap<i32, String>,
    /// Events it has taken in and not finished.
    pub in_flight: usize,
}

impl ConsumerReport {
    /// The number of failed attempts: by an error, a timeout or a panic.
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
    /// When it is to have ended.
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
        // Numbers only: a poisoned lock is as good as any.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConsumerHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What it has done so far.
    #[must_use]
    pub fn report(&self) -> ConsumerReport {
        self.shared.report().clone()
    }

    /// Whether it reaches the database, to be looked at and waited for.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Has it begin nothing more, waits for what is under way, at most until `deadline` is over, acknowledges, and gives its
    /// slices back; then it ends. What was under way and did not finish is left to others.
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
