//! Reads row keys from JSON, and writes them.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};

use super::{KeyPart, RowKey};

/// A scalar is a single-column key, an array a composite one.
impl<'de> Deserialize<'de> for RowKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RowKeyVisitor)
    }
}

impl<'de> Deserialize<'de> for KeyPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KeyPartVisitor)
    }
}

/// As read: a scalar for a single-column key, an array for a composite one.
impl Serialize for RowKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.parts() {
            [part] => part.serialize(serializer),
            parts => serializer.collect_seq(parts),
        }
    }
}

impl Serialize for KeyPart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Text(value) => serializer.serialize_str(value),
        }
    }
}

struct KeyPartVisitor;

impl Visitor<'_> for KeyPartVisitor {
    type Value = KeyPart;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key column: null, a boolean, a 64-bit integer or a string")
    }

    fn visit_unit<E: de::Error>(self) -> Result<KeyPart, E> {
        Ok(KeyPart::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<KeyPart, E> {
        Ok(KeyPart::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<KeyPart, E> {
        Ok(KeyPart::Int(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<KeyPart, E> {
        i64::try_from(value)
            .map(KeyPart::Int)
            .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<KeyPart, E> {
        Ok(KeyPart::Text(value.into()))
    }
}

struct RowKeyVisitor;

impl<'de> Visitor<'de> for RowKeyVisitor {
    type Value = RowKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row key: one key column, or an array of them")
    }

    fn visit_unit<E: de::Error>(self) -> Result<RowKey, E> {
        KeyPartVisitor.visit_unit().map(RowKey::one)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<RowKey, E> {
        KeyPartVisitor.visit_bool(value).map(RowKey::one)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<RowKey, E> {
        KeyPartVisitor.visit_i64(value).map(RowKey::one)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<RowKey, E> {
        KeyPartVisitor.visit_u64(value).map(RowKey::one)
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<RowKey, E> {
        KeyPartVisitor.visit_str(value).map(RowKey::one)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RowKey, A::Error> {
        let mut parts = Vec::with_capacity(2);
        while let Some(part) = seq.next_element()? {
            parts.push(part);
        }
        if parts.is_empty() {
            return Err(de::Error::invalid_length(0, &self));
        }
        Ok(RowKey::new(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyPart, RowKey};

    #[test]
    fn row_keys_deserialize_from_json() {
        let cases: [(&str, RowKey); 5] = [
            ("7", RowKey::from(7)),
            ("-9223372036854775808", RowKey::from(i64::MIN)),
            ("\"a\\\"b\"", RowKey::from("a\"b")),
            ("[7,\"eu\"]", RowKey::from((7, "eu"))),
            (
                "[null,true]",
                RowKey::new([KeyPart::Null, KeyPart::Bool(true)]),
            ),
        ];
        for (json, key) in cases {
            assert_eq!(serde_json::from_str::<RowKey>(json).unwrap(), key, "{json}");
            assert_eq!(serde_json::to_string(&key).unwrap(), json);
        }
    }

    #[test]
    fn invalid_json_keys_are_refused() {
        for json in ["{}", "1.5", "[]", "[[1]]", "18446744073709551615"] {
            assert!(serde_json::from_str::<RowKey>(json).is_err(), "{json}");
        }
    }
}
