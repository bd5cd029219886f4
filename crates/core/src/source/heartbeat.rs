//! Whether the session is alive, and whatever else it is asked now and then.
//!
//! ```text
//!   Resting(until) ── interval over ──► Asking(question, deadline) ── answer ──► Resting
//!                                              └── deadline over ──► Lost
//! ```
//!
//! Anything that arrives while a question is open shows that the peer lives, and puts the deadline off: the
//! answer may queue behind a burst of notifications.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use super::terms::Terms;
use crate::error::{Error, Kind, Result};
use crate::trigger::Check;

/// Answered by how the triggers are; or with an error, if the session is of no use any more.
pub(super) type Question = Pin<Box<dyn Future<Output = Result<Check>> + Send>>;

pub(super) struct Heartbeat {
    ask: Box<dyn Fn() -> Question + Send>,
    interval: Duration,
    deadline: Duration,
    /// The end of the rest, or of the patience with an open question.
    timer: Pin<Box<Sleep>>,
    question: Option<Question>,
    /// When something last arrived while a question was open.
    life: Option<Instant>,
}

pub(super) enum Pulse {
    /// The session is of use, and this is how the triggers are.
    Beat(Check),
    /// No answer, or a wrong one.
    Lost(Error),
}

impl Heartbeat {
    pub(super) fn new(terms: &Terms, ask: impl Fn() -> Question + Send + 'static) -> Self {
        let interval = terms.heartbeat_interval;
        Self {
            ask: Box::new(ask),
            interval,
            deadline: terms.heartbeat_deadline,
            timer: Box::pin(sleep(interval)),
            question: None,
            life: None,
        }
    }

    /// Something arrived on the connection.
    pub(super) fn note_life(&mut self) {
        if self.question.is_some() {
            self.life = Some(Instant::now());
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Pulse> {
        loop {
            if let Some(question) = &mut self.question
                && let Poll::Ready(answer) = question.as_mut().poll(cx)
            {
                self.question = None;
                self.life = None;
                self.timer.as_mut().reset(Instant::now() + self.interval);
                return Poll::Ready(answer.map_or_else(Pulse::Lost, Pulse::Beat));
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match (&self.question, self.life.take()) {
                (None, _) => {
                    self.question = Some((self.ask)());
                    self.timer.as_mut().reset(Instant::now() + self.deadline);
                }
                (Some(_), Some(life)) => self.timer.as_mut().reset(life + self.deadline),
                (Some(_), None) => {
                    let message = format!("no answer to the heartbeat within {:?}", self.deadline);
                    return Poll::Ready(Pulse::Lost(Error::new(Kind::Disconnected, message)));
                }
            }
        }
    }
}
