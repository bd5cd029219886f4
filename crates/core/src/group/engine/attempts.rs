//! Starts attempts, and passes their outcomes on.
//!
//! ```text
//!   intake ─► schedule ─► admitted ─► running ─► done ───► ledger, acknowledger
//!                 ▲          │           ├─► failed ─► parked, or a dead letter
//!                 │          │           └─► fenced, in doubt ─► the slice is claimed again
//!                 │          ├─► behind a parked event of its row ─► parked
//!                 └ deferred ┘   until everything of its slice was written
//! ```
//!
//! Owns the jobs from their intake to their outcome. The user's code runs in the attempts, and the [runner](Runner) contains its
//! panics.
//!
//! Guarantees:
//! - Jobs of one lane run one after the other: those of a row, or of a slice if the mode is transactional.
//! - A job whose row has parked events is parked behind them.
//! - A transactional attempt begins only after everything of its slice was written, so there is one writer to a slice at a time.
//! - A batch runs alone, and a job that has failed before runs outside of batches.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{LocalBoxFuture, pending};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tracing::Instrument;

use super::acknowledger::went_back;
use super::command::{Command, Commands, Ledger};
use super::intake::weight;
use super::outcomes::Outcomes;
use super::work::Work;
use crate::error::{Error, ErrorKind};
use crate::group::handle::Shared;
use crate::group::job::{Disposition, Finished, Job, LONGEST_DELAY, Lane, Origin, Outcome, Park};
use crate::group::options::DurableOptions;
use crate::group::requests::Requests;
use crate::group::runner::{Acknowledge, Assignment, ExecutionMode, Runner};
use crate::group::store::Settlement;
use crate::handler::{Failure, GivenUp, Schedule, Task};
use crate::panic::contained;
use crate::telemetry::attempt_span;

/// The outcomes of the jobs of one attempt, and its duration.
pub(in crate::group) type Ended = (Vec<Finished>, Duration);

pub(in crate::group) struct Attempts<R> {
    runner: R,
    options: Arc<DurableOptions>,
    schedule: Schedule<Job, Lane>,
    running: FuturesUnordered<LocalBoxFuture<'static, Ended>>,
    /// Jobs that begin when everything of their slice has been written.
    deferred: Vec<(Option<Lane>, Job)>,
    /// The server allows no more connections for attempts.
    lacks_connections: bool,
    /// Bytes of the jobs that are not finished.
    bytes: usize,
    /// A batch runs, or waits for running single events to end.
    is_batch_next: bool,
    /// Whether the database can store any character.
    is_utf8: bool,
    outcomes: Outcomes,
}

