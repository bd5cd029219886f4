//! Events that were set aside: parked ones, which are retried, and dead letters.

use std::sync::Arc;
use std::time::SystemTime;

use tokio_postgres::Row;

use super::Group;
use crate::error::Result;
use crate::event::Event;
use crate::group::store::failed;
use crate::outbox::{Recorded, Relations, get};
use crate::trigger::require_version;

/// An event that was set aside.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ParkedEvent {
    /// The event's [`outbox_id`](Event::outbox_id); below zero for a resync.
    pub id: i64,
    /// The event, if it can be understood. None of a resync.
    pub event: Option<Event>,
    /// The row's key as it was recorded, which should be a JSON array. Of a resync: why there is one.
    pub key: Option<String>,
    /// The extra columns as they were recorded, which should be a JSON object.
    pub columns: Option<String>,
    /// How many attempts it has had.
    pub attempts: u32,
    /// How the last one failed.
    pub error: Option<String>,
    /// Since when it has been set aside.
    pub parked_at: SystemTime,
    /// When it is tried again. `None` for dead letters, and behind others of the same row.
    pub due_at: Option<SystemTime>,
    /// Since when it has been a dead letter.
    pub dead_at: Option<SystemTime>,
}

impl Group<'_> {
    /// Events that are to be tried again, and those that wait behind one of the same row, by id: `limit` of them at most,
    /// from the first one on, or from the one that follows the id `after`.
    ///
    /// # Errors
    /// As for [`all`](Self::all).
    pub async fn parked(&self, after: Option<i64>, limit: usize) -> Result<Vec<ParkedEvent>> {
        self.set_aside(
            "dead_at IS NULL AND id OPERATOR(pg_catalog.>) $2",
            after,
            limit,
        )
        .await
    }

    /// Events that were given up, by id: `limit` of them at most, from the first one on, or from the one that follows the
    /// id `after`. Each is held in memory with its columns.
    ///
    /// # Errors
    /// As for [`all`](Self::all).
    pub async fn dead_letters(&self, after: Option<i64>, limit: usize) -> Result<Vec<ParkedEvent>> {
        self.set_aside(
            "dead_at IS NOT NULL AND id OPERATOR(pg_catalog.>) $2",
            after,
            limit,
        )
        .await
    }

    /// The event with this id, if it was set aside: one that waits, or a dead letter.
    ///
    /// # Errors
    /// As for [`all`](Self::all).
    pub async fn parked_event(&self, id: i64) -> Result<Option<ParkedEvent>> {
        Ok(self
            .set_aside("id OPERATOR(pg_catalog.=) $2", Some(id), 1)
            .await?
            .pop())
    }

    async fn set_aside(
        &self,
        which: &str,
        id: Option<i64>,
        limit: usize,
    ) -> Result<Vec<ParkedEvent>> {
        require_version(self.client).await?;
        let id = id.unwrap_or(i64::MIN);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT id, xid::pg_catalog.text, sent_at, relation, hash, operation, key, columns, old_columns, changed, attempts,
                error, parked_at, due_at, dead_at
            FROM pgherald.parked_event WHERE group_name OPERATOR(pg_catalog.=) $1 AND {which} ORDER BY id LIMIT $3"
        );
        let rows = self
            .client
            .query(&sql, &[&self.name, &id, &limit])
            .await
            .map_err(failed)?;
        let recorded = rows.iter().map(Recorded::of).collect::<Result<Vec<_>>>()?;
        let events = Relations::default().events(self.client, &recorded).await?;
        let text = |text: Option<Arc<str>>| text.map(|text| String::from(&*text));
        let parked = |((row, recorded), event): ((&Row, Recorded), Result<Event>)| {
            Ok(ParkedEvent {
                id: recorded.id,
                event: event.ok(),
                key: text(recorded.key),
                columns: text(recorded.columns),
                attempts: get::<i32>(row, 10)?.unsigned_abs(),
                error: get(row, 11)?,
                parked_at: get(row, 12)?,
                due_at: get(row, 13)?,
                dead_at: get(row, 14)?,
            })
        };
        rows.iter().zip(recorded).zip(events).map(parked).collect()
    }

    /// Makes parked events due at once: those with these ids, or all. Running consumers notice it at once. Returns the number of
    /// events that are due.
    ///
    /// Events of one row are handled in order. So the earlier parked events of the rows of these events become due as well, and
    /// an event that waits behind another one (it has no [`due_at`](ParkedEvent::due_at)) begins when that one is handled. The
    /// number of attempts stays as it is: an event that has used all but one of them becomes a dead letter if it fails again.
    /// Dead letters stay, see [`retry_dead_letters`](Self::retry_dead_letters).
    ///
    /// # Errors
    /// As for [`all`](Self::all).
    pub async fn retry_parked(&self, ids: Option<&[i64]>) -> Result<u64> {
        self.change(include_str!("../sql/retry_parked.sql"), &[&ids])
            .await
    }

    /// Has dead letters tried again, with all attempts before them: those with these ids, or all. They come after what was
    /// handled of their rows meanwhile. Returns how many there were.
    ///
    /// # Errors
    /// As for [`all`](Self::all).
    pub async fn retry_dead_letters(&self, ids: Option<&[i64]>) -> Result<u64> {
        let action = "UPDATE pgherald.parked_event SET dead_at = NULL, due_at = pg_catalog.clock_timestamp(), delay = 0,
            attempts = 0";
        self.change_dead_letters(action, ids).await
    }

    /// Forgets dead letters: those with these ids, or all. Returns how many there were.
    ///
    /// # Errors
    /// As for [`all`](Self::all).
    pub async fn discard_dead_letters(&self, ids: Option<&[i64]>) -> Result<u64> {
        self.change_dead_letters("DELETE FROM pgherald.parked_event", ids)
            .await
    }

    async fn change_dead_letters(&self, action: &str, ids: Option<&[i64]>) -> Result<u64> {
        let changed = format!(
            "changed AS (
                {action}
                WHERE group_name OPERATOR(pg_catalog.=) $1 AND dead_at IS NOT NULL
                    AND ($2::bigint[] IS NULL OR id OPERATOR(pg_catalog.=) ANY ($2)) RETURNING 1
            ), revised AS (
                UPDATE pgherald.consumer_group SET revision = revision OPERATOR(pg_catalog.+) 1
                WHERE name OPERATOR(pg_catalog.=) $1 AND EXISTS (SELECT FROM changed)
            )"
        );
        self.change(&changed, &[&ids]).await
    }
}
