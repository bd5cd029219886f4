//! A source on LISTEN: one dedicated connection that is never in a transaction.
//!
//! ```text
//!            ┌──────────── error: Down, back off ─────────────┐
//!            ▼                                                │
//!   Waiting(until) ── connect, LISTEN, confirm, verify ──► Open
//!                                 │                           ├─ notifications: Events
//!                                 └─ Resync, Live             └─ heartbeat: still listening? triggers in order?
//! ```
//!
//! Polling [`Source::next`] drives the connection. There is no background task.
//!
//! Guarantees:
//! - `Live` is emitted after the server has confirmed every LISTEN, and after a `Resync`. Notifications that arrive between
//!   LISTEN and the `Resync` are dropped, because the `Resync` covers their changes.
//! - The source is live only while the triggers of every watched table are in place. A trigger that was altered between two
//!   checks (disabled for a bulk load, for example) causes a `Resync`.
//! - Any error of the connection, or an unanswered heartbeat, causes a reconnect. A half-open connection is detected within
//!   heartbeat interval + deadline.
//! - A payload that fails to decode becomes a `Resync` of its channel, in its place among the events.
//! - The source never gives up: it reconnects with capped exponential backoff and full jitter.

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
use session::{Received, Session};

use super::Source;
use super::drift::{compare, log_harmless_drift};
use super::reconnect::{Reconnects, within_limit};
use crate::connect::ConnectConfig;
use crate::error::{Error, Result};
use crate::signal::{Resync, ResyncReason, Signal};
use crate::trigger::Check;

/// A source that turns notifications into signals.
///
/// Delivery is at most once: changes that are committed while the connection is down are not delivered later. A resync
/// reports that they may exist.
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
    phase: Phase,
    /// Signals to emit before anything else happens.
    pending: VecDeque<Signal>,
    reconnects: Reconnects,
    /// Whether there was an earlier session.
    was_open: bool,
    /// Whether a notification from another connection has ever arrived.
    probed: bool,
}

/// An attempt to open a session. It is kept between polls, so dropping a call of `next` does not abort it.
type Opening = Pin<Box<dyn Future<Output = Result<(Session, Check)>> + Send>>;

/// How far the source has come on its way to an open session.
enum Phase {
    Waiting {
        until: Instant,
    },
    Connecting {
        opening: Opening,
    },
    Open {
        session: Box<Session>,
        since: Instant,
        /// The result of the last check of the triggers.
        check: Check,
    },
}

impl NotifySource {
    /// Starts building a source on the database of `config`.
    pub fn builder(config: ConnectConfig) -> NotifySourceBuilder {
        NotifySourceBuilder::new(config)
    }

    fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            phase: Phase::Waiting {
                until: Instant::now(),
            },
            pending: VecDeque::new(),
            reconnects: Reconnects::default(),
            was_open: false,
            probed: false,
        }
    }

    fn connect(&self) -> Opening {
        let settings = Arc::clone(&self.settings);
        let probe = settings.probe && !self.probed;
        Box::pin(async move {
            let opening = Box::pin(Session::open(&settings, probe));
            within_limit(&settings.options, opening).await
        })
    }

    fn opened(&mut self, session: Session, check: Check) {
        self.probed = true;
        let reason = match std::mem::replace(&mut self.was_open, true) {
            true => ResyncReason::Reconnected,
            false => ResyncReason::Started,
        };
        self.pending.push_back(Signal::Resync(Resync::new(reason)));
        log_harmless_drift(&check);
        self.pending.push_back(match check.lost_changes() {
            Some(error) => Signal::Down(error),
            None => Signal::Live,
        });
        let session = Box::new(session);
        self.phase = Phase::Open {
            session,
            since: Instant::now(),
            check,
        };
    }

    /// Drops the session and schedules the next attempt.
    fn lose(&mut self, error: Error) -> Signal {
        let opened = match &self.phase {
            Phase::Open { since, .. } => Some(*since),
            _ => None,
        };
        self.phase = Phase::Waiting {
            until: self.reconnects.next(&self.settings.options, opened, &error),
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
            match &mut self.phase {
                Phase::Waiting { until } => {
                    sleep_until(*until).await;
                    self.phase = Phase::Connecting {
                        opening: self.connect(),
                    };
                }
                Phase::Connecting { opening } => match opening.await {
                    Ok((session, check)) => self.opened(session, check),
                    Err(error) => return self.lose(error),
                },
                Phase::Open { session, check, .. } => match session.next().await {
                    Ok(Received::Signals(signals)) => self.pending.extend(signals),
                    Ok(Received::Checked(now)) => {
                        let before = std::mem::replace(check, now);
                        self.pending.extend(compare(&before, check));
                    }
                    Err(error) => return self.lose(error),
                },
            }
        }
    }
}

impl fmt::Debug for Phase {
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
