//! Converts the text that PostgreSQL writes for a value into a typed value.
//!
//! Triggers write each value as text, and so does the server's log. The types of the columns are sent once: in the outbox's
//! description of a table, or in a member of a payload. This module is the only table of types. The installer maps the catalog's
//! types to it, `read` passes typed values to serde, and `write` converts them to JSON.
//!
//! Converting a text never fails. A text that does not fit its column's type, because the column has another type now, stays text.

mod plain;
mod read;
mod row;
mod spelling;
mod text;
mod unavailable;
mod value;
mod write;

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

pub(crate) use read::{Error, from_columns};
pub(crate) use row::{RowParts, from_row};
pub(crate) use spelling::{SameKey, unfit};
pub(crate) use unavailable::of as unavailable;
pub(crate) use value::{Columns, Text};
pub(crate) use write::to_json;

/// The maximum number of nested arrays and composites. Types nested deeper are read as text.
pub(crate) const MAX_DEPTH: usize = 16;

/// How the text of a value is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Type {
    /// The text is the value: strings, enums, ranges, addresses, UUIDs, intervals, and types of extensions. For a key column, also
    /// that each value has exactly one text.
    #[default]
    Text,
    Integer,
    Boolean,
    Float,
    Numeric,
    /// `json` and `jsonb`.
    Json,
    Bytes,
    Date,
    Timestamp,
    TimestampTz,
    TimeTz,
    // The types up to `Other` are read as text. They are distinguished for key columns only, because their values have several
    // spellings.
    Time,
    Uuid,
    Interval,
    /// `character(n)`.
    Padded,
    /// `inet` and `cidr`.
    Address,
    /// `macaddr` and `macaddr8`.
    Mac,
    /// `citext`.
    Caseless,
    /// Text with a nondeterministic collation.
    Collated,
    /// Any type whose spellings are not known: ranges, bit strings, types of extensions.
    Other,
    /// An array with any number of dimensions.
    Array {
        element: Box<Type>,
        /// The character between two elements.
        delimiter: char,
    },
    Composite(Fields),
}

/// The names and types of columns or fields, in the order of the declaration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fields(Vec<(Box<str>, Type)>);

/// The types that are written as a name, with their names.
const NAMES: [(&str, Type); 20] = [
    ("text", Type::Text),
    ("int", Type::Integer),
    ("bool", Type::Boolean),
    ("float", Type::Float),
    ("numeric", Type::Numeric),
    ("json", Type::Json),
    ("bytea", Type::Bytes),
    ("date", Type::Date),
    ("timestamp", Type::Timestamp),
    ("timestamptz", Type::TimestampTz),
    ("timetz", Type::TimeTz),
    ("time", Type::Time),
    ("uuid", Type::Uuid),
    ("interval", Type::Interval),
    ("padded", Type::Padded),
    ("address", Type::Address),
    ("mac", Type::Mac),
    ("caseless", Type::Caseless),
    ("collated", Type::Collated),
    ("other", Type::Other),
];

/// The types in `pg_catalog`, and enums, whose texts are read as they are, and whose spellings in a key are known.
const KEY_TEXTS: [(&str, Type); 13] = [
    ("text", Type::Text),
    ("varchar", Type::Text),
    ("name", Type::Text),
    ("char", Type::Text),
    ("enum", Type::Text),
    ("time", Type::Time),
    ("uuid", Type::Uuid),
    ("interval", Type::Interval),
    ("bpchar", Type::Padded),
    ("inet", Type::Address),
    ("cidr", Type::Address),
    ("macaddr", Type::Mac),
    ("macaddr8", Type::Mac),
];

impl Type {
    /// The type for a type of `pg_catalog` that is neither an array nor a composite.
    pub(crate) fn of_server(name: &str) -> Self {
        match name {
            "int2" | "int4" | "int8" | "oid" => Self::Integer,
            "bool" => Self::Boolean,
            "float4" | "float8" => Self::Float,
            "numeric" => Self::Numeric,
            "json" | "jsonb" => Self::Json,
            "bytea" => Self::Bytes,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            "timetz" => Self::TimeTz,
            _ => Self::Text,
        }
    }

    /// The type for a key column whose text is read as it is. It shows which spellings a value may have. The name of an enum is
    /// `enum`.
    pub(crate) fn of_servers_key(name: &str) -> Self {
        let mut texts = KEY_TEXTS.iter();
        let found = texts.find(|(known, _)| *known == name);
        found.map_or(Self::Other, |(_, found)| found.clone())
    }

    /// The names that [`of_servers_key`](Self::of_servers_key) knows, with the names of their types.
    pub(crate) fn of_servers_keys() -> impl Iterator<Item = (&'static str, &'static str)> {
        KEY_TEXTS.iter().map(|(name, of)| (*name, of.name()))
    }

