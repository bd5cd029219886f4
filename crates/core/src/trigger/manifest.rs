//! Specifications as text: the stored requirements of groups, and the manifest that a program exports.
//!
//! ```json
//! [{"schema":"public","table":"orders","mode":"outbox","key":["id"],"columns":["total"],"old_columns":true}]
//! ```
//!
//! A missing field has its default: `mode` is `notify`, `operations` are all, `key` is the primary key. `columns` is an array
//! of names, or `"*"`. `optional_columns` are columns that the table may lack.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::spec::{Mode, TriggerSpec};
use crate::error::{Error, ErrorKind};
use crate::name::{ChannelName, TableName};
use crate::operation::{Operation, OperationSet};

/// Returns specifications as a manifest: a JSON array, which `pgherald install --from` installs.
///
/// # Errors
/// If the JSON writer fails, for which there is no known cause.
pub fn to_manifest(specs: &[TriggerSpec]) -> crate::Result<String> {
    serde_json::to_string_pretty(specs).map_err(serialization_error)
}

pub(super) fn serialization_error(cause: serde_json::Error) -> Error {
    Error::with_source(
        ErrorKind::Spec,
        "the specifications cannot be written as JSON",
        cause,
    )
}

/// The names of the fields of a specification.
pub(super) const OPTIONS: [&str; 12] = [
    "schema",
    "table",
    "mode",
    "channel",
    "key",
    "columns",
    "optional_columns",
    "old_columns",
    "operations",
    "when_changed",
    "value_limit",
    "replicated",
];

/// Reads a manifest, and returns its specifications.
///
/// ```
/// use pgherald_core::__private::host::trigger::from_manifest;
/// use pgherald_core::trigger::{TriggerSpec, to_manifest};
/// use pgherald_core::TableName;
///
/// # fn main() -> pgherald_core::Result<()> {
/// let orders = TriggerSpec::new(TableName::new("public", "orders")?).columns(["total"]).outbox();
/// let text = to_manifest(std::slice::from_ref(&orders))?;
/// assert_eq!(from_manifest(&text)?, [orders]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If the text is not a JSON array of specifications, or one of them has an unknown field.
pub fn from_manifest(text: &str) -> crate::Result<Vec<TriggerSpec>> {
    serde_json::from_str(text).map_err(|cause| {
        Error::with_source(ErrorKind::Spec, "this is not a manifest of tables", cause)
    })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    schema: String,
    table: String,
    #[serde(default)]
    mode: Mode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Vec<String>>,
    #[serde(default)]
    columns: Columns,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    optional_columns: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    old_columns: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    operations: Option<Vec<Operation>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    when_changed: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_limit: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    replicated: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Columns {
    Every(Every),
    Some(Vec<String>),
}

#[derive(Serialize, Deserialize)]
enum Every {
    #[serde(rename = "*")]
    Star,
}

impl Default for Columns {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

impl Serialize for TriggerSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_default = self.channel == ChannelName::default();
        let text = Text {
            schema: self.table.schema().to_owned(),
            table: self.table.name().to_owned(),
            mode: self.mode,
            channel: (!is_default).then(|| self.channel.to_string()),
            key: self.key.clone(),
            columns: match self.every_column {
                true => Columns::Every(Every::Star),
                false => Columns::Some(self.columns.clone()),
            },
            optional_columns: self.optional_columns.clone(),
            old_columns: self.old_columns,
            operations: (self.operations != OperationSet::ALL)
                .then(|| self.operations.iter().collect()),
            when_changed: self.when_changed.clone(),
            value_limit: self.value_limit,
            replicated: self.replicated,
        };
        text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TriggerSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        let table = TableName::new(text.schema, text.table).map_err(D::Error::custom)?;
        let mut spec = Self::new(table);
        spec.mode = text.mode;
        if let Some(channel) = text.channel {
            spec.channel = ChannelName::new(channel).map_err(D::Error::custom)?;
        }
        spec.key = text.key;
        match text.columns {
            Columns::Every(Every::Star) => spec.every_column = true,
            Columns::Some(columns) => spec.columns = columns,
        }
        spec.optional_columns = text.optional_columns;
        spec.old_columns = text.old_columns;
        if let Some(operations) = text.operations {
            spec.operations = operations.into_iter().collect();
        }
        spec.when_changed = text.when_changed;
        spec.value_limit = text.value_limit;
        spec.replicated = text.replicated;
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_survive_serialization() {
        let table = TableName::new("shop", "order lines").unwrap();
        let full = TriggerSpec::new(table.clone())
            .outbox()
            .key_columns(["a", "b"])
            .columns(["total"])
            .optional_columns(["tax"])
            .old_columns()
            .operations(Operation::Insert | Operation::Delete)
            .when_changed(["total"])
            .value_limit(10)
            .replicated();
        let every = TriggerSpec::new(table.clone())
            .channel(ChannelName::new("c").unwrap())
            .every_column();
        for spec in [TriggerSpec::new(table), full, every] {
            let text = serde_json::to_string(&spec).unwrap();
            let fields: serde_json::Map<String, serde_json::Value> =
                serde_json::from_str(&text).unwrap();
            assert!(
                fields.keys().all(|field| OPTIONS.contains(&&**field)),
                "{text}"
            );
            assert_eq!(
                serde_json::from_str::<TriggerSpec>(&text).unwrap(),
                spec,
                "{text}"
            );
        }
    }

    #[test]
    fn unknown_fields_and_values_are_refused() {
        for text in [
            r#"{"schema":"public","table":"t","colums":["a"]}"#,
            r#"{"schema":"public","table":"t","columns":"a"}"#,
            r#"{"schema":"public","table":"t","mode":"wal"}"#,
            r#"{"schema":"public","table":""}"#,
            r#"{"table":"t"}"#,
        ] {
            serde_json::from_str::<TriggerSpec>(text).unwrap_err();
        }
    }
}
