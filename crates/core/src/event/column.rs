//! Compares the value of a single column, for filters.

use std::borrow::Cow;

use serde::Deserialize;

use super::{Event, KeyPart};
use crate::types::Columns;

/// A value as text, or `None` for SQL NULL. Numbers and booleans are compared as text too, so that it makes no difference whether
/// a trigger writes them as such or as strings.
pub(crate) type ColumnValue = Option<Box<str>>;

/// Converts a value to the form in which values are compared.
pub(crate) fn column_value(part: &KeyPart) -> ColumnValue {
    match part {
        KeyPart::Null => None,
        part => Some(part.to_string().into()),
    }
}

impl Event {
    /// Returns the values of a column: the one after the change and, if the event has it, the different one before. `None` if
    /// the event does not have the column, or its value is unavailable.
    pub(crate) fn column_values(&self, name: &str) -> Option<(ColumnValue, Option<ColumnValue>)> {
        let now = value_in(self.columns.as_deref()?, name)?;
        let old = self.record.as_ref().and_then(|record| {
            // Absent if it is the same.
            value_in(record.old_columns.as_deref()?, name)
        });
        Some((now, old))
    }
}

fn value_in(columns: &str, name: &str) -> Option<ColumnValue> {
    let columns = serde_json::from_str::<Columns<'_>>(columns).ok()?.0;
    let (_, raw) = columns.into_iter().find(|(column, _)| column == name)?;
    let raw = raw.get();
    match raw.as_bytes().first()? {
        b'n' => Some(None),
        b'"' => Some(Some(text(raw)?.into())),
        // The object of an unavailable value.
        b'{' | b'[' => None,
        _ => Some(Some(raw.into())),
    }
}

fn text(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

    serde_json::from_str::<Text<'_>>(json)
        .ok()
        .map(|text| text.0)
}
