//! Compares the values of single columns, for filters.

use serde_json::value::RawValue;

use super::{Event, KeyPart};
use crate::types::{Columns, Text};

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

/// The columns of an event, parsed once for all look-ups.
pub(crate) struct ColumnValues<'a> {
    now: Option<Columns<'a>>,
    old: Option<Columns<'a>>,
}

impl Event {
    pub(crate) fn column_values(&self) -> ColumnValues<'_> {
        let record = self.record.as_deref();
        ColumnValues {
            now: parsed(self.columns.as_deref()),
            old: parsed(record.and_then(|record| record.old_columns.as_deref())),
        }
    }
}

impl Event {
    /// Returns the values of one column; see [`ColumnValues::of`].
    pub(crate) fn column_texts(&self, name: &str) -> Option<Vec<ColumnValue>> {
        Some(self.column_values().of(name)?.collect())
    }
}

impl ColumnValues<'_> {
    /// Returns the values of a column: the one after the change and, if the event has it, the different one before. `None` if
    /// one of them is not known, because the event does not have the column, or the value is unavailable.
    pub(crate) fn of(&self, name: &str) -> Option<impl Iterator<Item = ColumnValue>> {
        let now = value(find(&self.now, name)?)?;
        let old = match find(&self.old, name) {
            Some(old) => Some(value(old)?),
            // The same, or not recorded.
            None => None,
        };
        Some([Some(now), old].into_iter().flatten())
    }
}

fn parsed(columns: Option<&str>) -> Option<Columns<'_>> {
    serde_json::from_str(columns?).ok()
}

fn find<'a>(columns: &Option<Columns<'a>>, name: &str) -> Option<&'a RawValue> {
    let mut columns = columns.as_ref()?.0.iter();
    let (_, raw) = columns.find(|(column, _)| column == name)?;
    Some(raw)
}

/// Returns the value that a trigger has written. `None` for the object of an unavailable value.
fn value(raw: &RawValue) -> Option<ColumnValue> {
    let json = raw.get();
    match json.as_bytes().first()? {
        b'n' => Some(None),
        b'"' => {
            let Text(text) = serde_json::from_str(json).ok()?;
            Some(Some(text.into()))
        }
        b'{' | b'[' => None,
        _ => Some(Some(json.into())),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Event, Operation};

    #[test]
    fn values_are_compared_as_text_and_unknown_ones_are_distinguished_from_null() {
        let event = Event::builder("public", "users", Operation::Update)
            .columns_json(
                r#"{"n":7,"s":"a\"b","b":true,"z":null,"o":{"unavailable":{"limit":1}},"m":1}"#,
            )
            .old_columns_json(r#"{"n":8,"m":{"unavailable":{"limit":1}}}"#)
            .build();
        let values = event.column_values();
        let of = |name| values.of(name).map(|values| values.collect::<Vec<_>>());
        let text = |text: &str| Some(text.into());
        assert_eq!(of("n"), Some(vec![text("7"), text("8")]));
        assert_eq!(of("s"), Some(vec![text("a\"b")]));
        assert_eq!(of("b"), Some(vec![text("true")]));
        assert_eq!(of("z"), Some(vec![None]));
        for unknown in ["o", "m", "absent"] {
            assert_eq!(of(unknown), None, "{unknown}");
        }
    }
}
