//! Reads what was committed between two snapshots, page by page.

use std::sync::Arc;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::cursor::{Cursor, Point, Reading, Snapshot};
use super::row::{COLUMNS, Relations, failed, get};
use crate::error::{Error, Kind, Result};
use crate::event::Event;

/// Reads the outbox. Keeps nothing but the names of tables: how far it has come is in the [`Cursor`].
///
/// ```no_run
/// # async fn example(client: tokio_postgres::Client) -> pgherald_core::Result<()> {
/// use pgherald_core::outbox::OutboxReader;
///
/// let mut reader = OutboxReader::new(client.into());
/// let mut cursor = reader.now().await?;
/// loop {
///     let page = reader.next(&cursor, 1_000).await?;
///     for event in &page.events {
///         println!("{event}");
///     }
///     cursor = page.cursor; // to be kept, if this is to go on after a restart
///     if page.is_last {
///         tokio::time::sleep(std::time::Duration::from_millis(100)).await;
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct OutboxReader {
    client: Arc<Client>,
    relations: Relations,
}

/// Some events, and how far one has read with them.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the order of their ids.
    pub events: Vec<Event>,
    /// What to read next from.
    pub cursor: Cursor,
    /// Whether that was all there was.
    pub is_last: bool,
    /// Whether rows were trimmed before they were read, so that the events tell less than what happened: read again what
    /// you know of the database.
    pub is_gap: bool,
}

impl OutboxReader {
    /// A reader on this connection, which somebody has to drive.
    #[must_use]
    pub fn new(client: Arc<Client>) -> Self {
        Self {
            client,
            relations: Relations::default(),
        }
    }

    /// A cursor behind everything that is committed now: what is committed from now on is read.
    ///
    /// # Errors
    /// If there is no outbox, this role may not read it, or the connection is lost.
    pub async fn now(&self) -> Result<Cursor> {
        let sql = "SELECT pg_current_snapshot()::text, pg_current_xact_id()::text, closed
            FROM pgherald.outbox_retention";
        let (floor, row) = self.after_the_floor(sql, &[]).await?;
        let done = Point {
            snapshot: snapshot(&row)?,
            floor,
            begun: get(&row, 1)?,
            closed: get(&row, 2)?,
        };
        Ok(Cursor {
            done,
            reading: None,
        })
    }

    /// A cursor before everything that is still in the outbox.
    ///
    /// # Errors
    /// As for [`now`](Self::now).
    pub async fn beginning(&self) -> Result<Cursor> {
        self.trimmed().await.map(Cursor::beginning)
    }

    /// At most `limit` events (0 counts as 1) that were committed after `cursor`.
    ///
    /// # Errors
    /// If this role may not read the outbox, a row cannot be understood, or the connection is lost.
    pub async fn next(&mut self, cursor: &Cursor, limit: usize) -> Result<Page> {
        let limit = i64::try_from(limit.max(1)).unwrap_or(i64::MAX);
        let mut cursor = cursor.clone();
        let closed = cursor.done.closed;
        let mut reading = match cursor.reading.take() {
            Some(reading) => reading,
            None => {
                let (closed_now, to) = self.difference(&cursor.done).await?;
                let Some(to) = to else {
                    // Nothing was unread; so the parts that are closed now have been read.
                    let trimmed = self.trimmed().await?;
                    cursor.done.closed = closed_now.max(trimmed);
                    return Ok(Page {
                        events: Vec::new(),
                        cursor,
                        is_last: true,
                        is_gap: trimmed > closed,
                    });
                };
                Reading {
                    to,
                    position: i64::MIN,
                }
            }
        };
        let mut rows = Vec::new();
        // First those that were under way before, and may have small ids; then those that have begun since.
        if reading.position < cursor.done.floor {
            rows = self.late(&cursor.done, &reading, limit).await?;
            reading.position = match rows.last() {
                Some(row) if rows.len() as i64 == limit => get(row, 0)?,
                _ => cursor.done.floor,
            };
        }
        let missing = limit - rows.len() as i64;
        let mut is_last = false;
        if missing > 0 {
            let more = self.since(&cursor.done, &reading, missing).await?;
            is_last = (more.len() as i64) < missing;
            if let Some(row) = more.last() {
                reading.position = get(row, 0)?;
            }
            rows.extend(more);
        }
        // After everything that was read of this difference: what is not trimmed now was there.
        let trimmed = self.trimmed().await?;
        let is_gap = trimmed > closed;
        // Told once.
        cursor.done.closed = trimmed.max(closed);
        reading.to.closed = trimmed.max(reading.to.closed);
        let events = self.relations.events(&self.client, &rows).await?;
        let cursor = match is_last {
            true => Cursor {
                done: reading.to,
                reading: None,
            },
            false => Cursor {
                reading: Some(reading),
                ..cursor
            },
        };
        Ok(Page {
            events,
            cursor,
            is_last,
            is_gap,
        })
    }

