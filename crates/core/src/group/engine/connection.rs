//! The connections of the node, and when to open them again.
//!
//! ```text
//!   waiting ── delay is over ──► opening ── opened ──► open
//!      ▲                            │ failed            │ a request has failed, or a connection has ended
//!      └────────────────────────────┴───────────────────┘
//! ```

use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, pending};
use tokio::time::{Instant, timeout};

use crate::backoff::Backoff;
use crate::connect::ConnectConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::group::options::DurableOptions;
use crate::group::requests::{Answer, Requests, Unfinished};
use crate::outbox::History;

/// How long connecting may take, and leaving the group at the end.
pub(in crate::group) const CONNECT: Duration = Duration::from_secs(10);
/// The pauses between attempts to connect.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

pub(super) struct Connection {
    config: ConnectConfig,
    options: Rc<DurableOptions>,
    stage: Stage,
    /// The history of the previous connections, or of these.
    history: Option<History>,
    /// Failed attempts to connect since connections lasted longer than a lease.
    failures: u32,
}

enum Stage {
    Waiting(Instant),
    Opening(LocalBoxFuture<'static, Result<Requests>>),
    Open {
        requests: Box<Requests>,
        since: Instant,
    },
}

pub(super) enum ConnectionEvent {
    Opened(Box<Requests>),
    Answered(Answer),
    /// The node could not connect, or the connections cannot be used any more.
    Lost(Error),
}

impl Connection {
    pub(super) fn new(config: ConnectConfig, options: Rc<DurableOptions>, now: Instant) -> Self {
        Self {
            config,
            options,
            stage: Stage::Waiting(now),
            history: None,
            failures: 0,
        }
    }

    /// Connects if that is due.
    pub(super) fn connect(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Waiting(until) if until <= now) {
            return;
        }
        let (config, options) = (self.config.clone(), Rc::clone(&self.options));
        let opening = async move {
            let opening = Requests::open(&config, options);
            timeout(CONNECT, opening).await.unwrap_or_else(|_| {
                let message = format!("no session with {config} within {CONNECT:?}");
                Err(Error::new(ErrorKind::Connect, message))
            })
        };
        self.stage = Stage::Opening(opening.boxed_local());
    }

    /// Waits for the next event. Cancel-safe.
    pub(super) async fn next_event(&mut self) -> ConnectionEvent {
        let event = match &mut self.stage {
            Stage::Waiting(_) => pending().await,
            Stage::Opening(opening) => {
                let opened = opening.await;
                opened.map(|requests| ConnectionEvent::Opened(Box::new(requests)))
            }
            Stage::Open { requests, .. } => {
                requests.next_answer().await.map(ConnectionEvent::Answered)
            }
        };
        event.unwrap_or_else(ConnectionEvent::Lost)
    }

    /// Stores new connections. Returns whether the server's history continues that of the previous ones.
    pub(super) fn opened(&mut self, requests: Box<Requests>, now: Instant) -> bool {
        let before = self.history.replace(requests.history.clone());
        let continues = before.is_none_or(|before| requests.history.continues(&before));
        self.stage = Stage::Open {
            requests,
            since: now,
        };
        continues
    }

    /// Ends the connections, and schedules the next attempt. Returns the requests that were not answered, and the delay.
    pub(super) fn lost(&mut self, now: Instant) -> (Option<Unfinished>, Duration) {
        let mut unfinished = None;
        if let Stage::Open { requests, since } = &mut self.stage {
            if now.duration_since(*since) > self.options.lease {
                self.failures = 0;
            }
            unfinished = Some(requests.unfinished());
        }
        let delay = RECONNECT.delay(self.failures);
        self.failures = self.failures.saturating_add(1);
        self.stage = Stage::Waiting(now + delay);
        (unfinished, delay)
    }

    /// Returns the requests if the connections are open.
    pub(super) fn requests(&self) -> Option<&Requests> {
        match &self.stage {
            Stage::Open { requests, .. } => Some(requests),
            Stage::Waiting(_) | Stage::Opening(_) => None,
        }
    }

    /// As [`requests`](Self::requests), to send some.
    pub(super) fn requests_mut(&mut self) -> Option<&mut Requests> {
        match &mut self.stage {
            Stage::Open { requests, .. } => Some(requests),
            Stage::Waiting(_) | Stage::Opening(_) => None,
        }
    }

    /// When to connect, if the node waits for that.
    pub(super) fn alarm(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Waiting(until) => Some(*until),
            Stage::Opening(_) | Stage::Open { .. } => None,
        }
    }
}
