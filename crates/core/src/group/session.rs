//! The requests of a node while its connections last: at most one page, one acknowledgement, one fetch of parked events and one
//! tick at a time.
//!
//! Requests for pages, acknowledgements and parked events share one connection, and the server answers them in order. Ticks have
//! a connection of their own, so that renewing the lease does not wait behind pages. Trimming uses that connection too; the server
//! cancels it before a renewal is late.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, pending};
use tokio::time::Instant;
use tokio_postgres::Client;

use super::job::Row;
use super::link::{CONTROL, Link};
use super::options::DurableOptions;
use super::requirements;
use super::slices::{Acknowledgement, MOST_BYTES, Turn};
use super::store::{self, ParkedRow, Settlement};
use super::tick::{NodeState, Tick, tick};
use crate::connect::ConnectConfig;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::name::TableName;
use crate::outbox::{
    History, OutboxReader, Recorded, Rows, Statements, WAKE_UP_CHANNEL, trim_within,
};
use crate::trigger::Checker;

/// How long a consumer polls at short intervals after an event. It is longer than the 50 ms between the wake-ups of writers.
const BUSY: Duration = Duration::from_millis(100);
/// The interval of these polls.
const BUSY_POLL: Duration = Duration::from_millis(5);
/// The interval of polls without wake-ups, because the wake-up of a transaction that is rolled back is lost.
const FAILSAFE_POLL: Duration = Duration::from_secs(1);
/// The pause between acknowledgements. After a crash, the events of about that time are handled again.
const ACKNOWLEDGE: Duration = Duration::from_millis(50);
/// The shortest pause between ticks that notifications and errors cause.
const SOON: Duration = Duration::from_millis(250);
/// The shortest time that the server has to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the group's requirements are compared with what is installed; once per lease if that is shorter.
const CONFIRM: Duration = Duration::from_secs(10);
/// How often the outbox is trimmed.
const TRIM: Duration = Duration::from_secs(10);

type Request<T> = Option<LocalBoxFuture<'static, T>>;

pub(super) struct Session {
    link: Link,
    /// The second connection, for ticks and trimming.
    tick_client: Arc<Client>,
    /// The server's history that cursors in memory belong to.
    pub(super) history: History,
    /// Whether the database can store any character.
    pub(super) is_utf8: bool,
    options: Rc<DurableOptions>,
    since: Instant,

    // `None` while a page is read.
    reader: Option<OutboxReader>,
    reading: Request<(OutboxReader, Result<Page>)>,
    next_poll: Instant,
    /// When the last page was requested.
    polled_at: Instant,
    last_event: Instant,
    /// The number of streams in a row that had no more rows.
    idle_streams: usize,
    /// Whether a wake-up has arrived since the last page was requested.
    was_woken: bool,

    // `None` while an acknowledgement is written.
    statements: Option<Statements>,
    acknowledging: Request<(Statements, Result<Written>)>,
    sent: Rc<(Vec<Acknowledgement>, Vec<Settlement>)>,
    has_progress: bool,
    next_acknowledgement: Instant,

    ticking: Request<Result<Tick>>,
    next_tick: Instant,
    /// When the last tick began.
    ticked_at: Instant,

    checker: Rc<Checker>,
    confirming: Request<Result<bool>>,
    next_confirmation: Instant,

    fetching: Request<Result<FetchedRows>>,
    requested: Vec<(Row, i64)>,

    trimming: Request<Result<u32>>,
    next_trim: Instant,
    /// Whether a failure to trim was logged since it last succeeded.
    has_warned: bool,
}

/// An answer to a request, or the end of the session.
pub(super) enum SessionUpdate {
    Ended(Error),
    Page(Result<Box<Page>>),
    Ticked(Result<Tick>),
    Acknowledged(Acknowledged),
    Fetched(Result<Fetched>),
    /// A notification, or an answer that the session has handled itself.
    Internal,
}

pub(super) struct Page {
    pub(super) turn: Turn,
    pub(super) rows: Rows,
    /// One for each row: the event, or the decoding error, and the table if it is known.
    pub(super) events: Vec<Result<Event, (Error, Option<TableName>)>>,
}

pub(super) struct Acknowledged {
    pub(super) sent: Vec<Acknowledgement>,
    pub(super) settlements: Vec<Settlement>,
    pub(super) written: Result<Written>,
}

