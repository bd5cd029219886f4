//! Starts attempts, and records their outcomes.

use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;

use tokio_postgres::error::SqlState;

use super::{Engine, State, track, weight};
use crate::error::{Error, ErrorKind as Kind};
use crate::group::job::{Disposition, Finished, Job, LONGEST_DELAY, Origin, Outcome, Park, Track};
use crate::group::runner::{Acknowledge, Assignment, ExecutionMode, Runner};
use crate::group::store::Settlement;
use crate::handler::{Failure, GivenUp, Task};
use crate::telemetry::{FailureSummary, attempt_span};

impl<R: Runner> Engine<R> {
    pub(super) fn begin_attempts(&mut self) {
        if !self.may_begin(Instant::now()) {
            return;
        }
        // Transactional attempts need connections of their own, and an unreachable server accepts none.
        if R::MODE == ExecutionMode::Transactional && !matches!(self.state, State::Open(_)) {
            return;
        }
        let in_batches = R::MODE == ExecutionMode::Batches;
        if self.attempts.is_empty() {
            self.is_batch_next = false;
        }
        if self.is_batch_next {
            return;
        }
        let mut together: Vec<Assignment> = Vec::new();
        while let Some((track, job)) = self.schedule.start_next() {
            // Its batch has failed, perhaps because of this event. So it is retried alone.
            let is_alone = in_batches && job.attempts > 0;
            let has_room = match (in_batches, is_alone) {
                (false, _) => true,
                (true, true) => {
                    together.is_empty() && self.attempts.len() < self.options.concurrency
                }
                // Start no more single events once a batch waits for the running ones, or it would wait forever.
                (true, false) => {
                    self.is_batch_next = true;
                    self.attempts.is_empty() && together.len() < self.options.max_batch
                }
            };
            if !has_room {
                self.schedule.pause();
                self.schedule.resume(track, job);
                break;
            }
            let Some(assignment) = self.admit(track, job) else {
                continue;
            };
            match in_batches && !is_alone {
                true => together.push(assignment),
                false => self.attempt(vec![assignment]),
            }
        }
        if !together.is_empty() {
            self.attempt(together);
        }
    }

    fn attempt(&mut self, assignments: Vec<Assignment>) {
        let Some(Assignment { job, .. }) = assignments.first() else {
            return;
        };
        let event = match &job.task {
            Ok(Task::Event(event)) => Some(event),
            Ok(Task::Resync(_)) | Err(_) => None,
        };
        let attempt = job.attempts.saturating_add(1);
        let span = attempt_span(&self.options.group, event, Some(job.row.id), attempt);
        if R::MODE == ExecutionMode::Batches {
            span.record("events", assignments.len());
        }
        let began = Instant::now();
        let running = self.runner.attempt(assignments);
        let measured = running.map(move |finished| (finished, began.elapsed()));
        self.attempts.push(measured.instrument(span).boxed_local());
    }

    /// Decides whether a job begins now. If not, finishes, parks or defers it.
    fn admit(&mut self, track: Option<Track>, job: Job) -> Option<Assignment> {
        if !self.slices.may_begin(job.slice, job.epoch) {
            self.shared.report().left_to_others += 1;
            self.finish(track, &job);
            return None;
        }
        let row = job.row();
        if let Origin::Read(number) = job.origin
            && self.parked.has(&row)
        {
            self.finish(track, &job);
            self.parked
                .park(&row, job.slice, job.row.id, Instant::now());
            self.slices.finish(job.slice, number);
            self.slices.park(Park {
                slice: job.slice,
                row: job.row,
                attempts: 0,
                error: None,
                disposition: Disposition::Behind,
            });
            self.note_progress();
            return None;
        }
        let mut acknowledgement = Acknowledge::Parked;
        if R::MODE == ExecutionMode::Transactional {
            // Only one transaction or acknowledgement writes to a slice at a time.
            if self.slices.has_to_write(job.slice) {
                self.schedule.pause();
                self.deferred.push((track, job));
                if let Some(session) = self.session() {
                    session.acknowledge_now();
                }
                return None;
            }
            if let Origin::Read(_) = job.origin {
                match self.slices.acknowledge_next(job.slice).transpose() {
                    Ok(Some(next)) => acknowledgement = Acknowledge::Cursor(next),
                    Ok(None) => {}
                    Err(error) => {
                        self.finish(track, &job);
                        self.went_back(job.slice, &error);
                        return None;
                    }
                }
            }
        }
        let generation = self.slices.generation(job.slice, job.epoch)?;
        self.slices.begin(job.slice);
        Some(Assignment {
            job,
            acknowledgement,
            generation,
        })
    }

