//! Attempts in a transaction that also acknowledges the event.
//!
//! ```text
//!   BEGIN ── the handler's statements ── acknowledge, if the slice is still ours ── COMMIT
//! ```
//!
//! Either all of it is committed, or nothing. If the connection is lost on the way, nobody knows which; then the slice is
//! claimed anew, which waits for the transaction, and refuses it if it comes later.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, try_join};
use tokio_postgres::error::Severity;
use tokio_postgres::{Client, Transaction};

use super::job::{Finished, Outcome};
use super::options::Durable;
use super::plain::{tell, with};
use super::runner::{Assignment, Manner, Runner, not_understood};
use super::store;
use crate::backoff::Backoff;
use crate::connect::ConnectConfig;
use crate::error::{Error, Kind, Result};
use crate::event::FromEvent;
use crate::filter::Filter;
use crate::handler::{
    Attempt, Failure, GivenUp, HandlerError, HandlerResult, Instances, Task, contain, rows_unknown,
};
use crate::outbox::{History, Statements};
use crate::signal::Resync;

const CONNECT: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
const MOST_FAILURES: u32 = 6;

/// Reacts to events with effects in the same database, each exactly once.
///
/// What is done through the transaction is committed together with the note that the event was handled, or not at all.
/// What is done elsewhere is done at least once, as in an [`EventHandler`](crate::EventHandler). It is a user's part not to
/// end the transaction by statements of his own.
///
/// Events of one slice are handled one after the other, on as many connections as there may be
/// [attempts at a time](Durable::concurrency). The server ends a statement that takes longer than the attempt may, and a
/// transaction in which nothing is asked for as long as the lease lasts.
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
    /// What it is given; also decides which events it is given.
    type Event: FromEvent;

    /// Handles one event. An error rolls back what was done in the transaction; see
    /// [`EventHandler::handle`](crate::EventHandler::handle) for what follows.
    fn handle(
        &self,
        event: Self::Event,
        attempt: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> impl Future<Output = HandlerResult>;

    /// Catches up with what is not told row by row; see [the module](crate::group).
    fn resync(
        &self,
        resync: Resync,
        transaction: &mut Transaction<'_>,
    ) -> impl Future<Output = HandlerResult> {
        let _ = (resync, transaction);
        async { Ok(()) }
    }

    /// Told about every event that became a dead letter.
    fn given_up(&self, task: &GivenUp) {
        let _ = task;
    }
}

pub(super) struct Transactional<H> {
    instances: Rc<Instances<H>>,
    terms: Rc<Durable>,
    pool: Rc<Pool>,
}

impl<H: TransactionalHandler> Transactional<H> {
    pub(super) fn new(
        config: ConnectConfig,
        terms: Rc<Durable>,
        factory: impl Fn() -> H + 'static,
    ) -> Self {
        let settings = format!(
            "SET idle_in_transaction_session_timeout = {}; SET statement_timeout = {}",
            terms.lease.as_millis(),
            terms.timeout.as_millis().clamp(1, i32::MAX as u128)
        );
        Self {
            instances: Rc::new(Instances::new(factory)),
            pool: Rc::new(Pool {
                config,
                settings,
                history: RefCell::default(),
                idle: RefCell::default(),
            }),
            terms,
        }
    }
}

impl<H: TransactionalHandler> Runner for Transactional<H> {
    const MANNER: Manner = Manner::Transactional;

    fn narrow(filter: Filter) -> Filter {
        H::Event::narrow(filter)
    }

