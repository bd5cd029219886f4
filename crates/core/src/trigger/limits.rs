//! Checks whether the server accepts the statements of a table's function. The server has limits, for example 1,664 entries in a
//! select list.
//!
//! If a function exceeded a limit at run time, its query would fail at each write, and it would record or announce the whole
//! table. So the statements are tried before the installation, on a row of nulls. Counting columns would not be reliable, because
//! only the server knows its limits.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::expression;
use super::outbox;
use super::validate::Valid;
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;

/// Functions with at most this many columns are far from any limit and are not tried.
const FEW: usize = 100;

/// A statement to try before a plan is shown or run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    table: TableName,
    columns: usize,
    select: String,
}

/// The statements of the function of `valid` to try. Empty if it has too few columns to exceed a limit.
pub(super) fn trials(valid: &Valid<'_>) -> Result<Vec<Trial>> {
    let columns = valid.key.len() + valid.columns.len() + valid.when_changed.len();
    if columns <= FEW {
        return Ok(Vec::new());
    }
    let selects = match valid.spec.is_outbox() {
        true => outbox::selects(valid)?,
        false => selects(valid),
    };
    let trial = |select| Trial {
        table: valid.spec.table.clone(),
        columns,
        select,
    };
    Ok(selects.into_iter().map(trial).collect())
}

/// The queries of the function of a table in notify mode.
fn selects(valid: &Valid<'_>) -> Vec<String> {
    let key = expression::key(&valid.key, expression::Size::Limited);
    let columns = match valid.columns.is_empty() {
        true => "NULL".to_owned(),
        false => expression::object(&valid.columns, valid.value_limit()),
    };
    let mut selects = Vec::new();
    if !valid.key.is_empty() {
        selects.push(format!(
            "SELECT {key} AS k, {columns} AS c FROM pgherald_new"
        ));
    }
    if !valid.when_changed.is_empty() {
        let compared: Vec<_> = valid
            .key
            .iter()
            .chain(&valid.when_changed)
            .cloned()
            .collect();
        let compared = expression::comparable(&compared);
        selects.push(format!(
            "SELECT {compared} FROM pgherald_new EXCEPT ALL SELECT {compared} FROM pgherald_old"
        ));
    }
    selects
}

impl Trial {
    /// Runs the statement on one row of nulls, under the `search_path` of the functions.
    ///
    /// # Errors
    /// If the server refuses it because of its number of columns, or the connection is lost.
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        let Self {
            table,
            columns,
            select,
        } = self;
        let name = table;
        let table = name.quoted();
        // The server runs the statements of one simple query in one transaction, or in the caller's.
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
        // Class 54: program limit exceeded.
        let code = cause.code().map_or("", SqlState::code);
        if !code.starts_with("54") {
            return Err(Error::of_statement(
                "cannot try the statements of a trigger",
                cause,
            ));
        }
        let limit = cause.as_db_error().map_or("", |error| error.message());
        let message = format!(
            "specification of {name}: its {columns} columns exceed a limit of the server ({limit}); name fewer of them as key, \
         columns or when_changed, or leave old columns out"
        );
        Err(Error::with_source(ErrorKind::Spec, message, cause))
    }
}
