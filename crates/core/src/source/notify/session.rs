//! One connection that listens, from its opening to its loss.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, sleep};
use tokio_postgres::{AsyncMessage, Client, Notification, SimpleQueryMessage};

use super::builder::Settings;
use super::heartbeat::{Heartbeat, Pulse};
use super::inbox::Inbox;
use super::probe;
use crate::connect::Connection;
use crate::error::{Error, Kind, Result};
use crate::name::ChannelName;
use crate::signal::Signal;
use crate::trigger::{self, Check};

/// What a session has to tell.
#[derive(Debug)]
pub(super) enum News {
    /// Events, and resyncs for payloads that are none.
    Signals(Vec<Signal>),
    /// The triggers were looked at: this is how they are.
    Checked(Check),
}

pub(super) struct Session {
    wire: Wire,
    inbox: Inbox,
    heartbeat: Heartbeat,
    /// What the heartbeat said while there were still notifications to hand on.
    pulse: Option<Pulse>,
}

impl Session {
    /// Connects, listens, and checks that listening works and triggers are in place.
    pub(super) async fn open(settings: &Settings, probe: bool) -> Result<(Self, Check)> {
        let (client, connection) = settings.config.open().await?;
        let client = Arc::new(client);
        let mut wire = Wire {
            connection,
            ended: None,
        };
        wire.drive(refuse_replica(&client)).await?;
        wire.drive(listen(&client, &settings.channels)).await?;
        if probe {
            wire.probe(&client, settings).await?;
        }
        let check = wire.drive(trigger::check(&client, &settings.specs)).await?;
        let heartbeat = Heartbeat::new(client, settings);
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

    /// Waits for news.
    pub(super) async fn next(&mut self) -> Result<News> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<News>> {
        while !self.inbox.is_full()
            && let Poll::Ready(notification) = self.wire.poll_notification(cx)
        {
            self.inbox.accept(&notification);
        }
        if !self.inbox.is_empty() {
            self.heartbeat.note_life();
        }
        if self.pulse.is_none()
            && let Poll::Ready(pulse) = self.heartbeat.poll(cx)
        {
            self.pulse = Some(pulse);
        }
        if !self.inbox.is_empty() {
            return Poll::Ready(Ok(News::Signals(self.inbox.take())));
        }
        if let Some(error) = self.wire.ended.take() {
            return Poll::Ready(Err(error));
        }
        match self.pulse.take() {
            None => Poll::Pending,
            Some(Pulse::Beat(check)) => Poll::Ready(Ok(News::Checked(check))),
            Some(Pulse::Lost(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("inbox", &self.inbox)
            .finish_non_exhaustive()
    }
}

/// The connection as long as it lasts.
struct Wire {
    connection: Connection,
    /// How it ended.
    ended: Option<Error>,
}

impl Wire {
    /// Drives the connection up to its next notification. Pending, too, once it has ended.
    fn poll_notification(&mut self, cx: &mut Context<'_>) -> Poll<Notification> {
        while self.ended.is_none() {
            match ready!(self.connection.poll_message(cx)) {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    return Poll::Ready(notification);
                }
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    tracing::info!(severity = notice.severity(), "server: {}", notice.message());
                }
                Some(Ok(_)) => {}
                Some(Err(cause)) => self.ended = Some(lost(cause)),
                None => {
                    let message = "the server closed the connection";
                    self.ended = Some(Error::new(Kind::Disconnected, message));
                }
            }
        }
        Poll::Pending
    }

    /// Runs a request to its end, driving the connection for it.
    ///
    /// Only while the session is being opened: notifications are dropped. What they announce is covered by
    /// the resync that follows the opening.
    async fn drive<T>(&mut self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let mut request = pin!(request);
        poll_fn(|cx| {
            while self.poll_notification(cx).is_ready() {}
            // The answer first: it may have come in just before the connection ended.
            match request.as_mut().poll(cx) {
                Poll::Ready(Ok(answer)) => Poll::Ready(Ok(answer)),
                unfinished => match self.ended.take() {
                    Some(ended) => Poll::Ready(Err(ended)),
                    None => unfinished,
                },
            }
        })
        .await
    }

    /// Fails unless a notification of another connection arrives.
    async fn probe(&mut self, client: &Client, settings: &Settings) -> Result<()> {
        let limit = settings.heartbeat_deadline;
        let channel = probe::channel()?;
        let token = probe::token();
        self.drive(execute(client, format!("LISTEN {}", channel.quoted())))
            .await?;

        let mut notify = pin!(probe::notify(&settings.config, &channel, &token));
        let mut notified = false;
        let mut patience = pin!(sleep(limit));
        let heard = poll_fn(|cx| {
            if !notified && let Poll::Ready(sent) = notify.as_mut().poll(cx) {
                sent?;
                notified = true;
                patience.as_mut().reset(Instant::now() + limit);
            }
            // The clock runs from the notification on: opening the second connection takes what it takes.
            if notified && patience.as_mut().poll(cx).is_ready() {
                let message = format!(
                    "a notification from another connection did not arrive within {limit:?}"
                );
                return Poll::Ready(Err(Error::new(Kind::Deaf, message)));
            }
            while let Poll::Ready(notification) = self.poll_notification(cx) {
                if notification.channel() == channel.as_str() && notification.payload() == token {
                    return Poll::Ready(Ok(()));
                }
            }
            self.ended
                .take()
                .map_or(Poll::Pending, |ended| Poll::Ready(Err(ended)))
        });
        heard.await?;
        self.drive(execute(client, format!("UNLISTEN {}", channel.quoted())))
            .await?;
        Ok(())
    }
}

async fn execute(client: &Client, sql: String) -> Result<Vec<SimpleQueryMessage>> {
    client.simple_query(&sql).await.map_err(|cause| {
        Error::with_source(Kind::Query, format!("the server refused {sql:?}"), cause)
    })
}

async fn refuse_replica(client: &Client) -> Result<()> {
    let rows = execute(client, "SELECT pg_is_in_recovery()".to_owned()).await?;
    match first_column(&rows).next() {
        Some("f") => Ok(()),
        _ => Err(Error::new(
            Kind::Replica,
            "the server is a replica, it cannot LISTEN",
        )),
    }
}

/// Listens to all channels at once and asks the server which it listens to.
async fn listen(client: &Client, channels: &[ChannelName]) -> Result<()> {
    let statements: Vec<String> = channels
        .iter()
        .map(|channel| format!("LISTEN {}", channel.quoted()))
        .collect();
    execute(client, statements.join(";")).await?;
    confirm_listening(client, channels).await
}

/// Fails unless the session listens to all channels.
pub(super) async fn confirm_listening(client: &Client, channels: &[ChannelName]) -> Result<()> {
    let rows = execute(client, "SELECT pg_listening_channels()".to_owned()).await?;
    let listening: Vec<&str> = first_column(&rows).collect();
    match channels
        .iter()
        .find(|channel| !listening.contains(&channel.as_str()))
    {
        None => Ok(()),
        Some(channel) => {
            let message = format!("the session does not listen to channel \"{channel}\" any more");
            Err(Error::new(Kind::Deaf, message))
        }
    }
}

fn first_column(rows: &[SimpleQueryMessage]) -> impl Iterator<Item = &str> {
    rows.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    })
}

fn lost(cause: tokio_postgres::Error) -> Error {
    Error::with_source(Kind::Disconnected, "the connection was lost", cause)
}
