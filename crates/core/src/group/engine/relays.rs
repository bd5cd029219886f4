//! Stores the events of slices at a destination, in batches.
//!
//! ```text
//!   slice: opening ── tip read ──► idle ── batch ──► storing ── stored ──► idle
//!             ▲ ▲                                       │ │ └── refused ──► waiting ── pause ──► idle
//!             │ └── failed: pause                       │ └── fenced, or unknown ──► forgotten, claimed again
//!             └──────────── claimed ◄───────────────────┘
//! ```
//!
//! Owns the queue of each slice, the last message that it expects at the destination, and the batches in flight. Several slices
//! have a batch in flight at a time, each of them one.
//!
//! Guarantees:
//! - The events of a slice are stored in the order in which they were read. Nothing is stored before the slice was
//!   [opened](crate::group::opening).
//! - An event is finished when it is stored. If the outcome of a batch is unknown, or another relay has fenced it, the node forgets
//!   the slice, claims it again, and reads the tip.
//! - A full or unreachable destination uses up no attempts: events wait, and the intake stops at its limits.

mod bytes;
mod opening;
mod problem;
mod published;
mod slice;
mod watch;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{LocalBoxFuture, pending};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;

use self::bytes::Bytes;
use self::problem::Problem;
pub(in crate::group) use self::slice::Ended;
use self::slice::{Relay, State, dead_letter, last_read};
use self::watch::Watch;
use super::command::{Command, Commands, Ledger};
use super::outcomes::Outcomes;
use super::work::Work;
use crate::error::Error;
use crate::group::connections::Link;
use crate::group::destination::{Condition, Destination, Known, Mark, Outcome};
use crate::group::handle::Shared;
use crate::group::job::{self, Job, Origin};
use crate::group::options::DurableOptions;
use crate::group::requests::Requests;
use crate::group::runner::ExecutionMode;
use crate::group::store::Settlement;
use crate::outbox::History;
use crate::panic::contained;

/// How often the state of the slices is passed to the destination.
const OBSERVE: Duration = Duration::from_millis(100);

pub(in crate::group) struct Relays<D> {
    destination: Rc<D>,
    options: Arc<DurableOptions>,
    shared: Arc<Shared>,
    /// The connections, while they are open.
    link: Option<(Arc<Link>, History)>,
    slices: BTreeMap<i32, Relay>,
    /// The slice whose batch was sent last.
    last_begun: i32,
    running: FuturesUnordered<LocalBoxFuture<'static, Ended>>,
    /// The bytes of unfinished jobs.
    bytes: Bytes,
    problem: Problem,
    observed_at: Option<Instant>,
    outcomes: Outcomes,
    watch: Watch,
}

