//! Statements that read the catalog.

use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::error::{Error, Result};

/// Runs a catalog query. `query_typed` uses an unnamed statement, so nothing stays in the session, and poolers support it.
pub(super) async fn rows(
    client: &Client,
    sql: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>> {
    let outcome = client.query_typed(sql, parameters).await;
    outcome.map_err(|error| Error::of_statement("cannot read the catalog for triggers", error))
}

/// Reads column `index` of a catalog row.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index)
        .map_err(|error| Error::of_statement("cannot interpret the catalog", error))
}