    pub(super) fn resume_deferred(&mut self) {
        let (waiting, ready) = std::mem::take(&mut self.deferred)
            .into_iter()
            .partition(|(_, job)| self.slices.has_to_write(job.slice));
        self.deferred = waiting;
        let ready: Vec<(Option<Track>, Job)> = ready;
        for (track, job) in ready {
            self.schedule.resume(track, job);
        }
    }

    pub(super) fn conclude(&mut self, Finished { job, outcome }: Finished, now: SystemTime) {
        let track = track(R::MODE, &job);
        self.slices.end(job.slice, job.epoch);
        if let Outcome::NotBegun(error) = outcome {
            return self.not_begun(track, job, &error);
        }
        self.too_many_connections = None;
        self.finish(Some(track), &job);
        match self.slices.is_current(job.slice, job.epoch) {
            true => {
                self.measure(&job, &outcome, now);
                self.note(job, outcome);
            }
            false => self.shared.report().left_to_others += 1,
        }
        self.note_progress();
    }

    /// Removes a job from the schedule. Its outcome may still have to be written.
    fn finish(&mut self, track: Option<Track>, job: &Job) {
        self.bytes = self.bytes.saturating_sub(weight(&job.row));
        self.schedule.finish(track);
    }

    fn measure(&self, job: &Job, outcome: &Outcome, now: SystemTime) {
        let metrics = &self.metrics.handler;
        if let Outcome::Done | Outcome::Committed = outcome {
            metrics.handled(job.row.sent_at, now);
        }
        metrics.attempted(match outcome {
            Outcome::Done | Outcome::Committed => "done",
            Outcome::Failed(failure) => failure.label(),
            Outcome::Fenced => "fenced",
            Outcome::NotBegun(_) | Outcome::InDoubt(_) => "in_doubt",
        });
    }

    fn note(&mut self, job: Job, outcome: Outcome) {
        let now = Instant::now();
        let row = job.row();
        match outcome {
            Outcome::Done => {
                self.shared.report().handled += 1;
                match job.origin {
                    Origin::Read(number) => self.slices.finish(job.slice, number),
                    Origin::Parked => {
                        self.parked.done(&row, job.row.id, now);
                        self.settle(&job, None);
                    }
                }
            }
            Outcome::Committed => {
                self.shared.report().handled += 1;
                match job.origin {
                    Origin::Read(number) => self.slices.committed(job.slice, number),
                    Origin::Parked => self.parked.done(&row, job.row.id, now),
                }
            }
            Outcome::Failed(failure) => self.failed(job, failure),
            Outcome::Fenced => {
                self.shared.report().fenced += 1;
                let (group, slice) = (&*self.options.group, job.slice);
                tracing::warn!(
                    group,
                    slice,
                    "an attempt was rolled back: another consumer has claimed the slice, or the group has moved"
                );
                self.forget(job.slice);
                if let Some(session) = self.session() {
                    session.tick_now();
                }
            }
            Outcome::NotBegun(error) | Outcome::InDoubt(error) => self.claim_again(&job, &error),
        }
    }

    /// Puts a job back whose attempt got no connection or transaction.
    fn not_begun(&mut self, track: Track, job: Job, error: &Error) {
        self.schedule.pause();
        self.schedule.resume(Some(track), job);
        if error.code() != Some(&SqlState::TOO_MANY_CONNECTIONS) {
            // The next attempt would probably fail too. So pause attempts until the session is open again.
            if let State::Open(_) = self.state {
                self.lose_session(error);
            }
        } else {
            let error = Error::with_source(Kind::Connect, "cannot start an attempt", error.clone());
            if self.shared.health.borrow().is_live() {
                let (group, hint) = (&*self.options.group, error.hint());
                tracing::warn!(group, error = %error.chain(), hint, "consumer no longer live");
            }
            self.degrade(&error);
            self.too_many_connections = Some(error);
        }
    }

