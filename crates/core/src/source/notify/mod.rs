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
//! - Any error of the connection means reconnect, as does a heartbeat that is not answered in time: a
//!   connection that is only half open is noticed within heartbeat interval + deadline.
//! - A payload that is not an event becomes a `Resync` of its channel, in its place among the events.
//! - It never gives up: attempts follow each other with capped exponential backoff and full jitter.

mod builder;
mod heartbeat;
mod inbox;
mod probe;
mod session;

use std::collections::VecDeque;

use tokio::time::{Instant, sleep_until, timeout};

pub use builder::NotifySourceBuilder;
use builder::Settings;
use session::{News, Session};

use super::Source;
use crate::connect::ConnectConfig;
use crate::error::{Error, Kind};
use crate::signal::{Resync, ResyncReason, Signal};
use crate::trigger::Drift;

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
    settings: Settings,
    state: State,
    /// Said one after the other before anything else happens.
    pending: VecDeque<Signal>,
    /// Attempts since the last session that lasted.
    attempts: u32,
    /// Whether there was a session before.
    was_open: bool,
    /// Whether notifications were seen to arrive from another connection.
    probed: bool,
}

#[derive(Debug)]
enum State {
    Waiting {
        until: Instant,
    },
    Open {
        session: Box<Session>,
        since: Instant,
        drifted: bool,
    },
}

impl NotifySource {
    /// Starts describing a source on the database of `config`.
    pub fn builder(config: ConnectConfig) -> NotifySourceBuilder {
        NotifySourceBuilder::new(config)
    }

    fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: State::Waiting {
                until: Instant::now(),
            },
            pending: VecDeque::new(),
            attempts: 0,
            was_open: false,
            probed: false,
        }
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let limit = self.settings.connect_timeout;
        let probe = self.settings.probe && !self.probed;
        let (session, drift) = timeout(limit, Session::open(&self.settings, probe))
            .await
            .unwrap_or_else(|_| {
                let config = &self.settings.config;
                let message = format!("no session with {config} within {limit:?}");
                Err(Error::new(Kind::Connect, message))
            })?;
        self.probed = true;
        let reason = match std::mem::replace(&mut self.was_open, true) {
            true => ResyncReason::Reconnected,
            false => ResyncReason::Started,
        };
        self.pending.push_back(Signal::Resync(Resync::new(reason)));
        self.pending.push_back(match &drift[..] {
            [] => Signal::Live,
            drift => Signal::Down(drift_error(drift)),
        });
        let since = Instant::now();
        self.state = State::Open {
            session: Box::new(session),
            since,
            drifted: !drift.is_empty(),
        };
        Ok(())
    }

    /// Drops what is left of the session and schedules the next attempt.
    fn lose(&mut self, error: Error) -> Signal {
        if let State::Open { since, .. } = &self.state
            && since.elapsed() > self.settings.backoff.ceiling(self.attempts)
        {
            self.attempts = 0;
        }
        let delay = self.settings.backoff.delay(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        self.state = State::Waiting {
            until: Instant::now() + delay,
        };
        tracing::debug!(error = %error.chain(), ?delay, attempt = self.attempts, "not connected, backing off");
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
                    if let Err(error) = self.connect().await {
                        return self.lose(error);
                    }
                }
                State::Open {
                    session, drifted, ..
                } => match session.next().await {
                    Ok(News::Signals(signals)) => self.pending.extend(signals),
                    Ok(News::Verified(drift)) => {
                        let was = std::mem::replace(drifted, !drift.is_empty());
                        match (was, &drift[..]) {
                            (false, []) | (true, [_, ..]) => {}
                            (false, drift) => return Signal::Down(drift_error(drift)),
                            (true, []) => {
                                self.pending.push_back(Signal::Live);
                                let reason = ResyncReason::TriggersRestored;
                                return Signal::Resync(Resync::new(reason));
                            }
                        }
                    }
                    Err(error) => return self.lose(error),
                },
            }
        }
    }
}

fn drift_error(drift: &[Drift]) -> Error {
    let list: Vec<String> = drift.iter().map(ToString::to_string).collect();
    Error::new(Kind::Triggers, list.join("; "))
}
