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
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use builder::NotifySourceBuilder;
use builder::Settings;
use session::{Received, Session};

use super::Source;
use super::drift::{compare, log_harmless_drift};
use crate::connect::ConnectConfig;
use crate::error::{Error, Result};
use crate::reconnect::{Reconnecting, within_limit};
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
    session: Reconnecting<Opening, Open>,
    /// Signals to emit before anything else happens.
    pending: VecDeque<Signal>,
    /// Whether there was an earlier session.
    was_open: bool,
    /// Whether a notification from another connection has ever arrived.
    probed: bool,
}

type Opening = Pin<Box<dyn Future<Output = Result<(Session, Check)>> + Send>>;

#[derive(Debug)]
struct Open {
    session: Box<Session>,
    /// The result of the last check of the triggers.
    check: Check,
}

impl NotifySource {
    /// Starts building a source on the database of `config`.
    pub fn builder(config: ConnectConfig) -> NotifySourceBuilder {
        NotifySourceBuilder::new(config)
    }

    fn new(settings: Arc<Settings>) -> Self {
        Self {
            session: Reconnecting::new(settings.options.backoff),
            settings,
            pending: VecDeque::new(),
            was_open: false,
            probed: false,
        }
    }

    fn connect(settings: &Arc<Settings>, probe: bool) -> Opening {
        let settings = Arc::clone(settings);
        Box::pin(async move {
            let options = &settings.options;
            let opening = Box::pin(Session::open(&settings, probe));
            within_limit(options.connect_timeout, &options.config, opening).await
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
        self.session.keep(Open { session, check });
    }

    /// Drops the session and schedules the next attempt.
    fn lose(&mut self, error: Error) -> Signal {
        self.session.lost(&error);
        Signal::Down(error)
    }
}

impl Source for NotifySource {
    async fn next(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.pending.pop_front() {
                return signal;
            }
            let Some(Open { session, check }) = self.session.session_mut() else {
                let probe = self.settings.probe && !self.probed;
                let open = || Self::connect(&self.settings, probe);
                match self.session.opened(open).await {
                    Ok((session, check)) => self.opened(session, check),
                    Err(error) => return self.lose(error),
                }
                continue;
            };
            match session.next().await {
                Ok(Received::Signals(signals)) => self.pending.extend(signals),
                Ok(Received::Checked(now)) => {
                    let before = std::mem::replace(check, now);
                    self.pending.extend(compare(&before, check));
                }
                Err(error) => return self.lose(error),
            }
        }
    }
}
