//! Reads the rows that were committed between two snapshots: determines the next difference, and the cursor after each page.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::try_join;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::cursor::{Cursor, Point, Reading, Snapshot, went_back};
use super::position::Span;
use super::queries::{DIFFERENCE, FIRST_SINCE, FLOOR, NOW, TRIMMED};
use super::row::{Recorded, Relations, failed, get};
use super::statements::Statements;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::name::TableName;

/// Reads the outbox. It keeps only the names of tables; the position is in the [`Cursor`].
///
/// ```no_run
/// # async fn example(client: tokio_postgres::Client) -> pgherald_core::Result<()> {
/// use pgherald_core::__private::host::outbox::OutboxReader;
///
/// let mut reader = OutboxReader::new(client.into());
/// let mut cursor = reader.now().await?;
/// loop {
///     let page = reader.next(&cursor, 1_000).await?;
///     for event in &page.events {
///         println!("{event}");
///     }
///     cursor = page.cursor; // store it to continue after a restart
///     if page.is_last {
///         tokio::time::sleep(std::time::Duration::from_millis(100)).await;
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct OutboxReader {
    pub(super) client: Arc<Client>,
    pub(super) statements: Statements,
    relations: Relations,
    /// The number of rows to request. Reduced for a while after large rows.
    pub(super) row_limit: usize,
    /// How many rows to read one by one if the server cannot convert a text of the next row.
    pub(super) one_by_one: usize,
}

/// A page of events, and the position after it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// In the order of their ids.
    pub events: Vec<Event>,
    /// The rows that failed to decode, which are not among the events. Each error names its row.
    pub undecodable: Vec<Error>,
    /// The position to read from next.
    pub cursor: Cursor,
    /// Whether there is no further page for now.
    pub is_last: bool,
    /// Whether rows were trimmed before they were read, so that events are missing: read the watched tables again.
    pub is_gap: bool,
}

/// A page of rows of the outbox.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Recorded>,
    pub(crate) cursor: Cursor,
    pub(crate) is_last: bool,
    pub(crate) is_gap: bool,
}

/// A page of a difference.
#[derive(Debug)]
pub(crate) struct PageRows {
    pub(crate) rows: Vec<Recorded>,
    /// The id of the last row that was read, also if that row is not in `rows`.
    last: Option<i64>,
    is_last: bool,
    /// The last closing that was trimmed after the rows were read. Rows of later closings have not been trimmed.
    pub(super) trimmed: i64,
}

impl PageRows {
    pub(super) fn new(rows: Vec<Recorded>, is_last: bool, trimmed: i64) -> Self {
        Self {
            last: rows.last().map(|row| row.id),
            rows,
            is_last,
            trimmed,
        }
    }

    /// Returns the rows of a share of this page.
    pub(crate) fn of(&self, share: &Share) -> Self {
        let rows = self.rows.iter().filter(|row| share.has(row.hash));
        Self {
            rows: rows.cloned().collect(),
            ..*self
        }
    }
}

impl Cursor {
    /// Returns what was read: no row was unread, so all parts that are closed by now have been read.
    pub(crate) fn found_nothing(&self, closed: i64, trimmed: i64) -> Rows {
        let mut cursor = self.clone();
        let before = cursor.done.closed;
        cursor.done.closed = before.max(closed).max(trimmed);
        Rows {
            rows: Vec::new(),
            cursor,
            is_last: true,
            is_gap: trimmed > before,
        }
    }

    /// Returns what was read: a page of the difference `reading`.
    pub(crate) fn after(&self, mut reading: Reading, page: PageRows) -> Rows {
        let mut done = self.done.clone();
        let is_gap = page.trimmed > done.closed;
        // Report a gap only once.
        done.closed = page.trimmed.max(done.closed);
        // The end may have been read by another slice, before a closing that this cursor has passed.
        reading.to.closed = reading.to.closed.max(done.closed);
        if let Some(last) = page.last {
            reading.position = last;
        }
        let cursor = match page.is_last {
            true => Cursor {
                done: reading.to,
                reading: None,
            },
            false => Cursor {
                done,
                reading: Some(reading),
            },
        };
        Rows {
            rows: page.rows,
            cursor,
            is_last: page.is_last,
            is_gap,
        }
    }
}

