//! Operations on groups: status, pause, resume, seek, delete, and parked events.

pub(crate) mod nodes;
mod parked;
pub(crate) mod problems;
mod seek;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

pub use self::parked::ParkedEvent;
pub use self::seek::{Seek, SeekPlan, SeekRange};
use super::store::{failed, seconds};
use crate::error::{Error, ErrorKind, Result};
use crate::outbox::get;
use crate::telemetry::{
    GROUP_DEAD_LETTERS, GROUP_FAILING_EVENTS, GROUP_FAILING_SECONDS, GROUP_LAG_EVENTS,
    GROUP_LAG_SECONDS, GROUP_NODES, GROUP_PARKED_EVENTS, GROUP_STATUS_TIMESTAMP_SECONDS, gauge,
};
use crate::trigger::require_version;

/// A group of consumers in the database, for operators: reads its status, and changes it. No consumer needs to run. Running
/// consumers are notified of changes at once.
///
/// The same data can be read with SQL: `pgherald.consumer_group_status`, `consumer_node`, `consumer_slice`,
/// `consumer_cursor`, `parked_event`.
///
/// ```no_run
/// # async fn example(client: std::sync::Arc<tokio_postgres::Client>) -> pgherald_core::Result<()> {
/// use pgherald_core::group::Group;
///
/// let group = Group::new(&client, "enrich-users");
/// let status = group.status().await?;
/// println!("{} events behind, the oldest for {:?}", status.lag_events, status.lag);
/// for letter in group.dead_letters(None, 100).await? {
///     println!("{}: {}", letter.id, letter.error.unwrap_or_default());
/// }
/// let again = group.retry_dead_letters(None).await?;
/// println!("{again} are tried again");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    client: &'a Arc<Client>,
    name: &'a str,
}

/// The status of a group.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GroupStatus {
    /// The group's name.
    pub name: String,
    /// The number of slices over which keys are spread.
    pub slices: i32,
    /// Whether the group is [paused](Group::pause).
    pub is_paused: bool,
    /// Consumers whose lease has not expired.
    pub nodes: i64,
    /// Consumers that read no new events and are not live, because too many rows of their slices have parked events.
    pub full_nodes: i64,
    /// Committed rows of the outbox that the cursors have not passed yet, including rows that the handler filters out. Parked
    /// events do not count: the cursors have passed them. Up to 100,000 rows are counted, and more are
    /// [estimated](Self::lag_is_estimate).
    pub lag_events: i64,
    /// Whether `lag_events` is an estimate. It takes each id that was assigned later for a row, so it is too high if transactions
    /// were rolled back, or are not committed yet.
    pub lag_is_estimate: bool,
    /// The age of the oldest of these rows.
    pub lag: Duration,
    /// Parked events: they are to be retried, or wait behind an earlier event of the same row.
    pub parked: i64,
    /// Parked events with a failed attempt: their effects have not happened.
    pub failing: i64,
    /// Failing events that were parked within the last [five minutes](Self::RECENT).
    pub failing_recently: i64,
    /// How long the oldest failing event has been parked.
    pub oldest_failing: Option<Duration>,
    /// The number of dead letters.
    pub dead_letters: i64,
    /// Events that became dead letters within the last [five minutes](Self::RECENT).
    pub dead_recently: i64,
    /// Slices whose cursors fail to parse. The next consumer that connects reads all events in the outbox again for them. The lag
    /// counts these events.
    pub unreadable_slices: Vec<i32>,
    /// The error of the latest failed attempt, among those of parked events and dead letters.
    pub last_error: Option<String>,
    /// For a relay: where it stores events.
    pub destination: Option<String>,
    /// For a relay: why one of its consumers stores nothing at present, as of the last renewal of its lease.
    pub destination_error: Option<String>,
    /// For a relay whose destination refuses events when it is full: the share of its limits that is in use, from 0 to 1, as of the
    /// last renewal of its lease.
    pub destination_usage: Option<f64>,
}

impl GroupStatus {
    /// The time that counts as recent: the last five minutes, by the server's clock.
    pub const RECENT: Duration = Duration::from_secs(300);

    /// Records the [metrics](crate::telemetry) of the group that are computed from the database. Call it at intervals for
    /// [all groups](Group::all), in one task for all consumers together. That task must survive errors: when it ends, metrics keep
    /// their last values. [`GROUP_STATUS_TIMESTAMP_SECONDS`] shows when they were recorded.
    #[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
    pub fn record(&self) {
        let record = |name, value| gauge(name, &[("group", &self.name)]).set(value);
        record(GROUP_LAG_EVENTS, self.lag_events as f64);
        record(GROUP_LAG_SECONDS, self.lag.as_secs_f64());
        record(GROUP_NODES, self.nodes as f64);
        record(GROUP_PARKED_EVENTS, self.parked as f64);
        record(GROUP_FAILING_EVENTS, self.failing as f64);
        let oldest = self.oldest_failing.unwrap_or_default();
        record(GROUP_FAILING_SECONDS, oldest.as_secs_f64());
        record(GROUP_DEAD_LETTERS, self.dead_letters as f64);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        gauge(GROUP_STATUS_TIMESTAMP_SECONDS, &[]).set(now.unwrap_or_default().as_secs_f64());
    }
}

