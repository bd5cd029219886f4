//! SQL expressions over one row of a transition table: its key and columns as JSON text, and what of it
//! decides whether it changed.
//!
//! An expression is null only for a value too large for any payload; SQL null is the text `null`. Values
//! come through the type's output function (`concat`), never through a cast. A cast may lose something: to
//! text it strips the blanks of `char(n)` and adds a mask to `inet`. And it may be the table owner's code,
//! should the column get another type later, run with the rights of the installing role. So nothing here
//! lets the column's type choose a function, but for those that only superusers can make.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde_json::Value;

use super::catalog::Column;

/// Every name is qualified: functions that record in the outbox may run under the writer's `search_path`.
const CONCAT: &str = "OPERATOR(pg_catalog.||)";

/// How the values of a type become JSON, and how they compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// A number with its own form in JSON.
    Integer,
    /// `true` and `false`.
    Boolean,
    /// Short text that no setting changes.
    Plain,
    /// Characters of any length.
    Text,
    /// Bytes of any length.
    Bytes,
    /// An enum's label.
    Label,
    /// Anything else: text that session settings may change.
    Other,
}

fn class(column: &Column) -> Class {
    match column.type_name.as_str() {
        "int2" | "int4" | "int8" => Class::Integer,
        "bool" => Class::Boolean,
        "uuid" | "name" => Class::Plain,
        "text" | "varchar" | "bpchar" => Class::Text,
        "bytea" => Class::Bytes,
        "enum" => Class::Label,
        _ => Class::Other,
    }
}

/// Whether the text of any of these depends on session settings.
pub(super) fn needs_settings<'a>(columns: impl IntoIterator<Item = &'a Column>) -> bool {
    columns
        .into_iter()
        .any(|column| matches!(class(column), Class::Bytes | Class::Other))
}

/// Whether the text of any of these names objects of the database, with their schema or without.
pub(super) fn names_objects<'a>(columns: impl IntoIterator<Item = &'a Column>) -> bool {
    columns.into_iter().any(|column| column.names_objects)
}

/// Whether what is too large for a notification becomes null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Limited,
    Unlimited,
}

/// The key of a row: the value of one column, an array of several.
pub(super) fn key(columns: &[Column], size: Size) -> String {
    match columns {
        [column] => json(column, size),
        columns => {
            let values: Vec<_> = columns.iter().map(|column| json(column, size)).collect();
            let values = values.join(&format!(" {CONCAT} ',' {CONCAT} "));
            format!("'[' {CONCAT} {values} {CONCAT} ']'")
        }
    }
}

/// The extra columns of a row, as an object.
pub(super) fn object(columns: &[Column], size: Size) -> String {
    let mut members = String::new();
    for (index, column) in columns.iter().enumerate() {
        let opening = if index == 0 { '{' } else { ',' };
        let label = format!("{opening}{}:", json_string(&column.name));
        members.push_str(&format!(
            "{} {CONCAT} {} {CONCAT} ",
            escape_literal(&label),
            json(column, size)
        ));
    }
    format!("{members}'}}'")
}

/// What two versions of a row are compared by, as a select list.
///
/// Types with equality of their own kind compare by it only where that is identity; the rest by text, so
/// that `json`, which has none, and case-insensitive types are right.
pub(super) fn comparable(columns: &[Column]) -> String {
    comparables(columns).join(", ")
}

/// The same, one by one.
pub(super) fn comparables(columns: &[Column]) -> Vec<String> {
    let values = columns.iter().map(|column| {
        let value = escape_identifier(&column.name);
        match class(column) {
            Class::Integer | Class::Boolean | Class::Plain | Class::Bytes | Class::Label => value,
            Class::Text => format!("{value} COLLATE pg_catalog.\"C\""),
            Class::Other => format!("{} COLLATE pg_catalog.\"C\"", output(&value)),
        }
    });
    values.collect()
}

/// A JSON array of column names.
pub(super) fn names(columns: &[Column]) -> String {
    columns
        .iter()
        .map(|column| Value::from(&*column.name))
        .collect::<Value>()
        .to_string()
}

/// A JSON string.
pub(super) fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}

/// Text by the type's output function; null stays null.
fn output(value: &str) -> String {
    format!("CASE WHEN {value} IS DISTINCT FROM NULL THEN pg_catalog.concat({value}) END")
}

fn json(column: &Column, size: Size) -> String {
    let value = escape_identifier(&column.name);
    let text = output(&value);
    // Read back from text, which fails if the column has other values now.
    let converted = match class(column) {
        Class::Integer => format!("({text})::pg_catalog.int8"),
        Class::Boolean => format!("({text})::pg_catalog.bool"),
        _ => format!("pg_catalog.to_json({text})"),
    };
    let limit = match class(column) {
        _ if size == Size::Unlimited => None,
        Class::Integer | Class::Boolean | Class::Plain | Class::Label => None,
        Class::Text | Class::Bytes => Some(8000),
        // No type needs four times the bytes of its shortest text.
        Class::Other => Some(32_768),
    };
    let text = format!("coalesce({converted}::pg_catalog.text, 'null')");
    match limit {
        None => text,
        Some(limit) => {
            let size =
                format!("pg_catalog.pg_column_size({value}) OPERATOR(pg_catalog.>=) {limit}");
            format!("CASE WHEN {size} THEN NULL ELSE {text} END")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Column, Size, comparable, key, names, needs_settings, object};

    fn column(name: &str, type_name: &str) -> Column {
        let (name, type_name) = (name.to_owned(), type_name.to_owned());
        Column {
            name,
            type_name,
            declared: String::new(),
            key_place: None,
            is_virtual: false,
            is_short: false,
            names_objects: false,
            is_ambiguous: false,
        }
    }

    #[test]
    fn names_are_quoted_once_for_json_and_once_for_sql() {
        let nasty = [column("it's \"a\\b\"", "int8")];
        assert_eq!(names(&nasty), r#"["it's \"a\\b\""]"#);
        let quoted = r#"CASE WHEN "it's ""a\b""" IS DISTINCT FROM NULL"#;
        assert!(
            key(&nasty, Size::Limited).contains(quoted),
            "{}",
            key(&nasty, Size::Limited)
        );
        let label = r#" E'{"it''s \\"a\\\\b\\"":'"#;
        assert!(
            object(&nasty, Size::Limited).starts_with(label),
            "{}",
            object(&nasty, Size::Limited)
        );
    }

    #[test]
    fn only_text_that_sessions_change_needs_settings() {
        let safe = [
            "int8", "bool", "text", "varchar", "bpchar", "uuid", "enum", "name",
        ];
        assert!(!needs_settings(&safe.map(|name| column("c", name))));
        for name in ["timestamptz", "bytea", "float8", "money", ""] {
            assert!(needs_settings(&[column("c", name)]), "{name}");
        }
    }

    #[test]
    fn types_without_equality_compare_by_text() {
        assert_eq!(comparable(&[column("n", "int4")]), "\"n\"");
        assert!(comparable(&[column("j", "json")]).contains("pg_catalog.concat(\"j\")"));
    }
}