/// The rows that a reader reads.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// The keys are spread over this many slices.
    pub(crate) of: i32,
    /// The slices to read.
    pub(crate) slices: Vec<i32>,
}

impl Share {
    /// All rows.
    pub(crate) fn all() -> Self {
        let (of, slices) = (1, vec![0]);
        Self { of, slices }
    }

    /// Returns whether it includes rows with this hash.
    fn has(&self, hash: i32) -> bool {
        self.slices.contains(&Self::slice(hash, self.of))
    }

    /// Returns whether it includes all rows.
    pub(crate) fn is_everything(&self) -> bool {
        usize::try_from(self.of).is_ok_and(|of| of == self.slices.len())
    }

    /// The slice, among `of`, to which a row with this hash belongs. The statements compute the same.
    pub(crate) fn slice(hash: i32, of: i32) -> i32 {
        (hash & i32::MAX) % of
    }
}

impl OutboxReader {
    /// Makes a reader on this connection. The caller must drive the connection.
    #[must_use]
    pub fn new(client: Arc<Client>) -> Self {
        Self {
            client,
            statements: Statements::default(),
            relations: Relations::default(),
            row_limit: usize::MAX,
            one_by_one: 1,
        }
    }

    /// Returns a cursor after everything that is committed now. Reading from it returns later commits.
    ///
    /// # Errors
    /// If there is no outbox, this role may not read it, or the connection is lost.
    pub async fn now(&mut self) -> Result<Cursor> {
        let (floor, row) = self.after_the_floor(NOW, &[]).await?;
        let done = Point {
            snapshot: snapshot(&row)?,
            floor,
            begun: get::<&str>(&row, "begun")?.into(),
            closed: get(&row, "closed")?,
        };
        Ok(Cursor {
            done,
            reading: None,
        })
    }

    /// Returns a cursor before everything that is still in the outbox.
    ///
    /// # Errors
    /// As for [`now`](Self::now).
    pub async fn beginning(&mut self) -> Result<Cursor> {
        let trimmed = self.one(TRIMMED, &[]).await?;
        Ok(Cursor::beginning(get(&trimmed, "trimmed")?))
    }

    /// Returns a cursor before the rows recorded from `time` on, by the server's clock. Rows of transactions that were
    /// running at that time may or may not be included.
    ///
    /// Scans the rows from the oldest on.
    ///
    /// # Errors
    /// As for [`now`](Self::now).
    pub async fn at(&mut self, time: SystemTime) -> Result<Cursor> {
        let mut cursor = self.beginning().await?;
        let to = self.now().await?.done;
        let first = self.client.query_opt(FIRST_SINCE, &[&time]).await;
        let first = first.map_err(failed)?;
        let position = match first {
            Some(row) => get::<i64>(&row, "id")? - 1,
            None => to.floor,
        };
        cursor.reading = Some(Reading { to, position });
        Ok(cursor)
    }

    /// Returns at most `limit` events (0 counts as 1) that were committed after `cursor`. Returns fewer if they exceed 16 MiB
    /// together, but at least one.
    ///
    /// # Errors
    /// If this role may not read the outbox, or the connection is lost.
    pub async fn next(&mut self, cursor: &Cursor, limit: usize) -> Result<Page> {
        let page = self.rows(cursor, &Share::all(), None, limit).await?;
        let mut undecodable = Vec::new();
        let events = self.events(&page.rows, None).await?.into_iter();
        let events = events.filter_map(|event| event.map_err(|error| undecodable.push(error)).ok());
        Ok(Page {
            events: events.collect(),
            undecodable,
            cursor: page.cursor,
            is_last: page.is_last,
            is_gap: page.is_gap,
        })
    }

    /// Returns the table of a row, if its relation was seen before.
    pub(crate) fn table(&self, row: &Recorded) -> Option<TableName> {
        self.relations.table(row.relation)
    }

    /// Decodes each row to an event, or to an error that names the row.
    ///
    /// Events that leave this process get the `span` that they were read in.
    pub(crate) async fn events(
        &mut self,
        rows: &[Recorded],
        span: Option<&Arc<Span>>,
    ) -> Result<Vec<Result<Event>>> {
        self.relations.events(&self.client, rows, span).await
    }

