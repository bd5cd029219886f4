//! One session: a connection, an ordered consumer and the subscription of heartbeats.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, push};
use async_nats::{Client, Event, Message, StatusCode, Subject, header};
use pgherald_core::{Error, Result};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::builder::Settings;
use super::inspection::Inspection;
use super::refusal;
use super::stream::{self, Mirrored};
use super::subscription::Subscription;
use crate::contract::Heartbeat;

/// The maximum number of messages, and of their bytes, that are returned together.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 1024 * 1024;
/// How long the server keeps a consumer without a subscriber.
const ABANDONED: std::time::Duration = std::time::Duration::from_secs(30);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The messages and heartbeats that one poll has returned. Handle the parts in the order of the fields.
#[derive(Default)]
pub(super) struct Arrivals {
    pub(super) messages: Vec<Message>,
    /// Whether the queue of deliveries was found empty before these messages.
    pub(super) was_drained: bool,
    /// The sequence up to which the consumer has delivered the stream, if the consumer was heard.
    pub(super) position: Option<u64>,
    /// Whether messages were removed from the stream before they were read.
    pub(super) has_lost_messages: bool,
    /// Each with the earliest time at which it may have arrived.
    pub(super) heartbeats: Vec<(Heartbeat, Instant)>,
}

/// What the client library reports about the connection.
#[derive(Clone, Default)]
struct Connection {
    is_lost: bool,
    /// The last error that the server has reported.
    complaint: Option<String>,
}

pub(super) struct Session {
    settings: Arc<Settings>,
    client: Client,
    context: jetstream::Context,
    deliveries: Subscription,
    heartbeats: Subscription,
    inspection: Inspection,
    connection: watch::Receiver<Connection>,
    lost: Boxed<()>,
    /// The number of deliveries so far.
    delivered: u64,
    /// The sequence up to which the stream was received.
    position: u64,
    /// Whether the queue of deliveries was found empty since the last arrivals.
    is_drained: bool,
    /// Identifies the stream that the heartbeats name.
    incarnation: Option<Box<str>>,
    mirrored: Mirrored,
    /// When the queue of heartbeats was last found empty. The heartbeats in it have arrived later.
    emptied: Instant,
    /// When the consumer was last heard.
    heard: Instant,
    timer: Pin<Box<Sleep>>,
    /// Requests of the server to confirm that deliveries were read.
    confirmations: VecDeque<Subject>,
    confirming: Option<Boxed<()>>,
    /// Why the session has failed. It is returned after everything that arrived before.
    failed: Option<Error>,
}

impl Session {
    /// Connects, and subscribes to everything that is stored in the stream from now on.
    pub(super) async fn open(settings: &Arc<Settings>) -> Result<Self> {
        let (client, connection) = connect(settings).await?;
        let subscribed = |cause| refusal::no_subscription(settings, cause);
        let context = jetstream::new(client.clone());
        let stream = context
            .get_stream(&settings.stream)
            .await
            .map_err(|cause| refusal::no_stream(settings, cause))?;
        stream::check(settings, &stream.cached_info().config)?;
        let began = Instant::now();
        let heartbeats = Subscription::new(&client, settings.prefix.heartbeats());
        let heartbeats = heartbeats.await.map_err(subscribed)?;
        let inbox = client.new_inbox();
        let deliveries = Subscription::new(&client, inbox.clone());
        let deliveries = deliveries.await.map_err(subscribed)?;
        let consumer = stream
            .create_consumer(ordered(settings, inbox))
            .await
            .map_err(|cause| refusal::no_consumer(settings, cause))?;
        let position = consumer.cached_info().delivered.stream_sequence;
        let mut watched = connection.clone();
        let now = Instant::now();
        Ok(Self {
            mirrored: Mirrored::of(stream.cached_info()),
            inspection: Inspection::new(Arc::clone(settings), stream, position),
            settings: Arc::clone(settings),
            client,
            context,
            deliveries,
            heartbeats,
            connection,
            lost: Box::pin(async move {
                // Also returns when the client has ended.
                let _ = watched.wait_for(|connection| connection.is_lost).await;
            }),
            delivered: 0,
            position,
            is_drained: false,
            incarnation: None,
            emptied: began,
            heard: now,
            timer: Box::pin(sleep_until(now)),
            confirmations: VecDeque::new(),
            confirming: None,
            failed: None,
        })
    }

    /// Returns the last error that the server has reported, such as a missing permission.
    pub(super) fn complaint(&self) -> Option<String> {
        self.connection.borrow().complaint.clone()
    }

