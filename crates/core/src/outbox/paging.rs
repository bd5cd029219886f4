//! Reads one page of a difference: rows up to a number and a size, also if the server cannot convert their texts.

use futures_util::TryStreamExt;
use futures_util::future::{Either, ready, try_join3};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream, Statement};

use super::cursor::{Point, Reading};
use super::queries::{BARE_LATE_ROWS, BARE_SINCE, LATE_ROWS, ONE, SINCE, TRIMMED};
use super::reader::{OutboxReader, PageRows, Share};
use super::row::{Recorded, failed, get};
use crate::error::{Error, Result};

/// The maximum size of a page in bytes. The last row may exceed it.
const MAX_PAGE_BYTES: usize = 16 << 20;

impl OutboxReader {
    /// Returns rows of a difference.
    ///
    /// The server may be unable to convert a text to UTF-8, which fails the whole page. The reader then requests fewer rows,
    /// and at last a single row without its texts, or several if such rows follow each other.
    pub(crate) async fn page(
        &mut self,
        done: &Point,
        reading: &Reading,
        share: &Share,
        limit: usize,
    ) -> Result<PageRows> {
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
    ) -> Result<PageRows> {
        let limit = self.one_by_one.min(limit);
        let PageRows {
            mut rows, trimmed, ..
        } = self.page_of(done, reading, share, limit, true).await?;
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
        Ok(PageRows::new(rows, false, trimmed))
    }

    async fn page_of(
        &mut self,
        done: &Point,
        reading: &Reading,
        share: &Share,
        limit: usize,
        is_bare: bool,
    ) -> Result<PageRows> {
        let sql_limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let since_position = reading.position.max(done.floor);
        let late: [&(dyn ToSql + Sync); 8] = [
            &done.snapshot.as_str(),
            &done.floor,
            &&*done.begun,
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
        Ok(PageRows::new(rows, is_last, get(&trimmed, "trimmed")?))
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

/// Returns whether a text could not be converted to UTF-8.
fn is_unencodable(error: &Error) -> bool {
    matches!(
        error.code(),
        Some(&(SqlState::CHARACTER_NOT_IN_REPERTOIRE | SqlState::UNTRANSLATABLE_CHARACTER))
    )
}
