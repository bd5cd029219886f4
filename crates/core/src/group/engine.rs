//! The loop of a node. It owns the node's state and waits for the next input.
//!
//! ```text
//!                 ┌────────────── session, as long as the connection lasts ──────────────┐
//!                 │  tick: lease, slices    read: pages    acknowledge    fetch parked    │
//!                 └─────┬──────────────────────┬───────────────▲───────────────┬──────────┘
//!                       ▼                      ▼               │               ▼
//!                    Slices ◄──────────── Schedule ─► attempts ┴─► Parked ─► Schedule
//! ```
//!
//! The loop is one task, and waits only in the `select` of [`Engine::next_input`]. Events that were taken in survive a lost
//! connection, because epochs fence their later acknowledgement. Slices with an unanswered write do not survive it: the node
//! claims them again, so that the server refuses the write if it comes to it later.

mod acknowledging;
mod attempts;
mod intake;
mod membership;

use std::collections::{BTreeMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{LocalBoxFuture, pending};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until, timeout};

use self::acknowledging::HeldUp;
use super::handle::Shared;
use super::job::{Finished, Job, Track};
use super::leases::Leases;
use super::options::DurableOptions;
use super::parked::Parked;
use super::runner::{ExecutionMode, Runner};
use super::session::{Session, SessionUpdate};
use super::slices::Slices;
use super::store::{self, Settlement};
use crate::connect::ConnectConfig;
use crate::error::{Error, ErrorKind as Kind, Result};
use crate::filter::Filter;
use crate::handler::Schedule;
use crate::outbox::{History, Recorded};
use crate::panic::{contained, message};
use crate::telemetry::{
    CONSUMERS, CONSUMERS_LIVE, FailureLog, GROUP_HELD_UP_SLICES, GROUP_PARKED_ROWS, GROUP_SLICES,
    HandlerMetrics, Level,
};

/// The most events that are taken in and not finished. At most so many are handled again after a crash.
const MOST_IN_FLIGHT: usize = 4_096;
/// While those events take so many bytes, nothing more is read or fetched. One page and 100 parked events, of about 16 MiB each,
/// may exceed it.
const MOST_BYTES_IN_FLIGHT: usize = 64 << 20;
/// The most bytes that a single event counts as, so that a very large event does not block other events.
const MOST_BYTES_OF_ONE: usize = MOST_BYTES_IN_FLIGHT / 2;
/// While so many rows have parked events, nothing new is read.
const MOST_PARKED_ROWS: usize = 100_000;
/// How long connecting may take, and leaving the group at the end.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

pub(super) struct Engine<R> {
    runner: R,
    config: ConnectConfig,
    options: Rc<DurableOptions>,
    filter: Filter,
    shared: Arc<Shared>,
    slices: Slices,
    parked: Parked,
    schedule: Schedule<Job, Track>,
    attempts: FuturesUnordered<LocalBoxFuture<'static, (Vec<Finished>, Duration)>>,
    /// Jobs that begin when everything of their slice has been written.
    deferred: Vec<(Option<Track>, Job)>,
    /// The error of an attempt that got no connection, while the server allows no more connections.
    too_many_connections: Option<Error>,
    settlements: Vec<Settlement>,
    /// Slices whose progress the database refuses to store.
    held_up: BTreeMap<i32, HeldUp>,
    /// Bytes of the jobs that are not finished.
    bytes: usize,
    /// A batch runs, or waits for running single events to end.
    is_batch_next: bool,
    /// Parked events that were settled while the last tick ran, or whose settlement was unwritten when it began. The tick may have
    /// read an outdated state of them.
    settled: HashSet<i64>,
    node: i64,
    has_joined: bool,
    leases: Leases,
    /// Until then, no other node can claim the slices of this node.
    lease_until: Instant,
    is_paused: bool,
    revision: Option<i64>,
    state: State,
    /// Whether the database can store any character.
    is_utf8: bool,
    /// Whether it was logged that too many rows have parked events.
    has_warned: bool,
    failure_log: FailureLog,
    /// The history of the previous session, or of this one.
    history: Option<History>,
    /// Failed attempts to connect since the last session.
    failures: u32,
    stop_at: Option<Instant>,
    /// The number of parked events of slices that were given back since the stop.
    parked_at_stop: usize,
    metrics: Metrics,
}