    fn attempt(&self, jobs: Vec<Assignment>) -> LocalBoxFuture<'static, Vec<Finished>> {
        let instances = Rc::clone(&self.instances);
        let (terms, pool) = (Rc::clone(&self.terms), Rc::clone(&self.pool));
        async move {
            let mut finished = Vec::with_capacity(jobs.len());
            for assignment in jobs {
                let outcome = attempt(&instances, &terms, &pool, &assignment).await;
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
        tell(&self.instances, |handler| handler.given_up(given_up));
    }
}

async fn attempt<H: TransactionalHandler>(
    instances: &Instances<H>,
    terms: &Durable,
    pool: &Pool,
    assignment: &Assignment,
) -> Outcome {
    let task = match &assignment.job.task {
        Ok(task) => task,
        Err(error) => return Outcome::Failed(not_understood(error)),
    };
    let mut connection = match within(terms, pool.take()).await {
        Ok(connection) => connection,
        Err(error) => return Outcome::InDoubt(error),
    };
    let outcome = {
        let Connection { client, statements } = &mut connection;
        let beginning = async { client.transaction().await.map_err(failed) };
        match within(terms, beginning).await {
            Ok(transaction) => {
                transact(instances, terms, assignment, task, transaction, statements).await
            }
            Err(error) => Ok(Outcome::InDoubt(error)),
        }
    };
    let is_closed = connection.client.is_closed();
    match outcome {
        // A statement may still be under way.
        Err(failure @ (Failure::TimedOut(_) | Failure::Panicked(_))) => Outcome::Failed(failure),
        Err(failure) if is_closed => Outcome::Lost(failure),
        Ok(Outcome::Failed(failure)) if is_closed => {
            let message = format!("the connection was lost at the end of an attempt: {failure}");
            Outcome::InDoubt(Error::new(Kind::Disconnected, message))
        }
        Ok(outcome @ Outcome::InDoubt(_)) => outcome,
        outcome => {
            pool.idle.borrow_mut().push(connection);
            outcome.unwrap_or_else(Outcome::Failed)
        }
    }
}

/// Fails if the handler does: then nothing was acknowledged.
async fn transact<H: TransactionalHandler>(
    instances: &Instances<H>,
    terms: &Durable,
    assignment: &Assignment,
    task: &Task,
    mut transaction: Transaction<'_>,
    statements: &mut Statements,
) -> Result<Outcome, Failure> {
    let Assignment {
        job,
        acknowledgement,
        generation,
    } = assignment;
    let lent = &mut transaction;
    let attempted = with(instances, async move |handler| {
        // Moved into the attempt, for it goes with it.
        let attempt = job.attempt(terms);
        contain(move || run(handler, task, attempt, lent), terms.timeout).await
    });
    attempted.await?;
    let writing = async {
        match acknowledgement {
            Some(one) => {
                let written = store::acknowledge_one(&transaction, statements, &terms.group, one);
                // Both are sent at once. It holds for the rest of the transaction, of which there is nothing else.
                let by_index = async {
                    let sent = transaction.batch_execute(store::BY_INDEX_HERE).await;
                    sent.map_err(failed)
                };
                try_join(by_index, written)
                    .await
                    .map(|((), is_ours)| is_ours)
            }
            None => {
                store::settle_done(&transaction, statements, &terms.group, job, *generation).await
            }
        }
    };
    Ok(match within(terms, writing).await {
        Ok(true) => {
            let committing = async { Ok(transaction.commit().await) };
            match within(terms, committing).await {
                Ok(Ok(())) => Outcome::Committed,
                // Anything but a plain error, of a deferred constraint say, may come after the commit.
                Ok(Err(cause)) if !is_plain(&cause) => Outcome::InDoubt(failed(cause)),
                Ok(Err(cause)) => refused(failed(cause)),
                Err(error) => Outcome::InDoubt(error),
            }
        }
        Ok(false) => Outcome::Fenced,
        Err(error) => refused(error),
    })
}

/// A server that does not answer within a lease, or a timeout if that is longer, is as good as gone.
async fn within<T>(terms: &Durable, asked: impl Future<Output = Result<T>>) -> Result<T> {
    store::answered(terms.lease.max(terms.timeout), asked).await
}

/// Whether the server has refused a statement, and lives.
fn is_plain(cause: &tokio_postgres::Error) -> bool {
    cause.as_db_error().is_some_and(|error| {
        error.parsed_severity() == Some(Severity::Error) && !error.code().code().starts_with("08")
    })
}

/// The server did not take it; or it is gone, and has, perhaps.
fn refused(error: Error) -> Outcome {
    if error.is_connection() {
        return Outcome::InDoubt(error);
    }
    Outcome::Failed(Failure::Error {
        message: error.chain(),
        permanent: false,
        retry_after: None,
    })
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

/// Connections for attempts; as many as there were attempts at a time.
struct Pool {
    config: ConnectConfig,
    settings: String,
    /// Cursors of before a crash of the server mean nothing after it: they must not be written on a connection that was made
    /// since.
    history: RefCell<Option<History>>,
    idle: RefCell<Vec<Connection>>,
}

struct Connection {
    client: Client,
    statements: Statements,
}

impl Pool {
    /// Tries again when there are too many connections, say.
    async fn connect(&self) -> Result<Client> {
        let mut failures = 0;
        loop {
            match Box::pin(self.config.lasting_client()).await {
                Err(error) if error.is_retryable() && failures < MOST_FAILURES => {
                    tracing::debug!(error = %error.chain(), "no connection for an attempt");
                    tokio::time::sleep(CONNECT.delay(failures)).await;
                    failures += 1;
                }
                result => return result,
            }
        }
    }

    async fn take(&self) -> Result<Connection> {
        loop {
            let idle = self.idle.borrow_mut().pop();
            match idle {
                Some(connection) if connection.client.is_closed() => {}
                Some(connection) => return Ok(connection),
                None => break,
            }
        }
        let client = self.connect().await?;
        let history = self.history.borrow().clone();
        if let Some(history) = history {
            history.confirm(&client).await?;
        }
        client.batch_execute(&self.settings).await.map_err(failed)?;
        let statements = Statements::default();
        Ok(Connection { client, statements })
    }
}
