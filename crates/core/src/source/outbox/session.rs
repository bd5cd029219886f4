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
use super::page::PageOfSignals;
use crate::connect::refuse_replica;
use crate::error::{Error, Result};
use crate::name::ChannelName;
use crate::outbox::position::Progress;
use crate::outbox::{Cursor, History, OutboxReader, WAKE_UP_CHANNEL};
use crate::source::heartbeat::{Heartbeat, Pulse, Query};
use crate::source::listen::{confirm_listening, listen};
use crate::source::watcher::Watcher;
use crate::source::wire::Wire;
use crate::telemetry::Unlogged;
use crate::trigger::Check;

/// A position: a cursor, and the history that it belongs to.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) history: History,
    pub(super) cursor: Cursor,
}

/// A session that was opened.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) check: Check,
    /// Where the session reads from.
    pub(super) position: Position,
    /// Whether that is where the previous session ended.
    pub(super) resumes: bool,
}

/// What a session returns to its source.
#[derive(Debug)]
pub(super) enum Received {
    Page(PageOfSignals),
    /// The result of a check of the triggers.
    Checked(Check),
}

pub(super) struct Session {
    wire: Wire,
    pages: Pages,
    /// Whether a page is being read.
    is_reading: bool,
    has_read: bool,
    pace: Pace,
    heartbeat: Heartbeat,
    /// The result of a heartbeat that is held back until the page is passed on.
    pulse: Option<Pulse>,
    /// Rows that failed to decode since the last heartbeat.
    unlogged: Unlogged,
}

/// Reads one page after the other, each only on request.
type Pages = Pin<Box<dyn Stream<Item = Result<PageOfSignals>> + Send>>;

impl Session {
    /// Connects, listens, and checks the outbox and the triggers.
    pub(super) async fn open(
        settings: &Settings,
        before: Option<Position>,
        page_size: usize,
    ) -> Result<Opened> {
        let (client, connection) = settings.options.config.listening_session().await?;
        let client = Arc::new(client);
        let mut wire = Wire::new(connection);
        wire.drive(refuse_replica(&client)).await?;
        let channel: Arc<[ChannelName]> = Arc::new([ChannelName::new(WAKE_UP_CHANNEL)?]);
        wire.drive(listen(&client, &channel)).await?;
        let history = wire.drive(History::of(&client)).await?;
        let mut reader = OutboxReader::new(Arc::clone(&client));
        let (cursor, resumes) = match before {
            Some(before) if history.continues(&before.history) => (before.cursor, true),
            _ => (wire.drive(reader.now()).await?, false),
        };
        let watcher = Arc::new(Watcher::new(&settings.options));
        let check = wire.drive(watcher.check(&client)).await?;
        let query = query(client, channel, watcher, history.clone());
        let session = Self {
            wire,
            pages: pages(reader, cursor.clone(), page_size, settings.progress.clone()),
            is_reading: false,
            has_read: false,
            pace: Pace::new(settings.poll_interval),
            heartbeat: Heartbeat::new(&settings.options, query),
            pulse: None,
            unlogged: Unlogged::default(),
        };
        let position = Position { history, cursor };
        Ok(Opened {
            session,
            check,
            position,
            resumes,
        })
    }

    /// Returns whether the session has not read its first page yet.
    pub(super) fn has_not_read_a_page(&self) -> bool {
        !self.has_read
    }

    /// Waits for a page or the result of a heartbeat.
    pub(super) async fn next(&mut self) -> Result<Received> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received>> {
        // This drives the connection, which pages and heartbeat need too.
        while let Poll::Ready(notification) = self.wire.poll_notification(cx) {
            self.heartbeat.note_activity();
            // Wake-ups with a payload are for consumers of groups.
            if notification.channel() == WAKE_UP_CHANNEL && notification.payload().is_empty() {
                self.pace.wake();
            }
        }
        let page = self.poll_page(cx);
        if page.is_ready() {
            self.heartbeat.note_activity();
        }
        if self.pulse.is_none()
            && let Poll::Ready(pulse) = self.heartbeat.poll(cx)
        {
            if let Some(count) = self.unlogged.take() {
                tracing::warn!(count, "more outbox rows failed to decode");
            }
            self.pulse = Some(pulse);
        }
        if let Poll::Ready(Some(page)) = page {
            return Poll::Ready(match page {
                Ok(page) => Ok(Received::Page(page)),
                Err(error) => Err(self.cause(error)),
            });
        }
        if let Some(error) = self.wire.take_end() {
            return Poll::Ready(Err(error));
        }
        match self.pulse.take() {
            None => Poll::Pending,
            Some(Pulse::Beat(check)) => Poll::Ready(Ok(Received::Checked(check))),
            Some(Pulse::Lost(error)) => Poll::Ready(Err(self.cause(error))),
        }
    }

    fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<PageOfSignals>>> {
        if !self.is_reading && self.pace.poll(cx).is_pending() {
            return Poll::Pending;
        }
        let page = self.pages.as_mut().poll_next(cx);
        self.is_reading = page.is_pending();
        if let Poll::Ready(Some(Ok(page))) = &page {
            self.has_read = true;
            self.pace
                .read_finished(!page.signals.is_empty(), page.is_last);
            if let Some((first, count)) = &page.undecodable
                && self.unlogged.has_first(*count)
            {
                tracing::warn!(error = %first.chain(), "outbox row failed to decode");
            }
        }
        page
    }

    /// Returns the cause of a failed request: how the connection ended, if it has.
    fn cause(&mut self, error: Error) -> Error {
        self.wire.take_end().unwrap_or(error)
    }
}

fn pages(reader: OutboxReader, cursor: Cursor, size: usize, progress: Progress) -> Pages {
    let start = (reader, cursor, progress);
    Box::pin(stream::unfold(
        start,
        move |(mut reader, mut cursor, progress)| async move {
            let page = PageOfSignals::read(&mut reader, &cursor, size, &progress).await;
            if let Ok(page) = &page {
                cursor = page.cursor.clone();
            }
            Some((page, (reader, cursor, progress)))
        },
    ))
}

/// Makes the query of the heartbeat: whether the session still listens, whether the history has changed, and the state of the
/// triggers.
fn query(
    client: Arc<Client>,
    channel: Arc<[ChannelName]>,
    watcher: Arc<Watcher>,
    history: History,
) -> impl Fn() -> Query + Send + 'static {
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