impl<D: Destination> Relays<D> {
    pub(in crate::group) fn new(
        destination: D,
        options: Arc<DurableOptions>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            destination: Rc::new(destination),
            link: None,
            slices: BTreeMap::new(),
            last_begun: 0,
            running: FuturesUnordered::new(),
            bytes: Bytes::default(),
            problem: Problem::default(),
            observed_at: None,
            outcomes: Outcomes::new(Arc::clone(&options.group), Arc::clone(&shared)),
            watch: Watch::default(),
            options,
            shared,
        }
    }

    /// Drops slices that the node has lost.
    fn forget_lost(&mut self, ledger: &Ledger) {
        let relays = self.slices.iter();
        let lost = relays.filter(|(slice, relay)| !ledger.slices.is_current(**slice, relay.epoch));
        let lost: Vec<i32> = lost.map(|(slice, _)| *slice).collect();
        let lost: Vec<Relay> = lost
            .iter()
            .filter_map(|slice| self.slices.remove(slice))
            .collect();
        for relay in lost {
            self.bytes.remove(relay.queue.iter().chain(&relay.parked));
            self.outcomes
                .left_to_others(relay.queue.len() + relay.parked.len());
        }
    }

    fn store(&mut self, now: Instant, ledger: &mut Ledger, commands: &mut Commands) {
        let Some((_, history)) = &self.link else {
            return;
        };
        let history = history.to_text();
        let group = (Arc::clone(&self.options.group), ledger.slices.of());
        let mut storing = 0;
        for relay in self.slices.values_mut() {
            match relay.state {
                State::Storing => storing += 1,
                State::Waiting(until) if until <= now => relay.state = State::Idle,
                _ => {}
            }
        }
        let max_batch = self.destination.max_batch();
        // Take the slices in turn, so that none waits for ever, and batches grow while a slice waits.
        let after = (Bound::Excluded(self.last_begun), Bound::Unbounded);
        let turn = self
            .slices
            .range(after)
            .chain(self.slices.range(..=self.last_begun));
        let turn: Vec<i32> = turn.map(|(slice, _)| *slice).collect();
        for slice in turn {
            if storing >= self.options.concurrency {
                break;
            }
            let Some(relay) = self.slices.get_mut(&slice) else {
                continue;
            };
            if relay.state != State::Idle
                || !ledger.slices.may_begin(slice, relay.epoch)
                || relay.awaits_resync(slice, ledger)
            {
                continue;
            }
            let (jobs, skipped) = relay.next_jobs(max_batch, ledger);
            self.bytes.remove(&skipped);
            for job in skipped {
                if let Origin::Read(number) = job.origin {
                    ledger.slices.finish(slice, number);
                }
                commands.push(Command::Write);
            }
            let announcement = relay.announcement.take();
            if jobs.is_empty() && announcement.is_none() {
                continue;
            }
            let Some(cursor) = ledger.slices.cursor_after(slice, last_read(&jobs)) else {
                continue;
            };
            let mark = Mark {
                group: group.clone(),
                cursor: cursor.to_string(),
                history: history.clone(),
                listed: relay.listed(),
            };
            let batch = relay.batch(slice, &jobs, announcement, mark);
            relay.state = State::Storing;
            self.last_begun = slice;
            storing += 1;
            ledger.slices.begin(slice);
            let (epoch, began) = (relay.epoch, Instant::now());
            let storing = self
                .destination
                .store(batch)
                .map(move |outcome| Ended::Stored {
                    slice,
                    epoch,
                    jobs,
                    announcement,
                    outcome,
                    took: began.elapsed(),
                });
            self.running.push(storing.boxed_local());
        }
    }

    fn stored(
        &mut self,
        (slice, epoch): (i32, i64),
        jobs: Vec<Job>,
        sequence: u64,
        ledger: &mut Ledger,
        commands: &mut Commands,
    ) {
        let ended_at = SystemTime::now();
        let Some(relay) = self.slices.get_mut(&slice) else {
            return;
        };
        (relay.state, relay.sequence, relay.failures) = (State::Idle, sequence, 0);
        relay.is_announced = true;
        self.problem.stored(slice);
        let known = Known::now(Arc::clone(&relay.incarnation), sequence, relay.listed());
        ledger.slices.stored(slice, epoch, known.to_text());
        self.bytes.remove(&jobs);
        for job in jobs {
            self.outcomes.measure(&job, &job::Outcome::Done, ended_at);
            self.outcomes.handled();
            match job.origin {
                Origin::Read(number) => {
                    ledger.slices.finish(slice, number);
                    if let Err(error) = &job.task {
                        ledger.slices.park(dead_letter(&job, error));
                    }
                }
                Origin::Parked => {
                    ledger.parked.done(&job.row(), job.row.id, Instant::now());
                    commands.push(Command::Settle(Settlement::of(&job, None)));
                }
            }
        }
        self.recover(ledger, Instant::now());
        commands.push(Command::Write);
    }

    /// Returns the jobs of a refused batch to the queues.
    fn refused(
        &mut self,
        slice: i32,
        jobs: Vec<Job>,
        announcement: Option<&'static str>,
        error: Error,
        now: Instant,
        commands: &mut Commands,
    ) {
        if let Some(relay) = self.slices.get_mut(&slice) {
            relay.announcement = announcement;
            for job in jobs.into_iter().rev() {
                match job.origin {
                    Origin::Read(_) => relay.queue.push_front(job),
                    Origin::Parked => relay.parked.push_front(job),
                }
            }
            relay.state = State::Waiting(now + relay.pause());
        }
        self.fail(error, commands);
    }
}

impl<D: Destination> Work for Relays<D> {
    const MODE: ExecutionMode = ExecutionMode::Relayed;

    type Ended = Ended;

    fn connected(&mut self, requests: &Requests) {
        self.link = Some((requests.link(), requests.history.clone()));
    }

    fn disconnected(&mut self) {
        self.link = None;
    }

    fn handle(&mut self, job: Job) {
        match self
            .slices
            .get_mut(&job.slice)
            .filter(|relay| relay.epoch == job.epoch)
        {
            Some(relay) => {
                self.bytes.add(&job);
                match job.origin {
                    Origin::Read(_) => relay.queue.push_back(job),
                    Origin::Parked => relay.parked.push_back(job),
                }
            }
            // A parked event of a slice that is not opened. It is read again after the next claim of the slice. A node that has
            // forgotten the slice claims it again.
            None => self.outcomes.left_to_others(1),
        }
    }

