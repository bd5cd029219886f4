//! Looks for single rows of the outbox.

use tokio_postgres::Client;

use super::row::{Recorded, bare_columns, failed};
use crate::error::Result;

const STORED: &str = concat!(
    "SELECT ",
    bare_columns!(),
    " FROM pgherald.outbox WHERE id OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.int8[])"
);

/// Returns the rows with these ids, without their texts.
pub(crate) async fn stored_events(client: &Client, ids: &[i64]) -> Result<Vec<Recorded>> {
    let rows = client.query(STORED, &[&ids]).await.map_err(failed)?;
    rows.iter().map(Recorded::of).collect()
}
