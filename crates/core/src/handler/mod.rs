//! Side effects: what a user writes, and the pure parts of running it.
//!
//! [`EventHandler`] is the user's side. [`Schedule`] decides what may run now, [`contain`] runs one attempt
//! so that neither a panic nor a hang leaves it, [`RetryPolicy`] says what follows a failure. Whoever hosts
//! handlers (pgherald-actors' `HandlerActor`) puts the three together.

mod contain;
mod failure;
mod instance;
mod retry;
mod schedule;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::event::{Event, FromEvent};
use crate::signal::Resync;

pub use crate::panic::contained;
pub use contain::contain;
pub use failure::{Failure, GivenUp, HandlerError, Task};
pub use instance::{Instance, Instances};
pub use retry::RetryPolicy;
pub use schedule::{Lane, Schedule};

/// The outcome of one attempt.
pub type HandlerResult = Result<(), HandlerError>;

/// Reacts to events with a side effect.
///
/// One handler value serves many events at a time: state that attempts share needs interior mutability.
/// After a panic a new value is made for the attempts that follow, so that they find nothing half changed;
/// attempts that run meanwhile keep the old one.
///
/// Handlers hosted on the notify source are *ephemeral*: what was committed while nobody listened is not
/// handled later. Such a handler catches up in [`resync`](Self::resync), which is also called once at the
/// beginning. An event can be handled twice, if an attempt took effect but failed or timed out afterwards:
/// effects should be idempotent.
///
/// ```
/// use pgherald_core::{Attempt, EventHandler, HandlerResult, Inserted, Table};
///
/// struct User;
/// impl Table for User {
///     const NAME: &'static str = "users";
///     const KEY: &'static [&'static str] = &["id"];
///     type Key = i64;
/// }
///
/// struct Welcome;
/// impl EventHandler for Welcome {
///     type Event = Inserted<User>;
///
///     async fn handle(&self, user: Inserted<User>, _: Attempt) -> HandlerResult {
///         send_mail(user.key).await?;
///         Ok(())
///     }
/// }
/// # async fn send_mail(_: i64) -> std::io::Result<()> { Ok(()) }
/// ```
pub trait EventHandler: 'static {
    /// What it is given; also decides which events it is given. [`Event`] for all of the subscription.
    type Event: FromEvent;

    /// Handles one event.
    ///
    /// Any error becomes a [`HandlerError`] by `?` and means: try again. [`HandlerError::permanent`] means:
    /// do not.
    fn handle(&self, event: Self::Event, attempt: Attempt) -> impl Future<Output = HandlerResult>;

    /// Catches up with changes that were not announced row by row.
    ///
    /// Called when the subscription begins, when events were lost, and for events that name no row
    /// ([`FromEvent::from_event`] returned `None`). Nothing else runs in this handler meanwhile. Failures are
    /// retried like those of events.
    ///
    /// If an ephemeral handler does not implement this, it ignores resyncs. In a [durable](crate::group) handler, each resync
    /// becomes a dead letter, except the first one of a new group: events may be missing, and an operator has to know.
    fn resync(&self, resync: Resync) -> impl Future<Output = HandlerResult> {
        async move { HandlerError::without_resync(&resync) }
    }

    /// Told about every task that was given up: the last chance to write it down.
    fn given_up(&self, task: &GivenUp) {
        let _ = task;
    }
}

/// Which try it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    limit: u32,
    key: Option<IdempotencyKey>,
}

impl Attempt {
    /// Attempt `number`, counted from 1, of at most `limit`.
    #[must_use]
    pub fn new(number: u32, limit: u32) -> Self {
        let key = None;
        Self { number, limit, key }
    }

    /// The same attempt, at an event that this key stands for.
    #[must_use]
    pub fn with_key(self, key: IdempotencyKey) -> Self {
        let key = Some(key);
        Self { key, ..self }
    }

    /// Counted from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Whether a failure now is final.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.number >= self.limit
    }

    /// The same at every attempt of a [durable](crate::group) handler at one event, and at no other: what to give to whoever
    /// can tell that something was asked of him before. `None` in ephemeral handlers.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&IdempotencyKey> {
        self.key.as_ref()
    }
}

/// Stands for what one group does about one event: `enrich-users/4711`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    group: Arc<str>,
    event: i64,
}

impl IdempotencyKey {
    /// The key of an event, by its [`outbox_id`](Event::outbox_id), in a group.
    #[must_use]
    pub fn new(group: Arc<str>, event: i64) -> Self {
        Self { group, event }
    }

    /// The group's name.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The event's [`outbox_id`](Event::outbox_id).
    #[must_use]
    pub fn event(&self) -> i64 {
        self.event
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.event)
    }
}

/// Runs one attempt of an ephemeral handler at `task`.
///
/// # Errors
/// Returns the handler's error, or an error if the event does not fit [`EventHandler::Event`].
pub async fn run<H: EventHandler>(handler: &H, task: &Task, attempt: Attempt) -> HandlerResult {
    match run_durable(handler, task, attempt).await {
        Err(error) if error.is_without_resync() => Ok(()),
        result => result,
    }
}

/// The same for a durable handler.
pub(crate) async fn run_durable<H: EventHandler>(
    handler: &H,
    task: &Task,
    attempt: Attempt,
) -> HandlerResult {
    match task {
        Task::Resync(resync) => handler.resync(resync.clone()).await,
        Task::Event(event) => match H::Event::from_event(event) {
            Ok(Some(typed)) => handler.handle(typed, attempt).await,
            Ok(None) => handler.resync(rows_unknown(event)).await,
            Err(error) => Err(HandlerError::permanent(error)),
        },
    }
}

/// What is told of an event that names no row.
pub(crate) fn rows_unknown(event: &Event) -> Resync {
    Resync::new(crate::signal::ResyncReason::RowsUnknown(event.clone()))
}
