//! A test of a handler.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use host::group::trial::{self, Tried};
use pgherald_core::__private::host;
use pgherald_core::__private::host::group::{not_watched, wants};
use pgherald_core::group::{Consumer, ConsumerHandle, Group, ParkedEvent};
use pgherald_core::{Backoff, ConnectConfig, DurableOptions, Event, FromEvent, RetryPolicy};
use tokio::task::LocalSet;
use tokio::time::{Instant, timeout};

use super::{FailedEvent, Outcome, TestDatabase};
use crate::Error;

/// The default time limit of a test.
const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// The number of failed events that are read, more than a test makes.
const MAX_FAILED: usize = 100_000;

type Factory<H> = Rc<dyn Fn() -> H>;
type Started = pgherald_core::Result<(ConsumerHandle, Consumer)>;
type Trial = Pin<Box<dyn Future<Output = pgherald_core::Result<Vec<Tried>>>>>;

/// A test of a durable handler. Made by [`TestDatabase::handler`], [`transactional`](TestDatabase::transactional) and
/// [`batches`](TestDatabase::batches).
///
/// The handler runs as in production: with its timeout, in its transaction, and with panics caught. The differences are:
/// - An event is attempted once, or as often as [`attempts`](Self::attempts) allows, without the delays of the retry policy.
///   If the handler requests a delay of more than a second (a snooze, `retry_after`), the event counts as failed.
/// - The group is new, and receives no resync for the time before its creation. It has one slice.
///
/// ```no_run
/// # use pgherald_core::{Attempt, DurableOptions, Event, EventHandler, HandlerResult, Operation};
/// # use pgherald_testkit::TestDatabase;
/// # struct Mail;
/// # impl EventHandler for Mail {
/// #     type Event = Event;
/// #     async fn handle(&self, _: Event, _: Attempt) -> HandlerResult { Ok(()) }
/// # }
/// # async fn example(database: TestDatabase) -> Result<(), pgherald_testkit::Error> {
/// let event = Event::builder("public", "users", Operation::Insert).key(7).build();
/// let test = database.handler(DurableOptions::new("mail"), || Mail).attempts(3);
/// let outcome = test.events([event]).await?;
/// assert!(outcome.is_handled(), "{outcome}");
/// # Ok(())
/// # }
/// ```
#[must_use = "a test does nothing until sql() or events() is called"]
pub struct HandlerTest<'a> {
    database: &'a TestDatabase,
    options: DurableOptions,
    attempts: u32,
    limit: Duration,
    /// Whether tables are watched, but none of the handler's.
    is_not_watched: bool,
    consumer: Box<dyn Fn(ConnectConfig, DurableOptions) -> Started>,
    trial: Box<dyn Fn(ConnectConfig, DurableOptions, Vec<Event>) -> Trial>,
}