    /// Returns at most `limit` rows of `share` that were committed after `cursor`.
    ///
    /// If `until` is given, the next difference of the cursor ends there. It must be later than the point that the cursor has
    /// read.
    pub(crate) async fn rows(
        &mut self,
        cursor: &Cursor,
        share: &Share,
        until: Option<&Point>,
        limit: usize,
    ) -> Result<Rows> {
        let reading = match (&cursor.reading, until) {
            (Some(reading), _) => reading.clone(),
            (None, Some(until)) => Reading::of(until.clone()),
            (None, None) => match self.difference(&cursor.done).await? {
                Difference::Something(to) => Reading::of(to),
                Difference::Nothing { closed, trimmed } => {
                    return Ok(cursor.found_nothing(closed, trimmed));
                }
            },
        };
        let page = self.page(&cursor.done, &reading, share, limit).await?;
        Ok(cursor.after(reading, page))
    }

    /// Returns the next difference.
    pub(crate) async fn difference(&mut self, done: &Point) -> Result<Difference> {
        let parameters: [&(dyn ToSql + Sync); 1] = [&done.snapshot.as_str()];
        let (floor, row) = self.after_the_floor(DIFFERENCE, &parameters).await?;
        let closed = get(&row, "closed")?;
        Ok(match get::<Option<&str>>(&row, "begun")? {
            Some(begun) => {
                let to = Point {
                    snapshot: snapshot(&row)?,
                    floor,
                    begun: begun.into(),
                    closed,
                };
                to.check_follows(done)?;
                Difference::Something(to)
            }
            None if floor < done.floor || closed < done.closed => {
                return Err(went_back(&format!(
                    "the floor is {floor} after {}, closing {closed} after {}",
                    done.floor, done.closed
                )));
            }
            None => {
                let now = snapshot(&row)?;
                if !done.snapshot.is_within(&now) {
                    return Err(went_back(&format!(
                        "the snapshot is {} after {}",
                        now.as_str(),
                        done.snapshot.as_str()
                    )));
                }
                // Read `trimmed` last: rows that are not trimmed by then existed before.
                let trimmed = self.one(TRIMMED, &[]).await?;
                let trimmed = get(&trimmed, "trimmed")?;
                Difference::Nothing { closed, trimmed }
            }
        })
    }

    /// Returns the last id taken, and then the row that `sql` selects.
    ///
    /// Uses two statements in this order, because sequences are not subject to snapshots.
    async fn after_the_floor(
        &mut self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<(i64, Row)> {
        let floor = self.statements.get(&*self.client, FLOOR).await?;
        let sql = self.statements.get(&*self.client, sql).await?;
        let floor = self.client.query_one(&floor, &[]);
        let row = self.client.query_one(&sql, parameters);
        let (floor, row) = try_join(floor, row).await.map_err(failed)?;
        let floor = get::<Option<i64>>(&floor, "floor")?.ok_or_else(may_not_read_ids)?;
        Ok((floor, row))
    }

    async fn one(&mut self, sql: &'static str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Row> {
        let sql = self.statements.get(&*self.client, sql).await?;
        self.client
            .query_one(&sql, parameters)
            .await
            .map_err(failed)
    }
}

pub(crate) enum Difference {
    /// The end of the difference.
    Something(Point),
    /// There are no rows. Holds the last visible closing, and the closing of the last part that was emptied.
    Nothing { closed: i64, trimmed: i64 },
}

fn may_not_read_ids() -> Error {
    Error::new(
        ErrorKind::Query,
        // USAGE would suffice, but it also allows the role to take ids.
        "cannot read the outbox: permission denied for sequence pgherald.outbox_id; \
         GRANT SELECT ON SEQUENCE pgherald.outbox_id to this role",
    )
}

fn snapshot(row: &Row) -> Result<Snapshot> {
    let text: &str = get(row, "snapshot")?;
    Snapshot::parse(text).ok_or_else(|| {
        Error::new(
            ErrorKind::Decode,
            format!("the server's snapshot is {text:?}"),
        )
    })
}
