//! Moves a group to another position in the outbox, and reports before what that would do.

use std::sync::Arc;
use std::time::SystemTime;

use tokio_postgres::types::ToSql;

use super::Group;
use crate::error::Result;
use crate::group::store::{failed, query};
use crate::outbox::{Cursor, OutboxReader, get};
use crate::trigger::require_version;

/// Where a group is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// With everything that is still in the outbox.
    Beginning,
    /// With what is committed from now on.
    Now,
    /// With what was recorded from this time on, by the server's clock. What was under way then may come or not.
    Time(SystemTime),
}

/// A position to which a group may move, and what the move would do. Nothing has changed yet:
/// [`apply_seek`](Group::apply_seek) moves the group.
///
/// The numbers count recorded events, whether the group's handler wants them or not. They are those of the moment of the plan:
/// consumers that run meanwhile handle events, which are then delivered again or are not skipped.
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
    /// Slices whose present cursor cannot be parsed: what the move does to their events is not known.
    pub unreadable_slices: usize,
}

/// Recorded events, and when the first and the last of them were recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeekRange {
    /// Their number.
    pub events: i64,
    /// When the oldest was recorded, by the server's clock. `None` if there are none.
    pub oldest: Option<SystemTime>,
    /// When the newest was recorded.
    pub newest: Option<SystemTime>,
}

impl Group<'_> {
    /// Works out what [`seek`](Self::seek) would do, and changes nothing. It compares each row of the outbox with both
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
        let sql = "SELECT slice, cursor FROM pgherald.consumer_cursor WHERE group_name OPERATOR(pg_catalog.=) $1";
        let (mut slices, mut cursors, mut unreadable_slices) = (Vec::new(), Vec::new(), 0);
        for row in query(&**self.client, sql, &[&self.name]).await? {
            let text: String = get(&row, 1)?;
            match text.parse::<Cursor>() {
                Ok(_) => {
                    slices.push(get::<i32>(&row, 0)?);
                    cursors.push(text);
                }
                Err(_) => unreadable_slices += 1,
            }
        }
        let target = cursor.to_string();
        let parameters: [&(dyn ToSql + Sync); 4] = [&self.name, &target, &slices, &cursors];
        let sql = include_str!("../sql/seek_effect.sql");
        let row = self.client.query_opt(sql, &parameters).await;
        let row = row.map_err(failed)?.ok_or_else(|| self.missing())?;
        let range = |first| {
            Ok(SeekRange {
                events: get(&row, first)?,
                oldest: get(&row, first + 1)?,
                newest: get(&row, first + 2)?,
            })
        };
        Ok(SeekPlan {
            cursor,
            repeated: range(0)?,
            skipped: range(3)?,
            repeated_parked: get(&row, 6)?,
            repeated_dead: get(&row, 7)?,
            unreadable_slices,
        })
    }

    /// Moves the group to the position that was planned. Otherwise as [`seek`](Self::seek).
    ///
    /// # Errors
    /// As for [`status`](Self::status).
    pub async fn apply_seek(&self, plan: &SeekPlan) -> Result<()> {
        self.move_to(&plan.cursor).await
    }

    async fn cursor(&self, to: Seek) -> Result<Cursor> {
        let mut reader = OutboxReader::new(Arc::clone(self.client));
        match to {
            Seek::Beginning => reader.beginning().await,
            Seek::Now => reader.now().await,
            Seek::Time(time) => reader.at(time).await,
        }
    }

    /// Has it go on elsewhere. What its consumers have in hand is not acknowledged any more, and may be handled again;
    /// parked events and dead letters stay. A dead letter that is come by again is one no more only if it fails again.
    ///
    /// # Errors
    /// As for [`status`](Self::status).
    pub async fn seek(&self, to: Seek) -> Result<()> {
        let cursor = self.cursor(to).await?;
        self.move_to(&cursor).await
    }

    async fn move_to(&self, cursor: &Cursor) -> Result<()> {
        let changed = include_str!("../sql/seek.sql");
        match self.change(changed, &[&cursor.to_string()]).await? {
            0 => Err(self.missing()),
            _ => Ok(()),
        }
    }
}
