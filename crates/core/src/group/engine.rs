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

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{LocalBoxFuture, pending};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::handle::Shared;
use super::job::{Fate, Finished, Job, LONGEST_DELAY, Origin, Outcome, Park, Row, Track};
use super::options::Durable;
use super::parked::Parked;
use super::runner::{Assignment, Manner, Runner};
use super::session::{Acknowledged, Fetched, News, Page, Session, Written};
use super::slices::{Acknowledgement, Hold, Slices};
use super::store::{self, Settlement};
use super::tick::{Before, Found, Tick};
use crate::backoff::Backoff;
use crate::connect::ConnectConfig;
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::filter::Filter;
use crate::handler::{Failure, GivenUp, Schedule, Task};
use crate::outbox::{History, Recorded, Share};
use crate::panic::{contained, message};
use crate::signal::{Health, Resync, ResyncReason};
use crate::telemetry::{
    GROUP_HELD_UP_SLICES, GROUP_PARKED_ROWS, GROUP_SLICES, HandlerMetrics, Level, attempt_span,
};
use tracing::Instrument;

/// How many events are taken in and not finished at most; so much is handled again after a crash at most.
const MOST_IN_FLIGHT: usize = 4_096;
/// While those take so many bytes, nothing more is read or fetched; a page and 100 parked events, or 16 MiB of each, may
/// come on top of it.
const MOST_BYTES_IN_FLIGHT: usize = 64 << 20;
/// While more rows than this have parked events, nothing new is read.
const MOST_PARKED_ROWS: usize = 100_000;
/// Parked events fetched at once.
const FETCH: usize = 100;
/// How long to wait for an event to be written to the parked ones.
const UNWRITTEN: Duration = Duration::from_millis(20);
/// An event that loses its connection so often has failed.
const MOST_LOSSES: u32 = 3;
/// The pauses after which it is tried again to write what the database has refused.
const HELD_UP: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
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
    /// Of each slice the event that loses its connection, and how often in a row.
    losses: HashMap<i32, (i64, u32)>,
    settlements: Vec<Settlement>,
    /// Slices of which the database refuses what is to be written.
    held_up: BTreeMap<i32, HeldUp>,
    /// Bytes of events that were taken in, and neither handled nor passed over.
    bytes: usize,
    /// A batch runs, or waits for the single events that run.
    is_batch_next: bool,
    /// How many there have ever been.
    settled: u64,
    node: i64,
    has_joined: bool,
    /// Until then, nobody else has our slices.
    lease_until: Instant,
    is_paused: bool,
    revision: Option<i64>,
    state: State,
    /// Whether the database takes any character.
    is_utf8: bool,
    /// It was said that there are too many parked rows.
    has_warned: bool,
    /// Of the session before, or this one.
    history: Option<History>,
    /// Attempts to connect since a session lasted.
    failures: u32,
    stop_at: Option<Instant>,
    metrics: Metrics,
}

struct Metrics {
    handler: HandlerMetrics,
    slices: Level,
    parked_rows: Level,
    held_up: Level,
}

impl Metrics {
    fn new(group: &str) -> Self {
        let level = |name| Level::new(name, &[("group", group)]);
        Self {
            handler: HandlerMetrics::new(group),
            slices: level(GROUP_SLICES),
            parked_rows: level(GROUP_PARKED_ROWS),
            held_up: level(GROUP_HELD_UP_SLICES),
        }
    }
}

