//! Converts the values of an event to JSON.

use serde::de::IgnoredAny;

use super::value::{self, Value};
use super::{Fields, Type};

/// Converts columns, in the form that triggers write, to typed JSON. `None` if they are not an object.
pub(crate) fn to_json(json: &str, types: &Fields) -> Option<String> {
    let columns = value::columns(json, types).ok()?;
    let mut typed = String::with_capacity(json.len() + 16);
    push(&mut typed, &Value::Fields(columns));
    Some(typed)
}

pub(super) fn push(json: &mut String, value: &Value<'_>) {
    match value {
        Value::Null => json.push_str("null"),
        Value::Unavailable(limit) => {
            json.push_str(&format!(r#"{{"unavailable":{{"limit":{limit}}}}}"#));
        }
        Value::Json(text) if serde_json::from_str::<IgnoredAny>(text).is_ok() => {
            json.push_str(text);
        }
        Value::Integer(number) => json.push_str(&number.to_string()),
        Value::Float(number) => json.push_str(&serde_json::Value::from(*number).to_string()),
        Value::Json(text) | Value::Bytes(_, text) => push_string(json, text),
        Value::Text(of, text) => match (of, &**text) {
            (Type::Boolean, "t" | "true") => json.push_str("true"),
            (Type::Boolean, "f" | "false") => json.push_str("false"),
            (Type::Integer | Type::Float, text) if is_number(text) => json.push_str(text),
            (_, text) => push_string(json, text),
        },
        Value::List(values) => {
            json.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                push(json, value);
            }
            json.push(']');
        }
        Value::Fields(named) => {
            json.push('{');
            for (index, (name, value)) in named.iter().enumerate() {
                if index > 0 {
                    json.push(',');
                }
                push_string(json, name);
                json.push(':');
                push(json, value);
            }
            json.push('}');
        }
    }
}

/// Whether the text is a number in JSON. `NaN` and infinity are not.
fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

fn push_string(json: &mut String, text: &str) {
    json.push_str(&serde_json::Value::from(text).to_string());
}
