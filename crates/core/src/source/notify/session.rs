//! One listening connection, from its opening to its loss.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_postgres::Client;

use super::builder::Settings;
use super::inbox::Inbox;
use super::probe::probe;
use crate::connect::refuse_replica;
use crate::error::{Error, Result};
use crate::name::ChannelName;
use crate::signal::Signal;
use crate::source::channels::{Channels, Requests};
use crate::source::heartbeat::{Heartbeat, Pulse, Query};
use crate::source::listen::{confirm_listening, listen};
use crate::source::watcher::Watcher;
use crate::source::wire::Wire;
use crate::trigger::Check;

/// What a session returns to its source.
#[derive(Debug)]
pub(super) enum Received {
    /// Events, and resyncs for payloads that failed to decode.
    Signals(Vec<Signal>),
    /// The result of a check of the triggers.
    Checked(Check),
}

pub(super) struct Session {
    wire: Wire,
    inbox: Inbox,
    /// The channels that are added and removed while the source runs.
    requests: Option<Requests>,
    heartbeat: Heartbeat,
    /// The result of a heartbeat that is held back until all earlier notifications are passed on.
    pulse: Option<Pulse>,
    /// Why the session cannot be used any more, held back like the pulse.
    failed: Option<Error>,
}

impl Session {
    /// Connects, listens, verifies that notifications arrive, and checks the triggers.
    pub(super) async fn open(settings: &Settings, probes: bool) -> Result<(Self, Check)> {
        let (client, connection) = settings.options.config.listening_session().await?;
        let client = Arc::new(client);
        let mut wire = Wire::new(connection);
        wire.drive(refuse_replica(&client)).await?;
        wire.drive(listen(&client, &settings.channels)).await?;
        if probes {
            probe(&mut wire, &client, settings).await?;
        }
        let watcher = Arc::new(Watcher::new(&settings.options));
        let check = wire.drive(watcher.check(&client)).await?;
        let requests = settings.added.as_ref().map(|added| {
            let client = Arc::clone(&client);
            Requests::new(added, client, &settings.channels)
        });
        let query = query(client, settings, watcher);
        let heartbeat = Heartbeat::new(&settings.options, query);
        Ok((
            Self {
                wire,
                inbox: Inbox::default(),
                requests,
                heartbeat,
                pulse: None,
                failed: None,
            },
            check,
        ))
    }

    /// Waits for signals or the result of a heartbeat.
    pub(super) async fn next(&mut self) -> Result<Received> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received>> {
        if let Err(error) = self.poll_wire(cx) {
            self.failed.get_or_insert(error);
        }
        if self.pulse.is_none()
            && let Poll::Ready(pulse) = self.heartbeat.poll(cx)
        {
            self.inbox.log_undecodable();
            self.pulse = Some(pulse);
        }
        if !self.inbox.is_empty() {
            return Poll::Ready(Ok(Received::Signals(self.inbox.take())));
        }
        if let Some(error) = self.wire.take_end().or(self.failed.take()) {
            return Poll::Ready(Err(error));
        }
        match self.pulse.take() {
            None => Poll::Pending,
            Some(Pulse::Beat(check)) => Poll::Ready(Ok(Received::Checked(check))),
            Some(Pulse::Lost(error)) => Poll::Ready(Err(error)),
        }
    }
}

/// The notifications of added channels that are read at a time, so that their users can keep up on the same thread.
const BURST: usize = 128;

impl Session {
    /// Reads notifications, and sends requests for channels.
    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Result<()> {
        let mut delivered = 0;
        // A request may be answered without any notification, so it is polled after the wire, too.
        let mut outcome = Ok(());
        while !self.inbox.is_full()
            && let Poll::Ready(notification) = self.wire.poll_notification(cx)
        {
            let Some(requests) = &mut self.requests else {
                self.inbox.accept(&notification);
                continue;
            };
            // First the answers that have arrived before the notification.
            outcome = outcome.and(requests.poll(cx));
            if let Ok(channel) = ChannelName::new(notification.channel()) {
                requests.deliver(&channel, notification.payload());
                delivered += 1;
                if !requests.is_fixed(&channel) {
                    if delivered >= BURST {
                        cx.waker().wake_by_ref();
                        break;
                    }
                    continue;
                }
            }
            self.inbox.accept(&notification);
        }
        if !self.inbox.is_empty() || delivered > 0 {
            self.heartbeat.note_activity();
        }
        match &mut self.requests {
            Some(requests) => outcome.and(requests.poll(cx)),
            None => outcome,
        }
    }
}

/// Makes the query of the heartbeat: whether the session still listens, and the state of the triggers.
fn query(
    client: Arc<Client>,
    settings: &Settings,
    watcher: Arc<Watcher>,
) -> impl Fn() -> Query + Send + 'static {
    let fixed: Arc<[ChannelName]> = settings.channels.clone().into();
    let added = settings.added.clone();
    move || {
        let (client, fixed) = (Arc::clone(&client), Arc::clone(&fixed));
        let (watcher, added) = (Arc::clone(&watcher), added.clone());
        Box::pin(async move {
            // Read when the query is sent: an UNLISTEN that is sent later takes effect later.
            let mut channels = fixed.to_vec();
            channels.extend(added.as_ref().map(Channels::confirmed).unwrap_or_default());
            confirm_listening(&client, &channels).await?;
            watcher.check(&client).await
        })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("inbox", &self.inbox)
            .finish_non_exhaustive()
    }
}
