//! Looks at the stream and, if metrics are served, at the groups, at intervals. Warns before a limit of the stream is reached.

use std::time::Duration;

use pgherald_core::group::{Group, GroupStatus};
use pgherald_core::{ConnectConfig, outbox};
use pgherald_nats::RelayHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::group;
use super::plan::limits_ahead;
use crate::arguments::Relay;
use crate::failure::Failure;

const INTERVAL: Duration = Duration::from_secs(15);

pub(super) struct Observer {
    database: ConnectConfig,
    handle: RelayHandle,
    stream: String,
    group: String,
    has_metrics: bool,
    /// The warnings of the last look, which are not repeated.
    warned: usize,
}

impl Observer {
    pub(super) fn new(database: ConnectConfig, handle: RelayHandle, arguments: &Relay) -> Self {
        Self {
            database,
            handle,
            stream: arguments.stream.clone(),
            group: group(arguments),
            has_metrics: arguments.metrics.is_some(),
            warned: 0,
        }
    }

    /// Never ends. The relay itself reports that a server cannot be reached.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match timeout(INTERVAL, self.look()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(error = %error.chain(), "the status of the relay was not recorded");
                }
                Err(_) => tracing::warn!("the status of the relay was not recorded in time"),
            }
        }
    }

    async fn look(&mut self) -> pgherald_core::Result<()> {
        let stream = self.handle.stream().await?;
        let max_age = stream.as_ref().and_then(|stream| stream.max_age);
        // The lag matters only for these.
        let lag = match self.has_metrics || max_age.is_some() {
            true => self.lag().await?,
            false => 0.0,
        };
        let Some(stream) = stream else {
            return Ok(());
        };
        if self.has_metrics {
            stream.record();
        }
        let warnings = limits_ahead(&self.stream, &stream, lag);
        if warnings.len() > self.warned {
            for warning in &warnings {
                tracing::warn!("{warning}");
            }
        }
        self.warned = warnings.len();
        Ok(())
    }

    /// Returns the lag of the relay's group in seconds. Records the status of all groups and of the outbox, if metrics are served.
    async fn lag(&self) -> pgherald_core::Result<f64> {
        let client = self.database.client().await?;
        let groups = Group::all(&client).await?;
        if self.has_metrics {
            groups.iter().for_each(GroupStatus::record);
            outbox::status(&client).await?.record();
        }
        let ours = groups.into_iter().find(|group| group.name == self.group);
        Ok(ours.map_or(0.0, |group| group.lag.as_secs_f64()))
    }
}
