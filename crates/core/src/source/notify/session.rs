//! One listening connection, from its opening to its loss.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_postgres::Client;

use super::builder::Settings;
use super::inbox::Inbox;
use super::probe::probe;
use crate::connect::refuse_replica;
use crate::error::Result;
use crate::name::ChannelName;
use crate::signal::Signal;
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
    heartbeat: Heartbeat,
    /// The result of a heartbeat that is held back until all earlier notifications are passed on.
    pulse: Option<Pulse>,
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
        let query = query(client, settings, watcher);
        let heartbeat = Heartbeat::new(&settings.options, query);
        Ok((
            Self {
                wire,
                inbox: Inbox::default(),
                heartbeat,
                pulse: None,
            },
            check,
        ))
    }

    /// Waits for signals or the result of a heartbeat.
    pub(super) async fn next(&mut self) -> Result<Received> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received>> {
        while !self.inbox.is_full()
            && let Poll::Ready(notification) = self.wire.poll_notification(cx)
        {
            self.inbox.accept(&notification);
        }
        if !self.inbox.is_empty() {
            self.heartbeat.note_activity();
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
        if let Some(error) = self.wire.take_end() {
            return Poll::Ready(Err(error));
        }
        match self.pulse.take() {
            None => Poll::Pending,
            Some(Pulse::Beat(check)) => Poll::Ready(Ok(Received::Checked(check))),
            Some(Pulse::Lost(error)) => Poll::Ready(Err(error)),
        }
    }
}

/// Makes the query of the heartbeat: whether the session still listens, and the state of the triggers.
fn query(
    client: Arc<Client>,
    settings: &Settings,
    watcher: Arc<Watcher>,
) -> impl Fn() -> Query + Send + 'static {
    let channels: Arc<[ChannelName]> = settings.channels.clone().into();
    move || {
        let (client, channels) = (Arc::clone(&client), Arc::clone(&channels));
        let watcher = Arc::clone(&watcher);
        Box::pin(async move {
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
