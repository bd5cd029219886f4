//! The functions of tables in notify mode: they announce changes by notifications.

use postgres_protocol::escape::escape_literal;

use super::expression::{self, Size};
use super::replicated::{self, Seen};
use super::rows_query;
use super::template::render;
use super::validate::{Valid, without_duplicates};
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;

/// The maximum size in bytes of the types of columns in a notification, which has 8,000 bytes.
pub(super) const MAX_TYPES: usize = 4_000;

/// The body of the function of a table in notify mode.
pub(super) fn body(valid: &Valid<'_>) -> Result<String> {
    let table = &valid.spec.table;
    let relation = relation_members(table);
    let (channel, relation) = (
        escape_literal(valid.spec.channel.as_str()),
        escape_literal(&relation),
    );
    let names = [
        ("table", &*escape_literal(&table.to_string())),
        ("channel", &*channel),
        ("relation", &*relation),
    ];
    let failure = render(include_str!("sql/objects/failure.sql"), &names)?;
    let unchanged = unchanged(valid)?;
    let mark = replicated::mark(valid);
    let row_unchanged = row_unchanged(valid)?;
    let common = [
        ("channel", &*channel),
        ("relation", &*relation),
        ("failure", failure.trim_end()),
        ("unchanged", &*unchanged),
        ("guard", replicated::guard(valid)),
    ];
    let for_rows = [
        ("channel", &*channel),
        ("relation", &*relation),
        ("unchanged", &*row_unchanged),
        ("mark", &*mark),
    ];
    if valid.key.is_empty() {
        let template = include_str!("sql/replicated/notify_whole.sql");
        let row = [(
            "row",
            &*replicated::fragment(valid, template, 8, &for_rows)?,
        )];
        return render(
            include_str!("sql/objects/whole_body.sql"),
            &[&common[..], &row].concat(),
        );
    }
    let (columns, cols) = if valid.columns.is_empty() {
        (NONE.to_owned(), NO_COLS.to_owned())
    } else {
        (
            expression::object(&valid.columns, valid.value_limit()),
            fitting("r.c"),
        )
    };
    let key = expression::key(&valid.key, Size::Limited);
    let changed_only = match valid.when_changed.is_empty() {
        true => String::new(),
        false => format!(" WHERE {key} IN (SELECT unnest(pgherald_changed))"),
    };
    let mut key_members = expression::names(&valid.key);
    if let Some(types) = expression::types(&valid.key, &valid.columns)? {
        if types.len() > MAX_TYPES {
            let message = format!(
                "specification of {table}: the types of its columns take {} bytes, more than the {MAX_TYPES} that a \
                 notification has room for; name fewer columns, or record the table in the outbox",
                types.len()
            );
            return Err(Error::new(ErrorKind::Spec, message));
        }
        key_members.push_str(&format!(r#","types":{types}"#));
    }
    let select = format!("SELECT {}, {cols} FROM (SELECT * FROM (", fitting("r.k"));
    let keys = fitting("r.k");
    let counted = replicated::fragment(
        valid,
        include_str!("sql/replicated/notify_counted.sql"),
        8,
        &for_rows,
    )?;
    let read = without_duplicates(valid.key.iter().chain(&valid.columns));
    let row = [
        ("keys", &*keys),
        ("cols", &*cols),
        ("key", &*key),
        ("columns", &*columns),
        ("with_new", &replicated::with(&read, Seen::New)),
        ("with_old", &replicated::with(&read, Seen::Old)),
        ("counted", &*counted),
    ];
    let row = replicated::fragment(
        valid,
        include_str!("sql/replicated/notify_row.sql"),
        12,
        &[&for_rows[..], &row].concat(),
    )?;
    let row_limit = match valid.spec.replicated {
        true => render(
            include_str!("sql/replicated/notify_limit.sql").trim_end(),
            &for_rows,
        )?,
        false => String::new(),
    };
    let declarations = match valid.spec.replicated {
        true => "    pgherald_listed int4;\n",
        false => "",
    };
    let rows = [
        ("declarations", declarations),
        ("row", &*row),
        ("row_limit", &*row_limit),
        ("row_counted", &*counted),
        ("row_arguments", replicated::arguments(valid)),
        ("nesting", &*rows_query::nesting(valid)?),
        (
            "rows_query",
            &*rows_query::call(valid, Size::Limited, Size::Unavailable(valid.value_limit()))?,
        ),
        ("select", &*replicated::queried(valid, &select)),
        ("key_names", &*escape_literal(&key_members)),
        ("key", &*key),
        ("where", &changed_only),
        ("keys", &*keys),
        ("columns", &columns),
        ("cols", &cols),
    ];
    render(
        include_str!("sql/objects/rows_body.sql"),
        &[&common[..], &rows].concat(),
    )
}

/// The columns of one row, and of all rows, if the specification names no columns.
pub(super) const NONE: &str = "NULL::text";
pub(super) const NO_COLS: &str = "NULL::text[]";

/// The texts of all rows. A text that is too large for any notification is null.
pub(super) fn fitting(value: &str) -> String {
    format!("array_agg(CASE WHEN octet_length({value}) < 8000 THEN {value} END)")
}

/// The members of a payload that name the table.
pub(super) fn relation_members(table: &TableName) -> String {
    format!(
        r#""schema":{},"table":{}"#,
        expression::json_string(table.schema()),
        expression::json_string(table.name()),
    )
}

/// The part of the function that returns early from an UPDATE, or selects its changed rows. Empty if every UPDATE counts.
fn unchanged(valid: &Valid<'_>) -> Result<String> {
    if valid.when_changed.is_empty() {
        return Ok(String::new());
    }
    let mut columns = valid.key.clone();
    columns.extend(valid.when_changed.iter().cloned());
    let watched = expression::comparable(&columns);
    let mut block = render(
        include_str!("sql/objects/unchanged.sql"),
        &[("watched", &watched)],
    )?;
    if !valid.key.is_empty() {
        let values = [
            ("unchanged", block.trim_end()),
            ("key", &*expression::key(&valid.key, Size::Limited)),
            ("watched", &*watched),
        ];
        block = render(include_str!("sql/objects/changed.sql"), &values)?;
    }
    Ok(block.trim_end().to_owned())
}

/// The part of the function that returns early from a row-level UPDATE. Empty if every UPDATE counts.
fn row_unchanged(valid: &Valid<'_>) -> Result<String> {
    if valid.when_changed.is_empty() {
        return Ok(String::new());
    }
    let compared = valid.key.iter().chain(&valid.when_changed);
    let columns: Vec<_> = compared.clone().cloned().collect();
    let values = [
        ("watched", &*expression::comparable(&columns)),
        (
            "with_both",
            &*replicated::with(&without_duplicates(compared), Seen::Both),
        ),
    ];
    let template = include_str!("sql/replicated/notify_unchanged.sql");
    replicated::fragment(valid, template, 20, &values)
}
