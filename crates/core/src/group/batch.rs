//! Attempts at batches of events, by a [`BatchHandler`].

use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::job::{Finished, Outcome};
use super::options::DurableOptions;
use super::plain::{call_hook, with};
use super::runner::{Assignment, ExecutionMode, Runner, undecodable};
use crate::event::FromEvent;
use crate::filter::Filter;
use crate::handler::{
    Attempt, Failure, GivenUp, HandlerError, HandlerResult, Instances, Task, contain, rows_unknown,
};
use crate::signal::Resync;

/// Reacts to batches of events, for effects that cost less together, such as bulk requests.
///
/// A batch has at most one event of a row, so that a partial failure does not change the order of a row's events.
///
/// ```
/// use pgherald_core::group::{Batch, BatchHandler};
/// use pgherald_core::{Event, HandlerResult};
///
/// struct Index;
/// impl BatchHandler for Index {
///     type Event = Event;
///
///     async fn handle(&self, batch: &mut Batch<Event>) -> HandlerResult {
///         let refused: Vec<usize> = bulk_request(batch.events()).await?; // an error fails all of them
///         for index in refused {
///             batch.fail(index, "refused"); // the others are done
///         }
///         Ok(())
///     }
/// }
/// # async fn bulk_request(_: &[Event]) -> std::io::Result<Vec<usize>> { Ok(Vec::new()) }
/// ```
pub trait BatchHandler: 'static {
    /// The type of the events that the handler receives. It also selects them: see [`FromEvent`].
    type Event: FromEvent;

    /// Handles a batch. If this returns `Ok`, all events are handled except those that were marked as [failed](Batch::fail). An
    /// error, panic or timeout fails the whole batch.
    ///
    /// Failed events are retried one by one, because one event may be the cause of the failure of a batch. As many retries run at
    /// a time as [`DurableOptions::concurrency`] allows.
    fn handle(&self, batch: &mut Batch<Self::Event>) -> impl Future<Output = HandlerResult>;

    /// Catches up with changes that are not announced row by row. Without an implementation, each resync except the first one
    /// of a new group becomes a dead letter; see [the module](crate::group).
    fn resync(&self, resync: Resync) -> impl Future<Output = HandlerResult> {
        async move { HandlerError::without_resync(&resync) }
    }

    /// Called for each event that became a dead letter.
    fn given_up(&self, task: &GivenUp) {
        let _ = task;
    }
}

/// Events that are handled together, each with its attempt.
pub struct Batch<E> {
    events: Vec<E>,
    attempts: Vec<Attempt>,
    failures: Vec<Option<HandlerError>>,
}

impl<E> Batch<E> {
    /// Creates a batch, for tests of handlers.
    #[must_use]
    pub fn new(events: impl IntoIterator<Item = (E, Attempt)>) -> Self {
        let (events, attempts): (Vec<E>, Vec<Attempt>) = events.into_iter().unzip();
        let failures = events.iter().map(|_| None).collect();
        Self {
            events,
            attempts,
            failures,
        }
    }

    /// Returns the events. There is at least one, and no two are of the same row.
    #[must_use]
    pub fn events(&self) -> &[E] {
        &self.events
    }

    /// Returns the attempt of each event, with its number and idempotency key, in the order of the events.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Marks an event as failed. It is retried, or becomes a dead letter, as with a handler of single events. Does nothing if
    /// `index` is out of range.
    pub fn fail(&mut self, index: usize, error: impl Into<HandlerError>) {
        if let Some(failure) = self.failures.get_mut(index) {
            *failure = Some(error.into());
        }
    }

    /// Returns the events that were marked as [failed](Self::fail), by index.
    pub fn failures(&self) -> impl Iterator<Item = (usize, &HandlerError)> {
        let failures = self.failures.iter().enumerate();
        failures.filter_map(|(index, failure)| Some((index, failure.as_ref()?)))
    }
}

impl<E> fmt::Debug for Batch<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("events", &self.events.len())
            .field("failures", &self.failures().count())
            .finish()
    }
}

pub(super) struct Batches<H> {
    instances: Rc<Instances<H>>,
    options: Arc<DurableOptions>,
}

impl<H: BatchHandler> Batches<H> {
    pub(super) fn new(options: Arc<DurableOptions>, factory: impl Fn() -> H + 'static) -> Self {
        let instances = Rc::new(Instances::new(factory));
        Self { instances, options }
    }
}

impl<H: BatchHandler> Runner for Batches<H> {
    const MODE: ExecutionMode = ExecutionMode::Batches;

    fn narrow(filter: Filter) -> Filter {
        H::Event::narrow(filter)
    }

    fn attempt(&self, jobs: Vec<Assignment>) -> LocalBoxFuture<'static, Vec<Finished>> {
        let (instances, options) = (Rc::clone(&self.instances), Arc::clone(&self.options));
        attempt(instances, options, jobs).boxed_local()
    }

    fn give_up(&self, given_up: &GivenUp) {
        call_hook(&self.instances, |handler| handler.given_up(given_up));
    }
}

async fn attempt<H: BatchHandler>(
    instances: Rc<Instances<H>>,
    options: Arc<DurableOptions>,
    jobs: Vec<Assignment>,
) -> Vec<Finished> {
    let mut finished = Vec::with_capacity(jobs.len());
    let (mut together, mut events) = (Vec::new(), Vec::new());
    for Assignment { job, .. } in jobs {
        let typed = match &job.task {
            Err(error) => Err(Outcome::Failed(undecodable(error))),
            Ok(Task::Resync(resync)) => Ok(Err(resync.clone())),
            Ok(Task::Event(event)) => match H::Event::from_event(event) {
                Ok(Some(typed)) => Ok(Ok(typed)),
                Ok(None) => Ok(Err(rows_unknown(event))),
                Err(error) => Err(Outcome::Failed(undecodable(&error))),
            },
        };
        let outcome = match typed {
            Ok(Ok(typed)) => {
                events.push((typed, job.attempt(&options)));
                together.push(job);
                continue;
            }
            Ok(Err(resync)) => outcome(
                with(&instances, async |handler| {
                    contain(|| handler.resync(resync), options.timeout).await
                })
                .await,
            ),
            Err(outcome) => outcome,
        };
        finished.push(Finished { job, outcome });
    }
    if together.is_empty() {
        return finished;
    }
    let mut batch = Batch::new(events);
    let (lent, limit) = (&mut batch, options.timeout);
    let whole = with(&instances, async move |handler| {
        // Move `lent` into the attempt, so that the borrow ends with it.
        contain(move || handler.handle(lent), limit).await
    })
    .await;
    for (job, failure) in together.into_iter().zip(batch.failures) {
        let outcome = match (failure, &whole) {
            (Some(failure), _) => Outcome::Failed(Failure::render(failure)),
            (None, Ok(())) => Outcome::Done,
            (None, Err(failure)) => Outcome::Failed(failure.clone()),
        };
        finished.push(Finished { job, outcome });
    }
    finished
}

fn outcome(result: Result<(), Failure>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(failure) => Outcome::Failed(failure),
    }
}
