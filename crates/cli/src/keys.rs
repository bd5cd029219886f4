//! Keys of rows: as JSON, and in conditions such as `--where key=7`.

use pgherald_core::{Event, KeyPart, RowKey};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// The key of an event as JSON: an object of the values by column, or a list of values if the event does not name the columns.
#[derive(Debug)]
pub(crate) struct Key<'a>(&'a Event);

impl<'a> Key<'a> {
    /// Returns the key of the event's row. `None` if the event is not about one row.
    pub(crate) fn of(event: &'a Event) -> Option<Self> {
        event.key().map(|_| Self(event))
    }
}

/// The word that stands for the whole key in a condition.
pub(crate) const KEY: &str = "key";

/// Whether the key of the event's row meets all `conditions`, each a column and a value. `None` if the event is not about one row.
pub(crate) fn meets(event: &Event, conditions: &[(String, String)]) -> Option<bool> {
    let key = event.key()?;
    let is_met = |(column, value): &(String, String)| {
        if column == KEY {
            return key.to_string() == *value;
        }
        let mut names = event.key_columns().iter();
        let place = names.position(|name| **name == **column);
        let part = place.and_then(|place| key.parts().get(place));
        part.is_some_and(|part| part.to_string() == *value)
    };
    Some(conditions.iter().all(is_met))
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
