//! A node's connection for reading, acknowledging, and notifications.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client};

use super::store;
use crate::connect::{ConnectConfig, Connection};
use crate::error::{Error, ErrorKind, Result};
use crate::outbox::WAKE_UP_CHANNEL;

/// The first word of a notification that makes the nodes of a group tick. The name of the group follows. Other notifications on
/// the channel wake up readers of the outbox.
pub(super) const CONTROL: &str = "control";

/// A connection, and the task that drives it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Arc<Client>,
    pub(super) notifications: Arc<Notifications>,
    driver: JoinHandle<Error>,
}

/// Notifications that have arrived.
#[derive(Debug, Default)]
pub(super) struct Notifications {
    /// The outbox has new rows.
    pub(super) recorded: Notify,
    /// The state of the group has changed.
    pub(super) control: Notify,
}

impl Link {
    /// Connects and listens.
    pub(super) async fn open(config: &ConnectConfig, group: Arc<str>) -> Result<Self> {
        let (client, connection) = config.listening_session().await?;
        let notifications = Arc::new(Notifications::default());
        let driver = tokio::spawn(drive(connection, Arc::clone(&notifications), group));
        let link = Self {
            client: Arc::new(client),
            notifications,
            driver,
        };
        store::prepare(&link.client).await?;
        let listen = format!("LISTEN {WAKE_UP_CHANNEL}");
        link.client
            .batch_execute(&listen)
            .await
            .map_err(|cause| Error::of_statement("the server refused LISTEN", cause))?;
        Ok(link)
    }

    /// Waits until the connection ends, and returns the cause.
    pub(super) async fn ended(&mut self) -> Error {
        (&mut self.driver).await.unwrap_or_else(|cause| {
            Error::with_source(
                ErrorKind::Disconnected,
                "the connection's task has ended",
                cause,
            )
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn drive(
    mut connection: Connection,
    notifications: Arc<Notifications>,
    group: Arc<str>,
) -> Error {
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                match notification.payload().split_once(' ') {
                    None => notifications.recorded.notify_one(),
                    Some((CONTROL, name)) if name == &*group => notifications.control.notify_one(),
                    // For another group.
                    Some(_) => {}
                }
            }
            Some(Ok(AsyncMessage::Notice(notice))) => {
                tracing::info!(severity = notice.severity(), "server: {}", notice.message());
            }
            Some(Ok(_)) => {}
            Some(Err(cause)) => {
                return Error::with_source(
                    ErrorKind::Disconnected,
                    "the connection was lost",
                    cause,
                );
            }
            None => {
                return Error::new(ErrorKind::Disconnected, "the server closed the connection");
            }
        }
    }
}
