//! Moves a group to another position in the outbox, and reports the effect in advance.

use std::sync::Arc;
use std::time::SystemTime;

use tokio_postgres::types::ToSql;

use super::Group;
use crate::error::{Error, ErrorKind, Result};
use crate::group::store::failed;
use crate::outbox::{Cursor, OutboxReader, get};
use crate::trigger::require_version;

/// The position that a group moves to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seek {
    /// Everything that is still in the outbox is delivered.
    Beginning,
    /// Events that are committed from now on are delivered.
    Now,
    /// Events that were recorded from this time on, by the server's clock, are delivered. Events of transactions that were open at
    /// that time may be delivered or not.
    Time(SystemTime),
}

/// A position to which a group may move, and the effect of the move. Nothing has changed yet:
/// [`apply_seek`](Group::apply_seek) moves the group.
///
/// The numbers count recorded events, including those that the group's handler filters out. They were correct when the plan was
/// made. Running consumers continue to handle events, which are then delivered again, or are not skipped.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SeekPlan {
    cursor: Cursor,
    /// Events that the group has passed, and that would be delivered again.
    pub repeated: SeekRange,
    /// Events that the group has not passed, and that would never be delivered.
    pub skipped: SeekRange,
    /// Parked events among the repeated ones. They stay parked, and are not delivered twice.
    pub repeated_parked: i64,
    /// Dead letters among the repeated ones. They are delivered again, and stay dead letters unless that fails.
    pub repeated_dead: i64,
    /// Slices whose present cursor fails to parse. The effect of the move on their events is unknown.
    pub unreadable_slices: usize,
}

/// Recorded events, and when the first and the last of them were recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeekRange {
    /// The number of events.
    pub events: i64,
    /// When the oldest was recorded, by the server's clock. `None` if there are none.
    pub oldest: Option<SystemTime>,
    /// When the newest was recorded.
    pub newest: Option<SystemTime>,
}

impl Group<'_> {
    /// Returns the effect that [`seek`](Self::seek) would have, and changes nothing. It compares each row of the outbox with both
    /// positions, which takes some seconds for millions of rows.
    ///
    /// ```no_run
    /// # async fn example(client: std::sync::Arc<tokio_postgres::Client>) -> pgherald_core::Result<()> {
    /// use pgherald_core::group::{Group, Seek};
    ///
    /// let group = Group::new(&client, "enrich-users");
    /// let plan = group.plan_seek(Seek::Now).await?;
    /// if plan.skipped.events == 0 {
    ///     group.apply_seek(&plan).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`status`](Self::status).
    pub async fn plan_seek(&self, to: Seek) -> Result<SeekPlan> {
        require_version(self.client).await?;
        let cursor = self.cursor(to).await?;
        let target = cursor.to_string();
        let parameters: [&(dyn ToSql + Sync); 2] = [&self.name, &target];
        let sql = include_str!("../sql/seek_effect.sql");
        let row = self.client.query_opt(sql, &parameters).await;
        let row = row.map_err(failed)?.ok_or_else(|| self.missing())?;
        let range = |events, oldest, newest| {
            Ok(SeekRange {
                events: get(&row, events)?,
                oldest: get(&row, oldest)?,
                newest: get(&row, newest)?,
            })
        };
        let unreadable: i64 = get(&row, "unreadable_slices")?;
        Ok(SeekPlan {
            cursor,
            repeated: range("repeated", "repeated_from", "repeated_to")?,
            skipped: range("skipped", "skipped_from", "skipped_to")?,
            repeated_parked: get(&row, "parked")?,
            repeated_dead: get(&row, "dead")?,
            unreadable_slices: usize::try_from(unreadable).unwrap_or_default(),
        })
    }

    /// Moves the group to the planned position. Otherwise like [`seek`](Self::seek).
    ///
    /// # Errors
    /// As for [`status`](Self::status).
    pub async fn apply_seek(&self, plan: &SeekPlan) -> Result<()> {
        self.move_to(&plan.cursor).await
    }

    /// Fails if the group is a relay. Its position is where its events are stored, so events would be stored twice, or the relay
    /// would continue from there anyway.
    async fn refuse_relay(&self) -> Result<()> {
        let sql =
            "SELECT destination FROM pgherald.consumer_group WHERE name OPERATOR(pg_catalog.=) $1";
        let row = self.client.query_opt(sql, &[&self.name]).await;
        let row = row.map_err(failed)?;
        let destination = row.map(|row| get::<Option<String>>(&row, "destination"));
        match destination.transpose()?.flatten() {
            None => Ok(()),
            Some(destination) => {
                let message = format!(
                    "group {:?} relays to {destination} and cannot be moved, because events would be stored twice: to store events \
                     again, relay with another group to another stream or prefix",
                    self.name
                );
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    }

    async fn cursor(&self, to: Seek) -> Result<Cursor> {
        let mut reader = OutboxReader::new(Arc::clone(self.client));
        match to {
            Seek::Beginning => reader.beginning().await,
            Seek::Now => reader.now().await,
            Seek::Time(time) => reader.at(time).await,
        }
    }

    /// Moves the group to another position. Consumers can no longer acknowledge events that they are handling, so those may be
    /// handled again. Parked events and dead letters stay. A dead letter that is delivered again stays a dead letter if it is
    /// handled. If the attempt fails, the event is retried according to the policy.
    ///
    /// # Errors
    /// As for [`status`](Self::status).
    pub async fn seek(&self, to: Seek) -> Result<()> {
        let cursor = self.cursor(to).await?;
        self.move_to(&cursor).await
    }

    async fn move_to(&self, cursor: &Cursor) -> Result<()> {
        self.refuse_relay().await?;
        let changed = include_str!("../sql/seek.sql");
        match self.change(changed, &[&cursor.to_string()]).await? {
            0 => Err(self.missing()),
            _ => Ok(()),
        }
    }
}
