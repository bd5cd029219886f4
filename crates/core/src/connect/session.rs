//! The settings of sessions. pgherald's statements do not depend on the settings of a role or database.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio_postgres::{Client, SimpleQueryMessage};

use super::Connection;
use crate::error::{Error, ErrorKind, Result};

/// The statement that keeps the server from ending a session because it is idle.
pub(crate) const NEVER_IDLE_TOO_LONG: &str = include_str!("sql/idle.sql");

pub(super) async fn configure(client: &Client) -> Result<()> {
    // Separate and first, because the next statement may take longer than the `statement_timeout` of the role.
    execute(client, "SET statement_timeout = 0").await?;
    execute(client, include_str!("sql/settings.sql")).await
}

/// Keeps the server from ending the session because it is idle.
pub(super) async fn never_idle_too_long(client: &Client) -> Result<()> {
    execute(client, NEVER_IDLE_TOO_LONG).await
}

/// Fails unless the server is a primary, even if its transactions are read-only by default.
pub(crate) async fn refuse_replica(client: &Client) -> Result<()> {
    let sql = "SELECT pg_catalog.pg_is_in_recovery()";
    let answers = client.simple_query(sql).await;
    let answers = answers.map_err(|cause| {
        Error::of_statement("cannot check whether the server is a replica", cause)
    })?;
    let is_primary = |answer: &SimpleQueryMessage| match answer {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("f"),
        _ => false,
    };
    match answers.iter().any(is_primary) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Replica,
            "the server is a replica, on which LISTEN fails",
        )),
    }
}

async fn execute(client: &Client, sql: &str) -> Result<()> {
    let done = client.batch_execute(sql).await;
    done.map_err(|cause| Error::of_statement("cannot set up the session", cause))
}

/// Drives the connection until the request is complete. Use only before LISTEN, because notifications are dropped.
pub(super) async fn drive<T>(
    connection: &mut Connection,
    request: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut request = pin!(request);
    let mut ended = None;
    poll_fn(|cx| {
        while ended.is_none()
            && let Poll::Ready(message) = connection.poll_message(cx)
        {
            ended = match message {
                Some(Ok(_)) => None,
                Some(Err(cause)) => Some(Error::with_source(
                    ErrorKind::Disconnected,
                    "the connection was lost",
                    cause,
                )),
                None => {
                    let message = "the server closed the connection";
                    Some(Error::new(ErrorKind::Disconnected, message))
                }
            };
        }
        // Poll the request first: its response may have arrived just before the connection ended.
        match request.as_mut().poll(cx) {
            Poll::Ready(Ok(answer)) => Poll::Ready(Ok(answer)),
            unfinished => match ended.take() {
                Some(ended) => Poll::Ready(Err(ended)),
                None => unfinished,
            },
        }
    })
    .await
}
