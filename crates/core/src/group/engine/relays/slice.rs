//! A slice of a relay: its queue, and the next batch.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::command::Ledger;
use super::super::intake::TRIMMED;
use super::watch::{Expected, Found};
use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::group::destination::{Batch, Identity, Mark, Message, Outcome};
use crate::group::job::{Disposition, Job, Origin, Park, Row};
use crate::group::opening::{OTHER_GROUP, Opened};
use crate::handler::Task;
use crate::outbox::Recorded;

/// The delays after a slice could not be opened, or a batch was refused.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// The maximum size of a batch in bytes. A single event may exceed it.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// The result of a request to the destination.
pub(in crate::group) enum Ended {
    Opened {
        slice: i32,
        epoch: i64,
        opened: Result<Opened>,
    },
    Watched {
        expected: Vec<Expected>,
        found: Result<Found>,
    },
    Stored {
        slice: i32,
        epoch: i64,
        jobs: Vec<Job>,
        announcement: Option<&'static str>,
        outcome: Outcome,
        took: Duration,
    },
}

/// A slice, from its claim until it is forgotten.
pub(super) struct Relay {
    pub(super) epoch: i64,
    pub(super) state: State,
    /// Events that were read.
    pub(super) queue: VecDeque<Job>,
    /// Events that were parked, such as resyncs.
    pub(super) parked: VecDeque<Job>,
    /// A resync to store before everything else.
    pub(super) announcement: Option<&'static str>,
    /// Whether that resync, if there was one, is stored.
    pub(super) is_announced: bool,
    pub(super) incarnation: Arc<str>,
    /// The sequence of the slice's last message.
    pub(super) sequence: u64,
    /// Events that are stored already; see [`Opened`].
    pub(super) skipped: HashMap<i64, Identity>,
    pub(super) listed: Option<(u64, u64)>,
    pub(super) failures: u32,
    /// Whether another group stores messages of the slice. This group then stores none.
    pub(super) is_contended: bool,
    /// See [`History::period`](crate::outbox::History::period).
    pub(super) period: Arc<str>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum State {
    /// The tip is being read.
    Opening,
    /// The tip is read again at this time.
    Unopened(Instant),
    Idle,
    Storing,
    /// A batch was refused. It is stored again at this time.
    Waiting(Instant),
}

impl Relay {
    pub(super) fn new(epoch: i64, now: Instant) -> Self {
        Self {
            epoch,
            state: State::Unopened(now),
            queue: VecDeque::new(),
            parked: VecDeque::new(),
            announcement: None,
            is_announced: true,
            incarnation: "".into(),
            sequence: 0,
            skipped: HashMap::new(),
            listed: None,
            failures: 0,
            is_contended: false,
            period: "".into(),
        }
    }

    /// Returns the range of messages that have events to skip. `None` once all of these events were skipped.
    pub(super) fn listed(&self) -> Option<(u64, u64)> {
        self.listed.filter(|_| !self.skipped.is_empty())
    }

    pub(super) fn pause(&mut self) -> Duration {
        let pause = PAUSES.delay(self.failures);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Whether a loss of rows was found that is neither announced nor about to be. A batch would store a cursor behind the loss, and the
    /// next relay would not find it again. So the slice waits until the resync was written to the parked events, and read from there.
    pub(super) fn awaits_resync(&self, slice: i32, ledger: &Ledger) -> bool {
        if ledger.parked.rows() == 0 {
            return false;
        }
        let row = Row::of(&Recorded::resync(0, slice, TRIMMED));
        ledger.parked.has(&row) && !self.parked.iter().any(|job| job.row() == row)
    }

    /// Removes from the queues the jobs of the next batch, and the jobs whose events are stored already.
    pub(super) fn next_jobs(&mut self, max_batch: usize, ledger: &Ledger) -> (Vec<Job>, Vec<Job>) {
        let (mut jobs, mut skipped, mut bytes) = (Vec::new(), Vec::new(), 0);
        // The announcement takes one message.
        let most = max_batch.saturating_sub(1).max(1);
        let has_room = |jobs: &[Job], bytes: usize, next: &Job| {
            jobs.is_empty() || jobs.len() < most && bytes + next.row.bytes() <= MAX_BATCH_BYTES
        };
        while let Some(next) = self.parked.front()
            && has_room(&jobs, bytes, next)
            && let Some(job) = self.parked.pop_front()
        {
            bytes += job.row.bytes();
            jobs.push(job);
        }
        while let Some(next) = self.queue.front()
            && has_room(&jobs, bytes, next)
            // After a restore of the database, earlier events of the row may be parked. They go first.
            && !ledger.parked.has(&next.row())
            && let Some(job) = self.queue.pop_front()
        {
            if self.skipped.get(&job.row.id) == Some(&Identity::of(&job.row)) {
                self.skipped.remove(&job.row.id);
                skipped.push(job);
                continue;
            }
            bytes += job.row.bytes();
            jobs.push(job);
        }
        (jobs, skipped)
    }

    pub(super) fn batch(
        &self,
        slice: i32,
        jobs: &[Job],
        announcement: Option<&'static str>,
        mark: Mark,
    ) -> Batch {
        let announcement = announcement.map(|reason| Message::Resync {
            reason,
            is_of_slice: reason != OTHER_GROUP,
            table: None,
        });
        let messages = jobs.iter().map(message);
        Batch {
            slice,
            expected: self.sequence,
            messages: announcement.into_iter().chain(messages).collect(),
            mark,
        }
    }
}

fn message(job: &Job) -> Message {
    match &job.task {
        Ok(Task::Event(event)) => Message::Event {
            event: event.clone(),
            identity: Identity::of(&job.row),
            hash: job.row.hash,
        },
        Ok(Task::Resync(resync)) => Message::Resync {
            reason: resync
                .reasons()
                .first()
                .map_or("resync", |reason| reason.label()),
            is_of_slice: false,
            table: None,
        },
        // The event fails to decode, so readers only receive a resync.
        Err(_) => Message::Resync {
            reason: "undecodable",
            is_of_slice: true,
            table: None,
        },
    }
}

/// Returns the dead letter of a row that fails to decode.
pub(super) fn dead_letter(job: &Job, error: &Error) -> Park {
    Park {
        slice: job.slice,
        row: job.row.clone(),
        attempts: 1,
        error: Some(error.chain()),
        disposition: Disposition::Dead,
    }
}

impl Identity {
    pub(in crate::group) fn of(row: &Recorded) -> Self {
        Self {
            id: row.id,
            xid: row.xid,
            recorded_us: row.sent_at_us(),
        }
    }
}

/// Returns the number of the last read event among the jobs of a batch. Parked events do not count.
pub(super) fn last_read(jobs: &[Job]) -> Option<u64> {
    jobs.iter().rev().find_map(|job| match job.origin {
        Origin::Read(number) => Some(number),
        Origin::Parked => None,
    })
}
