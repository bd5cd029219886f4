//! Attempts at events that are in no outbox, for tests of handlers.
//!
//! The runners are those of consumers, so a handler runs in the same session, transaction, timeout and containment. An attempt
//! that succeeds is committed, but acknowledges nothing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::batch::{BatchHandler, Batches};
use super::connections::CONNECT;
use super::job::{Job, Origin, Outcome};
use super::options::DurableOptions;
use super::plain::Plain;
use super::runner::{Acknowledge, Assignment, ExecutionMode, Runner};
use super::transactional::{Transactional, TransactionalHandler};
use crate::connect::ConnectConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::handler::{EventHandler, Failure, GivenUp, Task};
use crate::outbox::Recorded;

/// A failed event is not attempted again if the handler asks for a longer pause.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// An event that a handler has received.
#[derive(Debug)]
pub struct Tried {
    /// The event.
    pub event: Event,
    /// The number of attempts.
    pub attempts: u32,
    /// The failure of the last attempt; `None` if it succeeded.
    pub failure: Option<Failure>,
}

/// Returns the options with no resync at the creation of the group.
pub fn without_first_resync(mut options: DurableOptions) -> DurableOptions {
    options.first_resync = false;
    options
}

/// Runs a handler of single events on those of `events` that match its type and filter.
///
/// # Errors
/// If the options are invalid.
pub async fn plain<H: EventHandler>(
    options: DurableOptions,
    factory: impl Fn() -> H + 'static,
    events: Vec<Event>,
) -> Result<Vec<Tried>> {
    let options = Arc::new(options.checked()?);
    let runner = Plain::new(Arc::clone(&options), factory);
    all(&runner, &options, events).await
}

/// Runs a transactional handler like [`plain`]. Each attempt is committed or rolled back.
///
/// # Errors
/// If the options are invalid, or the connection fails outside of the handler.
pub async fn transactional<H: TransactionalHandler>(
    mut config: ConnectConfig,
    options: DurableOptions,
    factory: impl Fn() -> H + 'static,
    events: Vec<Event>,
) -> Result<Vec<Tried>> {
    let options = Arc::new(options.checked()?);
    config.for_listening("test", options.lease, CONNECT);
    let runner = Transactional::new(config, Arc::clone(&options), factory);
    all(&runner, &options, events).await
}

/// Runs a batch handler like [`plain`].
///
/// # Errors
/// If the options are invalid.
pub async fn batches<H: BatchHandler>(
    options: DurableOptions,
    factory: impl Fn() -> H + 'static,
    events: Vec<Event>,
) -> Result<Vec<Tried>> {
    let options = Arc::new(options.checked()?);
    let runner = Batches::new(Arc::clone(&options), factory);
    all(&runner, &options, events).await
}

async fn all<R: Runner>(
    runner: &R,
    options: &DurableOptions,
    events: Vec<Event>,
) -> Result<Vec<Tried>> {
    let filter = R::narrow(options.filter.clone());
    let selected = events.into_iter().filter(|event| filter.matches(event));
    let most = match R::MODE {
        ExecutionMode::Batches => options.max_batch,
        ExecutionMode::OneByOne | ExecutionMode::Transactional | ExecutionMode::Relayed => 1,
    };
    let mut tried = Vec::new();
    for events in together(selected, most) {
        let jobs = events.into_iter().zip(tried.len()..);
        let jobs = jobs.map(|(event, index)| job(event, index));
        for finished in runner.attempt(jobs.map(assignment).collect()).await {
            tried.push(concluded(runner, options, finished.job, finished.outcome).await?);
        }
    }
    Ok(tried)
}

/// Splits events into batches like a consumer: a batch has at most one event of a row.
fn together(events: impl Iterator<Item = Event>, most: usize) -> Vec<Vec<Event>> {
    let mut batches = Vec::<Vec<Event>>::new();
    let mut rows = HashSet::new();
    for event in events {
        let row = (
            event.schema().map(str::to_owned),
            event.table().to_owned(),
            event.key().cloned(),
        );
        let is_other = rows.insert(row.clone());
        match batches.last_mut() {
            Some(batch) if is_other && batch.len() < most => batch.push(event),
            _ => {
                rows = HashSet::from([row]);
                batches.push(vec![event]);
            }
        }
    }
    batches
}

fn job(event: Event, index: usize) -> Job {
    let number = i64::try_from(index).unwrap_or(i64::MAX).saturating_add(1);
    Job {
        slice: 0,
        epoch: 0,
        origin: Origin::Parked,
        row: Recorded {
            // Part of the idempotency key, so each event needs its own.
            id: event.outbox_id().unwrap_or(number),
            xid: event.transaction_id(),
            sent_at: SystemTime::now(),
            relation: 0,
            hash: 0,
            operation: 0,
            key: None,
            columns: None,
            old_columns: None,
            changed: None,
            problem: None,
        },
        task: Ok(Task::Event(event)),
        attempts: 0,
    }
}

fn assignment(job: Job) -> Assignment {
    Assignment {
        job,
        acknowledgement: Acknowledge::Nothing,
        generation: 0,
    }
}

/// Repeats the attempts at one event as often as the policy allows, without its pauses.
async fn concluded<R: Runner>(
    runner: &R,
    options: &DurableOptions,
    mut job: Job,
    mut outcome: Outcome,
) -> Result<Tried> {
    loop {
        let is_snooze = matches!(outcome, Outcome::Failed(Failure::Snoozed(_)));
        job.attempts = job.attempts.saturating_add(u32::from(!is_snooze));
        let failure = match outcome {
            Outcome::Done | Outcome::Committed => None,
            Outcome::Failed(failure) => Some(failure),
            Outcome::NotBegun(error) | Outcome::InDoubt(error) => return Err(error),
            Outcome::Fenced => {
                let message = "an attempt without an acknowledgement was fenced";
                return Err(Error::new(ErrorKind::Query, message));
            }
        };
        let next = failure
            .as_ref()
            .map(|failure| options.retry.next(job.attempts, failure));
        if let Some(Some(pause)) = next
            && pause <= LONGEST_PAUSE
        {
            match runner.attempt(vec![assignment(job)]).await.pop() {
                Some(finished) => (job, outcome) = (finished.job, finished.outcome),
                None => return Err(Error::new(ErrorKind::Query, "an attempt had no outcome")),
            }
            continue;
        }
        let Job { task, attempts, .. } = job;
        let Task::Event(event) = task? else {
            return Err(Error::new(ErrorKind::Query, "a resync was given"));
        };
        if let (Some(failure), Some(None)) = (&failure, next) {
            runner.give_up(&GivenUp {
                task: Task::Event(event.clone()),
                attempts,
                failure: failure.clone(),
            });
        }
        return Ok(Tried {
            event,
            attempts,
            failure,
        });
    }
}
