//! Attempts in a transaction that also acknowledges the event.
//!
//! ```text
//!   BEGIN ── the handler's statements ── acknowledge, if the slice is still ours ── COMMIT
//! ```
//!
//! Either all of it is committed, or nothing. The outcome of an attempt depends on its progress:
//! - An attempt that cannot begin, for example because it gets no connection, is not counted.
//! - If the connection is lost before COMMIT was sent, nothing can have been committed: the attempt has failed.
//! - If it is lost after that, only the server knows the outcome. The consumer claims the slice again. The claim waits for the
//!   transaction, and fences it if it commits later.
//!
//! Attempts share connections. No attempt sees the session state of another one, because each session is cleaned at the end of
//! an attempt.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, try_join};
use futures_util::{FutureExt, TryStreamExt};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryStream, Transaction};

use super::job::{Finished, Outcome};
use super::options::DurableOptions;
use super::plain::{call_hook, with};
use super::runner::{Acknowledge, Assignment, ExecutionMode, Runner, undecodable};
use super::{patience, store};
use crate::backoff::Backoff;
use crate::connect::{ConnectConfig, NEVER_IDLE_TOO_LONG};
use crate::error::{Error, Result};
use crate::event::FromEvent;
use crate::filter::Filter;
use crate::handler::{
    Attempt, Failure, GivenUp, HandlerError, HandlerResult, Instances, Task, contain, rows_unknown,
};
use crate::outbox::{History, Statements};
use crate::signal::Resync;

const CONNECT: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// How often connecting is retried for an attempt while no other attempt has a connection to give back.
const MAX_FAILURES: u32 = 6;
/// How much longer than the timeout the server lets an idle transaction stay open.
const MARGIN: Duration = Duration::from_secs(1);

/// Does what `DISCARD ALL` does, but keeps the consumer's prepared statements and those that look types up. Then counts the
/// statements that were prepared by SQL, and those prepared by the protocol.
const CLEANING: &str = include_str!("sql/clean.sql");

/// Fails unless a transaction is open, and then lets the acknowledgement write. The caller appends the lease as the limit for an
/// idle transaction: if the process hangs afterwards, the slice's cursor is locked for no longer than that.
const ACKNOWLEDGING: &str = include_str!("sql/acknowledging.sql");

/// Reacts to events with effects in the same database, each exactly once.
///
/// Effects through the transaction are committed together with the acknowledgement of the event, or not at all.
/// Other effects happen at least once, as in an [`EventHandler`](crate::EventHandler).
///
/// The transaction is READ WRITE, even if transactions of the role are read-only by default.
///
/// Do not commit or roll back the transaction yourself: if no transaction is open at the end of an attempt, the attempt has
/// failed, even if it has committed something.
///
/// Events of one slice are handled one after the other, on as many connections as there may be
/// [attempts at a time](DurableOptions::concurrency). An attempt may take as long as its [timeout](DurableOptions::timeout),
/// whatever it waits for. The server cancels a statement that takes longer than that, and ends a transaction that is idle for one
/// second longer than that. So if a process hangs during an attempt, the rows that the attempt has locked stay locked for that
/// long; another consumer takes over its slice when its [lease](DurableOptions::lease) has expired. Between the handler's end and
/// COMMIT, the limit is the lease: if a thread is blocked there for longer, the attempt is rolled back and repeated.
///
/// The session state of an attempt ends with it: settings, temporary tables, advisory locks, LISTEN, cursors, and
/// prepared statements.
///
/// ```
/// use pgherald_core::group::TransactionalHandler;
/// use pgherald_core::{Attempt, HandlerResult, Inserted, Table};
/// use tokio_postgres::Transaction;
///
/// struct User;
/// impl Table for User {
///     const NAME: &'static str = "users";
///     const KEY: &'static [&'static str] = &["id"];
///     type Key = i64;
/// }
///
/// struct Count;
/// impl TransactionalHandler for Count {
///     type Event = Inserted<User>;
///
///     async fn handle(&self, _: Inserted<User>, _: Attempt, transaction: &mut Transaction<'_>) -> HandlerResult {
///         transaction.execute("UPDATE statistics SET users = users + 1", &[]).await?;
///         Ok(())
///     }
/// }
/// ```
pub trait TransactionalHandler: 'static {
    /// The type of the events that the handler receives. It also selects them: see [`FromEvent`].
    type Event: FromEvent;

    /// Handles one event. An error rolls the transaction back. The event is then retried as for
    /// [`EventHandler::handle`](crate::EventHandler::handle).
    fn handle(
        &self,
        event: Self::Event,
        attempt: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> impl Future<Output = HandlerResult>;

    /// Catches up with changes that are not announced row by row. Without an implementation, each resync except the first one
    /// of a new group becomes a dead letter; see [the module](crate::group).
    fn resync(
        &self,
        resync: Resync,
        transaction: &mut Transaction<'_>,
    ) -> impl Future<Output = HandlerResult> {
        let _ = transaction;
        async move { HandlerError::without_resync(&resync) }
    }

    /// Called for each event that became a dead letter.
    fn given_up(&self, task: &GivenUp) {
        let _ = task;
    }
}

