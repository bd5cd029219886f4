//! The loop of a node, which owns everything and waits for what happens next.
//!
//! ```text
//!                 ┌────────────── session, as long as the connection lasts ──────────────┐
//!                 │  tick: lease, slices    read: pages    acknowledge    fetch parked    │
//!                 └─────┬──────────────────────┬───────────────▲───────────────┬──────────┘
//!                       ▼                      ▼               │               ▼
//!                    Slices ◄──────────── Schedule ─► attempts ┴─► Parked ─► Schedule
//! ```
//!
//! One task; nothing in it waits for anything but in the one `select`. What was taken in survives a lost connection:
//! acknowledging it later is fenced by the epochs. But for slices of which something was being written: those are claimed
//! anew, so that what the server comes to later is refused.

mod acknowledging;
mod attempts;
mod intake;
mod standing;

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
use super::options::Durable;
use super::parked::Parked;
use super::runner::{Manner, Runner};
use super::session::{News, Session};
use super::slices::Slices;
use super::store::{self, Settlement};
use crate::connect::ConnectConfig;
use crate::error::{Error, Kind, Result};
use crate::filter::Filter;
use crate::handler::Schedule;
use crate::outbox::{History, Recorded};
use crate::panic::{contained, message};
use crate::telemetry::{
    CONSUMERS, CONSUMERS_LIVE, FailureLog, GROUP_HELD_UP_SLICES, GROUP_PARKED_ROWS, GROUP_SLICES,
    HandlerMetrics, Level,
};

/// How many events are taken in and not finished at most; so much is handled again after a crash at most.
const MOST_IN_FLIGHT: usize = 4_096;
/// While those take so many bytes, nothing more is read or fetched; a page and 100 parked events, or 16 MiB of each, may
/// come on top of it.
const MOST_BYTES_IN_FLIGHT: usize = 64 << 20;
/// The most bytes that a single event counts as, so that a very large one does not keep all others waiting.
const MOST_BYTES_OF_ONE: usize = MOST_BYTES_IN_FLIGHT / 2;
/// While more rows than this have parked events, nothing new is read.
const MOST_PARKED_ROWS: usize = 100_000;
/// How long connecting may take, and the last words of a node.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

pub(super) struct Engine<R> {
    runner: R,
    config: ConnectConfig,
    terms: Rc<Durable>,
    filter: Filter,
    shared: Arc<Shared>,
    slices: Slices,
    parked: Parked,
    schedule: Schedule<Job, Track>,
    attempts: FuturesUnordered<LocalBoxFuture<'static, (Vec<Finished>, Duration)>>,
    /// Jobs that begin when an acknowledgement of their slice is over.
    deferred: Vec<(Option<Track>, Job)>,
    /// Why no attempt has a connection, if the server allows no more connections.
    crowded: Option<Error>,
    settlements: Vec<Settlement>,
    /// Slices of which the database refuses what is to be written.
    held_up: BTreeMap<i32, HeldUp>,
    /// Bytes of events that were taken in, and neither handled nor passed over.
    bytes: usize,
    /// A batch runs, or waits for the single events that run.
    is_batch_next: bool,
    /// Parked events of which something became while the last look ran, or was still to be written when it began: what that
    /// look found of them may be out of date.
    settled: HashSet<i64>,
    node: i64,
    has_joined: bool,
    /// The leases of the group's nodes.
    leases: Leases,
    /// Until then, no other node owns our slices.
    lease_until: Instant,
    is_paused: bool,
    revision: Option<i64>,
    state: State,
    /// Whether the database can store any character.
    is_utf8: bool,
    /// Whether too many parked rows were logged.
    has_warned: bool,
    failure_log: FailureLog,
    /// The history of the previous session, or of this one.
    history: Option<History>,
    /// Failed attempts to connect since the last session.
    failures: u32,
    stop_at: Option<Instant>,
    /// The number of parked events of slices that were given back since.
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

enum Happened {
    Finished(Vec<Finished>, Duration),
    Opened(Result<Box<Session>>),
    News(News),
    TimeIsUp,
    Stop(Option<Instant>),
}

impl<R: Runner> Engine<R> {
    pub(super) fn new(
        config: ConnectConfig,
        terms: Rc<Durable>,
        runner: R,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            filter: R::narrow(terms.filter.clone()),
            runner,
            config,
            shared,
            slices: Slices::default(),
            parked: Parked::default(),
            schedule: Schedule::new(concurrency(R::MANNER, &terms)),
            attempts: FuturesUnordered::new(),
            deferred: Vec::new(),
            crowded: None,
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
            metrics: Metrics::new(&terms.group),
            terms,
        }
    }

    pub(super) async fn run(mut self) {
        // User code is contained elsewhere: a panic that comes here is ours.
        while let Err(panic) = AssertUnwindSafe(self.work()).catch_unwind().await {
            let message = message(panic);
            let group = Arc::clone(&self.terms.group);
            tracing::error!(%group, message, "consumer panicked, beginning anew");
            self.begin_anew(&message);
        }
        self.end().await;
    }

    async fn work(&mut self) {
        let mut stop = self.shared.stop.subscribe();
        while !self.has_ended() {
            self.advance();
            self.tell();
            let happened = self.happening(&mut stop).await;
            self.take(happened);
        }
    }

    /// Forgets everything but what it is to do. As if the process had ended: others may take over meanwhile.
    fn begin_anew(&mut self, message: &str) {
        self.drop_work();
        (self.node, self.has_joined) = (new_node(), false);
        let error = Error::new(Kind::Panicked, format!("the consumer panicked: {message}"));
        self.lose(&error);
    }

