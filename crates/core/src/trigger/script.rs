//! Writes a script for migration tools that installs triggers on any database.
//!
//! A plan is SQL for one database in one state. A migration runs on many databases, some of which do not exist yet. So the script
//! inspects the database when it runs, by the same statement as [`inspect`](super::inspect()).
//!
//! The script does not generate functions by code of its own. This module generates the functions of a sample table for every
//! set of options, by the same code as for any other table. Then it replaces every text that depends on the table by a
//! placeholder, which the script fills in. The functions of different sets of options have most lines in common, so they are
//! merged: a margin in front of each line names the sets that have it. The expressions for a column of each type are generated
//! in the same way.

mod margin;
mod sample;

use std::collections::BTreeMap;

use postgres_protocol::escape::escape_literal;
use serde_json::json;

use self::margin::margined;
use self::sample::{Sample, fragments};
use super::spec::TriggerSpec;
use super::template::{dollar_quoted, render};
use super::validate::check_options;
use super::{
    VERSION, desired, expression, inspect, manifest, migration, notify, outbox, rows_query, shared,
};
use crate::error::{Error, ErrorKind, Result};
use crate::name::ChannelName;
use crate::types::{MAX_DEPTH, Type};

/// Returns a script for migration tools that installs `specs`.
///
/// The script is one SQL statement, which runs inside a transaction or outside of one. It leads to the same state as
/// [`install`](super::install()), or with `narrow` as [`plan`](super::plan()), whatever was installed before. Running it again
/// changes nothing. The tables must exist when the script runs, not when it is written.
///
/// While other transactions lock the tables, the script waits for at most half a second at a time and retries, up to 20 attempts,
/// as [`Plan::apply`](super::Plan::apply) does. It does not [rehearse](super::Plan::rehearse) functions with more than a hundred
/// columns. If they exceed a limit of the server, they announce or record the whole table.
///
/// # Errors
/// If there is no specification, two are of one table, or the options of one contradict each other.
///
/// # Examples
/// ```
/// use pgherald_core::TableName;
/// use pgherald_core::trigger::{TriggerSpec, migration_script};
///
/// # fn main() -> pgherald_core::Result<()> {
/// let orders = TriggerSpec::new(TableName::new("public", "orders")?).columns(["total"]).outbox();
/// let script = migration_script(&[orders], false)?;
/// assert!(script.contains(r#""table":"orders""#));
/// # Ok(())
/// # }
/// ```
pub fn migration_script(specs: &[TriggerSpec], narrow: bool) -> Result<String> {
    if specs.is_empty() {
        return Err(Error::new(
            ErrorKind::Spec,
            "a script needs at least one table",
        ));
    }
    super::plan::refuse_duplicates(specs)?;
    for spec in specs {
        check_options(spec)?;
    }
    let tables = specs.iter().map(serde_json::to_string);
    let tables = tables.collect::<std::result::Result<Vec<_>, _>>();
    let tables = tables.map_err(manifest::serialization_error)?;
    let tables = format!("[\n    {}\n]", tables.join(",\n    "));
    let modes = Modes {
        notify: specs.iter().any(|spec| !spec.is_outbox()),
        outbox: specs.iter().any(TriggerSpec::is_outbox),
    };
    let body = body(&dollar_quoted(&tables), narrow, modes)?;
    let values = [
        ("release", env!("CARGO_PKG_VERSION")),
        ("body", &*dollar_quoted(&body)),
    ];
    render(include_str!("sql/script/script.sql"), &values)
}

/// The parts of the script, in the order in which they run.
const BODY: [&str; 6] = [
    include_str!("sql/script/1_declarations.sql"),
    include_str!("sql/script/2_inspection.sql"),
    include_str!("sql/script/3_shared.sql"),
    include_str!("sql/script/4_options.sql"),
    include_str!("sql/script/5_function.sql"),
    include_str!("sql/script/6_triggers.sql"),
];