    /// Waits until something arrives, or until the given time. Cancel safe.
    pub(super) async fn next(&mut self, until: Option<Instant>) -> Result<Arrivals> {
        poll_fn(|cx| self.poll_next(cx, until)).await
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        until: Option<Instant>,
    ) -> Poll<Result<Arrivals>> {
        let was_drained = self.is_drained;
        let mut arrivals = Arrivals {
            was_drained,
            ..Arrivals::default()
        };
        if self.failed.is_none() {
            // Heartbeats first, so that the queue of deliveries is found empty after them.
            self.poll_heartbeats(cx, &mut arrivals);
            self.poll_deliveries(cx, &mut arrivals);
            self.poll_confirmations(cx);
            if self.failed.is_none() && self.lost.as_mut().poll(cx).is_ready() {
                self.failed = Some(refusal::lost(&self.settings));
            }
        }
        if !arrivals.is_empty() {
            return Poll::Ready(Ok(arrivals));
        }
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        self.poll_time(cx, until).map_ok(|()| arrivals)
    }

    fn poll_deliveries(&mut self, cx: &mut Context<'_>, arrivals: &mut Arrivals) {
        self.is_drained = false;
        let mut bytes = 0;
        while self.failed.is_none() && arrivals.messages.len() < BATCH && bytes < BATCH_BYTES {
            match self.deliveries.poll_next(cx) {
                Poll::Ready(Some(message)) => {
                    self.heard = Instant::now();
                    bytes += message.length;
                    if let Err(error) = self.delivery(message, arrivals) {
                        self.failed = Some(error);
                    }
                }
                Poll::Ready(None) => self.failed = Some(refusal::lost(&self.settings)),
                Poll::Pending => {
                    self.is_drained = true;
                    break;
                }
            }
        }
        if self.failed.is_some() {
            return;
        }
        match self.inspection.poll(cx, self.position) {
            Poll::Ready(Ok(())) => arrivals.has_lost_messages = true,
            Poll::Ready(Err(error)) => self.failed = Some(error),
            Poll::Pending => {}
        }
    }

    /// Records a delivery of the consumer. Fails if earlier deliveries were lost.
    fn delivery(&mut self, message: Message, arrivals: &mut Arrivals) -> Result<()> {
        match message.status {
            None => {}
            // An idle heartbeat of the consumer, or a flow control request.
            Some(StatusCode::IDLE_HEARTBEAT) => return self.on_status(message, arrivals),
            Some(_) => return Ok(()),
        }
        let message = jetstream::Message {
            message,
            context: self.context.clone(),
        };
        // Skip messages that are not from the consumer: any client may publish to an inbox.
        let Ok((stream, consumer)) = message
            .info()
            .map(|info| (info.stream_sequence, info.consumer_sequence))
        else {
            return Ok(());
        };
        self.expect(consumer, self.delivered + 1)?;
        self.delivered = consumer;
        self.received_up_to(stream, arrivals)?;
        arrivals.messages.push(message.message);
        Ok(())
    }

    fn on_status(&mut self, message: Message, arrivals: &mut Arrivals) -> Result<()> {
        let header = |name| {
            let headers = message.headers.as_ref()?;
            headers.get(name)?.as_str().parse::<u64>().ok()
        };
        let stalled = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Consumer-Stalled"))
            .map(|subject| Subject::from(subject.as_str()));
        if let (Some(consumer), Some(stream)) = (
            header(header::NATS_LAST_CONSUMER),
            header(header::NATS_LAST_STREAM),
        ) {
            self.expect(consumer, self.delivered)?;
            self.received_up_to(stream, arrivals)?;
        }
        self.confirmations.extend(message.reply);
        self.confirmations.extend(stalled);
        Ok(())
    }

    /// Records the position of the consumer. Fails if it is before the earlier one. That happens if a server has lost a stream in
    /// memory, and has created the stream and the consumer again: the new consumer delivers only messages that are stored later.
    fn received_up_to(&mut self, sequence: u64, arrivals: &mut Arrivals) -> Result<()> {
        if sequence < self.position {
            return Err(refusal::went_back(&self.settings, sequence, self.position));
        }
        self.position = sequence;
        arrivals.position = Some(sequence);
        Ok(())
    }

    /// Fails if deliveries before this one were lost.
    fn expect(&self, sequence: u64, expected: u64) -> Result<()> {
        match sequence.checked_sub(expected) {
            Some(0) => Ok(()),
            lost => Err(refusal::gap(&self.settings, lost.unwrap_or_default())),
        }
    }

