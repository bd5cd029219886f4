//! A database with an outbox, consumers that run in the test's process, and a log of what their handlers did.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pgherald_core::group::{Consumer, ConsumerHandle, ConsumerReport, Group};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{
    Attempt, Backoff, ConnectConfig, DurableOptions, Event, EventHandler, HandlerResult, Resync,
    RetryPolicy, TableName,
};
use pgherald_testkit::Postgres;
use tokio::task::LocalSet;
use tokio_postgres::{Client, NoTls};

pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// A database in which the tables `jobs (id, value)` and `others` are recorded with their values.
pub(crate) struct Scene {
    pub(crate) url: String,
    pub(crate) client: Arc<Client>,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let url = Postgres::shared()
            .await
            .unwrap()
            .create_database()
            .await
            .unwrap();
        Self::at(url).await
    }

    /// A scene in a database that has one already.
    pub(crate) async fn connected(url: String) -> Self {
        let client = Arc::new(connect(&url).await);
        Self { url, client }
    }

    pub(crate) async fn at(url: String) -> Self {
        let client = connect(&url).await;
        let sql = "CREATE TABLE jobs (id int PRIMARY KEY, value bigint); CREATE TABLE others (id int PRIMARY KEY);
            CREATE TABLE effects (number bigserial, id int, value bigint, worker int)";
        client.batch_execute(sql).await.unwrap();
        let specs = ["jobs", "others"].map(|table| {
            let table = TableName::new("public", table).unwrap();
            TriggerSpec::new(table).every_column().outbox()
        });
        let plan = trigger::plan(&client, &specs).await.unwrap();
        plan.apply(&client).await.unwrap();
        let client = Arc::new(client);
        Self { url, client }
    }

    pub(crate) fn config(&self) -> ConnectConfig {
        self.url.parse().unwrap()
    }

    pub(crate) async fn connect(&self) -> Client {
        connect(&self.url).await
    }

    pub(crate) async fn run(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}: {error:?}");
        }
    }

    /// Changes the default of a setting for new sessions. The scene's own client is connected already.
    pub(crate) async fn set_for_new_sessions(&self, setting: &str) {
        let database = self.url.rsplit('/').next().unwrap();
        self.run(&format!("ALTER DATABASE {database} SET {setting}"))
            .await;
    }

    /// The number in the first row, or -1 if there is no row, for example while a group does not exist yet.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let row = self.client.query_opt(sql, &[]).await.unwrap();
        row.map_or(-1, |row| row.get(0))
    }

    /// Waits until the query returns the expected number, as long as the number changes.
    pub(crate) async fn becomes(&self, sql: &str, expected: i64) {
        let mut patience = Patience::new();
        loop {
            let found = self.number(sql).await;
            if found == expected {
                return;
            }
            if patience.has_ended(|| found.to_string()) {
                panic!("{sql}: {found}, not {expected}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn group<'a>(&'a self, name: &'a str) -> Group<'a> {
        Group::new(&self.client, name)
    }

    /// Starts a consumer with a handler of single events.
    pub(crate) fn start(&self, options: DurableOptions, log: &Log, plan: Plan) -> ConsumerHandle {
        self.start_at(&self.url, options, log, plan)
    }

    /// Like [`Self::start`], with another URL.
    pub(crate) fn start_at(
        &self,
        url: &str,
        options: DurableOptions,
        log: &Log,
        plan: Plan,
    ) -> ConsumerHandle {
        let (log, plan) = (log.clone(), Rc::new(plan));
        let factory = move || Recorder {
            log: log.clone(),
            plan: Rc::clone(&plan),
        };
        let (handle, consumer) = Consumer::new(url.parse().unwrap(), options, factory).unwrap();
        tokio::task::spawn_local(consumer.run());
        handle
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A limit of delays before retries. Delays are drawn evenly from zero up to the limit, so with an hour, one of a thousand would end
/// within a few seconds. With this limit, none ends during a test.
pub(crate) const YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Options with short retries and leases.
pub(crate) fn options(group: &str) -> DurableOptions {
    DurableOptions::new(group)
        .retry(RetryPolicy::new(
            3,
            Backoff::new(Duration::from_millis(5), Duration::from_millis(20)),
        ))
        .lease(Duration::from_secs(1))
        .slices(8)
        .from_beginning()
}

/// The events that handlers received, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub(crate) fn note(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    pub(crate) async fn has(&self, count: usize) -> Vec<String> {
        until(
            &format!("{count} lines"),
            || self.0.borrow().len() >= count,
            || format!("{:?}", self.0.borrow()),
        )
        .await;
        self.lines()
    }
}

/// Returns the outcome of an attempt from the line of its event and the attempt's number.
pub(crate) type Plan = Box<dyn Fn(&str, u32) -> HandlerResult>;

pub(crate) fn all_well() -> Plan {
    Box::new(|_, _| Ok(()))
}

struct Recorder {
    log: Log,
    plan: Rc<Plan>,
}

impl EventHandler for Recorder {
    type Event = Event;

    async fn handle(&self, event: Event, attempt: Attempt) -> HandlerResult {
        let line = shown(&event);
        self.log.note(format!("{line}#{}", attempt.number()));
        assert_eq!(
            attempt.idempotency_key().unwrap().event(),
            event.outbox_id().unwrap()
        );
        (self.plan)(&line, attempt.number())
    }

    async fn resync(&self, resync: Resync) -> HandlerResult {
        self.log.note(format!("resync {resync}"));
        Ok(())
    }
}

/// An event as text, for example `7=1`.
pub(crate) fn shown(event: &Event) -> String {
    #[derive(serde::Deserialize)]
    struct Columns {
        value: Option<i64>,
    }
    let key = event.key().map(ToString::to_string).unwrap_or_default();
    let columns = event.columns::<Columns>().unwrap();
    let value = columns
        .and_then(|columns| columns.value)
        .unwrap_or_default();
    format!("{key}={value}")
}

/// Ends after [`LIMIT`] without progress, and in any case after some times that long. So a slow machine fails no test.
struct Patience {
    since: tokio::time::Instant,
    seen: Option<String>,
    extensions: u32,
}

impl Patience {
    fn new() -> Self {
        Self {
            since: tokio::time::Instant::now(),
            seen: None,
            extensions: 5,
        }
    }

    /// `shown` is a text that changes with each progress.
    fn has_ended(&mut self, shown: impl FnOnce() -> String) -> bool {
        if self.since.elapsed() < LIMIT / 2 {
            return false;
        }
        let now = Some(shown());
        let has_ended = now == self.seen || self.extensions == 0;
        self.extensions = self.extensions.saturating_sub(1);
        (self.since, self.seen) = (tokio::time::Instant::now(), now);
        has_ended
    }
}

/// Waits for a condition, as long as the text that `shown` returns changes.
pub(crate) async fn until(what: &str, is: impl Fn() -> bool, shown: impl Fn() -> String) {
    let mut patience = Patience::new();
    while !is() {
        if patience.has_ended(&shown) {
            panic!("no progress within {LIMIT:?}: {what}; {}", shown());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until the consumer is not live, for a reason that contains `word`.
pub(crate) async fn degraded(handle: &ConsumerHandle, word: &str) {
    let health = handle.health();
    let is = || {
        let health = health.borrow();
        !health.is_live() && health.to_string().contains(word)
    };
    until(&format!("degraded by {word:?}"), is, || {
        health.borrow().to_string()
    })
    .await;
}

/// Waits until the report meets a condition.
pub(crate) async fn report(
    handle: &ConsumerHandle,
    what: &str,
    is: impl Fn(&ConsumerReport) -> bool,
) {
    until(
        what,
        || is(&handle.report()),
        || format!("{:?} {:?}", handle.report(), handle.health().borrow()),
    )
    .await;
}

/// Runs a test on a `LocalSet`, because handlers are not `Send`.
pub(crate) async fn local<T>(test: impl Future<Output = T>) -> T {
    LocalSet::new().run_until(test).await
}

pub(crate) async fn drained(handle: &ConsumerHandle) -> ConsumerReport {
    handle.drain(LIMIT).await
}
