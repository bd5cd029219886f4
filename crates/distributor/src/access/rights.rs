//! What a client may receive and do, as it is written in a file of tokens, in the claims of a signed token, or in a program.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use pgherald_core::Operation;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

/// What a client may receive and do. The default is nothing.
///
/// A field that is not known is an error, because a misspelled restriction would otherwise be no restriction.
///
/// ```
/// use pgherald_distributor::Rights;
///
/// let rights: Rights = serde_json::from_str(
///     r#"{"tables":["public.products",{"table":"public.orders","rows":{"tenant":["a"]}}],"channels":["chat_*"]}"#,
/// )?;
/// assert_eq!(rights.tables.len(), 2);
/// assert!(!rights.operate);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rights {
    /// The tables. The first element whose pattern matches the table of an event decides about the event.
    pub tables: Vec<TableRights>,
    /// Patterns of channels of `/pgpubsub`, in which `*` stands for any text. The payloads of a channel are sent as they are, so
    /// a channel on which triggers announce events shows all of their rows and columns.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    /// Whether the client may read the state of the distributor and its groups: metrics and the live page.
    #[serde(skip_serializing_if = "is_false")]
    pub observe: bool,
    /// Whether the client may pause and resume groups, and retry and discard their events. Includes `observe`.
    #[serde(skip_serializing_if = "is_false")]
    pub operate: bool,
}

/// What a client may receive of the tables that a pattern matches.
///
/// In JSON, the pattern alone stands for all of the tables' events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableRights {
    /// A pattern for the schema and one for the name, separated by a dot, such as `public.users` or `shop.*`. `*` alone is any
    /// table.
    pub table: String,
    /// The operations. `None` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<Vec<Operation>>,
    /// The columns whose values are sent. `None` for all. The key of a row is always sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<BTreeSet<String>>,
    /// Values that columns must have, as text: only events whose row has one of the values of each column are sent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rows: BTreeMap<String, BTreeSet<String>>,
}

impl Rights {
    /// Returns all rights.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            tables: vec![TableRights::all("*")],
            channels: vec!["*".to_owned()],
            observe: true,
            operate: true,
        }
    }
}

impl TableRights {
    /// Returns the right to all events of the tables that `pattern` matches.
    #[must_use]
    pub fn all(pattern: impl Into<String>) -> Self {
        Self {
            table: pattern.into(),
            ..Self::default()
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The form of [`TableRights`] with all fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    table: String,
    operations: Option<Vec<Operation>>,
    columns: Option<BTreeSet<String>>,
    #[serde(default)]
    rows: BTreeMap<String, BTreeSet<Value>>,
}

/// A required value. Values are compared as text, so a number may be written as such.
#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(untagged)]
enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

impl Value {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Integer(value) => value.to_string(),
            Self::Boolean(value) => value.to_string(),
        }
    }
}

impl<'de> Deserialize<'de> for TableRights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableVisitor;

        impl<'de> Visitor<'de> for TableVisitor {
            type Value = TableRights;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pattern such as \"public.users\", or an object with the field table")
            }

            fn visit_str<E: de::Error>(self, pattern: &str) -> Result<TableRights, E> {
                Ok(TableRights::all(pattern))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TableRights, A::Error> {
                let fields = Fields::deserialize(MapAccessDeserializer::new(map))?;
                let texts = |values: BTreeSet<Value>| values.into_iter().map(Value::into_text);
                let rows = fields.rows.into_iter();
                Ok(TableRights {
                    table: fields.table,
                    operations: fields.operations,
                    columns: fields.columns,
                    rows: rows
                        .map(|(column, values)| (column, texts(values).collect()))
                        .collect(),
                })
            }
        }

        deserializer.deserialize_any(TableVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::{Rights, TableRights};

    #[test]
    fn rights_are_read_from_json_and_written_as_the_same() {
        let json = r#"{"tables":["a.b",{"table":"c.*","operations":["insert"],"columns":["x"],"rows":{"t":["1",true,7]}}],"channels":["c"],"operate":true}"#;
        let rights: Rights = serde_json::from_str(json).unwrap();
        assert_eq!(rights.tables[0], TableRights::all("a.b"));
        let values: Vec<_> = rights.tables[1].rows["t"].iter().collect();
        assert_eq!(values, ["1", "7", "true"]);
        let again = serde_json::to_string(&rights).unwrap();
        assert_eq!(serde_json::from_str::<Rights>(&again).unwrap(), rights);
    }

    #[test]
    fn what_is_misspelled_is_refused_and_what_is_absent_is_not_granted() {
        for json in [
            r#"{"table":["a.b"]}"#,
            r#"{"tables":[{"table":"a.b","row":{}}]}"#,
            r#"{"tables":[{"rows":{}}]}"#,
            r#"{"tables":[{"table":"a.b","operations":["upsert"]}]}"#,
            r#"{"tables":[{"table":"a.b","rows":{"t":"a"}}]}"#,
            r#"{"tables":[{"table":"a.b","rows":{"t":[null]}}]}"#,
            r#"{"tables":[7]}"#,
            r#"{"tables":"a.b"}"#,
        ] {
            assert!(serde_json::from_str::<Rights>(json).is_err(), "{json}");
        }
        assert_eq!(
            serde_json::from_str::<Rights>("{}").unwrap(),
            Rights::default()
        );
    }
}
