//! The size and age of the outbox, and its limits.

use std::time::Duration;

use tokio_postgres::Client;

use super::row::{failed, get};
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry::{OUTBOX_BYTES, OUTBOX_MAX_BYTES, OUTBOX_OLDEST_SECONDS, gauge};
use crate::trigger::require_version;

/// The size and age of the outbox, and its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxStatus {
    /// Its size in bytes, indexes included.
    pub bytes: u64,
    /// The size beyond which rows are removed although groups have not read them.
    pub max_bytes: u64,
    /// The age of its oldest row. `None` if it is empty.
    pub oldest: Option<Duration>,
    /// How long rows are kept.
    pub keep: Duration,
}

/// Returns the size and age of the outbox, and its limits.
///
/// # Errors
/// If there is no outbox, it has another version than this program, this role may not read it, or the connection is lost.
pub async fn status(client: &Client) -> Result<OutboxStatus> {
    require_version(client).await?;
    let sql = include_str!("status.sql");
    let Some(row) = client.query_opt(sql, &[]).await.map_err(failed)? else {
        let message = "pgherald.outbox_retention is empty; run pgherald upgrade --commit";
        return Err(Error::new(ErrorKind::Config, message));
    };
    let bytes = |bytes: Option<i64>| u64::try_from(bytes.unwrap_or_default()).unwrap_or_default();
    Ok(OutboxStatus {
        bytes: bytes(get(&row, "bytes")?),
        max_bytes: bytes(get(&row, "max_bytes")?),
        oldest: get::<Option<f64>>(&row, "oldest_seconds")?.map(seconds),
        keep: seconds(get(&row, "keep_seconds")?),
    })
}

/// An interval may be negative, or longer than a `Duration`.
fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.max(0.0)).unwrap_or(Duration::MAX)
}

impl OutboxStatus {
    /// Records [metrics](crate::telemetry) of the outbox. Call it at intervals, in one task for all consumers together.
    #[expect(clippy::cast_precision_loss, reason = "what metrics are made of")]
    pub fn record(&self) {
        gauge(OUTBOX_BYTES, &[]).set(self.bytes as f64);
        gauge(OUTBOX_MAX_BYTES, &[]).set(self.max_bytes as f64);
        let oldest = self.oldest.unwrap_or_default();
        gauge(OUTBOX_OLDEST_SECONDS, &[]).set(oldest.as_secs_f64());
    }
}