    fn begin(&mut self, now: Instant, ledger: &mut Ledger, commands: &mut Commands) {
        self.forget_lost(ledger);
        self.open(now, ledger);
        self.store(now, ledger, commands);
    }

    fn watch(&mut self, now: Instant) {
        if self.watch_at(now).is_some_and(|next| next <= now) {
            self.look(now);
        }
    }

    fn watch_at(&self, now: Instant) -> Option<Instant> {
        let next = self.watch.next(now);
        next.filter(|_| self.link.is_some())
    }

    async fn next_ended(&mut self) -> Ended {
        match self.running.next().await {
            Some(ended) => ended,
            None => pending().await,
        }
    }

    fn ended(&mut self, ended: Ended, now: Instant, ledger: &mut Ledger, commands: &mut Commands) {
        let (slice, epoch, jobs, announcement, outcome, took) = match ended {
            Ended::Opened {
                slice,
                epoch,
                opened,
            } => {
                self.opened((slice, epoch), opened, now, ledger, commands);
                return;
            }
            Ended::Watched { expected, found } => {
                self.watched(&expected, found, now, ledger, commands);
                return;
            }
            Ended::Stored {
                slice,
                epoch,
                jobs,
                announcement,
                outcome,
                took,
            } => (slice, epoch, jobs, announcement, outcome, took),
        };
        self.outcomes.took(took);
        ledger.slices.end(slice, epoch);
        if !ledger.slices.is_current(slice, epoch) {
            self.drop_jobs(&jobs);
            return;
        }
        match outcome {
            Outcome::Stored(sequence) => {
                self.stored((slice, epoch), jobs, sequence, ledger, commands);
            }
            Outcome::Refused(error) => {
                self.refused(slice, jobs, announcement, error, now, commands);
            }
            Outcome::Fenced => {
                self.drop_jobs(&jobs);
                self.outcomes.fenced(slice);
                ledger.forget(slice);
                commands.push(Command::TickSoon);
            }
            Outcome::Unknown(error) => {
                self.drop_jobs(&jobs);
                let group = &*self.options.group;
                tracing::info!(group, slice, error = %error.chain(), "the outcome of a batch is unknown; claiming the slice again");
                ledger.forget(slice);
                let expected = self.slices.get(&slice).map_or(0, |relay| relay.sequence);
                self.problem.unanswered(slice, expected, now);
                self.fail(error, commands);
                commands.push(Command::TickSoon);
            }
        }
    }

    fn clear(&mut self) {
        let running = std::mem::replace(&mut self.running, FuturesUnordered::new());
        let _ = contained(|| drop(running));
        let jobs = self
            .slices
            .values()
            .map(|relay| relay.queue.len() + relay.parked.len());
        self.outcomes.left_to_others(jobs.sum());
        self.slices.clear();
        self.watch = Watch::default();
        self.bytes = Bytes::default();
    }

    fn bytes(&self) -> usize {
        self.bytes.all
    }

    fn bytes_of_parked(&self) -> usize {
        self.bytes.parked
    }

    fn are_idle(&self) -> bool {
        !self
            .slices
            .values()
            .any(|relay| relay.state == State::Storing)
    }

    fn are_impaired(&self) -> bool {
        self.problem.error().is_some() || !self.watch.has_read
    }

    fn destination(&self) -> Option<Condition> {
        let storable = |error: &Error| error.chain().replace('\0', " ");
        Some(Condition {
            problem: self.problem.error().map(storable),
            usage: self.watch.usage,
        })
    }

    fn alarm(&self, _: Instant) -> Option<Instant> {
        let times = self.slices.values().filter_map(|relay| match relay.state {
            State::Unopened(at) | State::Waiting(at) => Some(at),
            _ => None,
        });
        times.min().filter(|_| self.link.is_some())
    }

    fn publish(&mut self, ledger: &Ledger) {
        self.shared.report().destination_error = self.problem.error().map(Error::chain);
        let now = Instant::now();
        if self.observed_at.is_some_and(|at| now < at + OBSERVE) {
            return;
        }
        self.observed_at = Some(now);
        let states = self.states(ledger);
        self.destination.observe(states);
    }

    fn outcomes(&mut self) -> &mut Outcomes {
        &mut self.outcomes
    }

    fn summary_due(&self) -> Option<Instant> {
        self.outcomes.summary_due()
    }
}

impl<D> Relays<D> {
    fn drop_jobs(&mut self, jobs: &[Job]) {
        self.bytes.remove(jobs);
        self.outcomes.left_to_others(jobs.len());
    }
}