    /// The names in `pg_catalog` whose texts are not read as they are, with the names of their types.
    pub(crate) fn of_servers() -> impl Iterator<Item = (&'static str, &'static str)> {
        const OTHERS: [&str; 8] = [
            "int2", "int4", "int8", "oid", "float4", "float8", "json", "jsonb",
        ];
        let names = NAMES.iter().map(|(name, _)| *name).chain(OTHERS);
        let names = names.map(|name| (name, Self::of_server(name).name()));
        names.filter(|(_, name)| *name != "text")
    }

    fn named(name: &str) -> Self {
        let mut names = NAMES.iter();
        let found = names.find(|(known, _)| *known == name);
        found.map_or(Self::Text, |(_, found)| found.clone())
    }

    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Array { element, .. } => 1 + element.depth(),
            Self::Composite(fields) => 1 + fields.depth(),
            _ => 0,
        }
    }

    fn name(&self) -> &'static str {
        let mut names = NAMES.iter();
        let found = names.find(|(_, known)| known == self);
        found.map_or("text", |(name, _)| name)
    }
}

impl Fields {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the columns for which `keeps` returns true.
    pub(crate) fn only(&self, keeps: &dyn Fn(&str) -> bool) -> Self {
        let kept = self.0.iter().filter(|(name, _)| keeps(name));
        kept.cloned().collect()
    }

    fn depth(&self) -> usize {
        let depths = self.0.iter().map(|(_, field)| field.depth());
        depths.max().unwrap_or_default()
    }

    /// The type of the column or field `name`, or text if it is not listed.
    pub(crate) fn get(&self, name: &str) -> &Type {
        let mut fields = self.0.iter();
        let found = fields.find(|(field, _)| **field == *name);
        found.map_or(&Type::Text, |(_, found)| found)
    }
}

impl FromIterator<(Box<str>, Type)> for Fields {
    fn from_iter<I: IntoIterator<Item = (Box<str>, Type)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

/// A type that has a name is a string, an array type is an array with its element's type, and a composite is an object of its
/// fields.
impl Serialize for Type {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Array { element, delimiter } => {
                let mut seq = serializer.serialize_seq(None)?;
                seq.serialize_element(element)?;
                if *delimiter != ',' {
                    seq.serialize_element(delimiter)?;
                }
                seq.end()
            }
            Self::Composite(fields) => fields.serialize(serializer),
            named => serializer.serialize_str(named.name()),
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, field) in &self.0 {
            map.serialize_entry(name, field)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TypeVisitor)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_map(TypeVisitor)? {
            // Any role may send a payload, and reading its values must not exhaust the stack.
            Type::Composite(fields) if fields.depth() <= MAX_DEPTH => Ok(fields),
            Type::Composite(_) => Err(de::Error::custom(
                "the types of columns are nested too deeply",
            )),
            _ => Err(de::Error::custom("the types of columns must be an object")),
        }
    }
}

struct TypeVisitor;

impl<'de> Visitor<'de> for TypeVisitor {
    type Value = Type;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a type: its name, an array of its element's type, or an object of its fields")
    }

    fn visit_str<E>(self, name: &str) -> Result<Type, E> {
        Ok(Type::named(name))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Type, A::Error> {
        let element = seq.next_element::<Type>()?;
        let element = element.ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let delimiter = seq.next_element()?.unwrap_or(',');
        Ok(Type::Array {
            element: Box::new(element),
            delimiter,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Type, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry::<Box<str>, Type>()? {
            fields.push(field);
        }
        Ok(Type::Composite(Fields(fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, Type};

    #[test]
    fn types_survive_serialization() {
        let json =
            r#"{"a":"numeric","b":["int"],"c":["text",";"],"d":{"x":"json","y":[{"z":"date"}]}}"#;
        let fields: Fields = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&fields).unwrap(), json);
        assert_eq!(*fields.get("a"), Type::Numeric);
        assert_eq!(*fields.get("missing"), Type::Text);
    }

    #[test]
    fn unknown_type_names_mean_text_and_malformed_types_are_errors() {
        let fields: Fields = serde_json::from_str(r#"{"a":"vector"}"#).unwrap();
        assert_eq!(*fields.get("a"), Type::Text);
        let deep = format!(r#"{{"a":{}"int"{}}}"#, "[".repeat(17), "]".repeat(17));
        for bad in [&deep, "[]", r#"{"a":[]}"#, r#"{"a":7}"#, "7"] {
            assert!(serde_json::from_str::<Fields>(bad).is_err(), "{bad}");
        }
    }
}
