//! Whether the server takes the statements of a table's function at all: it has limits, of 1,664 entries in a list for instance.
//!
//! A function that meets one at run time would fail at each write, and record or announce the table as a whole. So the statements
//! are tried before, on a row of nulls, rather than counted: they are the server's limits.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::expression;
use super::fit::Fitted;
use super::outbox;
use crate::error::{Error, Kind, Result};

/// With no more columns than this, no limit is near, and nothing is tried.
const FEW: usize = 100;

/// Fails if the server refuses what the function of `fitted` has to run, because of its number of columns.
pub(super) async fn refuse_beyond(client: &Client, fitted: &Fitted<'_>) -> Result<()> {
    let columns = fitted.key.len() + fitted.columns.len() + fitted.when_changed.len();
    if columns <= FEW {
        return Ok(());
    }
    let selects = match fitted.spec.is_outbox() {
        true => outbox::selects(fitted)?,
        false => selects(fitted),
    };
    for select in selects {
        attempt(client, fitted, &select, columns).await?;
    }
    Ok(())
}

/// What the function of a table in notify mode selects.
fn selects(fitted: &Fitted<'_>) -> Vec<String> {
    let key = expression::key(&fitted.key, expression::Size::Limited);
    let columns = match fitted.columns.is_empty() {
        true => "NULL".to_owned(),
        false => expression::object(&fitted.columns, fitted.value_limit()),
    };
    let mut selects = Vec::new();
    if !fitted.key.is_empty() {
        selects.push(format!(
            "SELECT {key} AS k, {columns} AS c FROM pgherald_new"
        ));
    }
    if !fitted.when_changed.is_empty() {
        let compared: Vec<_> = fitted
            .key
            .iter()
            .chain(&fitted.when_changed)
            .cloned()
            .collect();
        let compared = expression::comparable(&compared);
        selects.push(format!(
            "SELECT {compared} FROM pgherald_new EXCEPT ALL SELECT {compared} FROM pgherald_old"
        ));
    }
    selects
}

/// Runs `select` on one row of nulls, under the `search_path` of the functions.
async fn attempt(client: &Client, fitted: &Fitted<'_>, select: &str, columns: usize) -> Result<()> {
    let table = fitted.spec.table.quoted();
    // The statements of one simple query are one transaction, or a part of the caller's.
    let sql = format!(
        "SELECT pg_catalog.set_config('pgherald.search_path', pg_catalog.current_setting('search_path'), true),
            pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        WITH pgherald_new AS MATERIALIZED (SELECT (NULL::{table}).*),
            pgherald_old AS MATERIALIZED (SELECT (NULL::{table}).*)
        SELECT r.* FROM ({select}) AS r;
        SELECT pg_catalog.set_config('search_path', pg_catalog.current_setting('pgherald.search_path'), true)"
    );
    let Err(cause) = client.batch_execute(&sql).await else {
        return Ok(());
    };
    // Class 54: a limit of the program.
    let code = cause.code().map_or("", SqlState::code);
    if !code.starts_with("54") {
        return Err(Error::of_statement(
            "cannot try the statements of a trigger",
            cause,
        ));
    }
    let limit = cause.as_db_error().map_or("", |error| error.message());
    let message = format!(
        "specification of {}: its {columns} columns are beyond a limit of the server ({limit}); name fewer of them as key, \
         columns or when_changed, or leave old columns out",
        fitted.spec.table
    );
    Err(Error::with_source(Kind::Spec, message, cause))
}
