//! SQL expressions over one row of a transition table: its key and columns as JSON text, and the values that show whether the row
//! changed.
//!
//! The expression of a key is null only if a value is too large for any payload. SQL null is the text `null`. A column whose value
//! is too large is a marker object. No other value is an object (see [`object`]).
//!
//! Values are converted to text by the type's output function (`concat`), never by a cast. A cast may change the value: a cast to
//! text strips the blanks of `char(n)` and adds a mask to `inet`. If the column gets another type later, a cast may also be code
//! of the table's owner, which would run with the rights of the installing role. So no expression here lets the column's type
//! choose a function, except functions that only superusers can create.

use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde_json::Value;

use super::catalog::Column;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Fields, Type};

/// Every name is qualified, because functions that record in the outbox may run under the writer's `search_path`.
const CONCAT: &str = "OPERATOR(pg_catalog.||)";

/// How the values of a type are converted to JSON, and how they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Written as a JSON number.
    Integer,
    /// `true` and `false`.
    Boolean,
    /// Short text that does not depend on settings.
    Plain,
    /// Characters of any length.
    Text,
    /// Bytes of any length.
    Bytes,
    Label,
    /// Any other type: its text may depend on session settings.
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

/// Whether the text of one of these columns depends on session settings other than the `search_path`.
pub(super) fn needs_settings<'a>(columns: impl IntoIterator<Item = &'a Column>) -> bool {
    columns
        .into_iter()
        .any(|column| matches!(class(column), Class::Bytes | Class::Other))
}

/// Whether the text of one of these columns names objects of the database.
pub(super) fn names_objects<'a>(columns: impl IntoIterator<Item = &'a Column>) -> bool {
    columns.into_iter().any(|column| column.names_objects)
}

/// How a large value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// A value too large for any notification becomes null.
    Limited,
    /// A value of any size is kept.
    Unlimited,
    /// A value whose text has more bytes than this becomes a marker object.
    Unavailable(u32),
}

/// The JSON expression of each column.
pub(super) fn values(columns: &[Column], size: Size) -> impl Iterator<Item = String> {
    columns.iter().map(move |column| json(column, size))
}

/// A condition: whether the column `value` has a type that these expressions can read and compare. It reads only the type.
pub(super) fn is_readable(column: &Column, value: &str) -> String {
    let one_of = |types: &[&str]| {
        let types = types
            .iter()
            .map(|name| format!("'pg_catalog.{name}'::pg_catalog.regtype"));
        let types = types.collect::<Vec<_>>().join(", ");
        format!("pg_catalog.pg_typeof({value}) OPERATOR(pg_catalog.=) ANY (ARRAY[{types}])")
    };
    let is_servers = column.exact_type.starts_with("pg_catalog.");
    match class(column) {
        // Read as text, whatever type it has now. `outbox::probes` gives a column that is gone type `void`.
        Class::Other => format!(
            "pg_catalog.pg_typeof({value}) OPERATOR(pg_catalog.<>) 'pg_catalog.void'::pg_catalog.regtype"
        ),
        // A domain or an enum, which may have been renamed.
        _ if !is_servers => format!(
            "pg_catalog.pg_typeof({value}) OPERATOR(pg_catalog.=) pg_catalog.to_regtype({})",
            escape_literal(&column.exact_type)
        ),
        Class::Integer => one_of(&["int2", "int4", "int8"]),
        Class::Text => one_of(&["text", "varchar", "bpchar"]),
        _ => one_of(&[&column.type_name]),
    }
}

/// The key of a row: the value of a single column, or an array of the values of several.
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

/// The columns of a row, as an object. `{"unavailable":{"limit":…}}` replaces a value whose text has more than `limit` bytes.
/// Every other value is a number, a boolean, a string or null.
pub(super) fn object(columns: &[Column], limit: u32) -> String {
    let mut members = String::new();
    for (index, column) in columns.iter().enumerate() {
        let opening = if index == 0 { '{' } else { ',' };
        let label = format!("{opening}{}:", json_string(&column.name));
        members.push_str(&format!(
            "{} {CONCAT} {} {CONCAT} ",
            escape_literal(&label),
            json(column, Size::Unavailable(limit))
        ));
    }
    format!("{members}'}}'")
}

/// A select list of the expressions by which two versions of a row are compared.
///
/// A type is compared by its own equality only if equal values are identical. All other types are compared by text, because some
/// have no equality (`json`), and others ignore differences such as case.
pub(super) fn comparable(columns: &[Column]) -> String {
    comparables(columns).join(", ")
}