    /// The last closing whose part was emptied.
    async fn trimmed(&self) -> Result<i64> {
        let sql = "SELECT trimmed FROM pgherald.outbox_retention";
        let row = self.client.query_one(sql, &[]).await.map_err(failed)?;
        get(&row, 0)
    }

    /// The last closing, and where what there is to read ends; none if there is nothing.
    async fn difference(&self, done: &Point) -> Result<(i64, Option<Point>)> {
        let sql = format!(
            "{LATE}
            SELECT pg_current_snapshot()::text, CASE
                WHEN EXISTS (
                    SELECT FROM pgherald.outbox
                    WHERE id > $2 AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
                ) OR EXISTS (
                    SELECT FROM late JOIN pgherald.outbox ON xid = late_xid WHERE id <= $2
                ) THEN pg_current_xact_id()::text
            END, closed
            FROM pgherald.outbox_retention"
        );
        let parameters: [&(dyn ToSql + Sync); 3] =
            [&done.snapshot.as_str(), &done.floor, &done.begun];
        let (floor, row) = self.after_the_floor(&sql, &parameters).await?;
        let closed = get(&row, 2)?;
        let Some(begun) = get::<Option<String>>(&row, 1)? else {
            return Ok((closed, None));
        };
        let to = Point {
            snapshot: snapshot(&row)?,
            floor,
            begun,
            closed,
        };
        Ok((closed, Some(to)))
    }

    /// The last id that was taken, and then the row that `sql` selects.
    ///
    /// In this order, and in statements of their own: a sequence is not subject to snapshots.
    async fn after_the_floor(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<(i64, Row)> {
        let floor = self.client.query_one(FLOOR, &[]).await.map_err(failed)?;
        let row = self
            .client
            .query_one(sql, parameters)
            .await
            .map_err(failed)?;
        Ok((get(&floor, 0)?, row))
    }

    /// Rows with ids up to the floor of `done`.
    async fn late(&self, done: &Point, reading: &Reading, limit: i64) -> Result<Vec<Row>> {
        let sql = format!(
            "{LATE}
            SELECT {COLUMNS}
            FROM late CROSS JOIN LATERAL (
                SELECT * FROM pgherald.outbox
                WHERE xid = late_xid AND id > $5 AND id <= $2
                    AND pg_visible_in_snapshot(late_xid, $4::text::pg_snapshot)
                ORDER BY id LIMIT $6
            ) AS o
            ORDER BY id LIMIT $6"
        );
        let parameters: [&(dyn ToSql + Sync); 6] = [
            &done.snapshot.as_str(),
            &done.floor,
            &done.begun,
            &reading.to.snapshot.as_str(),
            &reading.position,
            &limit,
        ];
        self.client.query(&sql, &parameters).await.map_err(failed)
    }

    /// Rows with ids beyond the floor of `done`, or beyond those that were read.
    async fn since(&self, done: &Point, reading: &Reading, limit: i64) -> Result<Vec<Row>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM pgherald.outbox
            WHERE id > $3
                AND pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
                AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
            ORDER BY id LIMIT $4"
        );
        let parameters: [&(dyn ToSql + Sync); 4] = [
            &done.snapshot.as_str(),
            &reading.to.snapshot.as_str(),
            &reading.position,
            &limit,
        ];
        self.client.query(&sql, &parameters).await.map_err(failed)
    }
}

/// The last id that was taken.
const FLOOR: &str = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM pgherald.outbox_id";

/// The transactions that had begun when snapshot $1 was taken, but were not visible in it: those that it lists, and,
/// because it lists none from its xmax on, those from there up to $3. Only of the latter are there any number, so the
/// index tells which of them have recorded something.
const LATE: &str = "WITH RECURSIVE begun (late_xid) AS (
        SELECT (
            SELECT xid FROM pgherald.outbox
            WHERE xid >= pg_snapshot_xmax($1::text::pg_snapshot) AND xid < $3::text::xid8
            ORDER BY xid LIMIT 1
        )
        UNION ALL SELECT (
            SELECT xid FROM pgherald.outbox WHERE xid > late_xid AND xid < $3::text::xid8 ORDER BY xid LIMIT 1
        ) FROM begun WHERE late_xid IS NOT NULL
    ), late AS (
        SELECT late_xid FROM begun WHERE late_xid IS NOT NULL
        UNION ALL SELECT pg_snapshot_xip($1::text::pg_snapshot)
    )";

fn snapshot(row: &Row) -> Result<Snapshot> {
    let text: &str = get(row, 0)?;
    Snapshot::parse(text)
        .ok_or_else(|| Error::new(Kind::Decode, format!("the server's snapshot is {text:?}")))
}