/// The result of an acknowledgement.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Slices whose cursor was written. This node still owns them.
    pub(super) slices: Vec<i32>,
    /// Slices with a refused write.
    pub(super) refused: Vec<Refusal>,
    /// The settlements among the refused writes.
    pub(super) settlements: Vec<Settlement>,
    /// Slices whose acknowledgement was not tried: a settlement of the slice was refused, or there was a [failure](Self::failure).
    pub(super) untried: Vec<i32>,
    /// Why the rest was not written, if the connection was not the cause. All settlements have to be written again then.
    pub(super) failure: Option<Error>,
}

#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) slice: i32,
    /// The slice's epoch when the write was sent.
    pub(super) epoch: i64,
    pub(super) cause: Error,
}

impl Written {
    fn refuse(&mut self, slice: i32, epoch: i64, cause: Error) {
        if !self.has_refused(slice) {
            self.refused.push(Refusal {
                slice,
                epoch,
                cause,
            });
        }
    }

    pub(super) fn has_refused(&self, slice: i32) -> bool {
        self.refused.iter().any(|refusal| refusal.slice == slice)
    }
}

type FetchedRows = (Vec<ParkedRow>, Vec<Result<Event>>, bool);

pub(super) struct Fetched {
    pub(super) requested: Vec<(Row, i64)>,
    pub(super) rows: Vec<ParkedRow>,
    pub(super) events: Vec<Result<Event>>,
    /// Whether the size limit was reached, so that events are missing.
    pub(super) is_truncated: bool,
}

/// Requests without an answer when the connection was lost.
pub(super) struct Unfinished {
    pub(super) acknowledgements: Vec<Acknowledgement>,
    pub(super) settlements: Vec<Settlement>,
    pub(super) fetching: Vec<(Row, i64)>,
}

