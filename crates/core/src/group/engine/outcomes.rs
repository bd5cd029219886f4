//! Counts, measures and logs the outcomes of attempts.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::error::Error;
use crate::group::handle::Shared;
use crate::group::job::{Job, Outcome};
use crate::handler::Failure;
use crate::telemetry::{FailedAttempt, FailureLog, HandlerMetrics};

pub(in crate::group) struct Outcomes {
    group: Arc<str>,
    shared: Arc<Shared>,
    metrics: HandlerMetrics,
    log: FailureLog,
}

impl Outcomes {
    pub(super) fn new(group: Arc<str>, shared: Arc<Shared>) -> Self {
        Self {
            metrics: HandlerMetrics::new(&group),
            log: FailureLog::of_group(&group),
            group,
            shared,
        }
    }

    pub(super) fn took(&self, elapsed: Duration) {
        self.metrics.took(elapsed);
    }

    pub(super) fn unfinished(&mut self, events: usize) {
        self.metrics.unfinished(events);
    }

    pub(super) fn left_to_others(&self, events: usize) {
        self.shared.report().left_to_others += events as u64;
    }

    pub(super) fn handled(&self) {
        self.shared.report().handled += 1;
    }

    pub(super) fn fenced(&self, slice: i32) {
        self.shared.report().fenced += 1;
        let group = &*self.group;
        tracing::warn!(
            group,
            slice,
            "an attempt was rolled back: another consumer has claimed the slice, or the group has moved"
        );
    }

    pub(super) fn in_doubt(&self, job: &Job, error: &Error) {
        let (group, slice, id) = (&*self.group, job.slice, job.row.id);
        // Only an info: the loop logs the lost connection as a warning, once.
        tracing::info!(group, slice, id, error = %error.chain(), "the outcome of a COMMIT is unknown; claiming the slice again");
    }

    pub(super) fn measure(&self, job: &Job, outcome: &Outcome, now: SystemTime) {
        if let Outcome::Done | Outcome::Committed = outcome {
            self.metrics.handled(job.row.sent_at, now);
        }
        self.metrics.attempted(match outcome {
            Outcome::Done | Outcome::Committed => "done",
            Outcome::Failed(failure) => failure.label(),
            Outcome::Fenced => "fenced",
            Outcome::NotBegun(_) | Outcome::InDoubt(_) => "in_doubt",
        });
    }

    /// Counts and logs a failed attempt, the number `attempt` of the job. It is retried after `next`, or a dead letter.
    pub(super) fn failed(
        &mut self,
        job: &Job,
        attempt: u32,
        failure: &Failure,
        next: Option<Duration>,
        now: Instant,
    ) {
        self.count(failure, next.is_some());
        let task = match &job.task {
            Ok(task) => task as &dyn Display,
            Err(_) => &"?",
        };
        let attempt = FailedAttempt {
            task,
            id: Some(job.row.id),
            attempt,
            failure,
            next,
        };
        self.log.failed(attempt, now);
        if next.is_none() {
            self.metrics.dead_letter();
        }
    }

    fn count(&self, failure: &Failure, is_retried: bool) {
        let mut report = self.shared.report();
        match failure {
            Failure::Snoozed(_) => {
                report.snoozed += 1;
                return;
            }
            Failure::TimedOut(_) => report.timeouts += 1,
            Failure::Panicked(_) => report.panics += 1,
            Failure::Error { .. } => report.errors += 1,
        }
        match is_retried {
            true => report.retried += 1,
            false => report.dead_letters += 1,
        }
    }

    /// When the failed attempts that were not logged one by one are to be summarized.
    pub(super) fn summary_due(&self) -> Option<Instant> {
        self.log.due()
    }

    pub(super) fn log_due_summaries(&mut self, now: Instant) {
        self.log.log_due(now);
    }

    pub(super) fn log_all_summaries(&mut self) {
        self.log.log_all();
    }
}
