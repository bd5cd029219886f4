//! Verifies that notifications from other connections arrive.
//!
//! Behind some proxies and poolers LISTEN succeeds, but notifications are lost. A NOTIFY on the same connection would arrive
//! nevertheless, so the probe opens a second one. Poolers in transaction mode have already been refused by
//! `connect/pooler.rs`.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::builder::Settings;
use crate::connect::ConnectConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::name::ChannelName;
use crate::source::listen::execute;
use crate::source::wire::Wire;

/// Fails unless a notification from another connection arrives.
pub(super) async fn probe(wire: &mut Wire, client: &Client, settings: &Settings) -> Result<()> {
    let limit = settings.options.heartbeat_deadline;
    let channel = channel()?;
    let token = token();
    wire.drive(execute(client, format!("LISTEN {}", channel.quoted())))
        .await?;

    let mut notify = pin!(notify(&settings.options.config, &channel, &token));
    let mut notified = false;
    let mut timer = pin!(sleep(limit));
    let received = poll_fn(|cx| {
        if !notified && let Poll::Ready(sent) = notify.as_mut().poll(cx) {
            sent?;
            notified = true;
            timer.as_mut().reset(Instant::now() + limit);
        }
        // The time limit starts with the notification, because opening the second connection may take long.
        if notified && timer.as_mut().poll(cx).is_ready() {
            let message =
                format!("a notification from another connection did not arrive within {limit:?}");
            return Poll::Ready(Err(Error::new(ErrorKind::NoNotifications, message)));
        }
        while let Poll::Ready(notification) = wire.poll_notification(cx) {
            if notification.channel() == channel.as_str() && notification.payload() == token {
                return Poll::Ready(Ok(()));
            }
        }
        wire.take_end()
            .map_or(Poll::Pending, |ended| Poll::Ready(Err(ended)))
    });
    received.await?;
    wire.drive(execute(client, format!("UNLISTEN {}", channel.quoted())))
        .await?;
    Ok(())
}

/// Returns a channel name that no other program uses.
fn channel() -> Result<ChannelName> {
    ChannelName::new(format!("pgherald_probe_{:016x}", fastrand::u64(..)))
}

fn token() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// Sends the notification from a second connection.
async fn notify(config: &ConnectConfig, channel: &ChannelName, token: &str) -> Result<()> {
    let (client, connection) = config.open().await?;
    let sent = async {
        // The channel and the token consist of letters, digits and underscores, so they need no quoting.
        let sql = format!("SELECT pg_catalog.pg_notify('{channel}', '{token}')");
        let sent = client.batch_execute(&sql).await;
        drop(client);
        sent
    };
    let (sent, _) = tokio::join!(sent, connection);
    sent.map_err(|cause| {
        Error::of_statement("the second connection of the probe cannot NOTIFY", cause)
    })
}
