//! Recognizes columns whose values were too large to be copied.
//!
//! Triggers write values as numbers, booleans, strings and null. The value of a `json` column is a string of its text. Only in the
//! place of a value that is too large, they write an object. So the object cannot be mistaken for a value.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The beginning of the object.
const MARK: &str = r#"{"unavailable":"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Marked {
    unavailable: Limit,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    limit: u64,
}

/// Returns the columns of a JSON object whose values are unavailable, each with the limit in bytes.
pub(crate) fn of(json: &str) -> Vec<(String, u64)> {
    // Usually there are none, and the JSON need not be parsed.
    if !json.contains(MARK) {
        return Vec::new();
    }
    let Ok(columns) = serde_json::from_str::<BTreeMap<String, &RawValue>>(json) else {
        return Vec::new();
    };
    let marked = |(column, value): (String, &RawValue)| Some((column, limit(value.get())?));
    columns.into_iter().filter_map(marked).collect()
}

/// Returns the limit in bytes, if `value` is the object for an unavailable value.
pub(super) fn limit(value: &str) -> Option<u64> {
    if !value.starts_with(MARK) {
        return None;
    }
    let marked = serde_json::from_str::<Marked>(value).ok()?;
    Some(marked.unavailable.limit)
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::{Event, Operation};

    #[test]
    fn a_string_that_looks_like_the_mark_is_a_value() {
        let json =
            r#"{"a":"{\"unavailable\":{\"limit\":1}}","b":{"unavailable":{"limit":7}},"c":null}"#;
        assert_eq!(of(json), [("b".to_owned(), 7)]);
        assert!(of(r#"{"a":"x"}"#).is_empty());
        assert!(of(r#"{"unavailable":"#).is_empty());
    }

    #[test]
    fn reading_an_unavailable_column_is_an_error_that_names_it() {
        #[derive(serde::Deserialize)]
        struct Whole {
            #[expect(dead_code, reason = "it is never made")]
            body: Option<String>,
        }
        #[derive(serde::Deserialize)]
        struct Part {
            note: Option<String>,
        }
        let event = Event::builder("public", "files", Operation::Insert)
            .key(1)
            .columns_json(r#"{"note":"a","body":{"unavailable":{"limit":1048576}}}"#)
            .build();
        assert_eq!(event.unavailable(), ["body"]);
        let error = event
            .columns::<Whole>()
            .err()
            .map(|error| error.to_string());
        let error = error.unwrap_or_default();
        for word in ["\"body\"", "1048576", "value_limit", "--value-limit"] {
            assert!(error.contains(word), "{error}");
        }
        let part = event.columns::<Part>().unwrap().unwrap();
        assert_eq!(part.note.as_deref(), Some("a"));
    }
}
