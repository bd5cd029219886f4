//! One connection that reads the outbox, from its opening to its loss.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::stream;
use tokio_postgres::Client;

use super::builder::Settings;
use super::pace::Pace;
use super::page::Page;
use crate::connect::refuse_replica;
use crate::error::{Error, Result};
use crate::name::ChannelName;
use crate::outbox::{Cursor, History, OutboxReader, WAKE_UP_CHANNEL};
use crate::source::heartbeat::{Heartbeat, Pulse, Question};
use crate::source::listen::{confirm_listening, listen};
use crate::source::watcher::Watcher;
use crate::source::wire::Wire;
use crate::telemetry::Unlogged;
use crate::trigger::Check;

/// How far somebody has read, and in which history.
#[derive(Clone, Debug)]
pub(super) struct Place {
    history: History,
    pub(super) cursor: Cursor,
}

/// What has come of an opening.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) check: Check,
    /// Where it reads from.
    pub(super) place: Place,
    /// Whether that is where the session before has left off.
    pub(super) goes_on: bool,
}

/// What a session has to tell.
#[derive(Debug)]
pub(super) enum News {
    Page(Page),
    /// The triggers were looked at: this is how they are.
    Checked(Check),
}

pub(super) struct Session {
    wire: Wire,
    pages: Pages,
    /// The next page is under way.
    is_reading: bool,
    has_read: bool,
    pace: Pace,
    heartbeat: Heartbeat,
    /// What the heartbeat said while there was a page to hand on.
    pulse: Option<Pulse>,
    /// Rows that were not understood.
    unlogged: Unlogged,
}

/// One after the other, each read only when it is asked for.
type Pages = Pin<Box<dyn Stream<Item = Result<Page>> + Send>>;

impl Session {
    /// Connects, listens, and checks that there is an outbox and triggers are in place.
    pub(super) async fn open(
        settings: &Settings,
        before: Option<Place>,
        page_size: usize,
    ) -> Result<Opened> {
        let (client, connection) = settings.terms.config.listening_session().await?;
        let client = Arc::new(client);
        let mut wire = Wire::new(connection);
        wire.drive(refuse_replica(&client)).await?;
        let channel: Arc<[ChannelName]> = Arc::new([ChannelName::new(WAKE_UP_CHANNEL)?]);
        wire.drive(listen(&client, &channel)).await?;
        let history = wire.drive(History::of(&client)).await?;
        let mut reader = OutboxReader::new(Arc::clone(&client));
        let (cursor, goes_on) = match before {
            Some(before) if history.continues(&before.history) => (before.cursor, true),
            _ => (wire.drive(reader.now()).await?, false),
        };
        let watcher = Arc::new(Watcher::new(&settings.terms));
        let check = wire.drive(watcher.check(&client)).await?;
        let question = question(client, channel, watcher, history.clone());
        let session = Self {
            wire,
            pages: pages(reader, cursor.clone(), page_size),
            is_reading: false,
            has_read: false,
            pace: Pace::new(settings.poll_interval),
            heartbeat: Heartbeat::new(&settings.terms, question),
            pulse: None,
            unlogged: Unlogged::default(),
        };
        let place = Place { history, cursor };
        Ok(Opened {
            session,
            check,
            place,
            goes_on,
        })
    }

    /// Whether it has not come as far as its first page.
    pub(super) fn has_not_read_a_page(&self) -> bool {
        !self.has_read
    }

    /// Waits for news.
    pub(super) async fn next(&mut self) -> Result<News> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<News>> {
        // Drives the connection, for pages and heartbeat too.
        while let Poll::Ready(notification) = self.wire.poll_notification(cx) {
            self.heartbeat.note_life();
            // Those with a payload are for groups of consumers.
            if notification.channel() == WAKE_UP_CHANNEL && notification.payload().is_empty() {
                self.pace.wake();
            }
        }
        let page = self.poll_page(cx);
        if page.is_ready() {
            self.heartbeat.note_life();
        }
        if self.pulse.is_none()
            && let Poll::Ready(pulse) = self.heartbeat.poll(cx)
        {
            if let Some(count) = self.unlogged.take() {
                tracing::warn!(count, "more outbox rows not understood");
            }
            self.pulse = Some(pulse);
        }
        if let Poll::Ready(Some(page)) = page {
            return Poll::Ready(match page {
                Ok(page) => Ok(News::Page(page)),
                Err(error) => Err(self.cause(error)),
            });
        }
        if let Some(error) = self.wire.take_end() {
            return Poll::Ready(Err(error));
        }
        match self.pulse.take() {
            None => Poll::Pending,
            Some(Pulse::Beat(check)) => Poll::Ready(Ok(News::Checked(check))),
            Some(Pulse::Lost(error)) => Poll::Ready(Err(self.cause(error))),
        }
    }

    fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Page>>> {
        if !self.is_reading && self.pace.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let page = self.pages.as_mut().poll_next(cx);
        self.is_reading = page.is_pending();
        if let Poll::Ready(Some(Ok(page))) = &page {
            self.has_read = true;
            self.pace.looked(!page.signals.is_empty(), page.is_last);
            if let Some((first, count)) = &page.undecodable
                && self.unlogged.has_first(*count)
            {
                tracing::warn!(error = %first.chain(), "outbox row not understood");
            }
        }
        page
    }

    /// What is behind a failed request: how the connection ended, if it has.
    fn cause(&mut self, error: Error) -> Error {
        self.wire.take_end().unwrap_or(error)
    }
}

fn pages(reader: OutboxReader, cursor: Cursor, size: usize) -> Pages {
    let start = (reader, cursor);
    Box::pin(stream::unfold(
        start,
        move |(mut reader, mut cursor)| async move {
            let page = Page::read(&mut reader, &cursor, size).await;
            if let Ok(page) = &page {
                cursor = page.cursor.clone();
            }
            Some((page, (reader, cursor)))
        },
    ))
}

/// What the heartbeat asks: whether the session still listens, the outbox is still the same, and how the triggers are.
fn question(
    client: Arc<Client>,
    channel: Arc<[ChannelName]>,
    watcher: Arc<Watcher>,
    history: History,
) -> impl Fn() -> Question + Send + 'static {
    move || {
        let (client, channel) = (Arc::clone(&client), Arc::clone(&channel));
        let (watcher, history) = (Arc::clone(&watcher), history.clone());
        Box::pin(async move {
            confirm_listening(&client, &channel).await?;
            history.confirm(&client).await?;
            watcher.check(&client).await
        })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("is_reading", &self.is_reading)
            .finish_non_exhaustive()
    }
}