struct Metrics {
    handler: HandlerMetrics,
    consumers: Level,
    live: Level,
    slices: Level,
    parked_rows: Level,
    held_up: Level,
}

impl Metrics {
    fn new(group: &str) -> Self {
        let level = |name| Level::new(name, &[("group", group)]);
        Self {
            handler: HandlerMetrics::new(group),
            consumers: level(CONSUMERS),
            live: level(CONSUMERS_LIVE),
            slices: level(GROUP_SLICES),
            parked_rows: level(GROUP_PARKED_ROWS),
            held_up: level(GROUP_HELD_UP_SLICES),
        }
    }
}

type Opening = LocalBoxFuture<'static, Result<Session>>;

enum State {
    Waiting(Instant),
    Opening(Opening),
    Open(Box<Session>),
}

enum Input {
    Finished(Vec<Finished>, Duration),
    Opened(Result<Box<Session>>),
    Session(SessionUpdate),
    Alarm,
    Stop(Option<Instant>),
}

impl<R: Runner> Engine<R> {
    pub(super) fn new(
        config: ConnectConfig,
        options: Rc<DurableOptions>,
        runner: R,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            filter: R::narrow(options.filter.clone()),
            runner,
            config,
            shared,
            slices: Slices::default(),
            parked: Parked::default(),
            schedule: Schedule::new(concurrency(R::MODE, &options)),
            attempts: FuturesUnordered::new(),
            deferred: Vec::new(),
            too_many_connections: None,
            settlements: Vec::new(),
            held_up: BTreeMap::new(),
            bytes: 0,
            is_batch_next: false,
            settled: HashSet::new(),
            node: new_node(),
            has_joined: false,
            leases: Leases::default(),
            lease_until: Instant::now(),
            is_paused: false,
            revision: None,
            state: State::Waiting(Instant::now()),
            is_utf8: true,
            has_warned: false,
            failure_log: FailureLog::default(),
            history: None,
            failures: 0,
            stop_at: None,
            parked_at_stop: 0,
            metrics: Metrics::new(&options.group),
            options,
        }
    }

    pub(super) async fn run(mut self) {
        // Panics of user code are contained elsewhere, so a panic here is a bug of the engine.
        while let Err(panic) = AssertUnwindSafe(self.work()).catch_unwind().await {
            let message = message(panic);
            let group = Arc::clone(&self.options.group);
            tracing::error!(%group, message, "consumer panicked and restarts");
            self.restart(&message);
        }
        self.end().await;
    }

    async fn work(&mut self) {
        let mut stop = self.shared.stop.subscribe();
        while !self.has_ended() {
            self.advance();
            self.publish();
            let input = self.next_input(&mut stop).await;
            self.on_input(input);
        }
    }

    /// Restarts as a new node, as after the end of the process. The slices of the old node are free when its lease expires.
    fn restart(&mut self, message: &str) {
        self.drop_work();
        (self.node, self.has_joined) = (new_node(), false);
        let error = Error::new(Kind::Panic, format!("the consumer panicked: {message}"));
        self.lose_session(&error);
    }

    /// Drops all jobs, running attempts and slices.
    fn drop_work(&mut self) {
        let attempts = std::mem::replace(&mut self.attempts, FuturesUnordered::new());
        // Destructors may panic.
        let _ = contained(|| drop(attempts));
        self.shared.report().left_to_others += self.schedule.len() as u64;
        self.schedule = Schedule::new(concurrency(R::MODE, &self.options));
        self.deferred.clear();
        self.settlements.clear();
        self.held_up.clear();
        self.bytes = 0;
        (self.slices, self.parked) = (Slices::default(), Parked::default());
    }

    /// Waits for the next input. Cancel-safe.
    async fn next_input(
        &mut self,
        stop: &mut tokio::sync::watch::Receiver<Option<Instant>>,
    ) -> Input {
        let alarm = self.alarm();
        let state = &mut self.state;
        let link = async {
            match state {
                State::Waiting(_) => pending().await,
                State::Opening(opening) => Input::Opened(opening.await.map(Box::new)),
                State::Open(session) => Input::Session(session.next_update().await),
            }
        };
        let attempts = &mut self.attempts;
        let finished = async {
            match attempts.next().await {
                Some((finished, elapsed)) => Input::Finished(finished, elapsed),
                None => pending().await,
            }
        };
        tokio::select! {
            input = finished => input,
            input = link => input,
            () = sleep_until(alarm) => Input::Alarm,
            // The sender is in `shared`.
            _ = stop.changed() => Input::Stop(*stop.borrow_and_update()),
        }
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Finished(finished, elapsed) => {
                self.metrics.handler.took(elapsed);
                let now = SystemTime::now();
                finished.into_iter().for_each(|one| self.conclude(one, now));
            }
            Input::Opened(Ok(session)) => self.opened(session),
            Input::Opened(Err(error)) => self.lose_session(&error),
            Input::Session(update) => self.on_update(update),
            Input::Alarm => {}
            Input::Stop(at) => {
                self.stop_at = at;
                self.slices.release(usize::MAX);
                if let Some(session) = self.session() {
                    session.acknowledge_now();
                }
            }
        }
    }

    fn on_update(&mut self, update: SessionUpdate) {
        match update {
            SessionUpdate::Ended(error) => self.lose_session(&error),
            SessionUpdate::Page(Ok(page)) => self.take_in(*page),
            SessionUpdate::Ticked(Ok(tick)) => self.ticked(tick),
            SessionUpdate::Acknowledged(acknowledged) => self.acknowledged(acknowledged),
            SessionUpdate::Fetched(Ok(fetched)) => self.fetched(fetched),
            SessionUpdate::Page(Err(error))
            | SessionUpdate::Ticked(Err(error))
            | SessionUpdate::Fetched(Err(error)) => {
                self.lose_session(&error);
            }
            SessionUpdate::Internal => {}
        }
    }

    /// Starts everything that may start now.
    fn advance(&mut self) {
        self.begin_attempts();
        let now = Instant::now();
        self.try_held_up(now);
        self.connect(now);
        self.tick(now);
        self.fetch(now);
        self.read(now);
        self.acknowledge(now);
    }

    /// Returns when to [advance](Self::advance) next if no input arrives.
    fn alarm(&self) -> Instant {
        let now = Instant::now();
        let far = now + Duration::from_secs(3_600);
        let link = match &self.state {
            State::Waiting(until) => *until,
            State::Opening(_) => far,
            State::Open(session) => {
                // Otherwise the answer to the running request causes the next look at what is due.
                let may_fetch = session.may_fetch()
                    && !session.is_acknowledging()
                    && self.settlements.is_empty();
                let due = self.parked.next_due();
                let due = due.filter(|_| may_fetch && self.may_fetch(now));
                let held_up = self.held_up.values().filter_map(|held_up| held_up.until);
                let held_up = held_up.min().unwrap_or(far);
                let alarm = session.alarm(self.may_read()).min(held_up);
                alarm.min(due.unwrap_or(far))
            }
        };
        let summary = self.failure_log.due().unwrap_or(far);
        link.min(self.stop_at.unwrap_or(far)).min(summary).min(far)
    }

    fn may_read(&self) -> bool {
        let (held, _) = self.slices.held();
        self.stop_at.is_none()
            && !self.is_paused
            && self.slices.kept() > 0
            && self.slices.pending() - held < MOST_IN_FLIGHT
            && self.has_room()
            && !self.has_many_parked()
    }

    fn has_many_parked(&self) -> bool {
        let is_held_up = |slice| self.held_up.contains_key(&slice);
        self.parked.rows() >= MOST_PARKED_ROWS
            && self.parked.rows_without(is_held_up) >= MOST_PARKED_ROWS
    }

    fn may_fetch(&self, now: Instant) -> bool {
        self.may_begin(now) && self.has_room()
    }

    /// Whether the byte limits admit more events. Events of held-up slices do not count, so that they do not block other slices.
    fn has_room(&self) -> bool {
        let (_, held) = self.slices.held();
        self.bytes.saturating_sub(held) + self.slices.bytes() < MOST_BYTES_IN_FLIGHT
    }

    fn may_begin(&self, now: Instant) -> bool {
        self.stop_at.is_none() && !self.is_paused && now < self.lease_until
    }

    /// Returns the session if there is one.
    fn session(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Open(session) => Some(session),
            State::Waiting(_) | State::Opening(_) => None,
        }
    }

    fn note_progress(&mut self) {
        if let Some(session) = self.session() {
            session.note_progress();
        }
    }

    fn has_ended(&self) -> bool {
        let Some(at) = self.stop_at else {
            return false;
        };
        let is_idle = match &self.state {
            State::Open(session) => !session.is_acknowledging() && self.settlements.is_empty(),
            State::Waiting(_) | State::Opening(_) => true,
        };
        // A held-up slice cannot be given back. It is free when this node leaves the group.
        let is_done = self.slices.len() == self.slices.refused();
        at <= Instant::now() || (self.attempts.is_empty() && is_idle && is_done)
    }

    async fn end(mut self) {
        let summaries = self.failure_log.take();
        self.log_summaries(summaries);
        self.parked_at_stop += self.parked.events();
        self.drop_work();
        if let State::Open(session) = &self.state {
            // Also if this node does not know yet that it has joined.
            let leaving = async {
                let left = store::leave(session.client(), &self.options.group, self.node).await;
                session.notify_others().await;
                left
            };
            if !matches!(timeout(CONNECT, leaving).await, Ok(Ok(()))) {
                let group = &*self.options.group;
                tracing::warn!(
                    group,
                    "cannot leave the group; its slices stay assigned to this consumer until the lease expires"
                );
            }
        }
        self.publish();
    }

    fn publish(&mut self) {
        let is_full = self.has_many_parked();
        if is_full && !self.has_warned {
            let group = &*self.options.group;
            tracing::error!(
                group,
                rows = MOST_PARKED_ROWS,
                "reading no new events: too many rows have parked events"
            );
        }
        self.has_warned = is_full;
        let summaries = self.failure_log.take_due(Instant::now());
        self.log_summaries(summaries);
        self.metrics.consumers.set(1);
        let is_live = self.shared.health.borrow().is_live();
        self.metrics.live.set(usize::from(is_live));
        self.metrics.handler.unfinished(self.slices.pending());
        self.metrics.slices.set(self.slices.len());
        self.metrics.parked_rows.set(self.parked.rows());
        self.metrics.held_up.set(self.held_up.len());
        let mut report = self.shared.report();
        report.parked_rows = self.parked.rows();
        report.parked = (self.parked.events() + self.parked_at_stop) as u64;
        report.slices = self.slices.len();
        report.held_up.clear();
        let held_up = self.held_up.iter();
        report
            .held_up
            .extend(held_up.map(|(slice, held_up)| (*slice, held_up.cause.chain())));
        report.in_flight = self.slices.pending();
    }
}

/// The bytes that an event adds to those in flight.
fn weight(row: &Recorded) -> usize {
    row.bytes().min(MOST_BYTES_OF_ONE)
}

fn track(mode: ExecutionMode, job: &Job) -> Track {
    match mode {
        ExecutionMode::OneByOne | ExecutionMode::Batches => Track::Row(job.row()),
        ExecutionMode::Transactional => Track::Slice(job.slice),
    }
}

fn concurrency(mode: ExecutionMode, options: &DurableOptions) -> usize {
    match mode {
        // A full batch, or the single events of a failed one.
        ExecutionMode::Batches => options.max_batch.max(options.concurrency),
        ExecutionMode::OneByOne | ExecutionMode::Transactional => options.concurrency,
    }
}

/// Returns a random id. Ids of nodes are never reused.
fn new_node() -> i64 {
    fastrand::i64(1..)
}