/// The modes of the tables. The script lacks parts that only the other mode needs.
#[derive(Clone, Copy, Debug)]
struct Modes {
    notify: bool,
    outbox: bool,
}

fn body(tables: &str, narrow: bool, modes: Modes) -> Result<String> {
    let needed = |is_needed: bool, text: String| match is_needed {
        true => text,
        false => "NULL".to_owned(),
    };
    let migrations = migration::MIGRATIONS.map(|(_, sql)| text(sql));
    let settings = |sql: &str| escape_literal(sql.trim_end());
    let number = |number: u64| number.to_string();
    let values = [
        ("tables", tables.to_owned()),
        ("narrow", narrow.to_string()),
        ("release", env!("CARGO_PKG_VERSION").to_owned()),
        ("version", number(VERSION.into())),
        ("inspect", text(include_str!("sql/inspect.sql"))),
        (
            "notify_rows_arguments",
            escape_literal(inspect::NOTIFY_ROWS_ARGUMENTS),
        ),
        (
            "rows_query_arguments",
            escape_literal(inspect::ROWS_QUERY_ARGUMENTS),
        ),
        ("fragments", dollar_quoted(&fragments()?)),
        (
            "type_names",
            dollar_quoted(&json!(Type::of_servers().collect::<BTreeMap<_, _>>()).to_string()),
        ),
        (
            "key_type_names",
            dollar_quoted(&json!(Type::of_servers_keys().collect::<BTreeMap<_, _>>()).to_string()),
        ),
        ("max_depth", MAX_DEPTH.to_string()),
        ("max_types", notify::MAX_TYPES.to_string()),
        (
            "notify_body",
            needed(modes.notify, text(&function_body(false)?)),
        ),
        (
            "outbox_body",
            needed(modes.outbox, text(&function_body(true)?)),
        ),
        (
            "outbox_updated",
            needed(modes.outbox, text(&outbox_updated()?)),
        ),
        ("rows_query_call", text(&rows_query_call()?)),
        ("table_function", text(&table_function()?)),
        ("table_trigger", text(&table_trigger()?)),
        (
            "table_relation",
            needed(modes.outbox, text(&table_relation()?)),
        ),
        ("notify_rows", text(&shared::notify_rows("@{body}@")?)),
        ("notify_rows_body", text(shared::BODY)),
        ("rows_query", text(&shared::rows_query("@{body}@")?)),
        ("rows_query_body", text(shared::ROWS_QUERY)),
        (
            "rows_query_settings",
            escape_literal(&json!(shared::PINNED).to_string()),
        ),
        ("schema_comment", escape_literal(shared::SCHEMA_COMMENT)),
        (
            "outbox_functions",
            needed(modes.outbox, text(&migration::functions()?)),
        ),
        (
            "outbox_guard",
            needed(
                modes.outbox,
                text(&render(
                    include_str!("sql/objects/migrating_body.sql"),
                    &[("from", "@{from}@")],
                )?),
            ),
        ),
        (
            "outbox_rows",
            needed(modes.outbox, text(include_str!("sql/outbox_rows.sql"))),
        ),
        ("outbox_seed", needed(modes.outbox, text(migration::SEED))),
        (
            "outbox_migrations",
            needed(modes.outbox, format!("ARRAY[{}]", migrations.join(", "))),
        ),
        (
            "lock",
            text(&render(
                include_str!("sql/objects/lock.sql"),
                &[("schema", "@{schema}@")],
            )?),
        ),
        ("schema", text(&shared::make_schema()?)),
        (
            "require",
            text(&render(
                include_str!("sql/objects/require_shared_body.sql"),
                &[("functions", "@{functions}@"), ("tables", "@{tables}@")],
            )?),
        ),
        ("unlock", text(include_str!("sql/objects/unlock.sql"))),
        ("default_channel", escape_literal(ChannelName::DEFAULT)),
        (
            "default_limit",
            number(TriggerSpec::DEFAULT_VALUE_LIMIT.into()),
        ),
        (
            "known_options",
            escape_literal(&format!("{{{}}}", manifest::OPTIONS.join(","))),
        ),
        (
            "longest_numeric",
            number(expression::LONGEST_NUMERIC.into()),
        ),
        ("no_columns_outbox", escape_literal(outbox::NONE)),
        ("no_columns_notify", escape_literal(notify::NONE)),
        ("no_cols", escape_literal(notify::NO_COLS)),
        ("cols", escape_literal(&notify::fitting("r.c"))),
        (
            "search_path",
            settings(include_str!("sql/objects/search_path.sql")),
        ),
        (
            "names_settings",
            settings(include_str!("sql/objects/names_settings.sql")),
        ),
        (
            "text_settings",
            settings(include_str!("sql/objects/text_settings.sql")),
        ),
        (
            "compare_settings",
            settings(include_str!("sql/objects/compare_settings.sql")),
        ),
    ];
    let values: Vec<_> = values
        .iter()
        .map(|(name, value)| (*name, &**value))
        .collect();
    render(&BODY.concat(), &values)
}