pub(super) struct Transactional<H> {
    instances: Rc<Instances<H>>,
    options: Arc<DurableOptions>,
    pool: Rc<Pool>,
}

impl<H: TransactionalHandler> Transactional<H> {
    pub(super) fn new(
        config: ConnectConfig,
        options: Arc<DurableOptions>,
        factory: impl Fn() -> H + 'static,
    ) -> Self {
        let milliseconds = |time: Duration| time.as_millis().clamp(1, i32::MAX as u128);
        let settings = format!(
            "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}",
            milliseconds(options.timeout),
            // The margin lets the attempt's own timeout come first.
            milliseconds(options.timeout.saturating_add(MARGIN))
        );
        let acknowledging = format!("{ACKNOWLEDGING} {}", milliseconds(options.lease));
        Self {
            instances: Rc::new(Instances::new(factory)),
            pool: Rc::new(Pool {
                config,
                cleaning: format!("{CLEANING} {settings}"),
                cleaning_since_14: format!("{CLEANING} {settings}; SET idle_session_timeout = 0"),
                settings,
                acknowledging,
                history: RefCell::default(),
                idle: RefCell::default(),
                connections: Rc::default(),
                returned: Notify::new(),
            }),
            options,
        }
    }
}

impl<H: TransactionalHandler> Runner for Transactional<H> {
    const MODE: ExecutionMode = ExecutionMode::Transactional;

    fn narrow(filter: Filter) -> Filter {
        H::Event::narrow(filter)
    }

    fn attempt(&self, jobs: Vec<Assignment>) -> LocalBoxFuture<'static, Vec<Finished>> {
        let instances = Rc::clone(&self.instances);
        let (options, pool) = (Arc::clone(&self.options), Rc::clone(&self.pool));
        async move {
            let mut finished = Vec::with_capacity(jobs.len());
            for assignment in jobs {
                let outcome = attempt(&instances, &options, &pool, &assignment).await;
                let Assignment { job, .. } = assignment;
                finished.push(Finished { job, outcome });
            }
            finished
        }
        .boxed_local()
    }

    fn set_history(&self, history: &History) {
        self.pool.history.replace(Some(history.clone()));
    }

    fn give_up(&self, given_up: &GivenUp) {
        call_hook(&self.instances, |handler| handler.given_up(given_up));
    }
}

async fn attempt<H: TransactionalHandler>(
    instances: &Instances<H>,
    options: &DurableOptions,
    pool: &Pool,
    assignment: &Assignment,
) -> Outcome {
    let task = match &assignment.job.task {
        Ok(task) => task,
        Err(error) => return Outcome::Failed(undecodable(error)),
    };
    loop {
        let mut connection = match within(options, pool.take()).await {
            Ok(connection) => connection,
            Err(error) => return Outcome::NotBegun(error),
        };
        let outcome = {
            let Connection {
                client,
                statements,
                cleaning,
                ..
            } = &mut connection;
            let was_used = cleaning.is_some();
            let cleaned = is_clean(cleaning.take(), statements.len());
            // Send both before reading the answer to either.
            let beginning = async {
                // READ WRITE, because the acknowledgement would fail if the role's transactions are read-only by default. The
                // cleaning resets the session's settings, and this one must be the first statement.
                let writable = client.build_transaction().read_only(false).start();
                let begun = try_join(writable, cleaned).await;
                let (transaction, is_clean) = begun.map_err(failed)?;
                Ok(is_clean.then_some(transaction))
            };
            match within(options, beginning).await {
                Ok(Some(transaction)) => {
                    let transaction = (transaction, statements);
                    transact(instances, options, pool, assignment, task, transaction).await
                }
                Ok(None) => continue,
                // The session could not be cleaned, or has ended meanwhile.
                Err(error) if was_used => {
                    tracing::debug!(error = %error.chain(), "session discarded after an attempt");
                    continue;
                }
                Err(error) => return Outcome::NotBegun(error),
            }
        };
        return match outcome {
            // A statement may still be running.
            Err(failure @ (Failure::TimedOut(_) | Failure::Panicked(_))) => {
                Outcome::Failed(failure)
            }
            Ok(outcome @ Outcome::InDoubt(_)) => outcome,
            outcome => {
                pool.give_back(connection).await;
                outcome.unwrap_or_else(Outcome::Failed)
            }
        };
    }
}

