//! Runs LISTEN and confirms its effect.

use std::collections::HashSet;

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::error::{Error, ErrorKind, Result};
use crate::name::ChannelName;

/// Runs one or several statements outside of a transaction.
pub(super) async fn execute(client: &Client, sql: String) -> Result<Vec<SimpleQueryMessage>> {
    let executed = client.simple_query(&sql).await;
    executed.map_err(|cause| Error::of_statement(&format!("{sql:?} failed"), cause))
}

/// Listens to all channels in one request, then confirms it with the server.
pub(super) async fn listen(client: &Client, channels: &[ChannelName]) -> Result<()> {
    let statements: Vec<String> = channels
        .iter()
        .map(|channel| format!("LISTEN {}", channel.quoted()))
        .collect();
    execute(client, statements.join(";")).await?;
    confirm_listening(client, channels).await
}

/// Fails unless the session listens to all channels.
pub(super) async fn confirm_listening(client: &Client, channels: &[ChannelName]) -> Result<()> {
    let rows = execute(
        client,
        "SELECT pg_catalog.pg_listening_channels()".to_owned(),
    )
    .await?;
    let listening: HashSet<&str> = first_column(&rows).collect();
    match channels
        .iter()
        .find(|channel| !listening.contains(channel.as_str()))
    {
        None => Ok(()),
        Some(channel) => {
            let message = format!("the session no longer listens to channel \"{channel}\"");
            Err(Error::new(ErrorKind::NoNotifications, message))
        }
    }
}

pub(crate) fn first_column(rows: &[SimpleQueryMessage]) -> impl Iterator<Item = &str> {
    rows.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    })
}
