//! Reads the rows that were committed between two snapshots, page by page.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::TryStreamExt;
use futures_util::future::{Either, ready, try_join, try_join3};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, RowStream, Statement};

use super::cursor::{Cursor, Point, Reading, Snapshot, went_back};
use super::queries::{
    BARE_LATE_ROWS, BARE_SINCE, DIFFERENCE, FLOOR, LATE_ROWS, ONE, SINCE, TRIMMED,
};
use super::row::{Recorded, Relations, failed, get};
use super::statements::Statements;
use crate::error::{Error, ErrorKind as Kind, Result};
use crate::event::Event;
use crate::name::TableName;

/// The maximum size of a page in bytes. The last row may exceed it.
const MAX_PAGE_BYTES: usize = 16 << 20;

/// Reads the outbox. It keeps only the names of tables; the position is in the [`Cursor`].
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
///     cursor = page.cursor; // store it to continue after a restart
///     if page.is_last {
///         tokio::time::sleep(std::time::Duration::from_millis(100)).await;
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct OutboxReader {
    client: Arc<Client>,
    statements: Statements,
    relations: Relations,
    /// The number of rows to request. Reduced for a while after large rows.
    row_limit: usize,
    /// How many rows to read one by one if the server cannot convert a text of the next row.
    one_by_one: usize,
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
        let sql = "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text, pg_catalog.pg_current_xact_id()::pg_catalog.text, closed
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

    /// Returns a cursor before everything that is still in the outbox.
    ///
    /// # Errors
    /// As for [`now`](Self::now).
    pub async fn beginning(&mut self) -> Result<Cursor> {
        let trimmed = self.one(TRIMMED, &[]).await?;
        Ok(Cursor::beginning(get(&trimmed, 0)?))
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
        let sql = "SELECT id FROM pgherald.outbox WHERE sent_at OPERATOR(pg_catalog.>=) $1 ORDER BY id LIMIT 1";
        let first = self.client.query_opt(sql, &[&time]).await.map_err(failed)?;
        let position = match first {
            Some(row) => get::<i64>(&row, 0)? - 1,
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
        let events = self.events(&page.rows).await?.into_iter();
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
    pub(crate) async fn events(&mut self, rows: &[Recorded]) -> Result<Vec<Result<Event>>> {
        self.relations.events(&self.client, rows).await
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
        let mut cursor = cursor.clone();
        let closed = cursor.done.closed;
        let mut reading = match (cursor.reading.take(), until) {
            (Some(reading), _) => reading,
            (None, Some(until)) => Reading::of(until.clone()),
            (None, None) => match self.difference(&cursor.done).await? {
                Difference::Something(to) => Reading::of(to),
                Difference::Nothing {
                    closed: now,
                    trimmed,
                } => {
                    // No row was unread, so all parts that are closed by now have been read.
                    cursor.done.closed = now.max(trimmed);
                    return Ok(Rows {
                        rows: Vec::new(),
                        cursor,
                        is_last: true,
                        is_gap: trimmed > closed,
                    });
                }
            },
        };
        let (rows, is_last, trimmed) = self.page(&cursor.done, &reading, share, limit).await?;
        let is_gap = trimmed > closed;
        // Report a gap only once.
        cursor.done.closed = trimmed.max(closed);
        reading.to.closed = trimmed.max(reading.to.closed);
        if let Some(row) = rows.last() {
            reading.position = row.id;
        }
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
        Ok(Rows {
            rows,
            cursor,
            is_last,
            is_gap,
        })
    }

    /// Returns rows of a difference, whether they are the last ones, and the last closing that was trimmed after they had
    /// been read. Rows of later closings have not been trimmed.
    ///
    /// The server may be unable to convert a text to UTF-8, which fails the whole page. The reader then requests fewer rows,
    /// and at last a single row without its texts, or several if such rows follow each other.
    async fn page(
        &mut self,
        done: &Point,
        reading: &Reading,
        share: &Share,
        limit: usize,
    ) -> Result<(Vec<Recorded>, bool, i64)> {
        let most = limit.max(1);
        let mut limit = most.min(self.row_limit).max(1);
        loop {
            match self.page_of(done, reading, share, limit, false).await {
                Err(error) if is_unencodable(&error) && limit > 1 => limit /= 2,
                Err(error) if is_unencodable(&error) => {
                    let rows = self.page_one_by_one(done, reading, share, most).await?;
                    self.row_limit = 1;
                    return Ok(rows);
                }
                page => return page,
            }
        }
    }

    /// Like [`page`](Self::page), for rows that cannot all be read with their texts.
    async fn page_one_by_one(
        &mut self,
        done: &Point,
        reading: &Reading,
        share: &Share,
        limit: usize,
    ) -> Result<(Vec<Recorded>, bool, i64)> {
        let limit = self.one_by_one.min(limit);
        let (mut rows, _, trimmed) = self.page_of(done, reading, share, limit, true).await?;
        let (mut count, mut unencodable, mut bytes) = (0, 0, 0);
        for row in &mut rows {
            match self.whole(row.id).await {
                Ok(Some(whole)) => *row = whole,
                Ok(None) => {}
                Err(error) if is_unencodable(&error) => {
                    row.problem = Some(error.chain().into());
                    unencodable += 1;
                }
                Err(error) => return Err(error),
            }
            count += 1;
            bytes += row.bytes();
            if bytes >= MAX_PAGE_BYTES {
                break;
            }
        }
        rows.truncate(count);
        self.one_by_one = match unencodable == count {
            true => limit.saturating_mul(2),
            false => 1,
        };
        Ok((rows, false, trimmed))
    }

    async fn page_of(
        &mut self,
        done: &Point,
        reading: &Reading,
        share: &Share,
        limit: usize,
        is_bare: bool,
    ) -> Result<(Vec<Recorded>, bool, i64)> {
        let sql_limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let since_position = reading.position.max(done.floor);
        let late: [&(dyn ToSql + Sync); 8] = [
            &done.snapshot.as_str(),
            &done.floor,
            &done.begun,
            &reading.to.snapshot.as_str(),
            &reading.position,
            &sql_limit,
            &share.of,
            &share.slices,
        ];
        let since: [&(dyn ToSql + Sync); 6] = [
            &done.snapshot.as_str(),
            &reading.to.snapshot.as_str(),
            &since_position,
            &sql_limit,
            &share.of,
            &share.slices,
        ];
        let (late_sql, since_sql) = match is_bare {
            false => (LATE_ROWS, SINCE),
            true => (BARE_LATE_ROWS, BARE_SINCE),
        };
        let late_sql = self.statements.get(&*self.client, late_sql).await?;
        let since_sql = self.statements.get(&*self.client, since_sql).await?;
        let trimmed_sql = self.statements.get(&*self.client, TRIMMED).await?;
        // First the rows of transactions that were running before and may have small ids, then those of transactions that
        // began since. All three requests are sent at once and answered in order.
        let late = match reading.position < done.floor && done.leaves_some_open() {
            true => Either::Left(self.some_rows(&late_sql, &late)),
            false => Either::Right(ready(Ok((Vec::new(), false)))),
        };
        let since = self.some_rows(&since_sql, &since);
        let trimmed = async {
            let trimmed = self.client.query_one(&trimmed_sql, &[]).await;
            trimmed.map_err(failed)
        };
        let ((mut rows, mut is_cut), (since, since_is_cut), trimmed) =
            try_join3(late, since, trimmed).await?;
        if !is_cut {
            rows.extend(since);
            is_cut = since_is_cut;
        }
        rows.truncate(limit);
        let is_last = !is_cut && rows.len() < limit;
        // Rows requested beyond the size of a page are sent in vain.
        self.row_limit = match is_cut {
            true => rows.len(),
            false => self.row_limit.saturating_mul(2),
        };
        Ok((rows, is_last, get(&trimmed, 0)?))
    }

    /// Returns a row with its texts, if it still exists.
    async fn whole(&mut self, id: i64) -> Result<Option<Recorded>> {
        let sql = self.statements.get(&*self.client, ONE).await?;
        let row = self.client.query_opt(&sql, &[&id]).await.map_err(failed)?;
        row.as_ref().map(Recorded::of).transpose()
    }

    async fn some_rows(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<(Vec<Recorded>, bool)> {
        let parameters = parameters.iter().copied();
        let rows = self.client.query_raw(statement, parameters).await;
        some(rows.map_err(failed)?, failed, |row| {
            let row = Recorded::of(row)?;
            let bytes = row.bytes();
            Ok((row, bytes))
        })
        .await
    }

    /// Returns the next difference.
    async fn difference(&mut self, done: &Point) -> Result<Difference> {
        let parameters: [&(dyn ToSql + Sync); 1] = [&done.snapshot.as_str()];
        let (floor, row) = self.after_the_floor(DIFFERENCE, &parameters).await?;
        let closed = get(&row, 2)?;
        Ok(match get::<Option<String>>(&row, 1)? {
            Some(begun) => {
                let to = Point {
                    snapshot: snapshot(&row)?,
                    floor,
                    begun,
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
                // Read `trimmed` last: rows that are not trimmed by then existed before.
                let trimmed = self.one(TRIMMED, &[]).await?;
                let trimmed = get(&trimmed, 0)?;
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
        let floor = get::<Option<i64>>(&floor, 0)?.ok_or_else(may_not_read_ids)?;
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

/// Collects rows until they exceed the size of a page. `read` returns a row and its size. Returns whether there are more
/// rows.
pub(crate) async fn some<T>(
    rows: RowStream,
    failed: impl Fn(tokio_postgres::Error) -> Error,
    read: impl Fn(&Row) -> Result<(T, usize)>,
) -> Result<(Vec<T>, bool)> {
    futures_util::pin_mut!(rows);
    let (mut taken, mut sum) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await.map_err(&failed)? {
        if sum >= MAX_PAGE_BYTES {
            return Ok((taken, true));
        }
        let (row, bytes) = read(&row)?;
        sum += bytes;
        taken.push(row);
    }
    Ok((taken, false))
}

enum Difference {
    /// The end of the difference.
    Something(Point),
    /// There are no rows. Holds the last visible closing, and the closing of the last part that was emptied.
    Nothing { closed: i64, trimmed: i64 },
}

fn may_not_read_ids() -> Error {
    Error::new(
        Kind::Query,
        // USAGE would suffice, but it also allows the role to take ids.
        "cannot read the outbox: permission denied for sequence pgherald.outbox_id; \
         GRANT SELECT ON SEQUENCE pgherald.outbox_id to this role",
    )
}

/// Returns whether a text could not be converted to UTF-8.
fn is_unencodable(error: &Error) -> bool {
    matches!(
        error.code(),
        Some(&(SqlState::CHARACTER_NOT_IN_REPERTOIRE | SqlState::UNTRANSLATABLE_CHARACTER))
    )
}

fn snapshot(row: &Row) -> Result<Snapshot> {
    let text: &str = get(row, 0)?;
    Snapshot::parse(text)
        .ok_or_else(|| Error::new(Kind::Decode, format!("the server's snapshot is {text:?}")))
}