/// The same expressions as a list.
pub(super) fn comparables(columns: &[Column]) -> Vec<String> {
    columns.iter().map(comparable_of).collect()
}

fn comparable_of(column: &Column) -> String {
    let value = escape_identifier(&column.name);
    match class(column) {
        Class::Integer | Class::Boolean | Class::Plain | Class::Bytes => value,
        Class::Text => format!("{value} COLLATE pg_catalog.\"C\""),
        // Compared as text, because the function must not fail if the enum is renamed.
        Class::Label | Class::Other => format!("{} COLLATE pg_catalog.\"C\"", output(&value)),
    }
}

/// Replaces large values in comparisons, so that their text is not computed.
const LARGE: &str = "'pgherald: large'";

/// The expressions by which [`differs`] finds the changed columns.
pub(super) fn comparables_within(columns: &[Column], limit: u32) -> Vec<String> {
    let within = |column: &Column| match bounds(column, limit) {
        Some(bounds) if class(column) == Class::Other => {
            let (value, most) = (escape_identifier(&column.name), bounds.most);
            let is_large = larger(&value, most);
            let text = comparable_of(column);
            format!("CASE WHEN {is_large} THEN {LARGE} ELSE {text} END")
        }
        _ => comparable_of(column),
    };
    columns.iter().map(within).collect()
}

/// A condition: whether a column differs between two rows, whose [`comparables_within`] are `new` and `old`.
///
/// A value beyond the limit counts as different, because a comparison would read all of it at each UPDATE of the row.
pub(super) fn differs(column: &Column, limit: u32, new: &str, old: &str) -> String {
    let differs = format!("{new} IS DISTINCT FROM {old}");
    match bounds(column, limit) {
        None => differs,
        Some(_) if class(column) == Class::Other => {
            format!("{new} OPERATOR(pg_catalog.=) {LARGE} OR {differs}")
        }
        // The size of the value itself, which does not fetch it from the storage of large values.
        Some(bounds) => format!("{} OR {differs}", larger(new, bounds.most)),
    }
}

pub(super) fn names(columns: &[Column]) -> String {
    columns
        .iter()
        .map(|column| Value::from(&*column.name))
        .collect::<Value>()
        .to_string()
}

/// The types by which texts of columns are read, as a JSON object. Columns are left out if their texts are read as they are, or if
/// their values are JSON numbers or booleans. `None` if none remains. Types of key columns have more names, which show readers
/// whether values have several spellings.
pub(super) fn types(key: &[Column], columns: &[Column]) -> Result<Option<String>> {
    let in_key = |column: &&Column| key.iter().any(|part| part.name == column.name);
    let columns = columns.iter().filter(|column| !in_key(column));
    let columns = columns.map(|column| (column, column.read_as.clone()));
    let key = key.iter().map(|column| (column, key_type(column)));
    let texts = key
        .chain(columns)
        .filter(|(column, read_as)| *read_as != Type::Text && is_text(column));
    let types = texts.map(|(column, read_as)| (column.name.as_str().into(), read_as));
    let types = types.collect::<Fields>();
    if types.is_empty() {
        return Ok(None);
    }
    let json = serde_json::to_string(&types).map_err(|cause| {
        Error::with_source(
            ErrorKind::Spec,
            "the types of columns cannot be described",
            cause,
        )
    })?;
    Ok(Some(json))
}

/// The type of a key column. It differs from the type by which the text is read if the text is read as it is, but values have
/// several spellings. The script for migrations must agree with this function.
pub(super) fn key_type(column: &Column) -> Type {
    match &*column.type_name {
        "text" | "varchar" | "bpchar" | "name" if column.is_ambiguous => Type::Collated,
        _ if column.read_as != Type::Text => column.read_as.clone(),
        "" if column.exact_type.ends_with(".citext") => Type::Caseless,
        name => Type::of_servers_key(name),
    }
}

/// Whether a value is a string in JSON, rather than a number or a boolean.
pub(super) fn is_text(column: &Column) -> bool {
    !matches!(class(column), Class::Integer | Class::Boolean)
}

pub(super) fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}

/// Text by the type's output function. Null stays null.
fn output(value: &str) -> String {
    format!("CASE WHEN {value} IS DISTINCT FROM NULL THEN pg_catalog.concat({value}) END")
}

fn larger(value: &str, bytes: u64) -> String {
    format!("pg_catalog.pg_column_size({value}) OPERATOR(pg_catalog.>) {bytes}")
}

