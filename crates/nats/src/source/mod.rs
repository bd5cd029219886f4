//! A source on a stream that a relay fills, for programs without access to the database.
//!
//! ```text
//!            ┌──── connection lost, deliveries lost, silence: Down, back off ────┐
//!            ▼                                                                   │
//!   Waiting(until) ── connect, look the stream up, subscribe ──► Open ───────────┤
//!                                                                 │              │
//!                ┌── a slice without recent heartbeat: Down ──┐   ├─ event: Events
//!                ▼                                            │   ├─ `resync`: Resync
//!            not live ── all slices have one: Resync, Live ──► live
//! ```
//!
//! Polling [`Source::next`] drives the session. There is no background task besides the connection of the client library.
//!
//! Parts and what they own:
//! - [`NatsSource`] owns the session and its reconnects, which are those of core's `reconnect`, and the order of signals.
//! - `builder` has the options, `refusal` the errors.
//! - `session` owns the connection, the ordered consumer and the subscription of heartbeats. It finds lost deliveries and silence.
//! - `subscription` wraps the client library's, so that it can be dropped outside of a runtime.
//! - `inspection` inspects the stream at intervals, and finds messages that were removed before they were read.
//! - `stream` refuses streams that do not store everything that the relays send.
//! - `liveness` decides whether the relays keep up. It is pure: it has neither I/O nor a clock.
//! - `clocks` measures the delay of heartbeats on their way. It is pure too.
//! - `continuity` decides which signals keep the contract of [`Signal`]. It is pure too.
//! - The `Inbox` of core decodes events and batches them.
//!
//! Guarantees:
//! - Each session subscribes first. A `Resync` follows before the first event of the session, and before each `Live`. So a
//!   subscriber that reads the database after the resync sees all changes for which it receives no event.
//! - A heartbeat of a slice reports that every change before a moment is stored, at a sequence or before it. It counts once the
//!   consumer has been heard after it and the source has received everything up to this sequence. So heartbeats do not count if the
//!   consumer was deleted with its stream. The source is live while this moment is less than `max_lag` ago for each slice. So
//!   caches stop answering within `max_lag` if a relay, PostgreSQL, the stream, the consumer or the connection stops, or if the
//!   source itself cannot keep up.
//! - Sequences of the consumer have no gaps. After a gap, the session is opened again, with a `Resync`. The same happens
//!   when heartbeats begin to name another stream, because the stream was deleted and created again.
//! - Heartbeats of two groups, or of two numbers of slices, are from two groups that use one prefix. The source is not live until
//!   one of the groups has sent none for `max_lag`.
//! - When heartbeats begin to name another history of the database, a `Resync` follows: visible changes may have been lost.
//! - An event that fails to decode becomes a `Resync` in its place, as does any other message that cannot be read.
//! - The source never gives up: it reconnects with capped exponential backoff and full jitter.

mod builder;
mod clocks;
mod continuity;
mod inspection;
mod liveness;
mod refusal;
mod session;
mod stream;
mod subscription;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use builder::NatsSourceBuilder;
use builder::Settings;
use clocks::Clocks;
use continuity::Continuity;
use liveness::{Liveness, Verdict};
use pgherald_core::__private::host::events::{Inbox, Reconnecting, absorb, reason, within_limit};
use pgherald_core::__private::host::message::{Message, Received};
use pgherald_core::{Error, Result, Resync, ResyncReason, Signal, Source};
use session::{Arrivals, Session};
use tokio::time::Instant;

use crate::config::NatsConfig;
use crate::contract::{Heartbeat, Subject};