impl<'a> Group<'a> {
    /// Returns a handle of the group with this name. The group need not exist.
    #[must_use]
    pub fn new(client: &'a Arc<Client>, name: &'a str) -> Self {
        Self { client, name }
    }

    /// Returns the status of all groups of a database, ordered by name.
    ///
    /// # Errors
    /// If there is no outbox, it has another version than this program, the role lacks a right, or the connection is lost.
    pub async fn all(client: &Client) -> Result<Vec<GroupStatus>> {
        require_version(client).await?;
        let sql = format!("{STATUS} ORDER BY s.name");
        let rows = client.query(&sql, &[]).await.map_err(failed)?;
        rows.iter().map(status).collect()
    }

    /// Returns the status of the group.
    ///
    /// # Errors
    /// As for [`all`](Self::all), or if there is no such group.
    pub async fn status(&self) -> Result<GroupStatus> {
        require_version(self.client).await?;
        let sql = format!("{STATUS} WHERE s.name OPERATOR(pg_catalog.=) $1");
        let row = self
            .client
            .query_opt(&sql, &[&self.name])
            .await
            .map_err(failed)?;
        row.as_ref().map_or_else(|| Err(self.missing()), status)
    }

    /// Pauses the group until [`resume`](Self::resume): its consumers start no attempts, including consumers that join later.
    /// Running attempts finish.
    ///
    /// # Errors
    /// As for [`status`](Self::status).
    pub async fn pause(&self) -> Result<()> {
        self.set_paused(true).await
    }

    /// Ends a [pause](Self::pause).
    ///
    /// # Errors
    /// As for [`status`](Self::status).
    pub async fn resume(&self) -> Result<()> {
        self.set_paused(false).await
    }

    async fn set_paused(&self, paused: bool) -> Result<()> {
        let changed = "changed AS (UPDATE pgherald.consumer_group SET is_paused = $2 WHERE name OPERATOR(pg_catalog.=) $1 RETURNING 1)";
        match self.change(changed, &[&paused]).await? {
            0 => Err(self.missing()),
            _ => Ok(()),
        }
    }

    /// Deletes the group with its cursors, parked events and dead letters. Stop its consumers before: running consumers would
    /// create the group again.
    ///
    /// # Errors
    /// As for [`status`](Self::status).
    pub async fn delete(&self) -> Result<()> {
        let changed = "changed AS (DELETE FROM pgherald.consumer_group WHERE name OPERATOR(pg_catalog.=) $1 RETURNING 1)";
        match self.change(changed, &[]).await? {
            0 => Err(self.missing()),
            _ => Ok(()),
        }
    }

    /// Runs CTEs, of which `changed` returns one row for each change, and notifies the group's consumers. Returns the number of
    /// changes. `$1` is the group's name.
    async fn change(&self, changed: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        require_version(self.client).await?;
        let sql = format!(
            "WITH {changed} SELECT (SELECT pg_catalog.count(*) FROM changed) AS changes,
                pg_catalog.pg_notify('pgherald_outbox', 'control ' OPERATOR(pg_catalog.||) $1)::pg_catalog.text"
        );
        let mut all: Vec<&(dyn ToSql + Sync)> = vec![&self.name];
        all.extend(parameters);
        let row = self.client.query_one(&sql, &all).await.map_err(failed)?;
        get::<i64>(&row, "changes").map(i64::unsigned_abs)
    }

    fn missing(&self) -> Error {
        let message = format!(
            "there is no group {:?}; its first consumer creates it",
            self.name
        );
        Error::new(ErrorKind::Config, message)
    }
}

const STATUS: &str = include_str!("sql/status.sql");

fn status(row: &Row) -> Result<GroupStatus> {
    Ok(GroupStatus {
        name: get(row, "name")?,
        slices: get(row, "slices")?,
        is_paused: get(row, "is_paused")?,
        nodes: get(row, "nodes")?,
        full_nodes: get(row, "full_nodes")?,
        lag_events: get(row, "lag_events")?,
        lag_is_estimate: get(row, "lag_is_estimate")?,
        lag: seconds(get(row, "lag_seconds")?),
        parked: get(row, "parked")?,
        dead_letters: get(row, "dead_letters")?,
        failing: get(row, "failing")?,
        failing_recently: get(row, "failing_recently")?,
        oldest_failing: get::<Option<f64>>(row, "oldest_failing")?.map(seconds),
        dead_recently: get(row, "dead_recently")?,
        unreadable_slices: get(row, "unreadable_slices")?,
        last_error: get(row, "last_error")?,
        destination: get(row, "destination")?,
        destination_error: get(row, "destination_error")?,
        destination_usage: get(row, "destination_usage")?,
    })
}