/// An SQL expression for a text of several lines, which stays readable.
fn text(text: &str) -> String {
    // Removes the line break after the opening quotes.
    format!("pg_catalog.substr({}, 2)", dollar_quoted(text))
}

/// The bodies of the functions of one mode, by three options: key, `when_changed`, and replicated rows.
fn function_body(is_outbox: bool) -> Result<String> {
    margined(8, |options| {
        let sample = Sample {
            is_outbox,
            has_key: options & 4 != 0,
            is_unique: true,
            has_columns: options & 4 != 0,
            has_watched: options & 2 != 0,
            has_old: false,
            is_replicated: options & 1 != 0,
        };
        sample.written(desired::body).map(Some)
    })
}

/// The query that lists the rows of an UPDATE in outbox mode, by four options: unique key, `when_changed`, old columns, and
/// columns.
fn outbox_updated() -> Result<String> {
    margined(16, |options| {
        let sample = Sample {
            is_outbox: true,
            has_key: true,
            is_unique: options & 8 != 0,
            has_watched: options & 4 != 0,
            has_old: options & 2 != 0,
            has_columns: options & 1 != 0,
            is_replicated: false,
        };
        match sample.has_old && !sample.has_columns {
            true => Ok(None),
            false => sample.written(outbox::paired).map(Some),
        }
    })
}

fn rows_query_call() -> Result<String> {
    let values = [
        ("label", "@{label}@"),
        ("names", "@{names}@"),
        ("types", "@{types}@"),
        ("values", "@{values}@"),
        ("key_length", "@{key_length}@"),
        ("watched", "@{watched_names}@"),
        ("has_old", "@{has_old}@"),
        ("is_pinned", "@{is_pinned}@"),
    ];
    render(rows_query::CALL.trim_end(), &values)
}

fn table_function() -> Result<String> {
    let values = [
        ("function", "pgherald.@{function}@"),
        ("settings", "@{settings}@"),
        ("body", "@{body_quoted}@"),
    ];
    render(include_str!("sql/objects/table_function.sql"), &values)
}

fn table_trigger() -> Result<String> {
    let values = [
        ("create", "@{create}@"),
        ("trigger", "@{trigger}@"),
        ("event", "@{event}@"),
        ("table", "@{table}@"),
        ("referencing", "@{referencing}@"),
        ("level", "@{level}@"),
        ("function", "@{function}@"),
    ];
    render(include_str!("sql/objects/trigger.sql"), &values)
}

fn table_relation() -> Result<String> {
    let values = [
        ("relation", "@{relation_id}@"),
        ("schema", "@{schema}@"),
        ("table", "@{table}@"),
        ("key_names", "@{outbox_key}@"),
        ("types", "@{column_types}@"),
    ];
    render(include_str!("sql/objects/outbox_relation.sql"), &values)
}
