//! The check that notifications of other connections arrive.
//!
//! Behind some proxies and poolers LISTEN succeeds and notifications go astray. A NOTIFY on the same
//! connection would be heard all the same, so the probe opens a second one. Poolers in transaction mode were refused before:
//! `connect/pooler.rs`.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use super::builder::Settings;
use crate::connect::ConnectConfig;
use crate::error::{Error, Kind, Result};
use crate::name::ChannelName;
use crate::source::listen::execute;
use crate::source::wire::Wire;

/// Fails unless a notification of another connection arrives.
pub(super) async fn probe(wire: &mut Wire, client: &Client, settings: &Settings) -> Result<()> {
    let limit = settings.terms.heartbeat_deadline;
    let channel = channel()?;
    let token = token();
    wire.drive(execute(client, format!("LISTEN {}", channel.quoted())))
        .await?;

    let mut notify = pin!(notify(&settings.terms.config, &channel, &token));
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
            let message =
                format!("a notification from another connection did not arrive within {limit:?}");
            return Poll::Ready(Err(Error::new(Kind::Deaf, message)));
        }
        while let Poll::Ready(notification) = wire.poll_notification(cx) {
            if notification.channel() == channel.as_str() && notification.payload() == token {
                return Poll::Ready(Ok(()));
            }
        }
        wire.take_end()
            .map_or(Poll::Pending, |ended| Poll::Ready(Err(ended)))
    });
    heard.await?;
    wire.drive(execute(client, format!("UNLISTEN {}", channel.quoted())))
        .await?;
    Ok(())
}

/// A channel that nobody else uses.
fn channel() -> Result<ChannelName> {
    ChannelName::new(format!("pgherald_probe_{:016x}", fastrand::u64(..)))
}

fn token() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// Notifies from a connection of its own.
async fn notify(config: &ConnectConfig, channel: &ChannelName, token: &str) -> Result<()> {
    let (client, connection) = config.open().await?;
    let sent = async {
        // Both are made here of hexadecimal digits and letters.
        let sql = format!("SELECT pg_catalog.pg_notify('{channel}', '{token}')");
        let sent = client.batch_execute(&sql).await;
        drop(client);
        sent
    };
    let (sent, _) = tokio::join!(sent, connection);
    sent.map_err(|cause| {
        Error::with_source(
            Kind::Query,
            "the second connection of the probe cannot NOTIFY",
            cause,
        )
    })
}
