//! Passes the values of an event to serde. The requested kind decides how a value is passed, unless that loses digits: a `numeric`
//! is text for `String` and for decimal types, and a number for `f64` and `i64`.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{SeqDeserializer, StringDeserializer};
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor,
};

use super::value::{self, Named, Value};
use super::{Fields, Type, plain, write};

/// The name by which `serde_json::value::RawValue` requests JSON.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// Why a value does not fit a type.
#[derive(Debug)]
pub(crate) struct Error(pub(super) String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Reads the columns of an event into `T`. `json` is an object in the form that triggers write.
pub(crate) fn from_columns<T: DeserializeOwned>(json: &str, types: &Fields) -> Result<T, Error> {
    read(
        || Ok(value::columns(json, types)?),
        |named| T::deserialize(Value::Fields(named)),
    )
}

/// Reads columns. If that fails, and the form of serde_json's numbers may be the cause, reads them again with plain numbers.
pub(super) fn read<'a, T>(
    columns: impl Fn() -> Result<Named<'a>, Error>,
    read: impl Fn(Named<'a>) -> Result<T, Error>,
) -> Result<T, Error> {
    match read(columns()?) {
        Err(error) if plain::are_numbers_maps() => {
            read(plain::columns(columns()?)).map_err(|_| error)
        }
        done => done,
    }
}

impl Value<'_> {
    /// Returns the value if it is a whole number.
    fn integer(&self) -> Option<i128> {
        let Self::Text(Type::Integer | Type::Numeric | Type::Float, text) = self else {
            return None;
        };
        let digits = match text.split_once('.') {
            Some((digits, zeros)) if zeros.bytes().all(|digit| digit == b'0') => digits,
            _ => text,
        };
        digits.parse().ok()
    }

    fn number(&self) -> Option<&str> {
        match self {
            Self::Text(Type::Integer | Type::Numeric | Type::Float, text) => Some(text),
            _ => None,
        }
    }
}

fn visit_integer<'de, V: Visitor<'de>>(visitor: V, number: i128) -> Result<V::Value, Error> {
    if let Ok(number) = i64::try_from(number) {
        visitor.visit_i64(number)
    } else if let Ok(number) = u64::try_from(number) {
        visitor.visit_u64(number)
    } else {
        visitor.visit_i128(number)
    }
}

fn visit_text<'de, V: Visitor<'de>>(visitor: V, text: Cow<'_, str>) -> Result<V::Value, Error> {
    match text {
        Cow::Borrowed(text) => visitor.visit_str(text),
        Cow::Owned(text) => visitor.visit_string(text),
    }
}

/// Calls a method of a deserializer of `json`. The deserializer has a reader as its source, because the result must not borrow.
macro_rules! forward {
    ($json:expr, $method:ident($($argument:expr),*)) => {{
        let mut json = serde_json::Deserializer::from_reader($json.as_bytes());
        let value = (&mut json).$method($($argument),*)?;
        json.end()?;
        Ok(value)
    }};
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.integer() {
                Some(number) => visit_integer(visitor, number),
                None => match self {
                    Self::Json(json) => forward!(json, $method(visitor)),
                    value => value.deserialize_any(visitor),
                },
            }
        }
    )*};
}

/// Methods that differ from `deserialize_any` only for JSON.
macro_rules! plain {
    ($($method:ident($($name:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, Error> {
            match self {
                Self::Json(json) => forward!(json, $method($($name,)* visitor)),
                value => value.deserialize_any(visitor),
            }
        }
    )*};
}

/// Methods that pass a number or a boolean as its text.
macro_rules! texts {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self {
                Self::Text(_, text) => visit_text(visitor, text),
                Self::Json(json) => forward!(json, $method(visitor)),
                value => value.deserialize_any(visitor),
            }
        }
    )*};
}

