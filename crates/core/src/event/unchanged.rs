//! Restores large values that an UPDATE did not change. They are recorded only once, with the new values.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// An object below this size has no large value: triggers omit values only from objects of 16 KiB or more.
const SMALL: usize = 1_024;

/// Returns the columns `old`, plus the columns of `now` that were omitted because their values are the same.
pub(super) fn filled<'a>(old: &'a str, now: &str) -> Cow<'a, str> {
    if now.len() < SMALL {
        return Cow::Borrowed(old);
    }
    let parsed = |json| serde_json::from_str::<BTreeMap<Cow<'_, str>, &RawValue>>(json).ok();
    let (Some(mut columns), Some(others)) = (parsed(old), parsed(now)) else {
        return Cow::Borrowed(old);
    };
    let before = columns.len();
    for (name, value) in others {
        columns.entry(name).or_insert(value);
    }
    if columns.len() == before {
        return Cow::Borrowed(old);
    }
    match serde_json::to_string(&columns) {
        Ok(json) => Cow::Owned(json),
        Err(_) => Cow::Borrowed(old),
    }
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn omitted_old_values_are_filled_from_the_new_ones() {
        let large = "x".repeat(2_000);
        let now = format!(r#"{{"a":1,"b":"{large}","it's":null}}"#);
        let old = r#"{"a":0,"it's":2}"#;
        assert_eq!(
            filled(old, &now),
            format!(r#"{{"a":0,"b":"{large}","it's":2}}"#)
        );
        let whole = format!(r#"{{"a":0,"b":"","it's":2,"c":"{large}"}}"#);
        assert_eq!(filled(&whole, &whole), whole);
        assert_eq!(filled("no object", &now), "no object");
    }
}