struct HeldUp {
    cause: Error,
    /// How often in a row.
    failures: u32,
    /// `None` while it is tried again.
    until: Option<Instant>,
    settlements: Vec<Settlement>,
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
            losses: HashMap::new(),
            settlements: Vec::new(),
            held_up: BTreeMap::new(),
            bytes: 0,
            is_batch_next: false,
            settled: 0,
            node: new_node(),
            has_joined: false,
            lease_until: Instant::now(),
            is_paused: false,
            revision: None,
            state: State::Waiting(Instant::now()),
            is_utf8: true,
            has_warned: false,
            history: None,
            failures: 0,
            stop_at: None,
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
        let (may_read, may_fetch) = (self.may_read(), self.may_fetch(now));
        match &mut self.state {
            State::Waiting(until) if *until <= now => {
                let (config, terms) = (self.config.clone(), Rc::clone(&self.terms));
                let opening = async move {
                    let opening = Session::open(&config, terms);
                    timeout(CONNECT, opening).await.unwrap_or_else(|_| {
                        let message = format!("no session with {config} within {CONNECT:?}");
                        Err(Error::new(Kind::Connect, message))
                    })
                };
                self.state = State::Opening(opening.boxed_local());
            }
            State::Waiting(_) | State::Opening(_) => {}
            State::Open(session) => {
                if session.wants_tick(now) {
                    session.tick(
                        now,
                        Before {
                            node: self.node,
                            has_joined: self.has_joined,
                            is_stopping: self.stop_at.is_some(),
                            owned: self.slices.epochs().collect(),
                            revision: self.revision,
                        },
                        self.settled,
                    );
                }
                if may_fetch && self.parked.next_due().is_some_and(|due| due <= now) {
                    // What is fetched must not be older than what is known.
                    if !self.settlements.is_empty() || session.is_settling() {
                        session.hurry();
                    } else if session.may_fetch() {
                        // What is not written yet cannot be fetched.
                        let (early, due): (Vec<_>, Vec<_>) = self
                            .parked
                            .give_out(now, FETCH)
                            .into_iter()
                            .partition(|(row, id)| {
                                let slice = self.parked.slice(row);
                                slice.is_some_and(|slice| self.held_up.contains_key(&slice))
                                    || self.slices.is_parking(*id)
                            });
                        for (row, id) in early {
                            let slice = self.parked.slice(&row);
                            let held_up = slice.and_then(|slice| self.held_up.get(&slice));
                            let until = held_up.and_then(|held_up| held_up.until).unwrap_or(now);
                            self.parked.put_back(&row, id, until + UNWRITTEN);
                        }
                        if !due.is_empty() {
                            session.fetch(due, self.slices.numbers());
                        }
                    }
                }
                if may_read && session.may_read(now) {
                    match self.slices.turn() {
                        Some(turn) => session.read(turn, page_size(R::MANNER, &self.terms)),
                        // Not before there are slices.
                        None => session.have_read(false, true, 0),
                    }
                }
                if session.may_acknowledge(now) {
                    let by_themselves = R::MANNER == Manner::Transactional;
                    let all = self.slices.acknowledge(by_themselves);
                    let mut settlements = std::mem::take(&mut self.settlements);
                    // Those of slices that are gone would be refused.
                    settlements.retain_mut(|one| {
                        let generation = self.slices.generation(one.slice, one.epoch);
                        one.generation = generation.unwrap_or_default();
                        generation.is_some()
                    });
                    session.acknowledge(now, all, settlements);
                }
            }
        }
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
        link.min(self.stop_at.unwrap_or(far)).min(far)
    }

    fn may_read(&self) -> bool {
        self.stop_at.is_none()
            && !self.is_paused
            && self.slices.staying() > 0
            && self.slices.pending() < MOST_IN_FLIGHT
            && self.has_room()
            && self.parked.rows() < MOST_PARKED_ROWS
    }

    fn may_fetch(&self, now: Instant) -> bool {
        self.may_begin(now) && self.has_room()
    }

    fn has_room(&self) -> bool {
        self.bytes + self.slices.bytes() < MOST_BYTES_IN_FLIGHT
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

    // The connection, and how the group stands.

    fn opened(&mut self, session: Box<Session>) {
        self.is_utf8 = session.is_utf8;
        self.runner.set_history(&session.history);
        let before = self.history.replace(session.history.clone());
        if before.is_some_and(|before| before != session.history) {
            // Ids may be given out a second time. What stands in the database knows of none that was forgotten.
            let group = &*self.terms.group;
            tracing::warn!(
                group,
                "the server has crashed, or is another one; reading on from what was acknowledged"
            );
            self.drop_work();
        }
        self.state = State::Open(session);
    }

    fn lose(&mut self, error: &Error) {
        let group = Arc::clone(&self.terms.group);
        let group = &*group;
        if let State::Open(session) = &mut self.state {
            if session.has_lasted() {
                self.failures = 0;
            }
            let unfinished = session.unfinished();
            self.not_answered(&unfinished.acknowledgements, unfinished.settlements);
            for (row, id) in unfinished.fetching {
                self.parked.put_back(&row, id, Instant::now());
            }
            self.resume_deferred();
        }
        let delay = RECONNECT.delay(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting(Instant::now() + delay);
        let (chain, hint) = (error.chain(), error.hint());
        tracing::warn!(group, error = %chain, hint, ?delay, "consumer not connected");
        let since = match &*self.shared.health.borrow() {
            Health::Degraded { since, .. } => *since,
            _ => SystemTime::now(),
        };
        let cause = error.clone();
        self.shared
            .health
            .send_replace(Health::Degraded { since, cause });
    }

    fn ticked(&mut self, (tick, settled): (Tick, u64)) {
        let group = Arc::clone(&self.terms.group);
        let group = &*group;
        let Found {
            began,
            standing,
            share,
            claimed,
            parked,
            has_all_parked,
        } = match tick {
            Tick::Standing(found) => found,
            Tick::Expelled => {
                tracing::warn!(group, "the lease was over; all slices are lost");
                self.forget_all();
                (self.node, self.has_joined) = (new_node(), false);
                if let Some(session) = self.session() {
                    session.tick_now();
                }
                return;
            }
        };
        if !self.shared.health.borrow().is_live() {
            tracing::info!(group, node = self.node, "consumer live");
            let since = SystemTime::now();
            self.shared.health.send_replace(Health::Live { since });
        }
        if !std::mem::replace(&mut self.has_joined, true)
            && let Some(session) = self.session()
        {
            // They have more than their share now.
            tokio::spawn(session.call_others());
        }
        self.lease_until = began + self.terms.lease;
        self.is_paused = standing.is_paused;
        let lost = self
            .slices
            .epochs()
            .filter(|ours| !standing.owned.contains(ours));
        let lost: Vec<i32> = lost.map(|(slice, _)| slice).collect();
        for slice in lost {
            tracing::info!(group, slice, "slice is somebody else's now");
            self.forget(slice);
        }
        for (slice, epoch, cursor) in &claimed {
            self.forget(*slice);
            self.slices.insert(standing.slices, *slice, *epoch, cursor);
        }
        // What was found may have been settled meanwhile, and would come back. Then again the next time.
        let is_up_to_date = settled == self.settled && self.settlements.is_empty();
        let is_claimed = |slice| claimed.iter().any(|(number, ..)| *number == slice);
        for event in parked {
            let may_come_back = !is_up_to_date || self.held_up.contains_key(&event.slice);
            if !may_come_back || is_claimed(event.slice) {
                self.parked
                    .park(&event.row, event.slice, event.id, event.due);
            }
        }
        if !has_all_parked || is_up_to_date {
            self.revision = Some(standing.revision);
        }
        match self.stop_at {
            Some(_) => self.slices.leave(usize::MAX),
            None => self
                .slices
                .leave(self.slices.staying().saturating_sub(share)),
        }
        self.note_progress();
        if let Some(session) = self.session() {
            session.read_on();
        }
    }

    /// The slice is somebody else's, or may be.
    fn forget(&mut self, slice: i32) {
        self.slices.forget(slice);
        self.parked.forget(slice);
        self.held_up.remove(&slice);
    }

    fn forget_all(&mut self) {
        for slice in self.slices.numbers() {
            self.forget(slice);
        }
    }

    // Events come in.

    fn take_in(&mut self, page: Page) {
        let Page { turn, rows, events } = page;
        let span = Slices::span(&turn, &rows.cursor);
        if rows.is_gap
            && let Some(slice) = turn.share.slices.first()
        {
            self.note_gap(*slice, rows.cursor.closed());
        }
        let is_empty = rows.rows.is_empty();
        for (row, event) in rows.rows.into_iter().zip(events) {
            let slice = Share::slice(row.hash, turn.share.of);
            let Some(epoch) = self.slices.wants(&turn, slice, row.id) else {
                continue;
            };
            let is_wanted = match &event {
                Ok(event) => self.filter.matches(event),
                Err((_, Some(table))) => self.filter.wants_table(table),
                Err((_, None)) => true,
            };
            if !is_wanted {
                continue;
            }
            if let Some(number) = self.slices.take_in(slice, &span, row.id) {
                self.push(Job {
                    slice,
                    epoch,
                    origin: Origin::Read(number),
                    row,
                    task: event.map(Task::Event).map_err(|(error, _)| error),
                    attempts: 0,
                });
            }
        }
        self.slices.advance(&turn, &rows.cursor);
        let streams = self.slices.streams();
        self.note_progress();
        if let Some(session) = self.session() {
            session.have_read(!is_empty, rows.is_last, streams);
        }
    }

    /// Rows were trimmed before they were read: that becomes an event of its own, once for the group.
    fn note_gap(&mut self, slice: i32, closed: i64) {
        let group = &*self.terms.group;
        tracing::error!(
            group,
            reason = "trimmed",
            intentional = false,
            "the group came too late for rows of the outbox"
        );
        let row = Recorded::resync(-2 - closed, slice, "trimmed");
        let lane = Row {
            relation: row.relation,
            key: row.key.clone(),
        };
        self.parked.park(&lane, slice, row.id, Instant::now());
        self.slices.park(Park {
            slice,
            row,
            attempts: 0,
            error: None,
            fate: Fate::Due(Duration::ZERO),
        });
    }

    fn fetched(
        &mut self,
        Fetched {
            wanted,
            rows,
            events,
            is_cut,
        }: Fetched,
    ) {
        let now = Instant::now();
        let mut found: Vec<(Recorded, u32, Result<Event>)> = rows
            .into_iter()
            .zip(events)
            .map(|((row, attempts), event)| (row, attempts, event))
            .collect();
        for (row, id) in wanted {
            let Some(index) = found.iter().position(|(found, ..)| found.id == id) else {
                match is_cut {
                    true => self.parked.put_back(&row, id, now),
                    // Somebody has discarded it.
                    false => self.parked.done(&row, id, now),
                }
                continue;
            };
            let (recorded, attempts, event) = found.swap_remove(index);
            let Some((slice, epoch)) = self.parked.slice(&row).and_then(|slice| {
                let epoch = self.slices.epoch(slice)?;
                Some((slice, epoch))
            }) else {
                continue;
            };
            let task = match recorded.resync_reason() {
                Some(reason) => Ok(Task::Resync(Resync::new(reason))),
                None => event.map(Task::Event),
            };
            self.push(Job {
                slice,
                epoch,
                origin: Origin::Parked,
                row: recorded,
                task,
                attempts,
            });
        }
    }

    fn push(&mut self, job: Job) {
        self.bytes += job.row.bytes();
        self.schedule.push(Some(track(R::MANNER, &job)), job);
    }

    // Events are handled.

    fn begin_attempts(&mut self) {
        if !self.may_begin(Instant::now()) {
            return;
        }
        let in_batches = R::MANNER == Manner::Batches;
        if self.attempts.is_empty() {
            self.is_batch_next = false;
        }
        if self.is_batch_next {
            return;
        }
        let mut together: Vec<Assignment> = Vec::new();
        while let Some((track, job)) = self.schedule.start_next() {
            // Its batch has failed, perhaps because of it.
            let is_alone = in_batches && job.attempts > 0;
            let has_room = match (in_batches, is_alone) {
                (false, _) => true,
                (true, true) => together.is_empty() && self.attempts.len() < self.terms.concurrency,
                // Others wait until single ones are done, lest they wait for ever.
                (true, false) => {
                    self.is_batch_next = true;
                    self.attempts.is_empty() && together.len() < self.terms.max_batch
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
        let span = attempt_span(&self.terms.group, event, Some(job.row.id), attempt);
        if R::MANNER == Manner::Batches {
            span.record("events", assignments.len());
        }
        let began = Instant::now();
        let running = self.runner.attempt(assignments);
        let measured = running.map(move |finished| (finished, began.elapsed()));
        self.attempts.push(measured.instrument(span).boxed_local());
    }

    /// Decides whether a job begins now.
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
                fate: Fate::Behind,
            });
            self.note_progress();
            return None;
        }
        let mut acknowledgement = None;
        if R::MANNER == Manner::Transactional {
            // One writes to the slice at a time.
            if self.slices.is_acknowledging(job.slice) {
                self.schedule.pause();
                self.deferred.push((track, job));
                return None;
            }
            if let Origin::Read(_) = job.origin {
                acknowledgement = self.slices.acknowledge_next(job.slice);
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

    fn resume_deferred(&mut self) {
        let (waiting, ready) = std::mem::take(&mut self.deferred)
            .into_iter()
            .partition(|(_, job)| self.slices.is_acknowledging(job.slice));
        self.deferred = waiting;
        let ready: Vec<(Option<Track>, Job)> = ready;
        for (track, job) in ready {
            self.schedule.resume(track, job);
        }
    }

    fn conclude(&mut self, Finished { job, outcome }: Finished, now: SystemTime) {
        let track = track(R::MANNER, &job);
        self.slices.end(job.slice, job.epoch);
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

    /// The job is out of our hands, but for what is to be written of it.
    fn finish(&mut self, track: Option<Track>, job: &Job) {
        self.bytes = self.bytes.saturating_sub(job.row.bytes());
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
            Outcome::Lost(_) | Outcome::InDoubt(_) => "in_doubt",
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
                let (group, slice) = (&*self.terms.group, job.slice);
                tracing::warn!(
                    group,
                    slice,
                    "an attempt was rolled back: the slice is somebody else's"
                );
                self.forget(job.slice);
                if let Some(session) = self.session() {
                    session.tick_now();
                }
            }
            Outcome::Lost(failure) => {
                let (slice, id) = (job.slice, job.row.id);
                let times = match self.losses.remove(&slice) {
                    Some((event, times)) if event == id => times + 1,
                    _ => 1,
                };
                if times == MOST_LOSSES {
                    self.failed(job, failure);
                } else {
                    self.losses.insert(slice, (id, times));
                    let message = format!("lost during an attempt: {failure}");
                    self.doubt(&job, &Error::new(Kind::Disconnected, message));
                }
            }
            Outcome::InDoubt(error) => self.doubt(&job, &error),
        }
    }

    /// Nobody knows what became of an attempt.
    fn doubt(&mut self, job: &Job, error: &Error) {
        let (group, slice, id) = (&*self.terms.group, job.slice, job.row.id);
        tracing::warn!(group, slice, id, error = %error.chain(), "an attempt's connection failed");
        // Claimed anew, which tells.
        self.forget(job.slice);
        if let Some(session) = self.session() {
            session.tick_soon();
        }
    }

    fn failed(&mut self, job: Job, failure: Failure) {
        let is_snooze = matches!(failure, Failure::Snoozed(_));
        let attempts = job.attempts.saturating_add(u32::from(!is_snooze));
        let next = self.terms.retry.next(attempts, &failure);
        let next = next.map(|delay| delay.min(LONGEST_DELAY));
        self.count(&failure, next.is_some());
        let error = (!is_snooze).then(|| match self.is_utf8 {
            true => failure.to_string(),
            // Other characters may not be among those that the database has.
            false => failure.to_string().escape_default().to_string(),
        });
        let fate = next.map_or(Fate::Dead, Fate::Due);
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
                    fate,
                });
            }
            Origin::Parked => {
                match due {
                    Some(due) => self.parked.put_back(&row, job.row.id, due),
                    None => self.parked.done(&row, job.row.id, now),
                }
                self.settle(&job, Some((attempts, error, fate)));
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

    fn log(&self, job: &Job, attempt: u32, failure: &Failure, next: Option<Duration>) {
        let (group, id, reason) = (&*self.terms.group, job.row.id, failure.label());
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

    fn settle(&mut self, job: &Job, failed: Option<(u32, Option<String>, Fate)>) {
        self.settled += 1;
        self.settlements.push(Settlement {
            slice: job.slice,
            epoch: job.epoch,
            // Filled in when it is written.
            generation: 0,
            id: job.row.id,
            failed,
        });
    }

    // Events are acknowledged.

    fn acknowledged(&mut self, acknowledged: Acknowledged) {
        let Acknowledged {
            sent,
            settlements,
            written,
        } = acknowledged;
        match written {
            Ok(written) => {
                let has_parked = sent.iter().any(|one| !one.parks.is_empty());
                let (refused, sent): (Vec<_>, Vec<_>) =
                    sent.into_iter().partition(|one: &Acknowledgement| {
                        let mut refused = written.refused.iter();
                        refused.any(|(slice, _)| *slice == one.slice)
                    });
                let of_parked = settlements.iter().map(|settlement| settlement.slice);
                let slices: Vec<i32> = sent.iter().map(|one| one.slice).chain(of_parked).collect();
                let gone = self.slices.acknowledged(sent, &written.slices);
                self.slices.not_acknowledged(refused);
                self.hold_up(&slices, written);
                for slice in gone.lost {
                    let group = &*self.terms.group;
                    tracing::warn!(
                        group,
                        slice,
                        "not acknowledged: the slice is somebody else's"
                    );
                    self.parked.forget(slice);
                }
                for slice in &gone.released {
                    self.parked.forget(*slice);
                }
                if !gone.released.is_empty()
                    && let Some(session) = self.session()
                {
                    tokio::spawn(session.call_others());
                }
                self.resume_deferred();
                // There may be more than was written at once.
                if has_parked {
                    self.note_progress();
                }
            }
            Err(error) => {
                if error.is_connection() {
                    self.not_answered(&sent, settlements);
                } else {
                    self.slices.not_acknowledged(sent);
                    self.settlements.splice(..0, settlements);
                }
                self.lose(&error);
            }
        }
    }

    /// Slices of which the database has refused something are not written to for a while; the others of these are free.
    fn hold_up(&mut self, written_to: &[i32], written: Written) {
        let Written {
            refused,
            settlements,
            ..
        } = written;
        let group = Arc::clone(&self.terms.group);
        for slice in written_to {
            let is_refused = refused.iter().any(|(refused, _)| refused == slice);
            if !is_refused && self.held_up.remove(slice).is_some() {
                tracing::info!(group = &*group, slice, "slice goes on");
                self.slices.hold(*slice, Hold::Free);
                // What was changed meanwhile was passed over.
                self.revision = None;
            }
        }
        let now = Instant::now();
        for (slice, cause) in refused {
            let failures = self
                .held_up
                .get(&slice)
                .map_or(0, |before| before.failures + 1);
            let delay = HELD_UP.delay(failures);
            tracing::error!(group = &*group, slice, error = %cause.chain(), ?delay,
                "the database refuses to note how far a slice is; it is held up");
            let held_up = HeldUp {
                cause,
                failures,
                until: Some(now + delay),
                settlements: Vec::new(),
            };
            self.held_up.insert(slice, held_up);
            self.slices.hold(slice, Hold::Held);
        }
        for settlement in settlements {
            if let Some(held_up) = self.held_up.get_mut(&settlement.slice) {
                held_up.settlements.push(settlement);
            }
        }
    }

    fn try_held_up(&mut self, now: Instant) {
        let mut is_due = false;
        for (slice, held_up) in &mut self.held_up {
            if held_up.until.is_some_and(|until| until <= now) {
                held_up.until = None;
                self.slices.hold(*slice, Hold::Trying);
                self.settlements.append(&mut held_up.settlements);
                is_due = true;
            }
        }
        if is_due {
            self.note_progress();
        }
    }

    /// Who knows when the server comes to it: perhaps after what is written next. The slices are claimed anew, after which
    /// it is refused.
    fn not_answered(&mut self, sent: &[Acknowledgement], settlements: Vec<Settlement>) {
        let of_parked = settlements.iter().map(|settlement| settlement.slice);
        for slice in sent.iter().map(|sent| sent.slice).chain(of_parked) {
            self.forget(slice);
        }
        self.settlements.splice(..0, settlements);
    }

    // The end.

    fn has_ended(&self) -> bool {
        let Some(at) = self.stop_at else {
            return false;
        };
        let is_idle = match &self.state {
            State::Open(session) => !session.is_acknowledging() && self.settlements.is_empty(),
            State::Waiting(_) | State::Opening(_) => true,
        };
        at <= Instant::now() || (self.attempts.is_empty() && is_idle && self.slices.len() == 0)
    }

    async fn end(mut self) {
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
        let is_full = self.parked.rows() >= MOST_PARKED_ROWS;
        if is_full && !self.has_warned {
            let group = &*self.terms.group;
            tracing::error!(
                group,
                rows = MOST_PARKED_ROWS,
                "nothing new is read: too many rows wait for another attempt"
            );
        }
        self.has_warned = is_full;
        self.metrics.handler.unfinished(self.slices.pending());
        self.metrics.slices.set(self.slices.len());
        self.metrics.parked_rows.set(self.parked.rows());
        self.metrics.held_up.set(self.held_up.len());
        let mut report = self.shared.report();
        report.parked_rows = self.parked.rows();
        report.slices = self.slices.len();
        report.held_up.clear();
        let held_up = self.held_up.iter();
        report
            .held_up
            .extend(held_up.map(|(slice, held_up)| (*slice, held_up.cause.chain())));
        report.in_flight = self.slices.pending();
    }
}

impl Recorded {
    /// An event that tells to read everything again.
    fn resync(id: i64, slice: i32, reason: &str) -> Self {
        Self {
            id,
            xid: None,
            sent_at: SystemTime::now(),
            // Of no table: each slice has a row of its own.
            relation: -i64::from(slice),
            hash: 0,
            operation: store::RESYNC,
            key: Some(reason.into()),
            columns: None,
            old_columns: None,
            changed: None,
            problem: None,
        }
    }

    /// Why it tells so, if it does.
    fn resync_reason(&self) -> Option<ResyncReason> {
        let is_start = self.key.as_deref() == Some("started");
        (self.operation == store::RESYNC).then(|| match is_start {
            true => ResyncReason::Started,
            false => ResyncReason::Trimmed,
        })
    }
}

/// What keeps it in order.
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

fn page_size(manner: Manner, terms: &Durable) -> usize {
    match manner {
        Manner::OneByOne | Manner::Transactional => 512,
        Manner::Batches => terms.max_batch.clamp(512, MOST_IN_FLIGHT),
    }
}

/// Never that of another one.
fn new_node() -> i64 {
    fastrand::i64(1..)
}