    fn poll_heartbeats(&mut self, cx: &mut Context<'_>, arrivals: &mut Arrivals) {
        while self.failed.is_none() && arrivals.heartbeats.len() < BATCH {
            let now = Instant::now();
            match self.heartbeats.poll_next(cx) {
                Poll::Ready(Some(message)) => match Heartbeat::parse(&message.payload) {
                    Ok(heartbeat) if !self.is_of_this_stream(&heartbeat) => {
                        self.failed = Some(refusal::another_stream(&self.settings));
                    }
                    Ok(heartbeat) if self.mirrored.is_of_earlier_origin(&heartbeat.incarnation) => {
                        self.failed = Some(refusal::stale_mirror(&self.settings));
                    }
                    Ok(heartbeat) => arrivals.heartbeats.push((heartbeat, self.emptied)),
                    Err(error) => {
                        tracing::debug!(%error, subject = %message.subject, "not a heartbeat");
                    }
                },
                Poll::Ready(None) => self.failed = Some(refusal::lost(&self.settings)),
                Poll::Pending => {
                    self.emptied = now;
                    break;
                }
            }
        }
    }

    /// Whether a heartbeat names the same stream as the earlier ones. The source may read another stream: a mirror has another
    /// incarnation than its origin.
    fn is_of_this_stream(&mut self, heartbeat: &Heartbeat) -> bool {
        let first = || heartbeat.incarnation.clone();
        *self.incarnation.get_or_insert_with(first) == heartbeat.incarnation
    }

    /// Responds to flow control requests. A server that waits for a response sends no further messages.
    fn poll_confirmations(&mut self, cx: &mut Context<'_>) {
        loop {
            if let Some(confirming) = &mut self.confirming {
                if confirming.as_mut().poll(cx).is_pending() {
                    return;
                }
                self.confirming = None;
            }
            let Some(subject) = self.confirmations.pop_front() else {
                return;
            };
            let client = self.client.clone();
            self.confirming = Some(Box::pin(async move {
                // If it fails, the connection has ended, which `lost` shows.
                let _ = client.publish(subject, "".into()).await;
            }));
        }
    }

    /// Ready at the given time, or when the consumer has been silent for too long.
    fn poll_time(&mut self, cx: &mut Context<'_>, until: Option<Instant>) -> Poll<Result<()>> {
        let limit = self.settings.silence_limit();
        let silent = self.heard + limit;
        let wake = until.map_or(silent, |until| until.min(silent));
        if self.timer.deadline() != wake {
            self.timer.as_mut().reset(wake);
        }
        std::task::ready!(self.timer.as_mut().poll(cx));
        match Instant::now() < silent {
            true => Poll::Ready(Ok(())),
            false => Poll::Ready(Err(refusal::silent(&self.settings, limit))),
        }
    }
}

impl Arrivals {
    fn is_empty(&self) -> bool {
        self.position.is_none() && self.heartbeats.is_empty() && !self.has_lost_messages
    }
}

async fn connect(settings: &Settings) -> Result<(Client, watch::Receiver<Connection>)> {
    let (sender, connection) = watch::channel(Connection::default());
    let on_event = move |event| {
        sender.send_modify(|connection| match event {
            Event::Disconnected | Event::Closed => connection.is_lost = true,
            Event::ServerError(error) => connection.complaint = Some(error.to_string()),
            _ => {}
        });
        std::future::ready(())
    };
    let client = settings
        .config
        .connect_with(|options| {
            options
                .event_callback(on_event)
                // One attempt at each server. The source opens another session then.
                .max_reconnects(settings.config.servers())
        })
        .await?;
    Ok((client, connection))
}

/// Returns the configuration of a consumer of all messages that are stored from now on.
fn ordered(settings: &Settings, inbox: String) -> push::Config {
    push::Config {
        deliver_subject: inbox,
        description: Some("pgherald source".to_owned()),
        filter_subjects: settings.filters.clone(),
        deliver_policy: DeliverPolicy::New,
        ack_policy: AckPolicy::None,
        replay_policy: ReplayPolicy::Instant,
        max_deliver: 1,
        flow_control: true,
        idle_heartbeat: settings.idle_interval(),
        num_replicas: 1,
        memory_storage: true,
        inactive_threshold: ABANDONED,
        ..push::Config::default()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("stream", &self.settings.stream)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
