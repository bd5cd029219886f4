//! Checks at intervals whether the session is alive and the triggers are in place.
//!
//! ```text
//!   Resting(until) ── interval over ──► Asking(query, deadline) ── answer ──► Resting
//!                                              └── deadline over ──► Lost
//! ```
//!
//! Anything that arrives while a query is pending shows that the peer is alive, and extends the deadline: the answer may be
//! queued behind a burst of notifications.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::options::Options;
use crate::error::{Error, ErrorKind, Result};
use crate::trigger::Check;

/// Returns the state of the triggers, or an error if the session is unusable.
pub(super) type Query = Pin<Box<dyn Future<Output = Result<Check>> + Send>>;

pub(super) struct Heartbeat {
    start_query: Box<dyn Fn() -> Query + Send>,
    interval: Duration,
    deadline: Duration,
    /// Ends the pause between two queries, or the time limit of a pending query.
    timer: Pin<Box<Sleep>>,
    query: Option<Query>,
    /// When something last arrived while a query was pending.
    last_activity: Option<Instant>,
}

pub(super) enum Pulse {
    /// The session works. Carries the state of the triggers.
    Beat(Check),
    /// The answer is missing or wrong.
    Lost(Error),
}

impl Heartbeat {
    pub(super) fn new(options: &Options, start_query: impl Fn() -> Query + Send + 'static) -> Self {
        let interval = options.heartbeat_interval;
        Self {
            start_query: Box::new(start_query),
            interval,
            deadline: options.heartbeat_deadline,
            timer: Box::pin(sleep(interval)),
            query: None,
            last_activity: None,
        }
    }

    /// Records that something arrived on the connection.
    pub(super) fn note_activity(&mut self) {
        if self.query.is_some() {
            self.last_activity = Some(Instant::now());
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Pulse> {
        loop {
            if let Some(query) = &mut self.query
                && let Poll::Ready(answer) = query.as_mut().poll(cx)
            {
                self.query = None;
                self.last_activity = None;
                self.timer.as_mut().reset(Instant::now() + self.interval);
                return Poll::Ready(answer.map_or_else(Pulse::Lost, Pulse::Beat));
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match (&self.query, self.last_activity.take()) {
                (None, _) => {
                    self.query = Some((self.start_query)());
                    self.timer.as_mut().reset(Instant::now() + self.deadline);
                }
                (Some(_), Some(at)) => self.timer.as_mut().reset(at + self.deadline),
                (Some(_), None) => {
                    let message = format!("no answer to the heartbeat within {:?}", self.deadline);
                    return Poll::Ready(Pulse::Lost(Error::new(ErrorKind::Disconnected, message)));
                }
            }
        }
    }
}
