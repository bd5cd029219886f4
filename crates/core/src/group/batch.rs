//! Attempts at many events at once.

use std::fmt;
use std::future::Future;
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::job::{Finished, Outcome};
use super::options::Durable;
use super::plain::{tell, with};
use super::runner::{Assignment, Manner, Runner, not_understood};
use crate::event::FromEvent;
use crate::filter::Filter;
use crate::handler::{
    Attempt, Failure, GivenUp, HandlerError, HandlerResult, Instances, Task, contain, rows_unknown,
};
use crate::signal::Resync;

/// Reacts to many events at once: for effects that cost less together, such as bulk requests.
///
/// A batch has at most one event of a row, so that what fails does not mix up the order of a row.
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
    /// What it is given; also decides which events it is given.
    type Event: FromEvent;

    /// Handles a batch. What was not [failed](Batch::fail) is done if this returns `Ok`; an error, panic or timeout fails
    /// all of it. Events of a batch that failed as a whole are then tried again one by one, for one may be the
    /// cause: as many at a time as there may be [attempts](Durable::concurrency).
    fn handle(&self, batch: &mut Batch<Self::Event>) -> impl Future<Output = HandlerResult>;

    /// Catches up with changes that are not announced row by row. Without an implementation, each resync except the first one
    /// of a new group becomes a dead letter; see [the module](crate::group).
    fn resync(&self, resync: Resync) -> impl Future<Output = HandlerResult> {
        async move { HandlerError::without_resync(&resync) }
    }

    /// Told about every event that became a dead letter.
    fn given_up(&self, task: &GivenUp) {
        let _ = task;
    }
}

/// Events that are handled together.
pub struct Batch<E> {
    events: Vec<E>,
    attempts: Vec<Attempt>,
    failures: Vec<Option<HandlerError>>,
}

impl<E> Batch<E> {
    /// Makes a batch by hand, for tests of whatever handles it.
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

    /// The events: one at least, of different rows.
    #[must_use]
    pub fn events(&self) -> &[E] {
        &self.events
    }

    /// Which try it is of each, and its idempotency key; as many as there are events.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// This one is not done. What follows is as with a handler of single events. Out of range, nothing happens.
    pub fn fail(&mut self, index: usize, error: impl Into<HandlerError>) {
        if let Some(failure) = self.failures.get_mut(index) {
            *failure = Some(error.into());
        }
    }

    /// What was [failed](Self::fail).
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
    terms: Rc<Durable>,
}

impl<H: BatchHandler> Batches<H> {
    pub(super) fn new(terms: Rc<Durable>, factory: impl Fn() -> H + 'static) -> Self {
        let instances = Rc::new(Instances::new(factory));
        Self { instances, terms }
    }
}

impl<H: BatchHandler> Runner for Batches<H> {
    const MANNER: Manner = Manner::Batches;

    fn narrow(filter: Filter) -> Filter {
        H::Event::narrow(filter)
    }

    fn attempt(&self, jobs: Vec<Assignment>) -> LocalBoxFuture<'static, Vec<Finished>> {
        let (instances, terms) = (Rc::clone(&self.instances), Rc::clone(&self.terms));
        attempt(instances, terms, jobs).boxed_local()
    }

    fn give_up(&self, given_up: &GivenUp) {
        tell(&self.instances, |handler| handler.given_up(given_up));
    }
}

async fn attempt<H: BatchHandler>(
    instances: Rc<Instances<H>>,
    terms: Rc<Durable>,
    jobs: Vec<Assignment>,
) -> Vec<Finished> {
    let mut finished = Vec::with_capacity(jobs.len());
    let (mut together, mut events) = (Vec::new(), Vec::new());
    for Assignment { job, .. } in jobs {
        let typed = match &job.task {
            Err(error) => Err(Outcome::Failed(not_understood(error))),
            Ok(Task::Resync(resync)) => Ok(Err(resync.clone())),
            Ok(Task::Event(event)) => match H::Event::from_event(event) {
                Ok(Some(typed)) => Ok(Ok(typed)),
                Ok(None) => Ok(Err(rows_unknown(event))),
                Err(error) => Err(Outcome::Failed(not_understood(&error))),
            },
        };
        let outcome = match typed {
            Ok(Ok(typed)) => {
                events.push((typed, job.attempt(&terms)));
                together.push(job);
                continue;
            }
            Ok(Err(resync)) => outcome(
                with(&instances, async |handler| {
                    contain(|| handler.resync(resync), terms.timeout).await
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
    let (lent, limit) = (&mut batch, terms.timeout);
    let whole = with(&instances, async move |handler| {
        // Moved into the attempt, for it goes with it.
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
