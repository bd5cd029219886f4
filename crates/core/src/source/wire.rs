//! The connection of a session. The task that polls the source drives it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use tokio_postgres::{AsyncMessage, Notification};

use crate::connect::Connection;
use crate::error::{Error, ErrorKind, Result};

/// A connection and, after its end, the cause.
pub(super) struct Wire {
    connection: Connection,
    /// Why the connection ended, until it is taken.
    ended: Option<Error>,
}

impl Wire {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            ended: None,
        }
    }

    /// Returns why the connection ended, once.
    pub(super) fn take_end(&mut self) -> Option<Error> {
        self.ended.take()
    }

    /// Drives the connection up to its next notification. Stays pending after the connection has ended.
    pub(super) fn poll_notification(&mut self, cx: &mut Context<'_>) -> Poll<Notification> {
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
                    self.ended = Some(Error::new(ErrorKind::Disconnected, message));
                }
            }
        }
        Poll::Pending
    }

    /// Drives the connection until the request is complete.
    ///
    /// Use only while the session is being opened, because notifications are dropped. The `Resync` that the source emits or
    /// the rows that it reads afterwards cover their changes.
    pub(super) async fn drive<T>(&mut self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let mut request = pin!(request);
        poll_fn(|cx| {
            while self.poll_notification(cx).is_ready() {}
            // Poll the request first: its response may have arrived just before the connection ended.
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
}

fn lost(cause: tokio_postgres::Error) -> Error {
    Error::with_source(ErrorKind::Disconnected, "the connection was lost", cause)
}
