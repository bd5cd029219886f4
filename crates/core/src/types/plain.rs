//! Reads JSON values without the special numbers of serde_json's feature `arbitrary_precision`.
//!
//! With that feature, serde_json passes numbers to a visitor as maps. Its own `Value` and `Number` convert these maps to numbers
//! with all their digits. Types that buffer their input cannot: enums with `#[serde(tag)]` or `#[serde(untagged)]`, and structs
//! with `#[serde(flatten)]`. If the feature is on and a type cannot be read, it is read again with plain numbers. A number that
//! would lose a digit keeps the form of serde_json.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Type;
use super::value::{Columns, Named, Value};

/// Whether serde_json passes numbers to visitors as maps.
pub(super) fn are_numbers_maps() -> bool {
    struct IsMap(bool);

    impl<'de> Deserialize<'de> for IsMap {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(IsMapVisitor)
        }
    }

    struct IsMapVisitor;

    impl<'de> Visitor<'de> for IsMapVisitor {
        type Value = IsMap;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number")
        }

        fn visit_f64<E: de::Error>(self, _: f64) -> Result<IsMap, E> {
            Ok(IsMap(false))
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<IsMap, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(IsMap(true))
        }
    }

    // The test needs a fraction, because serde_json does not pass whole numbers as maps.
    serde_json::from_str::<IsMap>("0.5").is_ok_and(|is_map| is_map.0)
}

/// Returns the same columns with plain numbers.
pub(super) fn columns<'a>(named: Named<'a>) -> Named<'a> {
    let plain = named.into_iter();
    plain.map(|(name, value)| (name, of(value))).collect()
}

fn of(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Json(json) => of_json(&json).unwrap_or(Value::Json(json)),
        Value::List(values) => Value::List(values.into_iter().map(of).collect()),
        Value::Fields(named) => Value::Fields(columns(named)),
        value => value,
    }
}

/// `None` if the text is not JSON.
fn of_json(json: &str) -> Option<Value<'static>> {
    let raw = serde_json::from_str::<&RawValue>(json).ok()?.get();
    Some(match raw.as_bytes().first()? {
        b'{' => {
            let members = serde_json::from_str::<Columns<'_>>(raw).ok()?.0.into_iter();
            let member = |(name, raw): (Cow<'_, str>, &RawValue)| {
                Some((name.into_owned().into(), of_json(raw.get())?))
            };
            Value::Fields(members.map(member).collect::<Option<_>>()?)
        }
        b'[' => {
            let elements = serde_json::from_str::<Vec<&RawValue>>(raw)
                .ok()?
                .into_iter();
            let elements = elements.map(|raw| of_json(raw.get()));
            Value::List(elements.collect::<Option<_>>()?)
        }
        b'"' => Value::Text(
            &Type::Text,
            serde_json::from_str::<String>(raw).ok()?.into(),
        ),
        b'n' => Value::Null,
        b't' | b'f' => Value::Text(&Type::Boolean, raw.to_owned().into()),
        _ => number(raw).unwrap_or_else(|| Value::Json(raw.to_owned().into())),
    })
}

/// `None` if a digit would be lost.
fn number(text: &str) -> Option<Value<'static>> {
    if let Ok(number) = text.parse::<i128>() {
        return Some(Value::Integer(number));
    }
    let number = text
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite())?;
    let digits = |text: &str| {
        let digits = text.bytes().take_while(|byte| !matches!(byte, b'e' | b'E'));
        let digits: Vec<u8> = digits.filter(u8::is_ascii_digit).collect();
        let start = digits.iter().position(|digit| *digit != b'0');
        let end = digits.iter().rposition(|digit| *digit != b'0');
        start
            .zip(end)
            .map(|(start, end)| digits[start..=end].to_vec())
    };
    (digits(text) == digits(&format!("{number:e}"))).then_some(Value::Float(number))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::{Value, columns, number};
    use crate::types::{Fields, value};

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    enum Shape {
        Circle { radius: f64, name: String },
        Square { side: u8 },
    }

    fn read<T: serde::de::DeserializeOwned>(json: &serde_json::Value) -> Result<T, String> {
        let columns_json = json!({ "v": json.to_string() }).to_string();
        let types: Fields = [("v".into(), crate::types::Type::Json)]
            .into_iter()
            .collect();
        let named = value::columns(&columns_json, &types).unwrap();
        let (_, value) = columns(named).remove(0);
        T::deserialize(value).map_err(|error| error.to_string())
    }

    #[test]
    fn json_is_read_with_plain_numbers() {
        let circle = json!({"kind": "circle", "radius": 0.1, "name": "\u{e9}\""});
        let name = "\u{e9}\"".to_owned();
        assert_eq!(
            read::<Shape>(&circle),
            Ok(Shape::Circle { radius: 0.1, name })
        );
        let square = json!({"kind": "square", "side": 7});
        assert_eq!(read::<Shape>(&square), Ok(Shape::Square { side: 7 }));
        let all = json!({"a": [1, -1.5, null, true, "x", {}], "b": 1e300, "c": u64::MAX});
        assert_eq!(read::<serde_json::Value>(&all), Ok(all));
        // Types are as strict as with serde_json.
        let number = json!({"kind": "circle", "radius": 1, "name": 7});
        assert!(read::<Shape>(&number).is_err());
        assert!(read::<Shape>(&json!({"kind": "square", "side": "7"})).is_err());
    }

    #[test]
    fn numbers_that_would_lose_a_digit_are_not_converted() {
        for text in ["0.1", "1.50", "1e300", "-0.0", "0", "12345678901234567890"] {
            assert!(number(text).is_some(), "{text}");
        }
        for text in ["0.10000000000000000001", "1e400", "123456789.12345678901"] {
            assert!(number(text).is_none(), "{text}");
        }
    }

    #[test]
    fn texts_that_are_not_json_are_kept() {
        let named = vec![("v".into(), Value::Json("no json".into()))];
        assert!(matches!(columns(named)[0].1, Value::Json(_)));
    }
}
