//! Installations as a script for migrations, which is the same for every database.
//!
//! A plan is SQL for one database in one state. A migration runs on many, among them some that do not exist yet. So the script
//! looks everything up when it runs: the statement that [`inspect`](super::inspect()) runs is part of it.
//!
//! Nothing in the script writes functions on its own. Here, the functions of every set of options are written for a sample
//! table, as for any other table; then every text that depends on the table is replaced by a placeholder. Functions of several
//! sets of options have most lines in common, so they are merged: a margin in front of each line names the sets that have it.
//! The same is done with the expressions for a column of each type. The script fills the placeholders in.

use postgres_protocol::escape::escape_literal;
use serde_json::json;

use super::actual::{Column, Member, Table};
use super::expression::{self, Size};
use super::replicated;
use super::spec::TriggerSpec;
use super::template::{dollar_quoted, render};
use super::validate::{Valid, check_options};
use super::{VERSION, desired, inspect, manifest, migration, outbox, rows_query, shared};
use crate::error::{Error, Kind, Result};
use crate::name::{ChannelName, TableName};
use crate::types::{MAX_DEPTH, Type};

/// Names of the sample table, which occur in no template.
const SCHEMA: &str = "sampleschema";
const TABLE: &str = "sampletable";
const CHANNEL: &str = "samplechannel";
const FUNCTION: &str = "samplefunction";
const KEY: &str = "samplekey";
const COLUMN: &str = "samplecolumn";
const WATCHED: &str = "samplewatched";
/// A limit that leads to no number that occurs elsewhere.
const LIMIT: u32 = 3_987_654_321;

/// Writes a script for migrations that installs `specs`.
///
/// The script is one SQL statement, which runs within a transaction and without one. It leads from any state to the one that
/// [`install`](super::install()) leads to; with `narrow`, to the one that [`plan`](super::plan()) leads to. Running it again
/// changes nothing. The tables have to exist when it runs, not when it is written.
///
/// While other transactions lock the tables, it waits for half a second at a time, as [`Plan::apply`](super::Plan::apply) does,
/// and gives up after some seconds. It does not try functions with more than a hundred columns first: if they exceed a limit of
/// the server, they announce or record the whole table.
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
        return Err(Error::new(Kind::Spec, "a script needs at least one table"));
    }
    super::plan::refuse_twice(specs)?;
    for spec in specs {
        check_options(spec)?;
    }
    let tables = specs.iter().map(serde_json::to_string);
    let tables = tables.collect::<std::result::Result<Vec<_>, _>>();
    let tables = tables.map_err(manifest::not_written)?;
    let tables = format!("[\n    {}\n]", tables.join(",\n    "));
    let body = body(&dollar_quoted(&tables), narrow)?;
    let values = [
        ("release", env!("CARGO_PKG_VERSION")),
        ("body", &*dollar_quoted(&body)),
    ];
    render(include_str!("sql/script/script.sql"), &values)
}

fn body(tables: &str, narrow: bool) -> Result<String> {
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
            dollar_quoted(
                &json!(Type::of_servers().collect::<std::collections::BTreeMap<_, _>>())
                    .to_string(),
            ),
        ),
        ("max_depth", MAX_DEPTH.to_string()),
        ("max_types", desired::MAX_TYPES.to_string()),
        ("notify_body", text(&notify_body()?)),
        ("outbox_body", text(&outbox_body()?)),
        ("outbox_updated", text(&outbox_updated()?)),
        ("rows_query_call", text(&rows_query_call()?)),
        ("table_function", text(&table_function()?)),
        ("table_trigger", text(&table_trigger()?)),
        ("table_relation", text(&table_relation()?)),
        ("notify_rows", text(&shared::notify_rows("@{body}@")?)),
        ("notify_rows_body", text(shared::BODY)),
        ("rows_query", text(&shared::rows_query("@{body}@")?)),
        ("rows_query_body", text(shared::ROWS_QUERY)),
        (
            "rows_query_settings",
            escape_literal(&json!(shared::PINNED).to_string()),
        ),
        ("schema_comment", escape_literal(shared::SCHEMA_COMMENT)),
        ("outbox_functions", text(&migration::functions()?)),
        (
            "outbox_guard",
            text(&render(
                include_str!("sql/objects/migrating_body.sql"),
                &[("from", "@{from}@")],
            )?),
        ),
        ("outbox_seed", text(migration::SEED)),
        (
            "outbox_migrations",
            format!("ARRAY[{}]", migrations.join(", ")),
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
        ("no_columns_notify", escape_literal(desired::NONE)),
        ("no_cols", escape_literal(desired::NO_COLS)),
        ("cols", escape_literal(&desired::fitting("r.c"))),
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
    render(include_str!("sql/script/script_body.sql"), &values)
}

