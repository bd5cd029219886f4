//! The function of a table whose changes are recorded in the outbox.

use postgres_protocol::escape::escape_literal;

use super::expression::{self, Size};
use super::fit::Fitted;
use super::template::render;
use crate::error::Result;

const NONE: &str = "NULL::pg_catalog.text";
const NO_NAMES: &str = "NULL::pg_catalog.text[]";
const PARTS: [&str; 4] = ["0", "1", "2", "3"];

/// The body of the table's function.
pub(super) fn body(fitted: &Fitted<'_>) -> Result<String> {
    let table = &fitted.spec.table;
    let relation = relation(fitted).to_string();
    let whole = |condition: &str| {
        let values = [("relation", &*relation), ("where", condition)];
        fragment(include_str!("sql/v2/outbox_whole.sql"), &values)
    };
    // Into the part itself: through the table, each statement would pay for finding it.
    let rows = |operation: &str, rows: &str| {
        let into = |part: usize| {
            let values = [
                ("relation", &*relation),
                ("part", PARTS[part]),
                ("operation", operation),
                ("rows", rows),
            ];
            render(include_str!("sql/v2/outbox_rows.sql"), &values)
        };
        let values = [
            ("first", &*into(0)?),
            ("second", &*into(1)?),
            ("third", &*into(2)?),
            ("fourth", &*into(3)?),
        ];
        fragment(include_str!("sql/v2/outbox_parts.sql"), &values)
    };
    let (insert, update, delete) = if fitted.key.is_empty() {
        let changed = match fitted.when_changed.is_empty() {
            true => " WHERE EXISTS (SELECT FROM pgherald_new)".to_owned(),
            false => format!(
                " WHERE EXISTS ({})",
                differing(&expression::comparable(&fitted.when_changed))
            ),
        };
        (
            whole(" WHERE EXISTS (SELECT FROM pgherald_new)")?,
            whole(&changed)?,
            whole(" WHERE EXISTS (SELECT FROM pgherald_old)")?,
        )
    } else {
        let one = |of: &str| {
            let (key, columns) = (key(fitted), columns(fitted));
            format!("SELECT {key} AS k, {columns} AS c, {NONE} AS o, {NO_NAMES} AS d FROM {of}")
        };
        let update = match fitted.spec.old_columns || !fitted.when_changed.is_empty() {
            true => rows("U", &compared(fitted)?)?,
            false => {
                let kept = rows("U", &kept(fitted, &one("pgherald_new"))?)?;
                let any = rows("U", &uncompared(fitted)?)?;
                let values = [("kept", &*kept), ("any", &*any)];
                fragment(include_str!("sql/v2/outbox_either.sql"), &values)?
            }
        };
        (
            rows("I", &one("pgherald_new"))?,
            update,
            rows("D", &one("pgherald_old"))?,
        )
    };
    let values = [
        ("insert", &*insert),
        ("update", &*update),
        ("delete", &*delete),
        ("whole", &*whole("")?),
        ("label", &*escape_literal(&table.to_string())),
    ];
    render(include_str!("sql/v2/outbox_body.sql"), &values)
}

/// What the function selects, to be tried before it is installed.
pub(super) fn selects(fitted: &Fitted<'_>) -> Result<Vec<String>> {
    if fitted.key.is_empty() {
        return Ok(match fitted.when_changed.is_empty() {
            true => Vec::new(),
            false => vec![differing(&expression::comparable(&fitted.when_changed))],
        });
    }
    let (key, columns) = (key(fitted), columns(fitted));
    let one = format!("SELECT {key} AS k, {columns} AS c FROM pgherald_new");
    let update = match fitted.spec.old_columns || !fitted.when_changed.is_empty() {
        true => compared(fitted)?,
        false => uncompared(fitted)?,
    };
    Ok(vec![one, update])
}

/// The statement that tells what the rows of the table have in common.
pub(super) fn describe(fitted: &Fitted<'_>) -> Result<String> {
    let table = &fitted.spec.table;
    let key_names = match fitted.key.is_empty() {
        true => "NULL".to_owned(),
        false => escape_literal(&expression::names(&fitted.key)),
    };
    let values = [
        ("relation", &*relation(fitted).to_string()),
        ("schema", &*escape_literal(table.schema())),
        ("table", &*escape_literal(table.name())),
        ("key_names", &*key_names),
    ];
    render(include_str!("sql/v2/outbox_relation.sql"), &values)
}