/// Methods that pass bytes as a sequence.
macro_rules! sequences {
    ($($method:ident($($name:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, Error> {
            match self {
                Self::Bytes(bytes, _) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
                Self::Json(json) => forward!(json, $method($($name,)* visitor)),
                value => value.deserialize_any(visitor),
            }
        }
    )*};
}

macro_rules! floats {
    ($($method:ident $float:ty, $visit:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.number().map(str::parse::<$float>) {
                Some(Ok(number)) => visitor.$visit(number),
                _ => match self {
                    Self::Json(json) => forward!(json, $method(visitor)),
                    value => value.deserialize_any(visitor),
                },
            }
        }
    )*};
}

macro_rules! bytes {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self {
                Self::Bytes(bytes, _) => visitor.visit_byte_buf(bytes),
                Self::Json(json) => forward!(json, $method(visitor)),
                value => value.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Integer(number) => visit_integer(visitor, number),
            Self::Float(number) => visitor.visit_f64(number),
            Self::Json(json) => forward!(json, deserialize_any(visitor)),
            Self::Bytes(_, text) => visit_text(visitor, text),
            Self::List(values) => visitor.visit_seq(SeqDeserializer::new(values.into_iter())),
            Self::Fields(named) => visitor.visit_map(Entries::of(named)),
            Self::Unavailable(limit) => Err(de::Error::custom(format!(
                "its value is unavailable, because it exceeds the limit of {limit} bytes"
            ))),
            Self::Text(of, text) => match of {
                Type::Boolean if matches!(&*text, "t" | "true") => visitor.visit_bool(true),
                Type::Boolean if matches!(&*text, "f" | "false") => visitor.visit_bool(false),
                Type::Integer => match text.parse() {
                    Ok(number) => visit_integer(visitor, number),
                    Err(_) => visit_text(visitor, text),
                },
                Type::Float => match text.parse::<f64>() {
                    Ok(number) if number.is_finite() => visitor.visit_f64(number),
                    _ => visit_text(visitor, text),
                },
                _ => visit_text(visitor, text),
            },
        }
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    floats! {
        deserialize_f32 f32, visit_f32;
        deserialize_f64 f64, visit_f64;
    }

    texts! { deserialize_str deserialize_string deserialize_char deserialize_identifier }

    bytes! { deserialize_bytes deserialize_byte_buf }

    sequences! {
        deserialize_seq()
        deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
    }

    plain! {
        deserialize_bool()
        deserialize_unit()
        deserialize_unit_struct(name: &'static str)
        deserialize_map()
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_none(),
            Self::Json(json) => forward!(json, deserialize_option(visitor)),
            value => visitor.visit_some(value),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            value if name == RAW_VALUE => {
                let mut json = String::new();
                write::push(&mut json, &value);
                forward!(json, deserialize_newtype_struct(name, visitor))
            }
            Self::Json(json) => forward!(json, deserialize_newtype_struct(name, visitor)),
            value => visitor.visit_newtype_struct(value),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Self::Text(_, text) => {
                let label: StringDeserializer<Error> = text.into_owned().into_deserializer();
                label.deserialize_enum(name, variants, visitor)
            }
            Self::Json(json) => forward!(json, deserialize_enum(name, variants, visitor)),
            value => value.deserialize_any(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

impl<'de> IntoDeserializer<'de, Error> for Value<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Columns, or the fields of a composite, as a map. Errors contain their names.
struct Entries<'a> {
    rest: std::vec::IntoIter<(Cow<'a, str>, Value<'a>)>,
    current: Option<(Cow<'a, str>, Value<'a>)>,
}

impl<'a> Entries<'a> {
    fn of(named: Named<'a>) -> Self {
        Self {
            rest: named.into_iter(),
            current: None,
        }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.current = self.rest.next();
        let Some((name, _)) = &self.current else {
            return Ok(None);
        };
        seed.deserialize(Value::Text(&Type::Text, Cow::Borrowed(name)))
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some((name, value)) = self.current.take() else {
            return Err(de::Error::custom("a value was requested before its name"));
        };
        seed.deserialize(value)
            .map_err(|Error(cause)| Error(format!("{name}: {cause}")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::from_columns;

    const TYPES: &str = r#"{"n":"numeric","f":"float","j":"json","a":["float"],"c":{"x":"int"}}"#;
    const JSON: &str =
        r#"{"n":"1.50","f":"NaN","j":"{\"b\": 1}","a":"{1,NaN,NULL}","c":"(7)","i":9,"t":"\"é"}"#;

    fn read<T: DeserializeOwned>(json: &str) -> T {
        from_columns(json, &serde_json::from_str(TYPES).unwrap()).unwrap()
    }

    #[test]
    fn deserialize_any_yields_the_types_of_json() {
        let expected = json!({
            "n": "1.50", "f": "NaN", "j": {"b": 1}, "a": [1.0, "NaN", null], "c": {"x": 7}, "i": 9, "t": "\"é",
        });
        assert_eq!(read::<Value>(JSON), expected);
        assert_eq!(json!(read::<HashMap<String, Value>>(JSON)), expected);
        let raw = read::<Box<RawValue>>(JSON);
        let json =
            r#"{"n":"1.50","f":"NaN","j":{"b": 1},"a":[1,"NaN",null],"c":{"x":7},"i":9,"t":"\"é"}"#;
        assert_eq!(raw.get(), json);
    }

    #[test]
    fn flattened_structs_newtypes_raw_values_and_missing_columns_are_read() {
        #[derive(Deserialize)]
        struct Wrapper(f64);
        #[derive(Deserialize)]
        struct Inner {
            n: String,
            i: u8,
        }
        #[derive(Deserialize)]
        struct Outer {
            f: Wrapper,
            j: Box<RawValue>,
            #[serde(flatten)]
            inner: Inner,
            #[serde(default)]
            missing: Option<String>,
        }
        let outer = read::<Outer>(JSON);
        assert!(outer.f.0.is_nan() && outer.missing.is_none());
        assert_eq!(
            (outer.j.get(), &*outer.inner.n, outer.inner.i),
            (r#"{"b": 1}"#, "1.50", 9)
        );
        assert!(read::<Option<HashMap<String, Value>>>(JSON).is_some());
    }

    #[test]
    fn columns_without_types_are_read_as_json() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Row {
            n: f64,
            s: String,
            o: Value,
            l: Vec<i64>,
            b: Option<bool>,
        }
        let row = read::<Row>(
            r#"{"n":1.5,"s":"12","o":{"unavailable":{"limit":1},"x":1},"l":[1],"b":null}"#,
        );
        assert_eq!(
            row,
            Row {
                n: 1.5,
                s: "12".to_owned(),
                o: json!({"unavailable": {"limit": 1}, "x": 1}),
                l: vec![1],
                b: None
            }
        );
    }
}
