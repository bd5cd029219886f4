//! The fallback of a table's function if its own queries no longer fit: it calls `pgherald.rows_query`, which writes a query for the
//! present table.

use postgres_protocol::escape::escape_literal;

use super::expression::{self, Size};
use super::template::{qualified, render};
use super::validate::Valid;
use crate::error::Result;

/// The part of the function that detects nested statements, which triggers ran within this statement and which were recorded before
/// it.
pub(super) fn nesting(valid: &Valid<'_>) -> Result<String> {
    let mark = escape_literal(&qualified(&valid.function));
    let template = include_str!("sql/objects/nesting.sql").trim_end();
    render(template, &[("mark", &mark)])
}

pub(super) const CALL: &str = include_str!("sql/objects/rows_query_call.sql");

pub(super) fn call(valid: &Valid<'_>, key_size: Size, size: Size) -> Result<String> {
    let array = |items: &mut dyn Iterator<Item = String>| {
        let items: Vec<_> = items.map(|item| escape_literal(&item)).collect();
        format!("ARRAY[{}]::pg_catalog.text[]", items.join(", "))
    };
    let columns = || valid.key.iter().chain(&valid.columns);
    let names = array(&mut columns().map(|column| column.name.clone()));
    let types = array(&mut columns().map(|column| column.exact_type.clone()));
    let keys = expression::values(&valid.key, key_size);
    let values = array(&mut keys.chain(expression::values(&valid.columns, size)));
    let watched = array(&mut valid.when_changed.iter().map(|column| column.name.clone()));
    let is_pinned = expression::needs_settings(columns().chain(&valid.when_changed));
    let values = [
        ("label", &*escape_literal(&valid.spec.table.to_string())),
        ("names", &*names),
        ("types", &*types),
        ("values", &*values),
        ("key_length", &*valid.key.len().to_string()),
        ("watched", &*watched),
        ("has_old", &*valid.spec.old_columns.to_string()),
        ("is_pinned", &*is_pinned.to_string()),
    ];
    render(CALL.trim_end(), &values)
}