impl<'a> HandlerTest<'a> {
    pub(super) fn new<E: FromEvent, H: 'static>(
        database: &'a TestDatabase,
        options: DurableOptions,
        factory: impl Fn() -> H + 'static,
        consumer: impl Fn(ConnectConfig, DurableOptions, Factory<H>) -> Started + 'static,
        trial: impl Fn(ConnectConfig, DurableOptions, Factory<H>, Vec<Event>) -> Trial + 'static,
    ) -> Self {
        let factory: Factory<H> = Rc::new(factory);
        let trial_factory = Rc::clone(&factory);
        let watched = database.watched();
        let is_any_watched = !watched.is_empty();
        let required: Vec<_> = watched
            .into_iter()
            .filter(|spec| wants::<E>(&options, spec.table()))
            .collect();
        Self {
            database,
            attempts: 1,
            limit: LIMIT,
            is_not_watched: is_any_watched && required.is_empty(),
            options: options.requires(required),
            consumer: Box::new(move |config, options| {
                consumer(config, options, Rc::clone(&factory))
            }),
            trial: Box::new(move |config, options, events| {
                trial(config, options, Rc::clone(&trial_factory), events)
            }),
        }
    }

    /// Sets how often an event is attempted if it fails. Default: once.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets the time limit of the whole test. Default: 30 s. The time limit of an attempt is that of its [`DurableOptions`].
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs SQL, and a consumer that handles the changes as in production. Returns when all changes were handled or have
    /// failed, including those that the handler itself makes.
    ///
    /// # Errors
    /// If the SQL fails, or the handler does not finish [in time](Self::within). If tables are [watched](TestDatabase::watch),
    /// but none that the handler's event type and filter include. If the installed triggers lack what the handler requires.
    pub async fn sql(&self, sql: &str) -> Result<Outcome, Error> {
        if self.is_not_watched {
            return Err(not_watched(&self.options).into());
        }
        let options = trial::without_first_resync(self.options().slices(1));
        let group = Group::new(self.database.client(), self.options.group());
        let (handle, consumer) = (self.consumer)(self.database.config(), options)?;
        let run = async {
            let running = tokio::task::spawn_local(consumer.run());
            let outcome = self.observe(&handle, group, sql).await;
            let report = handle.drain(self.limit).await;
            // The consumer has drained, so this returns at once.
            let _ = running.await;
            let deleted = group.delete().await;
            let failures = outcome?;
            deleted?;
            Ok(Outcome {
                handled: report.handled,
                failures,
            })
        };
        LocalSet::new().run_until(run).await
    }

    /// Passes the given events to the handler; see [`Event::builder`]. They are not written to the outbox, so they need no
    /// triggers and no table. Returns when each event was handled or has failed. Events that the handler's event type or filter
    /// excludes are skipped.
    ///
    /// # Errors
    /// If an option is invalid, the connection is lost, or the handler does not finish [in time](Self::within).
    pub async fn events(&self, events: impl IntoIterator<Item = Event>) -> Result<Outcome, Error> {
        let events = events.into_iter().collect();
        let trial = (self.trial)(self.database.config(), self.options(), events);
        match timeout(self.limit, trial).await {
            Ok(tried) => Ok(tried?.into_iter().collect()),
            Err(_) => {
                let limit = self.limit;
                let message = format!("the handler did not finish within {limit:?}");
                Err(Error::new(message))
            }
        }
    }

    fn options(&self) -> DurableOptions {
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
        let policy = RetryPolicy::new(self.attempts, backoff);
        self.options.clone().retry(policy)
    }

    /// Runs the SQL once the consumer is live, and returns the failures when everything has been handled.
    async fn observe(
        &self,
        handle: &ConsumerHandle,
        group: Group<'_>,
        sql: &str,
    ) -> Result<Vec<FailedEvent>, Error> {
        let deadline = Instant::now() + self.limit;
        let mut health = handle.health();
        let live = health.wait_for(pgherald_core::Health::is_live);
        if !matches!(timeout(self.limit, live).await, Ok(Ok(_))) {
            let health = handle.health().borrow().to_string();
            let message = format!("the handler's consumer did not become live: {health}");
            return Err(Error::new(message));
        }
        self.database.execute(sql).await?;
        loop {
            let status = group.status().await?;
            if status.lag_events == 0 {
                let parked = group.parked(None, MAX_FAILED).await?;
                if is_over(&parked) {
                    let failed = group.dead_letters(None, MAX_FAILED).await?;
                    return Ok(failed.into_iter().chain(parked).map(Into::into).collect());
                }
            }
            if Instant::now() >= deadline {
                let (limit, report) = (self.limit, handle.report());
                let message = format!("the handler did not finish within {limit:?}: {report}");
                return Err(Error::new(message));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Returns whether no parked event will be attempted soon: each one has a long delay, or waits behind such an event.
fn is_over(parked: &[ParkedEvent]) -> bool {
    let soon = SystemTime::now() + trial::LONGEST_PAUSE;
    let is_paused = |event: &ParkedEvent| event.due_at.is_some_and(|due| due > soon);
    let row = |event: &ParkedEvent| {
        let table = event.event.as_ref().map(|event| event.table().to_owned());
        (table, event.key.clone())
    };
    let is_behind = |event: &ParkedEvent| {
        let mut others = parked.iter().filter(|other| is_paused(other));
        event.due_at.is_none() && others.any(|other| row(other) == row(event))
    };
    parked
        .iter()
        .all(|event| is_paused(event) || is_behind(event))
}

impl fmt::Debug for HandlerTest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerTest")
            .field("database", &self.database)
            .field("options", &self.options)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}