impl Session {
    pub(super) async fn open(config: &ConnectConfig, options: Rc<DurableOptions>) -> Result<Self> {
        let link = Link::open(config, Arc::clone(&options.group)).await?;
        let tick_client = Arc::new(config.session_client().await?);
        store::prepare(&tick_client).await?;
        let history = History::of(&link.client).await?;
        let is_utf8 = store::is_utf8(&link.client).await?;
        let mut reader = OutboxReader::new(Arc::clone(&link.client));
        store::open(&link.client, &mut reader, &options).await?;
        requirements::store(&link.client, &options.group, &options.requirements).await?;
        let checker = Checker::new(&options.requirements);
        requirements::confirm(&link.client, &options.group, &checker).await?;
        let now = Instant::now();
        let confirm_after = options.lease.min(CONFIRM);
        Ok(Self {
            link,
            tick_client,
            history,
            is_utf8,
            options,
            since: now,
            reader: Some(reader),
            reading: None,
            next_poll: now,
            polled_at: now,
            last_event: now,
            idle_streams: 0,
            was_woken: false,
            statements: Some(Statements::default()),
            acknowledging: None,
            sent: Rc::default(),
            has_progress: true,
            next_acknowledgement: now,
            ticking: None,
            next_tick: now,
            ticked_at: now,
            checker: Rc::new(checker),
            confirming: None,
            next_confirmation: now + confirm_after,
            fetching: None,
            requested: Vec::new(),
            trimming: None,
            next_trim: now + TRIM,
            has_warned: false,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.tick_client
    }

    /// Whether the session has lasted longer than a lease.
    pub(super) fn has_lasted(&self) -> bool {
        self.since.elapsed() > self.options.lease
    }

    /// Waits for the next answer or notification. Cancel-safe.
    pub(super) async fn next_update(&mut self) -> SessionUpdate {
        let notifications = Arc::clone(&self.link.notifications);
        tokio::select! {
            (reader, page) = answer(&mut self.reading) => {
                self.reader = Some(reader);
                SessionUpdate::Page(page.map(Box::new))
            }
            (statements, written) = answer(&mut self.acknowledging) => {
                self.statements = Some(statements);
                let (sent, settlements) = self.take_sent();
                SessionUpdate::Acknowledged(Acknowledged { sent, settlements, written })
            }
            tick = answer(&mut self.ticking) => SessionUpdate::Ticked(tick),
            confirmed = answer(&mut self.confirming) => match confirmed {
                Ok(has_parked) => {
                    if has_parked {
                        tokio::spawn(self.notify_others());
                        self.tick_now();
                    }
                    SessionUpdate::Internal
                }
                Err(error) => SessionUpdate::Ended(error),
            },
            rows = answer(&mut self.fetching) => {
                // After an error, the requested events stay here for `unfinished`.
                SessionUpdate::Fetched(rows.map(|(rows, events, is_truncated)| {
                    let requested = std::mem::take(&mut self.requested);
                    Fetched { requested, rows, events, is_truncated }
                }))
            }
            trimmed = answer(&mut self.trimming) => {
                self.note_trimming(trimmed);
                SessionUpdate::Internal
            }
            () = notifications.recorded.notified() => {
                self.on_wake_up();
                SessionUpdate::Internal
            }
            () = notifications.control.notified() => {
                self.on_control();
                SessionUpdate::Internal
            }
            error = self.link.ended() => SessionUpdate::Ended(error),
        }
    }

    /// Returns when the next request is due if no answer arrives.
    pub(super) fn alarm(&self, may_read: bool) -> Instant {
        let far = Instant::now() + Duration::from_secs(3_600);
        let mut alarm = match self.ticking {
            Some(_) => far,
            None => self.next_tick,
        };
        if self.may_confirm() {
            alarm = alarm.min(self.next_confirmation);
        }
        if may_read && self.reading.is_none() {
            alarm = alarm.min(self.next_poll);
        }
        if self.has_progress && self.acknowledging.is_none() {
            alarm = alarm.min(self.next_acknowledgement);
        }
        alarm
    }

    /// Takes the requests that were not answered.
    pub(super) fn unfinished(&mut self) -> Unfinished {
        self.acknowledging = None;
        let (acknowledgements, settlements) = self.take_sent();
        Unfinished {
            acknowledgements,
            settlements,
            fetching: std::mem::take(&mut self.requested),
        }
    }

    fn take_sent(&mut self) -> (Vec<Acknowledgement>, Vec<Settlement>) {
        Rc::unwrap_or_clone(std::mem::take(&mut self.sent))
    }

    /// A server that does not answer a read or a write within this time counts as disconnected.
    fn limit(&self) -> Duration {
        (self.options.lease * 3).max(PATIENCE)
    }

    fn may_confirm(&self) -> bool {
        self.confirming.is_none() && !self.options.requirements.is_empty()
    }

    // Ticks.

    pub(super) fn is_tick_due(&self, now: Instant) -> bool {
        self.ticking.is_none() && self.next_tick <= now
    }

    pub(super) fn tick_now(&mut self) {
        self.next_tick = Instant::now();
    }

    /// Schedules a tick after a notification. Any role can send one, so such ticks are at least [`SOON`] apart.
    fn on_control(&mut self) {
        let soonest = (self.ticked_at + SOON).max(Instant::now());
        self.next_tick = self.next_tick.min(soonest);
    }

    /// Schedules a tick after [`SOON`], so that repeated errors do not cause ticks without a pause.
    pub(super) fn tick_soon(&mut self) {
        self.next_tick = self.next_tick.min(Instant::now() + SOON);
    }

    pub(super) fn tick(&mut self, now: Instant, state: NodeState) {
        let (client, options) = (Arc::clone(&self.tick_client), Rc::clone(&self.options));
        let period = self.options.lease / 3;
        let history = self.history.clone();
        (self.ticked_at, self.next_tick) = (now, now + period);
        let request = async move {
            let found = async {
                // Data may be restored into a database while consumers are connected.
                history.confirm(&client).await?;
                tick(client, &options, state).await
            };
            store::answer_within(options.lease, found).await
        };
        self.ticking = Some(request.boxed_local());
        if self.trimming.is_none() && self.next_trim <= now {
            self.next_trim = now + TRIM;
            let client = Arc::clone(&self.tick_client);
            // The next renewal, after one third of the lease, waits behind it. Two thirds of the lease are then left.
            let limit = period.min(TRIM);
            self.trimming = Some(async move { trim_within(&client, limit).await }.boxed_local());
        }
    }

    /// Compares the group's requirements with what is installed, if that is due.
    pub(super) fn confirm(&mut self, now: Instant) {
        if !self.may_confirm() || self.next_confirmation > now {
            return;
        }
        self.next_confirmation = now + self.options.lease.min(CONFIRM);
        let (client, options) = (Arc::clone(&self.link.client), Rc::clone(&self.options));
        let (checker, limit) = (Rc::clone(&self.checker), self.limit());
        let request = async move {
            let confirmed = requirements::confirm(&client, &options.group, &checker);
            store::answer_within(limit, confirmed).await
        };
        self.confirming = Some(request.boxed_local());
    }

    /// Notifies the other nodes, so that they tick. Does nothing unless the returned future is polled.
    pub(super) fn notify_others(&self) -> impl Future<Output = ()> + Send + 'static {
        let (client, group) = (
            Arc::clone(&self.tick_client),
            Arc::clone(&self.options.group),
        );
        async move {
            let sql = "SELECT pg_catalog.pg_notify($1, $2)";
            let call = format!("{CONTROL} {group}");
            // Without the notification, they tick within a third of their lease.
            let _ = client.execute(sql, &[&WAKE_UP_CHANNEL, &call]).await;
        }
    }

    fn note_trimming(&mut self, trimmed: Result<u32>) {
        match trimmed {
            Ok(parts) => {
                self.has_warned = false;
                if parts > 0 {
                    tracing::debug!(parts, "outbox trimmed");
                }
            }
            // Another consumer may trim: its role may have the right, or its call may finish in time.
            Err(error) if !std::mem::replace(&mut self.has_warned, true) => {
                tracing::warn!(error = %error.chain(),
                    "the outbox cannot be trimmed; it grows unless another consumer trims it");
            }
            Err(_) => {}
        }
    }

    // Reading.

    pub(super) fn may_read(&self, now: Instant) -> bool {
        self.reading.is_none() && self.next_poll <= now
    }

    /// Handles a wake-up: a writer may have recorded events. Any role can send one, so wake-ups cause no more requests than a
    /// busy outbox.
    fn on_wake_up(&mut self) {
        self.was_woken = true;
        self.idle_streams = 0;
        self.next_poll = self.next_poll.min(self.next_busy_poll());
    }

    fn next_busy_poll(&self) -> Instant {
        (self.polled_at + BUSY_POLL).max(Instant::now())
    }

    /// Requests a page at once, because there may be rows to read.
    pub(super) fn read_on(&mut self) {
        self.was_woken = true;
        self.idle_streams = 0;
        self.next_poll = Instant::now();
    }

    pub(super) fn read(&mut self, turn: Turn, rows: usize) {
        let Some(reader) = self.reader.take() else {
            return;
        };
        self.was_woken = false;
        self.polled_at = Instant::now();
        let (limit, caches) = (self.limit(), self.options.caches.clone());
        let reading = async move {
            let (reader, page) = read(reader, turn, rows, limit).await;
            if let (Some(caches), Ok(page)) = (caches, &page) {
                caches.apply(page.events.iter().flatten()).await;
            }
            (reader, page)
        };
        self.reading = Some(reading.boxed_local());
    }

    /// Schedules the next page after one was read.
    pub(super) fn have_read(&mut self, has_events: bool, is_last: bool, streams: usize) {
        let now = Instant::now();
        if has_events {
            self.last_event = now;
        }
        self.idle_streams = match is_last && !self.was_woken {
            true => self.idle_streams + 1,
            false => 0,
        };
        self.next_poll = if self.idle_streams < streams {
            match is_last && self.was_woken {
                true => self.next_busy_poll(),
                false => now,
            }
        } else {
            self.idle_streams = 0;
            match now < self.last_event + BUSY {
                true => now + BUSY_POLL,
                false => now + FAILSAFE_POLL,
            }
        };
    }

    // Acknowledging.

    pub(super) fn note_progress(&mut self) {
        self.has_progress = true;
    }

    /// Acknowledges at once.
    pub(super) fn acknowledge_now(&mut self) {
        self.has_progress = true;
        self.next_acknowledgement = self.next_acknowledgement.min(Instant::now());
    }

    pub(super) fn is_acknowledging(&self) -> bool {
        self.acknowledging.is_some()
    }

    /// The parked events whose settlements are being written.
    pub(super) fn settling(&self) -> impl Iterator<Item = i64> {
        self.sent.1.iter().map(|one| one.id)
    }

    pub(super) fn is_settling(&self) -> bool {
        !self.sent.1.is_empty()
    }

    pub(super) fn may_acknowledge(&self, now: Instant) -> bool {
        self.has_progress && self.acknowledging.is_none() && self.next_acknowledgement <= now
    }

    pub(super) fn acknowledge(
        &mut self,
        now: Instant,
        all: Vec<Acknowledgement>,
        settlements: Vec<Settlement>,
    ) {
        self.has_progress = false;
        if all.is_empty() && settlements.is_empty() {
            return;
        }
        let Some(mut statements) = self.statements.take() else {
            return;
        };
        self.next_acknowledgement = now + ACKNOWLEDGE;
        let (client, options) = (Arc::clone(&self.link.client), Rc::clone(&self.options));
        let limit = self.limit();
        let sent = Rc::new((all, settlements));
        self.sent = Rc::clone(&sent);
        let request = async move {
            let written = write(&client, &mut statements, &options.group, &sent.0, &sent.1);
            let written = store::answer_within(limit, written).await;
            (statements, written)
        };
        self.acknowledging = Some(request.boxed_local());
    }

    // Parked events.

    pub(super) fn may_fetch(&self) -> bool {
        self.fetching.is_none()
    }

    pub(super) fn fetch(&mut self, requested: Vec<(Row, i64)>, slices: Vec<i32>) {
        let (client, options) = (Arc::clone(&self.link.client), Rc::clone(&self.options));
        let ids: Vec<i64> = requested.iter().map(|(_, id)| *id).collect();
        self.requested = requested;
        let limit = self.limit();
        let fetching = async move {
            let (rows, is_truncated) =
                store::parked_rows(&client, &options.group, &ids, &slices).await?;
            let recorded: Vec<Recorded> = rows.iter().map(|parked| parked.row.clone()).collect();
            let mut reader = OutboxReader::new(client);
            let events = reader.events(&recorded).await?;
            Ok((rows, events, is_truncated))
        };
        let caches = self.options.caches.clone();
        let fetching = async move {
            let fetched: Result<FetchedRows> = store::answer_within(limit, fetching).await;
            if let (Some(caches), Ok((_, events, _))) = (caches, &fetched) {
                caches.apply(events.iter().flatten()).await;
            }
            fetched
        };
        self.fetching = Some(fetching.boxed_local());
    }
}

/// Writes settlements and acknowledgements. Acknowledgements are written together, up to [`MOST_BYTES`] at once.
async fn write(
    client: &Client,
    statements: &mut Statements,
    group: &str,
    all: &[Acknowledgement],
    settlements: &[Settlement],
) -> Result<Written> {
    let mut written = Written::default();
    for settlement in settlements {
        match store::settle(client, statements, group, settlement).await {
            Ok(()) => {}
            Err(error) if error.is_refused_value() => {
                written.refuse(settlement.slice, settlement.epoch, error);
                written.settlements.push(settlement.clone());
            }
            Err(error) if error.is_connection() => return Err(error),
            Err(error) => {
                written.untried = all.iter().map(|one| one.slice).collect();
                written.failure = Some(error);
                return Ok(written);
            }
        }
    }
    // The acknowledgement of a slice waits for its refused settlements.
    let (waiting, all): (Vec<_>, Vec<_>) = all
        .iter()
        .partition(|one: &&Acknowledgement| written.has_refused(one.slice));
    written.untried = waiting.iter().map(|one| one.slice).collect();
    let mut bytes = 0;
    let together = all.chunk_by(|before, _| {
        bytes += before.bytes();
        let is_room = bytes < MOST_BYTES;
        bytes = if is_room { bytes } else { 0 };
        is_room
    });
    for some in together {
        match acknowledge(client, statements, group, some, &mut written).await {
            Ok(()) => {}
            Err(error) if error.is_connection() => return Err(error),
            Err(error) => {
                let slices = all.iter().map(|one| one.slice);
                let untried = slices.filter(|slice| {
                    !written.slices.contains(slice) && !written.has_refused(*slice)
                });
                let untried: Vec<i32> = untried.collect();
                written.untried.extend(untried);
                written.failure = Some(error);
                return Ok(written);
            }
        }
    }
    Ok(written)
}

/// Writes acknowledgements at once. If the database refuses the batch, each slice is written on its own.
async fn acknowledge(
    client: &Client,
    statements: &mut Statements,
    group: &str,
    some: &[&Acknowledgement],
    written: &mut Written,
) -> Result<()> {
    match store::acknowledge(client, statements, group, some).await {
        Err(error) if error.is_refused_value() && some.len() > 1 => {
            for one in some.chunks(1) {
                Box::pin(acknowledge(client, statements, group, one, written)).await?;
            }
        }
        Err(error) if error.is_refused_value() => {
            for one in some {
                written.refuse(one.slice, one.epoch, error.clone());
            }
        }
        result => written.slices.extend(result?),
    }
    Ok(())
}

async fn read(
    mut reader: OutboxReader,
    turn: Turn,
    rows: usize,
    limit: Duration,
) -> (OutboxReader, Result<Page>) {
    let page = async {
        let until = turn.until.as_ref();
        let rows = reader.rows(&turn.cursor, &turn.share, until, rows).await?;
        let events = reader.events(&rows.rows).await?;
        let events = events.into_iter().zip(&rows.rows);
        let events = events
            .map(|(event, row)| event.map_err(|error| (error, reader.table(row))))
            .collect();
        Ok(Page { turn, rows, events })
    };
    let page = store::answer_within(limit, page).await;
    (reader, page)
}

/// Waits for the answer to a request. Waits forever if there is no request.
async fn answer<T>(request: &mut Option<impl Future<Output = T> + Unpin>) -> T {
    let answer = match request {
        Some(future) => future.await,
        None => pending().await,
    };
    *request = None;
    answer
}
