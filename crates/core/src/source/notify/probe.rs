//! The check that notifications of other connections arrive.
//!
//! Behind a pooler in transaction mode LISTEN succeeds and notifications go astray. A NOTIFY on the same
//! connection would be heard all the same, so the probe opens a second one.

use crate::connect::ConnectConfig;
use crate::error::{Error, Kind, Result};
use crate::name::ChannelName;

/// A channel that nobody else uses.
pub(super) fn channel() -> Result<ChannelName> {
    ChannelName::new(format!("pgherald_probe_{:016x}", fastrand::u64(..)))
}

pub(super) fn token() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// Notifies from a connection of its own.
pub(super) async fn notify(
    config: &ConnectConfig,
    channel: &ChannelName,
    token: &str,
) -> Result<()> {
    let (client, connection) = config.open().await?;
    let sent = async {
        // Both are made here of hexadecimal digits and letters.
        let sql = format!("SELECT pg_notify('{channel}', '{token}')");
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
