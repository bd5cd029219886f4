//! Looks at the stream and, if metrics are served, at the groups, at intervals. Warns before the stream is full.

use std::time::Duration;

use pgherald_core::group::{Group, GroupStatus};
use pgherald_core::{ConnectConfig, outbox};
use pgherald_nats::{RelayHandle, StreamStatus};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::arguments::Relay;
use crate::failure::Failure;

const INTERVAL: Duration = Duration::from_secs(15);

pub(super) struct Observer {
    database: ConnectConfig,
    handle: RelayHandle,
    has_metrics: bool,
    /// Whether the stream was nearly full at the last look. The warning is not repeated.
    has_warned: bool,
}

impl Observer {
    pub(super) fn new(database: ConnectConfig, handle: RelayHandle, arguments: &Relay) -> Self {
        Self {
            database,
            handle,
            has_metrics: arguments.metrics.is_some(),
            has_warned: false,
        }
    }

    /// Never returns. The relay itself reports servers that cannot be reached.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match timeout(INTERVAL, self.look()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %error.chain(), "cannot read the status of the relay");
                }
                Err(_) => tracing::warn!("cannot read the status of the relay in time"),
            }
        }
    }

    async fn look(&mut self) -> pgherald_core::Result<()> {
        let stream = self.handle.stream().await?;
        let warning = stream.as_ref().and_then(StreamStatus::nearly_full);
        if let Some(warning) = &warning
            && !self.has_warned
        {
            tracing::warn!("{warning}");
        }
        self.has_warned = warning.is_some();
        if !self.has_metrics {
            return Ok(());
        }
        if let Some(stream) = stream {
            stream.record();
        }
        let client = self.database.client().await?;
        let groups = Group::all(&client).await?;
        groups.iter().for_each(GroupStatus::record);
        outbox::status(&client).await?.record();
        Ok(())
    }
}
