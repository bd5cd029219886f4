//! A source on a distributor: one WebSocket, for programs without access to the database.
//!
//! ```text
//!            ┌──── error, silence or `closing`: Down, back off, keep the position ────┐
//!            ▼                                                                        │
//!   Waiting(until) ── connect, upgrade with the position, `hello` ──► Open ───────────┤
//!                                                                      │              │
//!                       ┌── `resync`: Resync ───────────┐              ├─ `event`: Events
//!                       ▼                               │              ├─ `lagged`: Resync
//!                  not live ── `live`: Live ──► live ── `down`: Down   └─ `heartbeat`: shows that the peer is alive
//!                       ▲
//!                       └── `resumed`: Resumed
//! ```
//!
//! Polling [`Source::next`] drives the connection. There is no background task.
//!
//! Parts and what they own:
//! - [`DistributorSource`] owns the session and its reconnects, which are those of the crate's `reconnect`, and the order of signals.
//! - `address` parses the URL, `token` has the token or asks for it, and `builder` has the options.
//! - `session` owns the WebSocket and the time of silence. It returns frames.
//! - `message` parses a frame. `refusal` turns refusals and close codes into errors.
//! - `continuity` owns the position, and decides which signals a message causes. It is pure: it has neither I/O nor time.
//! - The [`Inbox`](super::forwarded::Inbox) of all forwarded events decodes and batches them.
//!
//! Guarantees:
//! - Each `Live` follows a `Resync` or a `Resumed` of the same connection that the distributor has sent. If the distributor omits it,
//!   the source emits a `Resync`. So a subscriber that reads the database after it sees all changes that no event shows: the
//!   distributor subscribes before it sends `resync`.
//! - The source is `Down` when the distributor says so, when the connection ends, and when nothing has arrived for three heartbeats.
//!   Signals that have arrived before are emitted first. So caches stop answering within this time, even if the distributor's process
//!   is suspended.
//! - After a reconnect, the source sends the position after the last message that it has emitted. It emits `Resumed` only if the
//!   distributor has confirmed this position, after all events in between. A distributor that does not know the position, because it
//!   has another database, for example, sends `resync`.
//! - An event that fails to decode becomes a `Resync` in its place. Any other message that cannot be read ends the connection, because
//!   it may have been a `down`, and the position is dropped, so that the next connection does not fail at the same message.
//! - The source never gives up: it reconnects with capped exponential backoff and full jitter, and not before the time that the
//!   distributor has asked for.

mod address;
mod builder;
mod continuity;
mod message;
mod refusal;
mod session;
mod token;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use builder::DistributorSourceBuilder;
use builder::Settings;
use continuity::Continuity;
use message::{Message, Received, parse};
use session::{Frame, Opened, Session};

use super::Source;
use super::forwarded::Inbox;
use crate::error::{Error, ErrorKind, Result};
use crate::reconnect::{Reconnecting, within_limit};
use crate::signal::Signal;

/// A source that reads the events of a distributor, over `/v1/ws`, instead of those of PostgreSQL.
///
/// For caches and handlers on machines without access to the database. The guarantees are those of a direct source: no change is
/// missed without a resync, and a cache does not answer while the distributor, or its database, is away. If all tables are recorded
/// in the outbox, a lost connection loses no events: the source continues from its position.
///
/// What is different:
/// - [`Event::backend_pid`](crate::Event::backend_pid) is 0.
/// - Write tokens arrive only if no [tables](DistributorSourceBuilder::tables) are selected.
/// - Proxies of the environment (`HTTPS_PROXY`) are not used, and redirects are not followed.
///
/// ```
/// use pgherald_core::{DistributorSource, TableName};
///
/// let source = DistributorSource::builder("https://events.example.com")
///     .token("secret")
///     .tables([TableName::new("public", "users")?])
///     .build()?;
/// # Ok::<(), pgherald_core::Error>(())
/// ```
#[derive(Debug)]
pub struct DistributorSource {
    settings: Arc<Settings>,
    session: Reconnecting<Opening, Session>,
    continuity: Continuity,
    inbox: Inbox,
    /// Signals to emit before anything else happens.
    pending: VecDeque<Signal>,
    /// Why the session ends, once the signals before it are emitted.
    ending: Option<Ending>,
}

type Opening = Pin<Box<dyn Future<Output = Result<Opened>> + Send>>;

/// The end of a session.
#[derive(Debug)]
struct Ending {
    error: Error,
    /// When to connect again at the earliest.
    retry: Duration,
}

impl From<Error> for Ending {
    fn from(error: Error) -> Self {
        let retry = Duration::ZERO;
        Self { error, retry }
    }
}

impl DistributorSource {
    /// Starts building a source on the distributor at `url`: `https://host` or `http://host:port`, with a path if the distributor's
    /// routes are in a scope of an application.
    pub fn builder(url: impl Into<String>) -> DistributorSourceBuilder {
        DistributorSourceBuilder::new(url.into())
    }

    fn new(settings: Arc<Settings>) -> Self {
        Self {
            session: Reconnecting::new(settings.backoff),
            settings,
            continuity: Continuity::default(),
            inbox: Inbox::default(),
            pending: VecDeque::new(),
            ending: None,
        }
    }

    fn connect(settings: &Arc<Settings>, since: Option<&str>) -> Opening {
        let (settings, since) = (Arc::clone(settings), since.map(str::to_owned));
        Box::pin(async move {
            let opening = Box::pin(Session::open(&settings, since.as_deref()));
            within_limit(settings.connect_timeout, &settings.address, opening).await
        })
    }

    /// Turns frames into signals, up to the one that ends the session.
    fn take_in(&mut self, frames: &[Frame]) {
        for frame in frames {
            if let Err(ending) = self.on_frame(frame) {
                self.ending = Some(ending);
                break;
            }
        }
        self.inbox.seal(&mut self.pending);
    }

    fn on_frame(&mut self, frame: &Frame) -> Result<(), Ending> {
        let Received { id, message } = parse(frame, &self.settings.address)?;
        match message {
            Message::Event(payload) => self.inbox.accept(payload, &mut self.pending),
            Message::Closing { reason, retry } => {
                let error = refusal::closed(&self.settings.address, &reason);
                return Err(Ending { error, retry });
            }
            message => {
                self.inbox.seal(&mut self.pending);
                let signals = self.continuity.accept(message, &self.settings.address);
                self.pending.extend(signals);
                if id.is_none() {
                    return Ok(());
                }
            }
        }
        self.continuity.advance(id);
        Ok(())
    }

    /// Drops the session and schedules the next attempt.
    fn lose(&mut self, ending: Ending) -> Signal {
        let Ending { error, retry } = ending;
        if error.kind() == ErrorKind::Protocol || error.kind() == ErrorKind::Config {
            self.continuity.forget();
        }
        self.inbox.log_undecodable();
        self.continuity.lost();
        self.session.lost_for(&error, retry);
        Signal::Down(error)
    }
}

impl Source for DistributorSource {
    async fn next(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.pending.pop_front() {
                return signal;
            }
            if let Some(ending) = self.ending.take() {
                return self.lose(ending);
            }
            let Some(session) = self.session.session_mut() else {
                let since = self.continuity.position();
                let open = || Self::connect(&self.settings, since);
                match self.session.opened(open).await {
                    Ok(Opened { session, resumable }) => {
                        self.continuity.connected(resumable);
                        self.session.keep(session);
                    }
                    Err(error) => return self.lose(error.into()),
                }
                continue;
            };
            match session.next().await {
                Ok(frames) => self.take_in(&frames),
                Err(error) => return self.lose(error.into()),
            }
        }
    }
}