    /// Claims the slice again after an attempt whose outcome is unknown. That shows, by the cursor in the database, whether the
    /// transaction was committed.
    fn claim_again(&mut self, job: &Job, error: &Error) {
        let (group, slice, id) = (&*self.options.group, job.slice, job.row.id);
        // Only an info: the session logs the lost connection as a warning, once.
        tracing::info!(group, slice, id, error = %error.chain(), "the outcome of a COMMIT is unknown; claiming the slice again");
        self.forget(job.slice);
        if let Some(session) = self.session() {
            session.tick_soon();
        }
    }

    fn failed(&mut self, job: Job, failure: Failure) {
        let is_snooze = matches!(failure, Failure::Snoozed(_));
        let attempts = job.attempts.saturating_add(u32::from(!is_snooze));
        let next = self.options.retry.next(attempts, &failure);
        let next = next.map(|delay| delay.min(LONGEST_DELAY));
        self.count(&failure, next.is_some());
        let error = (!is_snooze).then(|| match self.is_utf8 {
            true => failure.to_string(),
            // The database's encoding may lack other characters.
            false => failure.to_string().escape_default().to_string(),
        });
        let disposition = next.map_or(Disposition::Dead, Disposition::Due);
        self.log(&job, attempts, &failure, next);
        if next.is_none() {
            self.metrics.handler.dead_letter();
        }
        let (row, now) = (job.row(), Instant::now());
        let due = next.map(|delay| now + delay);
        match job.origin {
            Origin::Read(number) => {
                self.slices.finish(job.slice, number);
                if let Some(due) = due {
                    self.parked.park(&row, job.slice, job.row.id, due);
                }
                self.slices.park(Park {
                    slice: job.slice,
                    row: job.row.clone(),
                    attempts,
                    error,
                    disposition,
                });
            }
            Origin::Parked => {
                match due {
                    Some(due) => self.parked.put_back(&row, job.row.id, due),
                    None => self.parked.done(&row, job.row.id, now),
                }
                self.settle(&job, Some((attempts, error, disposition)));
            }
        }
        if next.is_none()
            && let Ok(task) = job.task
        {
            self.runner.give_up(&GivenUp {
                task,
                attempts,
                failure,
            });
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

    fn log(&mut self, job: &Job, attempt: u32, failure: &Failure, next: Option<Duration>) {
        if !self
            .failure_log
            .is_logged(failure, next.is_none(), Instant::now())
        {
            return;
        }
        let (group, id, reason) = (&*self.options.group, job.row.id, failure.label());
        let event = job
            .task
            .as_ref()
            .map_or_else(|_| "?".to_owned(), ToString::to_string);
        match (next, failure) {
            (Some(delay), Failure::Snoozed(_)) => {
                tracing::debug!(group, id, %event, ?delay, "snoozed");
            }
            (Some(delay), _) => {
                tracing::warn!(group, id, %event, attempt, error = %failure, reason, ?delay,
                    "attempt failed, trying again");
            }
            (None, _) => {
                tracing::error!(group, id, %event, attempt, error = %failure, reason, count = 1,
                    intentional = false, "dead letter");
            }
        }
    }

    /// Logs the number of failed attempts that were not logged one by one.
    pub(super) fn log_summaries(&self, summaries: Vec<FailureSummary>) {
        let group = &*self.options.group;
        for FailureSummary {
            reason,
            count,
            is_given_up,
        } in summaries
        {
            match is_given_up {
                false => tracing::warn!(group, count, reason, "more attempts failed, trying again"),
                true => tracing::error!(
                    group,
                    count,
                    reason,
                    intentional = false,
                    "more dead letters"
                ),
            }
        }
    }

    pub(super) fn settle(&mut self, job: &Job, failed: Option<(u32, Option<String>, Disposition)>) {
        self.settled.insert(job.row.id);
        self.settlements.push(Settlement {
            slice: job.slice,
            epoch: job.epoch,
            // Set when the settlement is written.
            generation: 0,
            id: job.row.id,
            failed,
        });
    }
}