/// A source that reads the events of a relay from a stream of NATS JetStream, instead of reading PostgreSQL.
///
/// For caches and ephemeral handlers on machines without access to the database, in any number: only the relays connect to
/// PostgreSQL. The guarantees are those of a direct source: no change is missed without a resync, and a cache stops answering if a
/// relay, its database or NATS is unavailable. They depend on the heartbeats of the relays, and have exceptions; see
/// [`max_lag`](NatsSourceBuilder::max_lag).
///
/// Differences from a direct source:
/// - [`Event::backend_pid`](pgherald_core::Event::backend_pid) is 0, and write tokens do not arrive.
/// - Events of one row arrive in commit order. Events of different rows may arrive in another order.
/// - If the stream was deleted and created again, or restored, events that arrived before may arrive again, after a resync.
/// - An event that is too large for the NATS server has its key, but no columns.
/// - A cache has to load its values from the primary, or from a replica that is never behind the events. Otherwise an old value
///   that was read from a replica after its event stays in the cache until the next change.
///
/// The user needs permission to subscribe to the heartbeats (`PREFIX-heartbeat.*`) and to its inbox, and to publish to
/// `$JS.API.STREAM.INFO.NAME`, `$JS.API.CONSUMER.CREATE.NAME` and `$JS.FC.NAME.>`, where `NAME` is the stream.
///
/// ```
/// use pgherald_core::TableName;
/// use pgherald_nats::{NatsConfig, NatsSource};
///
/// let config = NatsConfig::new("nats://a.example.org,nats://b.example.org")?.credentials_file("/etc/shop/cache.creds");
/// let source = NatsSource::builder(config, "EVENTS")
///     .tables([TableName::new("public", "users")?])
///     .build()?;
/// # Ok::<(), pgherald_core::Error>(())
/// ```
#[derive(Debug)]
pub struct NatsSource {
    settings: Arc<Settings>,
    session: Reconnecting<Opening, Session>,
    liveness: Liveness,
    clocks: Clocks,
    continuity: Continuity,
    inbox: Inbox,
    /// Signals to emit before anything else happens.
    pending: VecDeque<Signal>,
}

type Opening = Pin<Box<dyn Future<Output = Result<Session>> + Send>>;

impl NatsSource {
    /// Starts building a source on the stream of this name, which a relay fills.
    pub fn builder(config: NatsConfig, stream: impl Into<String>) -> NatsSourceBuilder {
        NatsSourceBuilder::new(config, stream.into())
    }

    fn new(settings: Arc<Settings>) -> Self {
        Self {
            session: Reconnecting::new(settings.backoff),
            liveness: Liveness::new(settings.max_lag, Instant::now()),
            settings,
            clocks: Clocks::default(),
            continuity: Continuity::default(),
            inbox: Inbox::default(),
            pending: VecDeque::new(),
        }
    }

    fn connect(settings: &Arc<Settings>) -> Opening {
        let settings = Arc::clone(settings);
        Box::pin(async move {
            let opening = Box::pin(Session::open(&settings));
            within_limit(settings.opening_limit(), &settings.config, opening).await
        })
    }

    fn opened(&mut self, session: Session) {
        self.liveness = Liveness::new(self.settings.max_lag, Instant::now());
        self.continuity.opened();
        self.session.keep(session);
    }

    /// Turns arrivals into signals.
    fn take_in(&mut self, arrivals: &Arrivals) {
        for message in &arrivals.messages {
            self.on_message(message);
        }
        self.inbox.seal(&mut self.pending);
        if arrivals.has_lost_messages {
            tracing::warn!(
                stream = self.settings.stream,
                "messages may have been removed from the stream before they were read"
            );
            self.resync(Resync::new(ResyncReason::Trimmed));
        }
        if arrivals.was_drained {
            self.liveness.drained();
        }
        if let Some(position) = arrivals.position {
            self.liveness.received_up_to(position);
        }
        let now = Instant::now();
        for (heartbeat, arrived) in &arrivals.heartbeats {
            self.on_heartbeat(heartbeat, *arrived, now);
        }
        self.judge(now);
    }

