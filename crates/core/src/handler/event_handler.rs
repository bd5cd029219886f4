//! The trait that users implement, and what it receives.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::{GivenUp, HandlerError, Task};
use crate::event::{Event, FromEvent};
use crate::signal::Resync;

/// The outcome of one attempt.
pub type HandlerResult = Result<(), HandlerError>;

/// Reacts to events with a side effect.
///
/// One handler value handles many events concurrently, so state that attempts share needs interior mutability. After a panic,
/// later attempts get a new value, so that they never see state that was left inconsistent. Attempts that are already running
/// keep the old value.
///
/// A handler on the notify source is *ephemeral*: changes that are committed while the process is not listening are not
/// handled later. Such a handler catches up in [`resync`](Self::resync), which is also called once at the beginning.
///
/// An event may be handled twice, if an attempt took effect but then failed or timed out. Effects should be idempotent.
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
    /// The events that the handler receives. Use [`Event`] for every event of the subscription.
    type Event: FromEvent;

    /// Handles one event.
    ///
    /// Any error converts into a [`HandlerError`] by `?`, and the event is retried. Return [`HandlerError::permanent`] to
    /// give it up.
    fn handle(&self, event: Self::Event, attempt: Attempt) -> impl Future<Output = HandlerResult>;

    /// Catches up with changes that were not announced row by row.
    ///
    /// Called when the subscription begins, when events were lost, and for events that identify no row
    /// ([`FromEvent::from_event`] returned `None`). No other task of this handler runs at the same time. Failures are retried
    /// like those of events.
    ///
    /// An ephemeral handler that does not implement this method ignores resyncs. In a [durable](crate::group) handler, each
    /// resync then becomes a dead letter, except the first one of a new group: events may be missing, and an operator has to
    /// know.
    fn resync(&self, resync: Resync) -> impl Future<Output = HandlerResult> {
        async move { HandlerError::without_resync(&resync) }
    }

    /// Called for every task that is given up: the last chance to record it.
    fn given_up(&self, task: &GivenUp) {
        let _ = task;
    }
}

/// The number of an attempt, and how many there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    number: u32,
    limit: u32,
    key: Option<IdempotencyKey>,
}

impl Attempt {
    /// Makes attempt `number` (counted from 1) of at most `limit`.
    #[must_use]
    pub fn new(number: u32, limit: u32) -> Self {
        let key = None;
        Self { number, limit, key }
    }

    /// Adds the idempotency key of the attempt's event.
    #[must_use]
    pub fn with_key(self, key: IdempotencyKey) -> Self {
        let key = Some(key);
        Self { key, ..self }
    }

    /// Returns the number of this attempt, counted from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns whether the event is given up if this attempt fails.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.number >= self.limit
    }

    /// Returns the key of the event in the group of a [durable](crate::group) handler: the same for all attempts, and
    /// different for every other event. Pass it to services that deduplicate requests. `None` in ephemeral handlers.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&IdempotencyKey> {
        self.key.as_ref()
    }
}

/// Identifies the work of one group on one event, such as `enrich-users/4711`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    group: Arc<str>,
    event: i64,
}

impl IdempotencyKey {
    /// Makes the key of the event with this [`outbox_id`](Event::outbox_id) in a group.
    #[must_use]
    pub fn new(group: Arc<str>, event: i64) -> Self {
        Self { group, event }
    }

    /// Returns the group's name.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Returns the event's [`outbox_id`](Event::outbox_id).
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

/// Like [`run`], for a durable handler.
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

/// The resync that stands for an event without a row.
pub(crate) fn rows_unknown(event: &Event) -> Resync {
    Resync::new(crate::signal::ResyncReason::RowsUnknown(event.clone()))
}
