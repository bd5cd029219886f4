//! Generates the functions of a sample table, and the expressions for a column of each type, with placeholders for everything
//! that depends on the table.

use postgres_protocol::escape::escape_literal;
use serde_json::json;

use crate::error::{Error, ErrorKind, Result};
use crate::name::{ChannelName, TableName};
use crate::trigger::catalog::{Column, Member, Table};
use crate::trigger::expression::{self, Size};
use crate::trigger::spec::TriggerSpec;
use crate::trigger::validate::Valid;
use crate::trigger::{notify, outbox, replicated, rows_query};

/// Names of the sample table and its parts. They occur in no template.
const SCHEMA: &str = "sampleschema";
const TABLE: &str = "sampletable";
const CHANNEL: &str = "samplechannel";
const FUNCTION: &str = "samplefunction";
const KEY: &str = "samplekey";
const COLUMN: &str = "samplecolumn";
const WATCHED: &str = "samplewatched";
/// A limit whose derived numbers occur nowhere else in the functions.
const LIMIT: u32 = 3_987_654_321;

#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) is_outbox: bool,
    pub(super) has_key: bool,
    pub(super) is_unique: bool,
    pub(super) has_columns: bool,
    pub(super) has_watched: bool,
    pub(super) has_old: bool,
    pub(super) is_replicated: bool,
}

impl Sample {
    /// Returns the text that `write` generates for the sample table, with placeholders for everything that depends on the table.
    pub(super) fn written(self, write: impl Fn(&Valid<'_>) -> Result<String>) -> Result<String> {
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
                Err(Error::new(ErrorKind::Spec, message))
            }
            false => Ok(text),
        }
    }
}

/// The texts that depend on the table, longest first, with their placeholders.
fn placeholders(valid: &Valid<'_>) -> Result<Vec<(String, &'static str)>> {
    let (key, columns, watched) = (&valid.key, &valid.columns, &valid.when_changed);
    let limit = valid.value_limit();
    // The columns of the sample have different names, so none is listed twice.
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
    let relation = notify::relation_members(name);
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
        found.push((notify::fitting("r.c"), "cols"));
    }
    if is_outbox {
        found.push((outbox::relation(valid)?.to_string(), "relation_id"));
        if !key.is_empty() {
            found.push((outbox::paired(valid)?, "updated"));
        }
    }
    found.retain(|(text, _)| !text.is_empty());
    // The sort is stable: of two equal texts, the first one counts.
    found.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    Ok(found)
}

/// The expressions for a column of each type, as JSON. Types that have the same expression share one line.
pub(super) fn fragments() -> Result<String> {
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
            Err(Error::new(ErrorKind::Spec, message))
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