    /// Forgets what it has taken in. Attempts end where they are.
    fn drop_work(&mut self) {
        let attempts = std::mem::replace(&mut self.attempts, FuturesUnordered::new());
        // Destructors may panic.
        let _ = contained(|| drop(attempts));
        self.shared.report().left_to_others += self.schedule.len() as u64;
        self.schedule = Schedule::new(concurrency(R::MANNER, &self.terms));
        self.deferred.clear();
        self.settlements.clear();
        self.held_up.clear();
        self.bytes = 0;
        (self.slices, self.parked) = (Slices::default(), Parked::default());
    }

    /// Waits for what happens next. Loses nothing if it is dropped.
    async fn happening(
        &mut self,
        stop: &mut tokio::sync::watch::Receiver<Option<Instant>>,
    ) -> Happened {
        let alarm = self.alarm();
        let state = &mut self.state;
        let link = async {
            match state {
                State::Waiting(_) => pending().await,
                State::Opening(opening) => Happened::Opened(opening.await.map(Box::new)),
                State::Open(session) => Happened::News(session.news().await),
            }
        };
        let attempts = &mut self.attempts;
        let finished = async {
            match attempts.next().await {
                Some((finished, elapsed)) => Happened::Finished(finished, elapsed),
                None => pending().await,
            }
        };
        tokio::select! {
            happened = finished => happened,
            happened = link => happened,
            () = sleep_until(alarm) => Happened::TimeIsUp,
            // The sender is in `shared`.
            _ = stop.changed() => Happened::Stop(*stop.borrow_and_update()),
        }
    }

    fn take(&mut self, happened: Happened) {
        match happened {
            Happened::Finished(finished, elapsed) => {
                self.metrics.handler.took(elapsed);
                let now = SystemTime::now();
                finished.into_iter().for_each(|one| self.conclude(one, now));
            }
            Happened::Opened(Ok(session)) => self.opened(session),
            Happened::Opened(Err(error)) => self.lose(&error),
            Happened::News(news) => self.learn(news),
            Happened::TimeIsUp => {}
            Happened::Stop(at) => {
                self.stop_at = at;
                self.slices.leave(usize::MAX);
                if let Some(session) = self.session() {
                    session.hurry();
                }
            }
        }
    }

    fn learn(&mut self, news: News) {
        match news {
            News::Ended(error) => self.lose(&error),
            News::Page(Ok(page)) => self.take_in(*page),
            News::Ticked(Ok(tick)) => self.ticked(tick),
            News::Acknowledged(acknowledged) => self.acknowledged(acknowledged),
            News::Fetched(Ok(fetched)) => self.fetched(fetched),
            News::Page(Err(error)) | News::Ticked(Err(error)) | News::Fetched(Err(error)) => {
                self.lose(&error);
            }
            News::Called => {}
        }
    }

    /// Begins whatever may begin now.
    fn advance(&mut self) {
        self.begin_attempts();
        let now = Instant::now();
        self.try_held_up(now);
        self.connect(now);
        self.look(now);
        self.fetch(now);
        self.read(now);
        self.acknowledge(now);
    }

    /// When to look again although nothing has happened.
    fn alarm(&self) -> Instant {
        let now = Instant::now();
        let far = now + Duration::from_secs(3_600);
        let link = match &self.state {
            State::Waiting(until) => *until,
            State::Opening(_) => far,
            State::Open(session) => {
                // Otherwise it is looked at when that is over.
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
            && self.slices.staying() > 0
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

    /// Of slices that are held up, what was taken in before keeps the others from nothing.
    fn has_room(&self) -> bool {
        let (_, held) = self.slices.held();
        self.bytes.saturating_sub(held) + self.slices.bytes() < MOST_BYTES_IN_FLIGHT
    }

    fn may_begin(&self, now: Instant) -> bool {
        self.stop_at.is_none() && !self.is_paused && now < self.lease_until
    }

    /// That of the connections there are.
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
        // What is held up is left to the others: the end of this node frees it.
        let is_done = self.slices.len() == self.slices.refused();
        at <= Instant::now() || (self.attempts.is_empty() && is_idle && is_done)
    }

    async fn end(mut self) {
        let summaries = self.failure_log.take();
        self.log_summaries(summaries);
        self.parked_at_stop += self.parked.events();
        self.drop_work();
        if let State::Open(session) = &self.state {
            // Also if it does not know yet that it has joined.
            let leaving = async {
                let left = store::leave(session.client(), &self.terms.group, self.node).await;
                session.call_others().await;
                left
            };
            if !matches!(timeout(CONNECT, leaving).await, Ok(Ok(()))) {
                let group = &*self.terms.group;
                tracing::warn!(
                    group,
                    "could not leave; the others have to wait for the end of the lease"
                );
            }
        }
        self.tell();
        self.shared.has_ended.send_replace(true);
    }

    fn tell(&mut self) {
        let is_full = self.has_many_parked();
        if is_full && !self.has_warned {
            let group = &*self.terms.group;
            tracing::error!(
                group,
                rows = MOST_PARKED_ROWS,
                "nothing new is read: too many rows wait for another attempt"
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

/// The bytes that a row adds to those in flight.
fn weight(row: &Recorded) -> usize {
    row.bytes().min(MOST_BYTES_OF_ONE)
}

fn track(manner: Manner, job: &Job) -> Track {
    match manner {
        Manner::OneByOne | Manner::Batches => Track::Row(job.row()),
        Manner::Transactional => Track::Slice(job.slice),
    }
}

fn concurrency(manner: Manner, terms: &Durable) -> usize {
    match manner {
        // So many events of a batch, or so many single ones.
        Manner::Batches => terms.max_batch.max(terms.concurrency),
        Manner::OneByOne | Manner::Transactional => terms.concurrency,
    }
}

/// Never that of another one.
fn new_node() -> i64 {
    fastrand::i64(1..)
}
