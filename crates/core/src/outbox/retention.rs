//! How long rows stay in the outbox.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::row::{failed, get};
use crate::error::{Error, Kind, Result};
use crate::trigger::require_version;

const TRIM: &str = "SELECT pgherald.trim_outbox(keep, max_bytes) FROM pgherald.outbox_retention";

/// How long rows stay in the outbox, and how large it may become.
///
/// Rows go by the quarter of the outbox, each emptied as a whole, which costs next to nothing and leaves no bloat. So the
/// outbox has up to twice as many rows as are to be kept. A transaction that has recorded something and stays open keeps
/// the part that it wrote to; a [group](crate::group) of consumers, also one that nobody runs any more, those that it has
/// not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    keep: Duration,
    max_bytes: u64,
}

impl Retention {
    /// Rows are kept for this long, counted from when their part was no longer written to.
    #[must_use]
    pub const fn new(keep: Duration) -> Self {
        Self {
            keep,
            max_bytes: 10 << 30,
        }
    }

    /// From this size on, indexes included, older rows go whoever still needs them: rather a reader that has to read
    /// everything again than a disk that is full. Default: 10 GiB.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }
}

/// One day, 10 GiB: what holds until something else is [set](set_retention).
impl Default for Retention {
    fn default() -> Self {
        Self::new(Duration::from_secs(24 * 60 * 60))
    }
}

/// Stores in the database how long rows are kept, and up to which size. It applies to every program that trims. Requires
/// the right to update `pgherald.outbox_retention`, which the installing role has.
///
/// # Errors
/// If there is no outbox, it has another version than this program, this role lacks the right, or the connection is lost.
pub async fn set_retention(client: &Client, retention: Retention) -> Result<()> {
    require_version(client).await?;
    let sql = "UPDATE pgherald.outbox_retention SET keep = pg_catalog.make_interval(secs => $1), max_bytes = $2";
    let keep = retention.keep.as_secs_f64();
    let max_bytes = i64::try_from(retention.max_bytes).unwrap_or(i64::MAX);
    let done = client.execute(sql, &[&keep, &max_bytes]).await;
    done.map(drop).map_err(failed)
}

/// Removes rows that need not be kept any more. Returns how many of the four parts were emptied.
///
/// Consumers trim by themselves at intervals. Any number of programs may trim. Trimming waits for no other session, and no
/// other session waits for it. Requires the right to execute `pgherald.trim_outbox`, which the installing role has.
///
/// # Errors
/// If there is no outbox, it has another version than this program, this role lacks the right, or the connection is lost.
pub async fn trim(client: &Client) -> Result<u32> {
    require_version(client).await?;
    let row = client.query_one(TRIM, &[]).await.map_err(failed)?;
    get::<i32>(&row, 0).map(i32::unsigned_abs)
}

/// The same, for a connection on which other requests wait: if trimming takes longer than `limit`, the server cancels it, and
/// no part is emptied.
pub(crate) async fn trim_within(client: &Client, limit: Duration) -> Result<u32> {
    require_version(client).await?;
    let milliseconds = limit.as_millis().clamp(1, i32::MAX as u128);
    // One simple query is one transaction, so the limit ends with it. The limit applies to the second statement only.
    let sql = format!("SET LOCAL statement_timeout = {milliseconds}; {TRIM}");
    let answers = client.simple_query(&sql).await.map_err(|cause| {
        let message = match cause.code() {
            Some(&SqlState::QUERY_CANCELED) => format!("trimming took longer than {limit:?}"),
            _ => "trimming failed".to_owned(),
        };
        Error::of_statement(&message, cause)
    })?;
    let emptied = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    emptied.ok_or_else(|| Error::new(Kind::Query, "trimming returned no number"))
}
