//! LISTEN as a source: one dedicated connection that is never in a transaction.
//!
//! ```text
//!            ┌──────────── error: Down, back off ─────────────┐
//!            ▼                                                │
//!   Waiting(until) ── connect, LISTEN, confirm, verify ──► Open
//!                                 │                           ├─ notifications: Events
//!                                 └─ Resync, Live             └─ heartbeat: still listening? triggers in order?
//! ```
//!
//! Owner: whoever polls [`Source::next`] drives the connection; there is no task behind it.
//!
//! Guarantees:
//! - `Live` is said after the server confirmed every LISTEN, and after the `Resync` that precedes it. What
//!   arrives between LISTEN and `Resync` is covered by the latter and dropped.
//! - `Live` holds only while every watched table's triggers are in place, and a trigger that was altered
//!   between two looks at it (disabled for a bulk load, say) becomes a `Resync`.
//! - Any error of the connection means reconnect, as does a heartbeat that is not answered in time: a
//!   connection that is only half open is noticed within heartbeat interval + deadline.
//! - A payload that is not an event becomes a `Resync` of its channel, in its place among the events.
//! - It never gives up: attempts follow each other with capped exponential backoff and full jitter.

mod builder;
mod inbox;
mod probe;
mod session;

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::{Instant, sleep_until};

pub use builder::NotifySourceBuilder;
use builder::Settings;
use session::{News, Session};

use super::Source;
use super::attempts::{Attempts, within_limit};
use super::drift::{compare, warn_of_untidiness};
use crate::connect::ConnectConfig;
use crate::error::{Error, Result};
use crate::signal::{Resync, ResyncReason, Signal};
use crate::trigger::Check;

/// Turns notifications into signals.
///
/// At most once: what is committed while the connection is down is not delivered later, but announced by a
/// resync.
///
/// ```
/// use std::time::Duration;
/// use pgherald_core::{ChannelName, ConnectConfig, NotifySource};
///
/// let config: ConnectConfig = "postgresql://app@localhost/shop".parse()?;
/// let source = NotifySource::builder(config)
///     .channel(ChannelName::new("orders")?)
///     .channel(ChannelName::new(ChannelName::PGCACHEWATCH)?)
///     .heartbeat(Duration::from_secs(10), Duration::from_secs(5))
///     .build()?;
/// # Ok::<(), pgherald_core::Error>(())
/// ```
#[derive(Debug)]
pub struct NotifySource {
    settings: Arc<Settings>,
    state: State,
    /// Said one after the other before anything else happens.
    pending: VecDeque<Signal>,
    attempts: Attempts,
    /// Whether there was a session before.
    was_open: bool,
    /// Whether notifications were seen to arrive from another connection.
    probed: bool,
}

/// An attempt to open a session. Kept between polls, so that dropping a call of `next` does not end it.
type Opening = Pin<Box<dyn Future<Output = Result<(Session, Check)>> + Send>>;

enum State {
    Waiting {
        until: Instant,
    },
    Connecting {
        opening: Opening,
    },
    Open {
        session: Box<Session>,
        since: Instant,
        /// How the triggers were when last looked at.
        check: Check,
    },
}

impl NotifySource {
    /// Starts describing a source on the database of `config`.
    pub fn builder(config: ConnectConfig) -> NotifySourceBuilder {
        NotifySourceBuilder::new(config)
    }

    fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            state: State::Waiting {
                until: Instant::now(),
            },
            pending: VecDeque::new(),
            attempts: Attempts::default(),
            was_open: false,
            probed: false,
        }
    }

    fn connect(&self) -> Opening {
        let settings = Arc::clone(&self.settings);
        let probe = settings.probe && !self.probed;
        Box::pin(async move {
            let opening = Box::pin(Session::open(&settings, probe));
            within_limit(&settings.terms, opening).await
        })
    }

    fn opened(&mut self, session: Session, check: Check) {
        self.probed = true;
        let reason = match std::mem::replace(&mut self.was_open, true) {
            true => ResyncReason::Reconnected,
            false => ResyncReason::Started,
        };
        self.pending.push_back(Signal::Resync(Resync::new(reason)));
        warn_of_untidiness(&check);
        self.pending.push_back(match check.deafness() {
            Some(error) => Signal::Down(error),
            None => Signal::Live,
        });
        let session = Box::new(session);
        self.state = State::Open {
            session,
            since: Instant::now(),
            check,
        };
    }

    /// Drops what is left of the session and schedules the next attempt.
    fn lose(&mut self, error: Error) -> Signal {
        let opened = match &self.state {
            State::Open { since, .. } => Some(*since),
            _ => None,
        };
        self.state = State::Waiting {
            until: self.attempts.next(&self.settings.terms, opened, &error),
        };
        Signal::Down(error)
    }
}

impl Source for NotifySource {
    async fn next(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.pending.pop_front() {
                return signal;
            }
            match &mut self.state {
                State::Waiting { until } => {
                    sleep_until(*until).await;
                    self.state = State::Connecting {
                        opening: self.connect(),
                    };
                }
                State::Connecting { opening } => match opening.await {
                    Ok((session, check)) => self.opened(session, check),
                    Err(error) => return self.lose(error),
                },
                State::Open { session, check, .. } => match session.next().await {
                    Ok(News::Signals(signals)) => self.pending.extend(signals),
                    Ok(News::Checked(now)) => {
                        let before = std::mem::replace(check, now);
                        self.pending.extend(compare(&before, check));
                    }
                    Err(error) => return self.lose(error),
                },
            }
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { until } => f.debug_struct("Waiting").field("until", until).finish(),
            Self::Connecting { .. } => f.write_str("Connecting"),
            Self::Open { since, check, .. } => f
                .debug_struct("Open")
                .field("since", since)
                .field("check", check)
                .finish(),
        }
    }
}