/// Stands for schema, table and key columns in the rows: their FNV-1a hash, the same in every program. Rows that were
/// recorded under another key keep theirs.
fn relation(fitted: &Fitted<'_>) -> i64 {
    let table = &fitted.spec.table;
    let key = expression::names(&fitted.key);
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in [table.schema(), table.name(), &key].join("\0").bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash.cast_signed()
}

/// A part of a statement: without the line's end.
fn fragment(template: &str, values: &[(&str, &str)]) -> Result<String> {
    render(template.trim_end(), values)
}

fn key(fitted: &Fitted<'_>) -> String {
    expression::key(&fitted.key, Size::Unlimited)
}

fn columns(fitted: &Fitted<'_>) -> String {
    match fitted.columns.is_empty() {
        true => NONE.to_owned(),
        false => expression::object(&fitted.columns, fitted.value_limit()),
    }
}

/// Rows of which there is another number before than after.
fn differing(watched: &str) -> String {
    let except = |from: &str, other: &str| {
        format!("(SELECT {watched} FROM {from} EXCEPT ALL SELECT {watched} FROM {other})")
    };
    let (new, old) = ("pgherald_new", "pgherald_old");
    format!("{} UNION ALL {}", except(new, old), except(old, new))
}

/// `rows` after an UPDATE whose rows all had the key that the first of them has now: no key is gone. None otherwise.
fn kept(fitted: &Fitted<'_>, rows: &str) -> Result<String> {
    let values = [
        ("rows", rows),
        ("parts", &*expression::comparable(&fitted.key)),
    ];
    fragment(include_str!("sql/v2/outbox_kept.sql"), &values)
}

/// The rows after an UPDATE, and the keys that are gone.
fn uncompared(fitted: &Fitted<'_>) -> Result<String> {
    let parts = expression::comparables(&fitted.key);
    let parts = parts.iter().enumerate();
    let same = parts
        .clone()
        .map(|(number, _)| format!("n.w{number} OPERATOR(pg_catalog.=) o.w{number}"));
    let parts = parts.map(|(number, value)| format!("{value} AS w{number}"));
    // Joined by a key that repeats, rows would be multiplied.
    let distinct = match fitted.is_key_unique() {
        true => "",
        false => "DISTINCT ",
    };
    let values = [
        ("key", &*key(fitted)),
        ("columns", &*columns(fitted)),
        ("distinct", distinct),
        ("parts", &*parts.collect::<Vec<_>>().join(", ")),
        ("same", &*same.collect::<Vec<_>>().join(" AND ")),
    ];
    fragment(include_str!("sql/v2/outbox_updated.sql"), &values)
}

/// The rows of an UPDATE, each with what it was before.
fn compared(fitted: &Fitted<'_>) -> Result<String> {
    let spec = fitted.spec;
    // Under numbers, because the names of columns are theirs.
    let named = |place: &str, values: Vec<String>| -> Vec<String> {
        let values = values.into_iter().enumerate();
        values
            .map(|(number, value)| format!(", {value} AS {place}{number}"))
            .collect()
    };
    let mut watched = named("w", expression::comparables(&fitted.when_changed));
    let condition = match watched.len() {
        0 => String::new(),
        count => {
            let differ =
                (0..count).map(|number| format!(" OR n.w{number} IS DISTINCT FROM o.w{number}"));
            format!(
                " WHERE o.k IS DISTINCT FROM n.k{}",
                differ.collect::<String>()
            )
        }
    };
    let (mut changed, mut before) = (NO_NAMES.to_owned(), NONE);
    if spec.old_columns {
        before = include_str!("sql/v2/outbox_old.sql");
        let limit = fitted.value_limit();
        watched.extend(named(
            "c",
            expression::comparables_within(&fitted.columns, limit),
        ));
        let names = fitted.columns.iter().enumerate().map(|(number, column)| {
            let name = escape_literal(&column.name);
            let (new, old) = (format!("n.c{number}"), format!("o.c{number}"));
            let differs = expression::differs(column, limit, &new, &old);
            format!("CASE WHEN {differs} THEN {name} END")
        });
        let names = names.collect::<Vec<_>>().join(", ");
        changed = format!("array_remove(ARRAY[{names}]::text[], NULL)");
    }
    let columns = columns(fitted);
    let old = match spec.old_columns {
        true => &*columns,
        false => NONE,
    };
    let values = [
        ("key", &*key(fitted)),
        ("columns", &*columns),
        ("old", old),
        ("watched", &*watched.concat()),
        ("before", before),
        ("changed", &*changed),
        ("where", &*condition),
    ];
    fragment(include_str!("sql/v2/outbox_compared.sql"), &values)
}
