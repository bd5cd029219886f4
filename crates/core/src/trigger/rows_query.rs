//! The way that is taken where the queries that were installed do not do: the body of a table's function has a query written
//! for what the table is now.

use postgres_protocol::escape::escape_literal;

use super::expression::{self, Size};
use super::fit::Fitted;
use super::template::render;
use super::wanted::qualified;
use crate::error::Result;

/// Finds whether statements that triggers ran within this one were recorded before it.
pub(super) fn nesting(fitted: &Fitted<'_>) -> Result<String> {
    let mark = escape_literal(&qualified(&fitted.table.function));
    let template = include_str!("sql/v2/nesting.sql").trim_end();
    render(template, &[("mark", &mark)])
}

/// The call of `pgherald.rows_query`.
pub(super) fn call(fitted: &Fitted<'_>, key_size: Size, size: Size) -> String {
    let array = |items: &mut dyn Iterator<Item = String>| {
        let items: Vec<_> = items.map(|item| escape_literal(&item)).collect();
        format!("ARRAY[{}]::pg_catalog.text[]", items.join(", "))
    };
    let columns = || fitted.key.iter().chain(&fitted.columns);
    let names = array(&mut columns().map(|column| column.name.clone()));
    let types = array(&mut columns().map(|column| column.exact_type.clone()));
    let keys = expression::values(&fitted.key, key_size);
    let values = array(&mut keys.chain(expression::values(&fitted.columns, size)));
    let watched = array(&mut fitted.when_changed.iter().map(|column| column.name.clone()));
    let label = escape_literal(&fitted.spec.table.to_string());
    let key_length = fitted.key.len();
    let has_old = fitted.spec.old_columns;
    let is_pinned = expression::needs_settings(columns().chain(&fitted.when_changed));
    format!(
        "pgherald.rows_query(
                    TG_RELID, TG_OP, {label}, {names},
                    {types},
                    {values},
                    {key_length}, {watched}, {has_old}, {is_pinned},
                    pgherald_deepest OPERATOR(pg_catalog.>) pgherald_depth
                )"
    )
}