impl<R: Runner> Attempts<R> {
    pub(in crate::group) fn new(
        runner: R,
        options: Arc<DurableOptions>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            runner,
            schedule: Schedule::new(concurrency(R::MODE, &options)),
            running: FuturesUnordered::new(),
            deferred: Vec::new(),
            lacks_connections: false,
            bytes: 0,
            is_batch_next: false,
            is_utf8: true,
            outcomes: Outcomes::new(Arc::clone(&options.group), shared),
            options,
        }
    }

    fn drop_all(&mut self) {
        let running = std::mem::replace(&mut self.running, FuturesUnordered::new());
        // Destructors may panic.
        let _ = contained(|| drop(running));
        self.outcomes.left_to_others(self.schedule.len());
        self.schedule = Schedule::new(concurrency(R::MODE, &self.options));
        self.deferred.clear();
        self.bytes = 0;
    }

    // Beginning.

    /// Begins as many attempts as may run.
    fn start(&mut self, now: Instant, ledger: &mut Ledger, commands: &mut Commands) {
        self.resume_deferred(ledger);
        let in_batches = R::MODE == ExecutionMode::Batches;
        if self.running.is_empty() {
            self.is_batch_next = false;
        }
        if self.is_batch_next {
            return;
        }
        let mut together: Vec<Assignment> = Vec::new();
        while let Some((lane, job)) = self.schedule.start_next() {
            // Its batch has failed, perhaps because of this event. So it is retried alone.
            let is_alone = in_batches && job.attempts > 0;
            let has_room = match (in_batches, is_alone) {
                (false, _) => true,
                (true, true) => {
                    together.is_empty() && self.running.len() < self.options.concurrency
                }
                // Start no more single events once a batch waits for the running ones, or it would wait forever.
                (true, false) => {
                    self.is_batch_next = true;
                    self.running.is_empty() && together.len() < self.options.max_batch
                }
            };
            if !has_room {
                self.schedule.pause();
                self.schedule.resume(lane, job);
                break;
            }
            let Some(assignment) = self.admit(lane, job, now, ledger, commands) else {
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
        self.running.push(measured.instrument(span).boxed_local());
    }

    /// Decides whether a job begins now. If not, finishes, parks or defers it.
    fn admit(
        &mut self,
        lane: Option<Lane>,
        job: Job,
        now: Instant,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) -> Option<Assignment> {
        if !ledger.slices.may_begin(job.slice, job.epoch) {
            self.outcomes.left_to_others(1);
            self.finish(lane, &job);
            return None;
        }
        let row = job.row();
        if let Origin::Read(number) = job.origin
            && ledger.parked.has(&row)
        {
            self.finish(lane, &job);
            ledger.parked.park(&row, job.slice, job.row.id, now);
            ledger.slices.finish(job.slice, number);
            ledger.slices.park(Park {
                slice: job.slice,
                row: job.row,
                attempts: 0,
                error: None,
                disposition: Disposition::Behind,
            });
            commands.push(Command::Write);
            return None;
        }
        let mut acknowledgement = Acknowledge::Parked;
        if R::MODE == ExecutionMode::Transactional {
            // Only one transaction or acknowledgement writes to a slice at a time.
            if ledger.slices.has_to_write(job.slice) {
                self.schedule.pause();
                self.deferred.push((lane, job));
                commands.push(Command::WriteNow);
                return None;
            }
            if let Origin::Read(_) = job.origin {
                match ledger.slices.acknowledge_next(job.slice).transpose() {
                    Ok(Some(next)) => acknowledgement = Acknowledge::Cursor(next),
                    Ok(None) => {}
                    Err(error) => {
                        self.finish(lane, &job);
                        went_back(&self.options.group, job.slice, &error, ledger, commands);
                        return None;
                    }
                }
            }
        }
        let generation = ledger.slices.generation(job.slice, job.epoch)?;
        ledger.slices.begin(job.slice);
        Some(Assignment {
            job,
            acknowledgement,
            generation,
        })
    }

    fn resume_deferred(&mut self, ledger: &Ledger) {
        let schedule = &mut self.schedule;
        let resumed = self
            .deferred
            .extract_if(.., |(_, job)| !ledger.slices.has_to_write(job.slice));
        resumed.for_each(|(lane, job)| schedule.resume(lane, job));
    }

    // Ending.

    fn conclude_all(
        &mut self,
        (finished, elapsed): Ended,
        now: Instant,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) {
        self.outcomes.took(elapsed);
        let ended_at = SystemTime::now();
        for Finished { job, outcome } in finished {
            ledger.slices.end(job.slice, job.epoch);
            let lane = lane(R::MODE, &job);
            if let Outcome::NotBegun(error) = outcome {
                self.not_begun(lane, job, error, commands);
                continue;
            }
            self.lacks_connections = false;
            self.finish(Some(lane), &job);
            match ledger.slices.is_current(job.slice, job.epoch) {
                true => {
                    self.outcomes.measure(&job, &outcome, ended_at);
                    self.conclude(job, outcome, now, ledger, commands);
                }
                false => self.outcomes.left_to_others(1),
            }
            commands.push(Command::Write);
        }
    }

    /// Removes a job from the schedule. Its outcome may still have to be written.
    fn finish(&mut self, lane: Option<Lane>, job: &Job) {
        self.bytes = self.bytes.saturating_sub(weight(&job.row));
        self.schedule.finish(lane);
    }

    fn conclude(
        &mut self,
        job: Job,
        outcome: Outcome,
        now: Instant,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) {
        let Ledger { slices, parked } = ledger;
        match (outcome, job.origin) {
            (Outcome::Done, Origin::Read(number)) => {
                self.outcomes.handled();
                slices.finish(job.slice, number);
            }
            (Outcome::Done, Origin::Parked) => {
                self.outcomes.handled();
                parked.done(&job.row(), job.row.id, now);
                commands.push(Command::Settle(Settlement::of(&job, None)));
            }
            (Outcome::Committed, Origin::Read(number)) => {
                self.outcomes.handled();
                slices.committed(job.slice, number);
            }
            (Outcome::Committed, Origin::Parked) => {
                self.outcomes.handled();
                parked.done(&job.row(), job.row.id, now);
            }
            (Outcome::Failed(failure), _) => self.failed(job, failure, now, ledger, commands),
            (Outcome::Fenced, _) => {
                self.outcomes.fenced(job.slice);
                ledger.forget(job.slice);
                commands.push(Command::TickNow);
            }
            // Claiming the slice again shows, by the cursor in the database, whether the transaction was committed.
            (Outcome::NotBegun(error) | Outcome::InDoubt(error), _) => {
                self.outcomes.in_doubt(&job, &error);
                ledger.forget(job.slice);
                commands.push(Command::TickSoon);
            }
        }
    }

    /// Puts a job back whose attempt got no connection or transaction.
    fn not_begun(&mut self, lane: Lane, job: Job, error: Error, commands: &mut Commands) {
        self.schedule.pause();
        self.schedule.resume(Some(lane), job);
        if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) {
            self.lacks_connections = true;
            let error = Error::with_source(ErrorKind::Connect, "cannot start an attempt", error);
            commands.push(Command::Degrade(error));
        } else {
            // The next attempt would probably fail too. So pause attempts until the connections are open again.
            commands.push(Command::Disconnect(error));
        }
    }

    fn failed(
        &mut self,
        job: Job,
        failure: Failure,
        now: Instant,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) {
        let is_snooze = matches!(failure, Failure::Snoozed(_));
        let attempts = job.attempts.saturating_add(u32::from(!is_snooze));
        let next = self.options.retry.next(attempts, &failure);
        let next = next.map(|delay| delay.min(LONGEST_DELAY));
        self.outcomes.failed(&job, attempts, &failure, next, now);
        let error = (!is_snooze).then(|| match self.is_utf8 {
            true => failure.to_string(),
            // The database's encoding may lack other characters.
            false => failure.to_string().escape_default().to_string(),
        });
        let disposition = next.map_or(Disposition::Dead, Disposition::Due);
        let (row, id, due) = (job.row(), job.row.id, next.map(|delay| now + delay));
        let Ledger { slices, parked } = ledger;
        match job.origin {
            Origin::Read(number) => {
                slices.finish(job.slice, number);
                if let Some(due) = due {
                    parked.park(&row, job.slice, id, due);
                }
                slices.park(Park {
                    slice: job.slice,
                    row: job.row.clone(),
                    attempts,
                    error,
                    disposition,
                });
            }
            Origin::Parked => {
                match due {
                    Some(due) => parked.put_back(&row, id, due),
                    None => parked.done(&row, id, now),
                }
                let failed = Some((attempts, error, disposition));
                commands.push(Command::Settle(Settlement::of(&job, failed)));
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
}

impl<R: Runner> Work for Attempts<R> {
    const MODE: ExecutionMode = R::MODE;

    type Ended = Ended;

    fn connected(&mut self, requests: &Requests) {
        self.is_utf8 = requests.is_utf8;
        self.runner.set_history(&requests.history);
    }

    fn handle(&mut self, job: Job) {
        self.bytes += weight(&job.row);
        self.schedule.push(Some(lane(R::MODE, &job)), job);
    }

    fn begin(&mut self, now: Instant, ledger: &mut Ledger, commands: &mut Commands) {
        self.start(now, ledger, commands);
    }

    async fn next_ended(&mut self) -> Ended {
        match self.running.next().await {
            Some(ended) => ended,
            None => pending().await,
        }
    }

    fn ended(&mut self, ended: Ended, now: Instant, ledger: &mut Ledger, commands: &mut Commands) {
        self.conclude_all(ended, now, ledger, commands);
    }

    fn clear(&mut self) {
        self.drop_all();
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn are_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether the server allows no more connections for attempts.
    fn are_impaired(&self) -> bool {
        self.lacks_connections
    }

    fn outcomes(&mut self) -> &mut Outcomes {
        &mut self.outcomes
    }

    fn summary_due(&self) -> Option<Instant> {
        self.outcomes.summary_due()
    }
}

fn lane(mode: ExecutionMode, job: &Job) -> Lane {
    match mode {
        ExecutionMode::OneByOne | ExecutionMode::Batches => Lane::Row(job.row()),
        ExecutionMode::Transactional | ExecutionMode::Relayed => Lane::Slice(job.slice),
    }
}

fn concurrency(mode: ExecutionMode, options: &DurableOptions) -> usize {
    match mode {
        // A full batch, or the single events of a failed one.
        ExecutionMode::Batches => options.max_batch.max(options.concurrency),
        ExecutionMode::OneByOne | ExecutionMode::Transactional | ExecutionMode::Relayed => {
            options.concurrency
        }
    }
}
