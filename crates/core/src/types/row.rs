//! Passes the row of an event to serde: its columns and the columns of its key.

use serde::de::{DeserializeOwned, Deserializer, Visitor};

use super::Fields;
use super::read::{Error, read};
use super::value::{self, Named, Value};
use crate::event::KeyPart;

/// Columns, with the other names of each.
type Aliases<'a> = [(&'a str, &'a [&'a str])];

#[derive(Debug)]
pub(crate) struct RowParts<'a> {
    /// `None` if the event has no columns.
    pub(crate) columns: Option<&'a str>,
    pub(crate) types: &'a Fields,
    pub(crate) key_columns: &'a [&'a str],
    pub(crate) key: &'a [KeyPart],
    /// Columns that the row must have.
    pub(crate) required: &'a [&'a str],
    pub(crate) aliases: &'a Aliases<'a>,
}

/// Reads a row into `T`. Key columns that are missing in its columns are taken from its key.
pub(crate) fn from_row<T: DeserializeOwned>(row: &RowParts<'_>) -> Result<T, Error> {
    read(
        || named(row),
        |named| {
            T::deserialize(Row {
                named,
                has_columns: row.columns.is_some(),
                aliases: row.aliases,
            })
        },
    )
}

fn named<'a>(row: &RowParts<'a>) -> Result<Named<'a>, Error> {
    let mut named = match row.columns {
        Some(json) => value::columns(json, row.types)?,
        None => Vec::new(),
    };
    for (name, part) in row.key_columns.iter().copied().zip(row.key) {
        if !has_any(&named, row.aliases, name) {
            named.push((name.into(), value::of_key(part, row.types.get(name))));
        }
    }
    let mut required = row.required.iter();
    if let Some(missing) = required.find(|name| !has_any(&named, row.aliases, name)) {
        return Err(missing_column(missing));
    }
    Ok(named)
}

fn has(named: &Named<'_>, column: &str) -> bool {
    named.iter().any(|(name, _)| *name == column)
}

/// Whether there is a column of this name, or of another name of the same field.
fn has_any(named: &Named<'_>, aliases: &Aliases<'_>, name: &str) -> bool {
    let mut all = aliases.iter();
    let same = all.find(|(column, others)| *column == name || others.contains(&name));
    has(named, name)
        || same.is_some_and(|(column, others)| {
            has(named, column) || others.iter().any(|other| has(named, other))
        })
}

fn missing_column(name: &str) -> Error {
    Error(format!("the event has no column {name:?}"))
}

/// A row as a deserializer. If the event has no columns, a struct with more fields than the key is an error. Otherwise, its
/// `Option` fields would be `None` although their values are unknown.
struct Row<'a> {
    named: Named<'a>,
    has_columns: bool,
    aliases: &'a Aliases<'a>,
}

impl<'de> Deserializer<'de> for Row<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        Value::Fields(self.named).deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if !self.has_columns
            && let Some(missing) = fields
                .iter()
                .find(|field| !has_any(&self.named, self.aliases, field))
        {
            return Err(missing_column(missing));
        }
        Value::Fields(self.named).deserialize_struct(name, fields, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}
