//! Reads the status of a relay's stream, and how much of its limits is in use. Changes nothing.

use std::time::Duration;

use async_nats::jetstream::stream::{DiscardPolicy, Info};
use pgherald_core::__private::host::group::destination_nearly_full;
use pgherald_core::Result;

use super::destination;
use super::options::RelayOptions;
use super::session::Connector;
use super::stream;
use crate::telemetry::RELAY_STREAM_USAGE;

/// The stream of a relay and its limits, as the server reported them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamStatus {
    /// The number of messages in the stream, including those of other programs.
    pub messages: u64,
    /// The size of these messages in bytes.
    pub bytes: u64,
    /// The maximum number of messages. `None` if there is no such limit.
    pub max_messages: Option<u64>,
    /// The maximum size in bytes. `None` if there is no such limit.
    pub max_bytes: Option<u64>,
    /// The age at which messages are deleted. `None` if they are kept.
    pub max_age: Option<Duration>,
    /// Whether a full stream refuses new messages. Otherwise it deletes the oldest ones.
    pub refuses_new: bool,
    /// The number of servers that store the stream.
    pub replicas: usize,
    group: String,
    destination: String,
}

impl StreamStatus {
    pub(super) fn new(info: &Info, options: &RelayOptions) -> Self {
        let limit = |limit: i64| u64::try_from(limit).ok().filter(|limit| *limit > 0);
        let config = &info.config;
        Self {
            messages: info.state.messages,
            bytes: info.state.bytes,
            max_messages: limit(config.max_messages),
            max_bytes: limit(config.max_bytes),
            max_age: (!config.max_age.is_zero()).then_some(config.max_age),
            refuses_new: config.discard == DiscardPolicy::New,
            replicas: config.num_replicas,
            group: options.group.group().to_owned(),
            destination: destination::name(options),
        }
    }

    /// Returns the share of the stream's limits that is in use, from 0 to 1: the greater share of messages and bytes. Returns 0 if
    /// there are no limits.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no precision")]
    pub fn usage(&self) -> f64 {
        let share = |used: u64, limit: Option<u64>| match limit {
            Some(limit) => used as f64 / limit as f64,
            None => 0.0,
        };
        share(self.messages, self.max_messages).max(share(self.bytes, self.max_bytes))
    }

    /// Returns a warning if at least 0.8 of the stream's limits are in use, and a full stream refuses new messages.
    #[must_use]
    pub fn nearly_full(&self) -> Option<String> {
        destination_nearly_full(&self.destination, self.usage_until_refusal())
    }

    /// Returns the share of the limits that is in use, if a full stream refuses new messages.
    pub(super) fn usage_until_refusal(&self) -> Option<f64> {
        self.refuses_new.then(|| self.usage())
    }

    /// Records the [metrics](crate::telemetry) of the stream. Call it at intervals, as for
    /// [`GroupStatus::record`](pgherald_core::group::GroupStatus::record).
    pub fn record(&self) {
        let discard = if self.refuses_new { "new" } else { "old" };
        metrics::gauge!(RELAY_STREAM_USAGE, "group" => self.group.clone(), "discard" => discard)
            .set(self.usage());
    }
}

/// Verifies server and stream, and returns the status of the stream. Returns `None` if the stream does not exist and can be
/// created.
pub(super) async fn look(connector: &Connector) -> Result<Option<StreamStatus>> {
    let session = connector.session().await?;
    let info = stream::look(&session.context, &connector.options).await?;
    Ok(info.map(|info| StreamStatus::new(&info, &connector.options)))
}

#[cfg(test)]
mod tests {
    use super::StreamStatus;

    #[test]
    fn usage_is_the_greater_share_of_the_limits() {
        let status = |max_messages, max_bytes| StreamStatus {
            messages: 50,
            bytes: 900,
            max_messages,
            max_bytes,
            max_age: None,
            refuses_new: true,
            replicas: 1,
            group: "fleet".into(),
            destination: "stream A".into(),
        };
        let near = |share: f64, expected: f64| (share - expected).abs() < 1e-9;
        assert!(near(status(None, None).usage(), 0.0));
        assert!(near(status(Some(100), None).usage(), 0.5));
        assert!(near(status(Some(100), Some(1_000)).usage(), 0.9));
    }
}
