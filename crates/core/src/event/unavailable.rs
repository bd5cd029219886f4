//! Columns whose values were too large to be copied.
//!
//! Triggers write values as numbers, booleans, strings and null. They write an object in the place of a value that is too
//! large, so the object is never taken for a value.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// The beginning of the object.
const MARK: &str = r#"{"unavailable":"#;

#[derive(Deserialize)]
struct Marked {
    unavailable: Limit,
}

#[derive(Deserialize)]
struct Limit {
    limit: u64,
}

/// The columns of an object whose values are unavailable, with the limit in bytes.
pub(super) fn of(json: &str) -> Vec<(String, u64)> {
    // Usually there are none.
    if !json.contains(MARK) {
        return Vec::new();
    }
    let Ok(columns) = serde_json::from_str::<BTreeMap<String, &RawValue>>(json) else {
        return Vec::new();
    };
    let marked = |(column, value): (String, &RawValue)| {
        let marked = serde_json::from_str::<Marked>(value.get()).ok()?;
        Some((column, marked.unavailable.limit))
    };
    columns.into_iter().filter_map(marked).collect()
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
    fn columns_that_need_an_unavailable_value_are_an_error_that_names_it_and_never_null() {
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
