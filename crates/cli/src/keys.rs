//! Keys of rows as JSON.

use pgherald_core::{Event, KeyPart, RowKey};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// The key's values under their columns' names, or, where those are not told, in their order.
#[derive(Debug)]
pub(crate) struct Key<'a>(&'a Event);

impl<'a> Key<'a> {
    /// Of a row, if the event is about one.
    pub(crate) fn of(event: &'a Event) -> Option<Self> {
        event.key().map(|_| Self(event))
    }
}

/// The word for the whole key in a condition, whatever its columns are called.
pub(crate) const KEY: &str = "key";

/// Whether an event is about a row whose key fulfils all `conditions`, each a column and a value. `None` if it is about no row.
pub(crate) fn fulfils(event: &Event, conditions: &[(String, String)]) -> Option<bool> {
    let key = event.key()?;
    let does = |(column, value): &(String, String)| {
        if column == KEY {
            return key.to_string() == *value;
        }
        let mut names = event.key_columns().iter();
        let place = names.position(|name| **name == **column);
        let part = place.and_then(|place| key.parts().get(place));
        part.is_some_and(|part| part.to_string() == *value)
    };
    Some(conditions.iter().all(does))
}

struct Part<'a>(&'a KeyPart);

impl Serialize for Key<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parts = self.0.key().map_or(&[][..], RowKey::parts);
        let names = self.0.key_columns();
        if names.len() == parts.len() {
            let mut map = serializer.serialize_map(Some(parts.len()))?;
            for (name, part) in names.iter().zip(parts) {
                map.serialize_entry(name, &Part(part))?;
            }
            map.end()
        } else {
            let mut list = serializer.serialize_seq(Some(parts.len()))?;
            for part in parts {
                list.serialize_element(&Part(part))?;
            }
            list.end()
        }
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            KeyPart::Null => serializer.serialize_unit(),
            KeyPart::Bool(value) => serializer.serialize_bool(*value),
            KeyPart::Int(value) => serializer.serialize_i64(*value),
            KeyPart::Text(value) => serializer.serialize_str(value),
        }
    }
}
