//! The fields of a payload, as serde reads them.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::RowKey;
use crate::operation::Operation;

/// The newest payload version that this decoder supports.
const VERSION: u32 = 1;

#[derive(Deserialize)]
pub(super) struct Payload<'a> {
    #[serde(default)]
    pub(super) v: Option<u32>,
    pub(super) operation: Operation,
    #[serde(borrow)]
    pub(super) table: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) sent_at: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) schema: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) xid: Option<u64>,
    #[serde(borrow, default)]
    pub(super) key: Option<&'a RawValue>,
    #[serde(default)]
    pub(super) keys: Keys,
    #[serde(borrow, default)]
    pub(super) types: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) columns: PerRow<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) channel: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) outbox_id: Option<i64>,
    #[serde(borrow, default)]
    pub(super) old_columns: PerRow<&'a RawValue>,
    #[serde(default)]
    pub(super) changed: PerRow<Vec<String>>,
}

/// A field with an element for each row, or without any.
pub(super) type PerRow<T> = Option<Vec<Option<T>>>;

impl Payload<'_> {
    pub(super) fn check_version(&self) -> Result<(), String> {
        match self.v {
            Some(version) if version > VERSION => {
                Err(format!("version {version} is newer than {VERSION}"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that there is an element for each row, or none at all.
    pub(super) fn check_rows(&self) -> Result<(), String> {
        let fits = |length| match &self.keys {
            Keys::Unknown => length <= 1,
            Keys::One(_) => length == 1,
            Keys::Many(keys) => length == keys.len(),
        };
        for (name, length) in [
            ("columns", self.columns.as_ref().map(Vec::len)),
            ("old_columns", self.old_columns.as_ref().map(Vec::len)),
            ("changed", self.changed.as_ref().map(Vec::len)),
        ] {
            if !length.is_none_or(fits) {
                return Err(format!("the numbers of keys and {name} differ"));
            }
        }
        Ok(())
    }
}

/// The rows of a payload. One row, the common case, needs no allocation.
#[derive(Default)]
pub(super) enum Keys {
    #[default]
    Unknown,
    One(RowKey),
    Many(Vec<RowKey>),
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;

        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of row keys")
            }

            fn visit_unit<E>(self) -> Result<Keys, E> {
                Ok(Keys::Unknown)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Keys, A::Error> {
                let Some(first) = seq.next_element::<RowKey>()? else {
                    return Ok(Keys::Unknown);
                };
                let Some(second) = seq.next_element::<RowKey>()? else {
                    return Ok(Keys::One(first));
                };
                let mut keys = vec![first, second];
                while let Some(key) = seq.next_element()? {
                    keys.push(key);
                }
                Ok(Keys::Many(keys))
            }
        }

        deserializer.deserialize_any(KeysVisitor)
    }
}