/// An SQL expression for a text of several lines, which stays readable.
fn text(text: &str) -> String {
    // Without the end of the line behind the opening quotes.
    format!("pg_catalog.substr({}, 2)", dollar_quoted(text))
}

/// The body of a function that announces, by three options: a key, `when_changed`, and replicated rows.
fn notify_body() -> Result<String> {
    margined(8, |options| {
        let sample = Sample {
            is_outbox: false,
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

/// The body of a function that records, by three options: a key, whether updates compare values, and replicated rows.
fn outbox_body() -> Result<String> {
    margined(8, |options| {
        let sample = Sample {
            is_outbox: true,
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

/// The query for the rows after an update in the outbox, by four options: whether the key is unique, `when_changed`, old
/// columns, and columns.
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

/// Options of a sample table.
#[derive(Clone, Copy, Debug)]
struct Sample {
    is_outbox: bool,
    has_key: bool,
    is_unique: bool,
    has_columns: bool,
    has_watched: bool,
    has_old: bool,
    is_replicated: bool,
}

impl Sample {
    /// What `write` writes for the sample table, with placeholders for everything that depends on the table.
    fn written(self, write: impl Fn(&Valid<'_>) -> Result<String>) -> Result<String> {
        let column = |name: &str, has: bool| has.then(|| column(name, "text", false));
        let mut key = Vec::from_iter(column(KEY, self.has_key));
        if self.is_unique {
            key.iter_mut().for_each(|column| column.key_place = Some(1));
        }
        let columns = Vec::from_iter(column(COLUMN, self.has_columns));
        let when_changed = Vec::from_iter(column(WATCHED, self.has_watched));
        let name = TableName::new(SCHEMA, TABLE)?;
        let mut spec = TriggerSpec::new(name.clone());
        spec.replicated = self.is_replicated;
        spec.old_columns = self.has_old;
        spec = match self.is_outbox {
            true => spec.outbox().value_limit(LIMIT),
            false => spec.channel(ChannelName::new(CHANNEL)?),
        };
        let table = Table {
            columns: [&*key, &columns, &when_changed].concat(),
            members: vec![Member::sample(name)],
            ..Table::default()
        };
        let valid = Valid {
            spec: &spec,
            table: &table,
            function: FUNCTION.to_owned(),
            key,
            columns,
            when_changed,
        };
        let mut text = write(&valid)?;
        let written = text.clone();
        for (found, placeholder) in placeholders(&valid)? {
            if found != written {
                text = text.replace(&found, &format!("@{{{placeholder}}}@"));
            }
        }
        match text.contains("sample") {
            true => {
                let message = format!("a function has no placeholder for a part of it: {text}");
                Err(Error::new(Kind::Spec, message))
            }
            false => Ok(text),
        }
    }
}

/// The texts that depend on the table, the longest first, with their placeholders.
fn placeholders(valid: &Valid<'_>) -> Result<Vec<(String, &'static str)>> {
    let (key, columns, watched) = (&valid.key, &valid.columns, &valid.when_changed);
    let limit = valid.value_limit();
    let compared: Vec<_> = key.iter().chain(watched).cloned().collect();
    let is_outbox = valid.spec.is_outbox();
    let read = outbox::read(valid);
    let fields: Vec<_> = match is_outbox {
        true => read.clone(),
        false => key.iter().chain(columns).cloned().collect(),
    };
    let size = match is_outbox {
        true => Size::Unlimited,
        false => Size::Limited,
    };
    let [checks, gone, numbered] = outbox::probes(&read);
    let name = &valid.spec.table;
    let relation = desired::relation_members(name);
    let mut found = vec![
        (expression::comparable(&compared), "watched"),
        (expression::comparable(key), "parts"),
        (replicated::fields(&fields, "NEW"), "new_fields"),
        (replicated::fields(&fields, "OLD"), "old_fields"),
        (replicated::fields(&compared, "NEW"), "new_watched"),
        (replicated::fields(&compared, "OLD"), "old_watched"),
        (replicated::readable(&read, "NEW"), "new_readable"),
        (replicated::readable(&read, "OLD"), "old_readable"),
        (checks, "checks"),
        (gone, "gone"),
        (numbered, "numbered"),
        (
            outbox::named("w", expression::comparables(watched)),
            "watched_values",
        ),
        (outbox::watched_differ(watched.len()), "watched_differ"),
        (
            outbox::named("c", expression::comparables_within(columns, limit)),
            "column_values",
        ),
        (outbox::changed_names(columns, limit), "changed_names"),
        (escape_literal(&name.to_string()), "label"),
        (escape_literal(CHANNEL), "channel"),
        (escape_literal(&relation), "relation"),
        (escape_literal(&expression::names(key)), "key_names"),
        (FUNCTION.to_owned(), "function"),
    ];
    if !key.is_empty() {
        let whole = Size::Unavailable(limit);
        found.push((expression::key(key, size), "key"));
        found.push((rows_query::call(valid, size, whole)?, "rows_query"));
    }
    if !columns.is_empty() {
        found.push((expression::object(columns, limit), "columns"));
        found.push((desired::fitting("r.c"), "cols"));
    }
    if is_outbox {
        found.push((outbox::relation(valid)?.to_string(), "relation_id"));
        if !key.is_empty() {
            found.push((outbox::paired(valid)?, "updated"));
        }
    }
    found.retain(|(text, _)| !text.is_empty());
    // Stable, so that of two equal texts the first one counts.
    found.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    Ok(found)
}

/// Merges the texts for `count` sets of options. In front of each line stand a letter for each set that has it, and a bar.
fn margined(count: u8, write: impl Fn(u8) -> Result<Option<String>>) -> Result<String> {
    let mut merged: Vec<(u32, String)> = Vec::new();
    for options in 0..count {
        if let Some(text) = write(options)? {
            merge(&mut merged, 1 << options, &text);
        }
    }
    let lines = merged.iter().map(|(sets, line)| {
        let letters = (0..count).map(|options| match sets & 1 << options {
            0 => '.',
            _ => char::from(b'a' + options),
        });
        format!("{}|{line}", letters.collect::<String>())
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// Merges the lines of `text`, which belong to `set`, into `merged`: a longest common subsequence of lines is shared.
fn merge(merged: &mut Vec<(u32, String)>, set: u32, text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    let (rows, columns) = (merged.len(), lines.len());
    let mut common = vec![vec![0_usize; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            common[row][column] = match merged[row].1 == lines[column] {
                true => 1 + common[row + 1][column + 1],
                false => common[row + 1][column].max(common[row][column + 1]),
            };
        }
    }
    let before = std::mem::take(merged);
    let mut column = 0;
    for (row, (sets, line)) in before.into_iter().enumerate() {
        // Lines that only this text has come first, unless one of them is found further down.
        while column < columns
            && line != lines[column]
            && common[row][column + 1] > common[row + 1][column]
        {
            merged.push((set, lines[column].to_owned()));
            column += 1;
        }
        let is_shared = column < columns && line == lines[column];
        merged.push((if is_shared { sets | set } else { sets }, line));
        column += usize::from(is_shared);
    }
    let rest = lines[column..].iter();
    merged.extend(rest.map(|line| (set, (*line).to_owned())));
}

/// The expressions for a column of each type, as JSON: one line for all types that have the same expression.
fn fragments() -> Result<String> {
    const TYPES: [&str; 13] = [
        "int2", "int4", "int8", "bool", "uuid", "name", "text", "varchar", "bpchar", "bytea",
        "enum", "inet", "cidr",
    ];
    let others = [("short values", true), ("long values", false)];
    let types = TYPES.map(|name| (name, false)).into_iter().chain(others);
    let mut all: Vec<(&str, String, Vec<&str>)> = Vec::new();
    for (type_name, is_short) in types {
        for (name, text) in expressions(&column(COLUMN, type_name, is_short)) {
            match all.iter_mut().find(|one| one.0 == name && one.1 == text) {
                Some((_, _, types)) => types.push(type_name),
                None => all.push((name, text, vec![type_name])),
            }
        }
    }
    all.sort_by_key(|(name, _, _)| *name);
    let lines = all.iter().map(|(name, text, types)| {
        let (name, types, text) = (json!(name), json!(types), json!(text));
        format!(r#"    {{"name":{name},"types":{types},"text":{text}}}"#)
    });
    let lines = lines.collect::<Vec<_>>().join(",\n");
    match lines.contains("sample") {
        true => {
            let message = format!("an expression has no placeholder for a part of it: {lines}");
            Err(Error::new(Kind::Spec, message))
        }
        false => Ok(format!("[\n{lines}\n]")),
    }
}

/// The expressions for a column, by their names, with placeholders.
fn expressions(column: &Column) -> Vec<(&'static str, String)> {
    let columns = std::slice::from_ref(column);
    let list = |texts: Vec<String>| texts.concat();
    let mut domain = column.clone();
    domain.exact_type = "sampletype".to_owned();
    let numbers = match expression::growth(column) {
        None => Vec::new(),
        Some(growth) => {
            let limit = u64::from(LIMIT);
            let least = limit / growth.most_packed;
            let most = limit * growth.stored / growth.shown + growth.header;
            vec![
                (most.to_string(), "@{most}@"),
                (least.to_string(), "@{least}@"),
            ]
        }
    };
    let mut all = vec![
        ("limited", expression::key(columns, Size::Limited)),
        ("unlimited", expression::key(columns, Size::Unlimited)),
        ("value", expression::key(columns, Size::Unavailable(LIMIT))),
        ("comparable", expression::comparable(columns)),
        (
            "comparable_within",
            list(expression::comparables_within(columns, LIMIT)),
        ),
        (
            "differs",
            expression::differs(column, LIMIT, "n.c@{number}@", "o.c@{number}@"),
        ),
    ];
    for (name, of) in [
        ("checks", "pgherald_now.v@{number}@"),
        ("new_readable", "NEW.@{column}@"),
        ("old_readable", "OLD.@{column}@"),
    ] {
        all.push((name, expression::is_readable(column, of)));
    }
    for (name, of) in [
        ("checks_of_domain", "pgherald_now.v@{number}@"),
        ("new_readable_of_domain", "NEW.@{column}@"),
        ("old_readable_of_domain", "OLD.@{column}@"),
    ] {
        all.push((name, expression::is_readable(&domain, of)));
    }
    for (_, text) in &mut all {
        *text = text.replace(&format!("\"{COLUMN}\""), "@{column}@");
        *text = text.replace("'sampletype'", "@{type}@");
        for (number, placeholder) in &numbers {
            *text = text.replace(number, placeholder);
        }
        *text = text.replace(&LIMIT.to_string(), "@{limit}@");
    }
    if let Some(growth) = expression::growth(column) {
        let numbers = [
            growth.most_packed,
            growth.stored,
            growth.shown,
            growth.header,
        ];
        let numbers = numbers.map(|number| number.to_string());
        all.push(("growth", numbers.join(" ")));
    }
    if expression::needs_settings(columns) {
        all.push(("settings", "true".to_owned()));
    }
    if expression::is_text(column) {
        all.push(("is_text", "true".to_owned()));
    }
    all
}

fn column(name: &str, type_name: &str, is_short: bool) -> Column {
    Column {
        name: name.to_owned(),
        type_name: type_name.to_owned(),
        exact_type: format!("pg_catalog.{type_name}"),
        is_short,
        ..Column::default()
    }
}
