//! The parts of a table's function for replicated rows ([`TriggerSpec::replicated`]).
//!
//! The server applies the rows of a subscription with `session_replication_role = replica`. For these rows it fires row-level
//! triggers instead of statement-level ones. Row-level triggers have no transition tables. So the function has a branch for
//! `TG_LEVEL = 'ROW'` with the same statements, in which a WITH clause makes tables of the same names out of `NEW` and `OLD`.
//!
//! The WITH clause names each field (`NEW."id"`), because the server looks fields up by name at each execution. A session plans
//! `(NEW).*` only once. It would keep reading the columns of that moment, even if a column was dropped and added again since.
//!
//! All parts are empty if the specification does not include replicated rows.
//!
//! [`TriggerSpec::replicated`]: super::TriggerSpec::replicated

use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::catalog::Column;
use super::expression;
use super::template::{qualified, render};
use super::validate::Valid;
use crate::error::Result;

/// The records that a row-level trigger receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    New,
    Old,
    Both,
}

/// A WITH clause that makes transition tables with `columns` out of the changed row.
pub(super) fn with(columns: &[Column], seen: Seen) -> String {
    let table = |name: &str, row: &str| format!("{name} AS (SELECT {})", fields(columns, row));
    let new = || table("pgherald_new", "NEW");
    let old = || table("pgherald_old", "OLD");
    let tables = match seen {
        Seen::New => new(),
        Seen::Old => old(),
        Seen::Both => format!("{}, {}", new(), old()),
    };
    format!("WITH {tables} ")
}

/// A select list of the fields of `row`, each under its name.
pub(super) fn fields(columns: &[Column], row: &str) -> String {
    let fields = columns.iter().map(|column| {
        let field = escape_identifier(&column.name);
        format!("{row}.{field} AS {field}")
    });
    fields.collect::<Vec<_>>().join(", ")
}

/// A condition: whether the fields of `row` have types that the function's expressions can read. It fails if a field is gone.
pub(super) fn readable(columns: &[Column], row: &str) -> String {
    let readable = columns.iter().map(|column| {
        let field = format!("{row}.{}", escape_identifier(&column.name));
        expression::is_readable(column, &field)
    });
    readable.collect::<Vec<_>>().join(" AND ")
}

/// A statement that returns at once from a trigger whose level does not fit the session.
pub(super) fn guard(valid: &Valid<'_>) -> &'static str {
    match valid.spec.replicated {
        true => include_str!("sql/replicated/guard.sql").trim_end(),
        false => "",
    }
}

/// A condition that limits a transaction to one wake-up, which is sent when it commits. If a long transaction, such as an initial
/// copy, set the clock row by row, all other writers would skip their wake-ups meanwhile.
pub(super) fn unless_woken(valid: &Valid<'_>) -> &'static str {
    match valid.spec.replicated {
        true => {
            " AND coalesce(pg_catalog.current_setting('pgherald.woken', true), '') OPERATOR(pg_catalog.=) ''"
        }
        false => "",
    }
}

/// A statement that marks that the transaction has sent its wake-up.
pub(super) fn woken(valid: &Valid<'_>) -> &'static str {
    match valid.spec.replicated {
        true => "\n        PERFORM pg_catalog.set_config('pgherald.woken', 'x', true);",
        false => "",
    }
}

/// The end of the USING clause for a query that [`queried`] completes.
pub(super) fn arguments(valid: &Valid<'_>) -> &'static str {
    match valid.spec.replicated {
        true => ", NEW, OLD",
        false => "",
    }
}

/// An expression for `text`, to which the query of `pgherald.rows_query` is appended. The query reads transition tables and has
/// one parameter.
pub(super) fn queried(valid: &Valid<'_>, text: &str) -> String {
    let text = escape_literal(text);
    match valid.spec.replicated {
        true => {
            let with = include_str!("sql/replicated/queried.sql").trim_end();
            format!("{text} {with}")
        }
        false => text,
    }
}

/// The prefix of the settings that mark what a transaction has announced of the table. The operation follows it.
pub(super) fn mark(valid: &Valid<'_>) -> String {
    escape_literal(&format!("{}_", qualified(&valid.function)))
}

/// Renders a part for replicated rows. The text that follows it in the function is indented by `indent`.
pub(super) fn fragment(
    valid: &Valid<'_>,
    template: &str,
    indent: usize,
    values: &[(&str, &str)],
) -> Result<String> {
    match valid.spec.replicated {
        true => {
            let mut fragment = render(template.trim_end(), values)?;
            fragment.push('\n');
            fragment.extend(std::iter::repeat_n(' ', indent));
            Ok(fragment)
        }
        false => Ok(String::new()),
    }
}