    fn on_message(&mut self, message: &async_nats::Message) {
        let payload = std::str::from_utf8(&message.payload).unwrap_or_default();
        let subject = Subject::parse(&self.settings.prefix, &message.subject);
        let received = Received::read(payload).map(|received| received.message);
        match (subject, received) {
            (Some(Subject::Event(_)), Ok(Message::Event(payload))) => self.on_event(payload),
            (Some(Subject::Control { .. }), Ok(Message::Resync { reasons, .. })) => {
                self.inbox.seal(&mut self.pending);
                self.on_resync(&reasons);
            }
            // A newer relay may write further types of messages, which readers skip.
            (Some(_), Ok(_)) => {}
            // The message cannot be read, so it becomes a resync.
            (Some(_), Err(_)) | (None, _) => self.on_event(None),
        }
    }

    fn on_event(&mut self, payload: Option<&serde_json::value::RawValue>) {
        self.pending.extend(self.continuity.before_events());
        self.inbox.accept(payload, &mut self.pending);
    }

    /// Emits a resync of everything, whatever the scope is: subscribers know no resync of a slice or a table.
    fn on_resync(&mut self, reasons: &[Box<str>]) {
        let mut reasons = reasons.iter().filter_map(|label| reason(label));
        let mut resync = Resync::new(reasons.next().unwrap_or(ResyncReason::Trimmed));
        for reason in reasons {
            absorb(&mut resync, Resync::new(reason));
        }
        self.resync(resync);
    }

    /// Emits a resync of everything. Merges it with a resync just before it, because relays announce a loss in each slice.
    fn resync(&mut self, resync: Resync) {
        self.continuity.covered();
        match self.pending.back_mut() {
            Some(Signal::Resync(before)) if before.channel().is_none() => absorb(before, resync),
            _ => self.pending.push_back(Signal::Resync(resync)),
        }
    }

    fn on_heartbeat(&mut self, heartbeat: &Heartbeat, arrived: Instant, now: Instant) {
        let arrived = self.clocks.arrival(heartbeat, arrived, now);
        if self.liveness.heard(heartbeat, arrived, now) {
            tracing::warn!(
                group = &*heartbeat.group,
                slices = heartbeat.slices,
                "heartbeats now arrive from another group, or from a group with another number of slices"
            );
            self.resync(Resync::new(ResyncReason::Reconnected));
        }
        // Subscribers may have read changes that were lost before a relay stored them.
        if self.liveness.is_of_another_history(heartbeat) {
            tracing::warn!("the database may have lost changes in a crash, promotion or restore");
            self.resync(Resync::new(ResyncReason::Restored));
        }
    }

    /// Emits `Live` or `Down` if that has changed.
    fn judge(&mut self, now: Instant) {
        match self.liveness.verdict(now) {
            Verdict::Live => self.pending.extend(self.continuity.live()),
            // A new session has not heard all slices yet.
            Verdict::Late(_)
                if !self.continuity.is_live() && now < self.liveness.end_of_patience() => {}
            Verdict::Late(late) => {
                if self.continuity.late() {
                    let complaint = self.session.session().and_then(Session::complaint);
                    let error = refusal::late(&self.settings, &late, complaint);
                    self.pending.push_back(Signal::Down(error));
                }
            }
        }
    }

    /// Drops the session and schedules the next attempt.
    fn lose(&mut self, error: Error) -> Signal {
        self.inbox.log_undecodable();
        self.continuity.lost();
        self.session.lost(&error);
        Signal::Down(error)
    }
}

impl Source for NatsSource {
    async fn next(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.pending.pop_front() {
                return signal;
            }
            let Some(session) = self.session.session_mut() else {
                match self.session.opened(|| Self::connect(&self.settings)).await {
                    Ok(session) => self.opened(session),
                    Err(error) => return self.lose(error),
                }
                continue;
            };
            let until = match &self.continuity {
                live if live.is_live() => Some(self.liveness.end_of_life()),
                other if other.is_unreported() => Some(self.liveness.end_of_patience()),
                _ => None,
            };
            match session.next(until).await {
                Ok(arrivals) => self.take_in(&arrivals),
                Err(error) => return self.lose(error),
            }
        }
    }
}
