//! Parked events and dead letters: listing, retrying and discarding them.

use std::sync::Arc;
use std::time::SystemTime;

use tokio_postgres::Row;

use super::Group;
use crate::error::Result;
use crate::event::Event;
use crate::group::store::failed;
use crate::outbox::{Recorded, Relations, get};
use crate::trigger::require_version;

/// A parked event or a dead letter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ParkedEvent {
    /// The event's [`outbox_id`](Event::outbox_id); below zero for a resync.
    pub id: i64,
    /// The event. `None` for a resync, and if the event fails to decode.
    pub event: Option<Event>,
    /// The row's key as it was recorded, which should be a JSON array. For a resync, the reason.
    pub key: Option<String>,
    /// The extra columns as they were recorded, which should be a JSON object.
    pub columns: Option<String>,
    /// The number of attempts.
    pub attempts: u32,
    /// The error of the last failed attempt.
    pub error: Option<String>,
    /// When it was parked, by the server's clock.
    pub parked_at: SystemTime,
    /// When it is retried. `None` for dead letters, and for events that wait behind an earlier event of the same row.
    pub due_at: Option<SystemTime>,
    /// When it became a dead letter.
    pub dead_at: Option<SystemTime>,
}

impl Group<'_> {
    /// Returns parked events without dead letters, ordered by id: at most `limit` of them, with ids above `after` if it is given.
    ///
    /// # Errors
    /// As for [`all`](Self::all).
    pub async fn parked(&self, after: Option<i64>, limit: usize) -> Result<Vec<ParkedEvent>> {
        self.query_parked(
            "dead_at IS NULL AND id OPERATOR(pg_catalog.>) $2",
            after,
            limit,
        )
        .await
    }

    /// Returns dead letters, ordered by id: at most `limit` of them, with ids above `after` if it is given. They are all held in
    /// memory with their columns.
    ///
    /// # Errors
    /// As for [`all`](Self::all).
    pub async fn dead_letters(&self, after: Option<i64>, limit: usize) -> Result<Vec<ParkedEvent>> {
        self.query_parked(
            "dead_at IS NOT NULL AND id OPERATOR(pg_catalog.>) $2",
            after,
            limit,
        )
        .await
    }

    /// Returns the parked event or dead letter with this id, if there is one.
    ///
    /// # Errors
    /// As for [`all`](Self::all).
    pub async fn parked_event(&self, id: i64) -> Result<Option<ParkedEvent>> {
        Ok(self
            .query_parked("id OPERATOR(pg_catalog.=) $2", Some(id), 1)
            .await?
            .pop())
    }

    async fn query_parked(
        &self,
        which: &str,
        id: Option<i64>,
        limit: usize,
    ) -> Result<Vec<ParkedEvent>> {
        require_version(self.client).await?;
        let id = id.unwrap_or(i64::MIN);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = include_str!("../sql/parked_list.sql").replace("{{which}}", which);
        let rows = self
            .client
            .query(&sql, &[&self.name, &id, &limit])
            .await
            .map_err(failed)?;
        let recorded = rows.iter().map(Recorded::of).collect::<Result<Vec<_>>>()?;
        let events = Relations::default()
            .events(self.client, &recorded, None)
            .await?;
        let text = |text: Option<Arc<str>>| text.map(|text| String::from(&*text));
        let parked = |((row, recorded), event): ((&Row, Recorded), Result<Event>)| {
            Ok(ParkedEvent {
                id: recorded.id,
                event: event.ok(),
                key: text(recorded.key),
                columns: text(recorded.columns),
                attempts: get::<i32>(row, "attempts")?.unsigned_abs(),
                error: get(row, "error")?,
                parked_at: get(row, "parked_at")?,
                due_at: get(row, "due_at")?,
                dead_at: get(row, "dead_at")?,
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

    /// Retries dead letters, with the full number of attempts: those with these ids, or all. Their effects come after those of
    /// later events of the same row that were handled meanwhile. Returns the number of events that are retried.
    ///
    /// # Errors
    /// As for [`all`](Self::all).
    pub async fn retry_dead_letters(&self, ids: Option<&[i64]>) -> Result<u64> {
        let action = "UPDATE pgherald.parked_event SET dead_at = NULL, due_at = pg_catalog.clock_timestamp(), delay = 0,
            attempts = 0";
        self.change_dead_letters(action, ids).await
    }

    /// Deletes dead letters: those with these ids, or all. Returns the number of deleted ones.
    ///
    /// # Errors
    /// As for [`all`](Self::all).
    pub async fn discard_dead_letters(&self, ids: Option<&[i64]>) -> Result<u64> {
        self.change_dead_letters("DELETE FROM pgherald.parked_event", ids)
            .await
    }

    async fn change_dead_letters(&self, action: &str, ids: Option<&[i64]>) -> Result<u64> {
        let changed = include_str!("../sql/change_dead_letters.sql").replace("{{action}}", action);
        self.change(&changed, &[&ids]).await
    }
}