/// Stored sizes that show whether the text of a value exceeds the limit. A stored value may be compressed.
struct Bounds {
    /// A value with at most this stored size is within the limit.
    least: u64,
    /// A value with more than this stored size is beyond the limit.
    most: u64,
}

/// `None` if no text of the column's type exceeds the limit.
fn bounds(column: &Column, limit: u32) -> Option<Bounds> {
    let growth = growth(column)?;
    // A numeric has at most 131,072 digits before the point, and 16,383 after it.
    if column.type_name == "numeric" && limit >= LONGEST_NUMERIC {
        return None;
    }
    let limit = u64::from(limit);
    Some(Bounds {
        least: limit / growth.most_packed,
        most: limit * growth.stored / growth.shown + growth.header,
    })
}

/// Every `numeric` is within a limit of at least this many bytes.
pub(super) const LONGEST_NUMERIC: u32 = 150_000;

/// How the stored size of a value is related to the size of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Growth {
    /// The maximum number of bytes of text for each stored byte.
    pub(super) most_packed: u64,
    /// At most `stored` bytes are stored for each `shown` bytes of text, and `header` bytes more.
    pub(super) stored: u64,
    pub(super) shown: u64,
    pub(super) header: u64,
}

/// `None` if every text of the column's type is short.
pub(super) fn growth(column: &Column) -> Option<Growth> {
    let (most_packed, stored, shown, header) = match class(column) {
        Class::Integer | Class::Boolean | Class::Plain | Class::Label => return None,
        Class::Other if column.is_short => return None,
        Class::Other if matches!(&*column.type_name, "inet" | "cidr") => return None,
        // No compression method reduces a value to less than 1/255 of its size. A header has four bytes.
        Class::Text => (256, 1, 1, 4),
        Class::Bytes => (512, 1, 2, 4),
        // A numeric of seven bytes can have 147,456 characters. No type stores four times the bytes of its shortest text.
        Class::Other => (32_768, 4, 1, 0),
    };
    Some(Growth {
        most_packed,
        stored,
        shown,
        header,
    })
}

fn json(column: &Column, size: Size) -> String {
    let value = escape_identifier(&column.name);
    let characters = format!("pg_catalog.concat({value})");
    // Numbers and booleans are converted back from text. That fails if the column has another type with other values now.
    let converted = match class(column) {
        Class::Integer => format!("{characters}::pg_catalog.int8"),
        Class::Boolean => format!("{characters}::pg_catalog.bool"),
        _ => format!("pg_catalog.to_json({characters})"),
    };
    let text = format!(
        "CASE WHEN {value} IS DISTINCT FROM NULL THEN {converted}::pg_catalog.text ELSE 'null' END"
    );
    match size {
        Size::Unlimited => text,
        Size::Limited => match class(column) {
            Class::Integer | Class::Boolean | Class::Plain | Class::Label => text,
            Class::Text | Class::Bytes => {
                format!(
                    "CASE WHEN {} THEN NULL ELSE {text} END",
                    larger(&value, 7_999)
                )
            }
            Class::Other => {
                format!(
                    "CASE WHEN {} THEN NULL ELSE {text} END",
                    larger(&value, 32_767)
                )
            }
        },
        Size::Unavailable(limit) => match bounds(column, limit) {
            None => text,
            Some(Bounds { least, most }) => {
                // The stored size is compared first. It shows that most values are small enough, and a value that is certainly
                // too large is neither read nor converted.
                let is_candidate = larger(&value, least);
                let is_large = larger(&value, most);
                let length = format!(
                    "pg_catalog.octet_length(pg_catalog.concat({value})) OPERATOR(pg_catalog.>) {limit}"
                );
                let beyond = format!(
                    "CASE WHEN {is_candidate} THEN CASE WHEN {is_large} THEN true ELSE {length} END END"
                );
                format!(
                    r#"CASE WHEN {beyond} THEN '{{"unavailable":{{"limit":{limit}}}}}' ELSE {text} END"#
                )
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Column, Size, comparable, key, names, needs_settings, object};

    fn column(name: &str, type_name: &str) -> Column {
        let (name, type_name) = (name.to_owned(), type_name.to_owned());
        Column {
            name,
            exact_type: format!("pg_catalog.{type_name}"),
            type_name,
            ..Column::default()
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
            object(&nasty, 8_000).starts_with(label),
            "{}",
            object(&nasty, 8_000)
        );
    }

    #[test]
    fn only_text_that_depends_on_session_settings_needs_settings() {
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
