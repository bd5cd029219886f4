//! Retention: how long rows stay in the outbox.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::row::{failed, get};
use crate::error::{Error, ErrorKind, Result};
use crate::trigger::require_version;

const TRIM: &str =
    "SELECT pgherald.trim_outbox(keep, max_bytes) AS emptied FROM pgherald.outbox_retention";

/// How long rows stay in the outbox, and how large it may become.
///
/// The outbox has four parts. Each is emptied as a whole, which costs almost nothing and leaves no bloat. So the outbox may
/// hold up to twice as many rows as must be kept. A transaction that has recorded rows and stays open keeps the part that it
/// wrote to. A [group](crate::group) of consumers keeps the rows that it has not read, even if no consumer of it runs any
/// more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    keep: Duration,
    max_bytes: u64,
}

impl Retention {
    /// Keeps rows for this long, counted from the last write to their part.
    #[must_use]
    pub const fn new(keep: Duration) -> Self {
        Self {
            keep,
            max_bytes: 10 << 30,
        }
    }

    /// Sets the size, indexes included, from which on older rows are removed even if a reader still needs them. A reader that
    /// has to resync is better than a full disk. The default is 10 GiB.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }
}

/// One day and 10 GiB, the retention until another one is [set](set_retention).
impl Default for Retention {
    fn default() -> Self {
        Self::new(Duration::from_secs(24 * 60 * 60))
    }
}

/// Stores the retention in the database. It applies to every program that trims.
///
/// Requires the right to update `pgherald.outbox_retention`, which the installing role has.
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

/// Removes rows that no longer need to be kept. Returns how many of the four parts were emptied.
///
/// Consumers trim at intervals. Any number of programs may trim. Trimming waits for no other session, and no other session
/// waits for it. Requires the right to execute `pgherald.trim_outbox`, which the installing role has.
///
/// # Errors
/// If there is no outbox, it has another version than this program, this role lacks the right, or the connection is lost.
pub async fn trim(client: &Client) -> Result<u32> {
    require_version(client).await?;
    let row = client.query_one(TRIM, &[]).await.map_err(failed)?;
    get::<i32>(&row, "emptied").map(i32::unsigned_abs)
}

/// Like [`trim`], for a connection on which other requests wait. If trimming takes longer than `limit`, the server cancels
/// it, and no part is emptied.
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
        SimpleQueryMessage::Row(row) => row.get("emptied")?.parse().ok(),
        _ => None,
    });
    emptied.ok_or_else(|| Error::new(ErrorKind::Query, "trimming returned no number"))
}
