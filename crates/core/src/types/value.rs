//! The value of a column, partly parsed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::text::{self, Part};
use super::{Fields, Type, unavailable};
use crate::event::KeyPart;

/// The columns of an event, with their names, in order.
pub(super) type Named<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

#[derive(Debug)]
pub(super) enum Value<'a> {
    Null,
    /// A text that was not parsed, with its type. The type is not an array, a composite or bytes: a text that fails to parse as one
    /// of these has type `Text`.
    Text(&'a Type, Cow<'a, str>),
    Bytes(Vec<u8>, Cow<'a, str>),
    /// A value that is JSON.
    Json(Cow<'a, str>),
    /// A number within JSON.
    Integer(i128),
    Float(f64),
    List(Vec<Value<'a>>),
    Fields(Named<'a>),
    /// A value that was not sent, because it has more bytes than this limit.
    Unavailable(u64),
}

/// Parses a JSON object in the form that triggers write. Without `types`, its values are those of JSON.
pub(super) fn columns<'a>(json: &'a str, types: &'a Fields) -> serde_json::Result<Named<'a>> {
    let columns = serde_json::from_str::<Columns<'a>>(json)?.0;
    let column = |(name, raw): (Cow<'a, str>, &'a RawValue)| {
        let value = of_json(raw.get(), types.get(&name))?;
        Ok((name, value))
    };
    columns.into_iter().map(column).collect()
}

/// Parses the value of a column of type `of`. Triggers write a number, a boolean, a string, null, or the object of an unavailable
/// value.
fn of_json<'a>(json: &'a str, of: &'a Type) -> serde_json::Result<Value<'a>> {
    Ok(match json.as_bytes().first() {
        Some(b'"') => of_text(of, serde_json::from_str::<Text<'a>>(json)?.0),
        Some(b'n') => Value::Null,
        Some(b't' | b'f') => Value::Text(&Type::Boolean, json.into()),
        Some(b'{') => match unavailable::limit(json) {
            Some(limit) => Value::Unavailable(limit),
            None => Value::Json(json.into()),
        },
        Some(b'[') => Value::Json(json.into()),
        _ if json.contains(['.', 'e', 'E']) => Value::Text(&Type::Float, json.into()),
        _ => Value::Text(&Type::Integer, json.into()),
    })
}

/// Converts a part of a row's key, whose column has type `of`.
pub(super) fn of_key<'a>(part: &'a KeyPart, of: &'a Type) -> Value<'a> {
    match part {
        KeyPart::Null => Value::Null,
        KeyPart::Bool(value) => Value::Text(&Type::Boolean, value.to_string().into()),
        KeyPart::Int(value) => Value::Text(&Type::Integer, value.to_string().into()),
        KeyPart::Text(text) => of_text(of, Cow::Borrowed(text)),
    }
}

fn of_text<'a>(of: &'a Type, text: Cow<'a, str>) -> Value<'a> {
    match of {
        Type::Json => Value::Json(text),
        Type::Bytes => match text::bytes(&text) {
            Some(bytes) => Value::Bytes(bytes, text),
            None => Value::Text(&Type::Text, text),
        },
        Type::Array { element, delimiter } => {
            match text::array(&text, *delimiter).map(|parts| list(element, parts)) {
                Some(list) => list,
                None => Value::Text(&Type::Text, text),
            }
        }
        Type::Composite(fields) => match composite(&text, fields) {
            Some(value) => value,
            None => Value::Text(&Type::Text, text),
        },
        Type::Date | Type::Timestamp | Type::TimestampTz | Type::TimeTz => {
            let iso = text::iso(of, &text).into_owned();
            Value::Text(&Type::Text, iso.into())
        }
        Type::Text
        | Type::Integer
        | Type::Boolean
        | Type::Float
        | Type::Numeric
        | Type::Time
        | Type::Uuid
        | Type::Interval
        | Type::Padded
        | Type::Address
        | Type::Mac
        | Type::Caseless
        | Type::Collated
        | Type::Other => Value::Text(of, text),
    }
}

fn list<'a>(element: &'a Type, parts: Vec<Part<'_>>) -> Value<'a> {
    let values = parts.into_iter().map(|part| of_part(element, part));
    Value::List(values.collect())
}

fn of_part<'a>(of: &'a Type, part: Part<'_>) -> Value<'a> {
    match part {
        Part::Null => Value::Null,
        Part::Text(text) => of_text(of, text.into_owned().into()),
        Part::List(parts) => list(of, parts),
    }
}

fn composite<'a>(text: &str, fields: &'a Fields) -> Option<Value<'a>> {
    let parts = text::composite(text, fields)?;
    let named = fields.0.iter().zip(parts);
    let named = named.map(|((name, of), part)| (Cow::Borrowed(&**name), of_part(of, part)));
    Some(Value::Fields(named.collect()))
}

/// A string. It is borrowed if it has no escapes.
#[derive(serde::Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// The members of a JSON object, with their values as they were written.
pub(crate) struct Columns<'a>(pub(crate) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Columns<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ColumnsVisitor;

        impl<'de> Visitor<'de> for ColumnsVisitor {
            type Value = Columns<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of columns")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Columns<'de>, A::Error> {
                let mut columns = Vec::new();
                while let Some((Text(name), value)) = map.next_entry()? {
                    columns.push((name, value));
                }
                Ok(Columns(columns))
            }
        }

        deserializer.deserialize_map(ColumnsVisitor)
    }
}