/// Runs the handler, acknowledges its event, and commits. Fails if the handler fails: then nothing was acknowledged.
async fn transact<H: TransactionalHandler>(
    instances: &Instances<H>,
    options: &DurableOptions,
    pool: &Pool,
    assignment: &Assignment,
    task: &Task,
    (mut transaction, statements): (Transaction<'_>, &mut Statements),
) -> Result<Outcome, Failure> {
    let Assignment {
        job,
        acknowledgement,
        generation,
    } = assignment;
    let lent = &mut transaction;
    let attempted = with(instances, async move |handler| {
        // Move `lent` into the attempt, so that the borrow ends with it.
        let attempt = job.attempt(options);
        contain(move || run(handler, task, attempt, lent), options.timeout).await
    });
    attempted.await?;
    let acknowledging = async {
        let begun = transaction.batch_execute(&pool.acknowledging).await;
        begun.map_err(failed)
    };
    let writing = async {
        match acknowledgement {
            Acknowledge::Cursor(one) => {
                store::acknowledge_one(&transaction, statements, &options.group, one).await
            }
            Acknowledge::Parked => {
                store::settle_done(&transaction, statements, &options.group, job, *generation).await
            }
            Acknowledge::Nothing => Ok(true),
        }
    };
    // Send both statements before reading the answer to either.
    let limit = limit(options);
    match patience::within(limit, try_join(acknowledging, writing)).await {
        Some(Ok(((), true))) => {}
        Some(Ok(((), false))) => return Ok(Outcome::Fenced),
        // COMMIT was not sent, so the transaction was not committed.
        Some(Err(error)) => return Err(refused(&error)),
        None => return Err(Failure::TimedOut(limit)),
    }
    let committing = async { Ok(transaction.commit().await) };
    Ok(match within(options, committing).await {
        Ok(Ok(())) => Outcome::Committed,
        // Any result except a plain error, such as that of a deferred constraint, may come after the commit.
        Ok(Err(cause)) if !is_plain(&cause) => Outcome::InDoubt(failed(cause)),
        Ok(Err(cause)) => Outcome::Failed(refused(&failed(cause))),
        Err(error) => Outcome::InDoubt(error),
    })
}

/// A server that does not answer for this long counts as disconnected.
fn limit(options: &DurableOptions) -> Duration {
    options.lease.max(options.timeout)
}

async fn within<T>(
    options: &DurableOptions,
    request: impl Future<Output = Result<T>>,
) -> Result<T> {
    store::answer_within(limit(options), request).await
}

/// Whether the server has refused a statement, and the session continues.
fn is_plain(cause: &tokio_postgres::Error) -> bool {
    cause.as_db_error().is_some_and(|error| {
        error.parsed_severity() == Some(Severity::Error) && !error.code().code().starts_with("08")
    })
}

/// The failure of an attempt whose acknowledgement or COMMIT the server has refused.
fn refused(error: &Error) -> Failure {
    let message = match error.code() {
        Some(&SqlState::NO_ACTIVE_SQL_TRANSACTION) => {
            "the handler ended its transaction by a statement of its own".to_owned()
        }
        _ => error.chain(),
    };
    Failure::Error {
        message,
        permanent: false,
        retry_after: None,
    }
}

fn failed(cause: tokio_postgres::Error) -> Error {
    Error::of_statement("the transaction failed", cause)
}

async fn run<H: TransactionalHandler>(
    handler: &H,
    task: &Task,
    attempt: Attempt,
    transaction: &mut Transaction<'_>,
) -> HandlerResult {
    match task {
        Task::Resync(resync) => handler.resync(resync.clone(), transaction).await,
        Task::Event(event) => match H::Event::from_event(event) {
            Ok(Some(typed)) => handler.handle(typed, attempt, transaction).await,
            Ok(None) => handler.resync(rows_unknown(event), transaction).await,
            Err(error) => Err(HandlerError::permanent(error)),
        },
    }
}

/// Connections for attempts. It opens as many as there are attempts at a time.
struct Pool {
    config: ConnectConfig,
    settings: String,
    /// Cleans a session, then makes the settings again.
    cleaning: String,
    /// The same for servers that end idle sessions: from version 14 on.
    cleaning_since_14: String,
    /// Prepares the transaction for the acknowledgement.
    acknowledging: String,
    /// The server's history that the consumer's cursors belong to. A crash of the server makes cursors invalid, so they must not
    /// be written on a connection that was opened after it.
    history: RefCell<Option<History>>,
    idle: RefCell<Vec<Connection>>,
    /// Counts connections: each one holds a reference.
    connections: Rc<()>,
    /// Notified when a connection becomes idle.
    returned: Notify,
}

struct Connection {
    client: Client,
    statements: Statements,
    /// Whether the server has a limit for idle sessions.
    ends_when_idle: bool,
    /// The answer to the cleaning after the previous attempt.
    cleaning: Option<Cleaning>,
    _counted: Rc<()>,
}

type Cleaning = Pin<Box<SimpleQueryStream>>;

impl Pool {
    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|connection| !connection.client.is_closed());
        idle.pop()
    }

    /// Whether an attempt has a connection that it will give back.
    fn has_some_in_use(&self) -> bool {
        Rc::strong_count(&self.connections) - 1 > self.idle.borrow().len()
    }

    /// Takes an idle connection, or opens one. Retries if that fails, for example because of too many connections, and meanwhile
    /// takes a connection that another attempt gives back.
    async fn take(&self) -> Result<Connection> {
        let mut failures = 0;
        let client = loop {
            if let Some(connection) = self.take_idle() {
                return Ok(connection);
            }
            match Box::pin(self.config.lasting_client()).await {
                Ok(client) => break client,
                Err(error)
                    if error.is_retryable()
                        && (failures < MAX_FAILURES || self.has_some_in_use()) =>
                {
                    tracing::debug!(error = %error.chain(), "no connection for an attempt");
                    let _ = timeout(CONNECT.delay(failures), self.returned.notified()).await;
                    failures = failures.saturating_add(1);
                }
                Err(error) => return Err(error),
            }
        };
        let history = self.history.borrow().clone();
        if let Some(history) = history {
            history.confirm(&client).await?;
        }
        let settings = format!("{NEVER_IDLE_TOO_LONG}; {}", self.settings);
        let answers = client.simple_query(&settings).await.map_err(failed)?;
        // Look this setting up only once: that takes longer than the rest of the cleaning.
        let is_set = |answer: &SimpleQueryMessage| matches!(answer, SimpleQueryMessage::Row(_));
        Ok(Connection {
            ends_when_idle: answers.iter().any(is_set),
            client,
            statements: Statements::default(),
            cleaning: None,
            _counted: Rc::clone(&self.connections),
        })
    }

    /// Sends the cleaning at once, so that no locks stay, and keeps the session. The next attempt reads the answer.
    async fn give_back(&self, mut connection: Connection) {
        let cleaning = match connection.ends_when_idle {
            true => &self.cleaning_since_14,
            false => &self.cleaning,
        };
        // Resolves once the cleaning was sent.
        match connection.client.simple_query_raw(cleaning).await {
            Ok(cleaning) => {
                connection.cleaning = Some(Box::pin(cleaning));
                self.idle.borrow_mut().push(connection);
                self.returned.notify_one();
            }
            Err(error) => tracing::debug!(%error, "the connection of an attempt has ended"),
        }
    }
}

/// Whether a session still has the `prepared` statements of the consumer, and none that a handler prepared by SQL.
async fn is_clean(
    cleaning: Option<Cleaning>,
    prepared: usize,
) -> Result<bool, tokio_postgres::Error> {
    let Some(mut answers) = cleaning else {
        return Ok(true);
    };
    let mut is_clean = false;
    while let Some(answer) = answers.try_next().await? {
        // No other statement returns a row.
        if let SimpleQueryMessage::Row(row) = answer {
            let number = |index| row.try_get(index).ok().flatten()?.parse::<usize>().ok();
            is_clean = number(0) == Some(0) && number(1) >= Some(prepared);
        }
    }
    Ok(is_clean)
}
