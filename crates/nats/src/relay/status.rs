//! Looks at the stream of a relay, and how much of its limits is in use. Changes nothing.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::{DiscardPolicy, Info};
use pgherald_core::Result;

use super::session::Connector;
use super::stream;
use crate::telemetry::{RELAY_STREAM_MAX_AGE_SECONDS, RELAY_STREAM_USAGE};

/// The stream of a relay and its limits, as the server reported them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamStatus {
    /// The messages in the stream, with those of other programs.
    pub messages: u64,
    /// The bytes of these messages.
    pub bytes: u64,
    /// The most messages. `None` if there is no such limit.
    pub max_messages: Option<u64>,
    /// The most bytes. `None` if there is no such limit.
    pub max_bytes: Option<u64>,
    /// The age at which messages are deleted. `None` if they are kept.
    pub max_age: Option<Duration>,
    /// Whether a full stream refuses new messages. Otherwise it deletes the oldest ones.
    pub refuses_new: bool,
    /// The servers that store the stream.
    pub replicas: usize,
    group: Arc<str>,
}

impl StreamStatus {
    fn new(info: &Info, group: Arc<str>) -> Self {
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
            group,
        }
    }

    /// Returns the share of the stream's limits that is in use, from 0 to 1: the greater one of messages and bytes. 0 without limits.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no precision")]
    pub fn usage(&self) -> f64 {
        let share = |used: u64, limit: Option<u64>| match limit {
            Some(limit) => used as f64 / limit as f64,
            None => 0.0,
        };
        share(self.messages, self.max_messages).max(share(self.bytes, self.max_bytes))
    }

    /// Records the [metrics](crate::telemetry) of the stream. Call it at intervals, as for
    /// [`GroupStatus::record`](pgherald_core::group::GroupStatus::record).
    pub fn record(&self) {
        let discard = if self.refuses_new { "new" } else { "old" };
        let group = || self.group.to_string();
        metrics::gauge!(RELAY_STREAM_USAGE, "group" => group(), "discard" => discard)
            .set(self.usage());
        let max_age = self
            .max_age
            .map_or(f64::INFINITY, |max_age| max_age.as_secs_f64());
        metrics::gauge!(RELAY_STREAM_MAX_AGE_SECONDS, "group" => group()).set(max_age);
    }
}

/// Looks at the stream, after verifying server and stream. Returns `None` if the stream does not exist and can be created.
pub(super) async fn look(connector: &Connector, group: Arc<str>) -> Result<Option<StreamStatus>> {
    let session = connector.session().await?;
    let info = stream::look(&session.context, &connector.options).await?;
    Ok(info.map(|info| StreamStatus::new(&info, group)))
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
        };
        let near = |share: f64, expected: f64| (share - expected).abs() < 1e-9;
        assert!(near(status(None, None).usage(), 0.0));
        assert!(near(status(Some(100), None).usage(), 0.5));
        assert!(near(status(Some(100), Some(1_000)).usage(), 0.9));
    }
}
