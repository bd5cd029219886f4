//! The spellings of values: which types have several texts for one value, and whether a Rust type reads all of them as one key.
//!
//! A cache misses an event if a reader spells a key differently from the event. This module lists, for each type, some spellings
//! of one value. A Rust type fits if it reads all of them as the same key. So a user's type that normalises its text fits
//! without a declaration.

use super::{Fields, Type};
use crate::event::{KeyPart, RowKey};
use crate::panic::contained;

/// Returns whether a Rust type reads two row keys as the same key, or `None` if one of them is not a key of the type. An event with
/// such a key flushes the cache.
pub(crate) type SameKey = fn(&RowKey, &RowKey) -> Option<bool>;

/// A key column of which a Rust type reads different spellings of one value as different keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfit<'a> {
    pub(crate) column: &'a str,
    pub(crate) column_type: &'a Type,
}

impl Type {
    /// Some texts of one value. Empty if each value has one text, independent of the session's settings and of the client.
    pub(crate) fn spellings(&self) -> &'static [&'static str] {
        match self {
            Self::Text | Self::Integer | Self::Boolean => &[],
            Self::Float => &["1", "1.0", "1e0"],
            Self::Numeric => &["1", "1.0", "1.00"],
            Self::Json => &[r#"{"a":1}"#, r#"{"a": 1}"#],
            Self::Bytes => &[r"\xab", r"\xAB", r"\253"],
            Self::Date => &["2026-11-29", "29.11.2026", "11/29/2026", "20261129"],
            Self::Time => &["01:02:03", "1:02:03", "01:02:03.0"],
            Self::TimeTz => &["01:02:03+00", "01:02:03+00:00", "01:02:03Z"],
            Self::Timestamp => &[
                "2026-11-29 01:02:03",
                "2026-11-29T01:02:03",
                "29.11.2026 01:02:03",
            ],
            Self::TimestampTz => &[
                "2026-11-29 01:02:03+00",
                "2026-11-29 02:02:03+01",
                "2026-11-29T01:02:03Z",
            ],
            Self::Uuid => &[
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
                "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            ],
            Self::Interval => &["PT24H", "24:00:00", "P1D", "1 day"],
            Self::Padded => &["a", "a  "],
            Self::Address => &["fe80::a", "FE80::A", "fe80:0:0:0:0:0:0:a", "fe80::a/128"],
            Self::Mac => &[
                "08:00:2b:01:02:0a",
                "08:00:2B:01:02:0A",
                "08-00-2b-01-02-0a",
                "08002b:01020a",
                "0800.2b01.020a",
                "08002b01020a",
            ],
            Self::Caseless => &["a", "A"],
            // All of these collations ignore control characters.
            Self::Collated => &["a", "A", "a\u{1}"],
            Self::Array { .. } => &["{a,b}", "{a, b}", "[1:2]={a,b}"],
            Self::Composite(_) => &["(a)", "(\"a\")"],
            Self::Other => &["a1", "A1", " a1", "a1 "],
        }
    }

    /// The name of the type in messages.
    pub(crate) fn described(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "an integer type",
            Self::Boolean => "boolean",
            Self::Float => "a floating-point type",
            Self::Numeric => "numeric",
            Self::Json => "json or jsonb",
            Self::Bytes => "bytea",
            Self::Date => "date",
            Self::Time => "time",
            Self::TimeTz => "time with time zone",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamp with time zone",
            Self::Uuid => "uuid",
            Self::Interval => "interval",
            Self::Padded => "character(n)",
            Self::Address => "inet or cidr",
            Self::Mac => "macaddr or macaddr8",
            Self::Caseless => "citext",
            Self::Collated => "text with a nondeterministic collation",
            Self::Array { .. } => "an array type",
            Self::Composite(_) => "a composite type",
            Self::Other => "a type whose spellings are not known",
        }
    }

    /// The Rust types with support in this library that fit. `None` if the user has to write a type.
    pub(crate) fn key_types(&self) -> Option<&'static str> {
        Some(match self {
            Self::Text => "String",
            Self::Integer => "i64, u64 and the smaller integers",
            Self::Boolean => "bool",
            Self::Numeric => {
                "rust_decimal::Decimal (feature rust_decimal), or u64 if the values are whole"
            }
            Self::Date => "a date of chrono, jiff or time (the features of these names)",
            Self::Time => "a time of chrono, jiff or time (the features of these names)",
            Self::Timestamp => {
                "a date and time without zone of chrono, jiff or time (the features of these names)"
            }
            Self::TimestampTz => {
                "DateTime<Utc> of chrono, Timestamp of jiff or OffsetDateTime of time (the features of these names)"
            }
            Self::Uuid => "uuid::Uuid (feature uuid)",
            Self::Padded => "PaddedText",
            Self::Address => {
                "ipnetwork::IpNetwork (feature ipnetwork), or std::net::IpAddr if the values are hosts"
            }
            Self::Bytes => "Vec<u8>",
            Self::Mac => "MacAddress",
            Self::Caseless => "CaselessText, if the values are ASCII",
            Self::Float
            | Self::Json
            | Self::TimeTz
            | Self::Interval
            | Self::Collated
            | Self::Array { .. }
            | Self::Composite(_)
            | Self::Other => return None,
        })
    }

    /// An example of a row key's part of this type.
    pub(crate) fn sample(&self) -> KeyPart {
        match self {
            Self::Integer => KeyPart::Int(1),
            Self::Boolean => KeyPart::Bool(true),
            other => KeyPart::Text(other.spellings().first().copied().unwrap_or("a").into()),
        }
    }
}

/// Returns the first of `columns` of which `same` reads different spellings as different keys. `key` is a valid key, whose
/// columns are replaced one by one.
pub(crate) fn unfit<'a>(
    types: &'a Fields,
    columns: &'a [impl AsRef<str>],
    key: &RowKey,
    same: SameKey,
) -> Option<Unfit<'a>> {
    let mut columns = columns.iter().map(AsRef::as_ref).enumerate();
    columns.find_map(|(place, column)| {
        let column_type = types.get(column);
        let spelled = column_type.spellings().iter().map(|text| {
            let mut parts = key.parts().to_vec();
            if let Some(part) = parts.get_mut(place) {
                *part = KeyPart::Text((*text).into());
            }
            RowKey::new(parts)
        });
        let is_key = |key: &RowKey| contained(|| same(key, key).is_some()).unwrap_or(false);
        let keys: Vec<_> = spelled.filter(is_key).collect();
        let (first, others) = keys.split_first()?;
        let is_apart =
            |other: &RowKey| !contained(|| same(first, other)).is_ok_and(|is| is == Some(true));
        others.iter().any(is_apart).then_some(Unfit {
            column,
            column_type,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{SameKey, unfit};
    use crate::event::{
        CaselessText, Key, KeyColumn, KeyPart, MacAddress, PaddedText, RowKey, same_row,
    };
    use crate::types::{Fields, NAMES, Type};

    /// Folds case, as a user's type may do.
    #[derive(Debug)]
    struct Folded(String);

    impl KeyColumn for Folded {
        fn to_part(&self) -> KeyPart {
            self.0.to_lowercase().to_part()
        }

        fn from_part(part: &KeyPart) -> Option<Self> {
            String::from_part(part).map(Self)
        }
    }

    fn fits<K: Key>(of: &Type) -> bool {
        let types: Fields = [("k".into(), of.clone())].into_iter().collect();
        let same: SameKey = same_row::<K>;
        unfit(&types, &["k"], &RowKey::new([of.sample()]), same).is_none()
    }

    /// Checks the table of types and key types in the documentation.
    #[test]
    fn each_column_type_has_key_types_that_read_all_its_spellings() {
        let mut types: Vec<Type> = NAMES.iter().map(|(_, of)| of.clone()).collect();
        types.push(Type::Array {
            element: Box::new(Type::Integer),
            delimiter: ',',
        });
        types.push(Type::Composite(Fields::default()));
        for of in &types {
            let has_one = matches!(of, Type::Text | Type::Integer | Type::Boolean);
            assert_eq!(fits::<String>(of), has_one, "String for {of:?}");
            // A text that is not an integer flushes the cache. It never makes two keys of one value.
            assert!(fits::<i64>(of) && fits::<u64>(of), "integers for {of:?}");
            assert!(fits::<std::net::IpAddr>(of), "IpAddr for {of:?}");
            let is_padded = has_one || *of == Type::Padded;
            assert_eq!(fits::<PaddedText>(of), is_padded, "PaddedText for {of:?}");
            let is_caseless = has_one || *of == Type::Caseless;
            assert_eq!(
                fits::<CaselessText>(of),
                is_caseless,
                "CaselessText for {of:?}"
            );
            assert!(fits::<Vec<u8>>(of), "Vec<u8> for {of:?}");
            assert!(fits::<MacAddress>(of), "MacAddress for {of:?}");
        }
    }

    #[test]
    fn a_users_key_type_fits_if_it_normalises_the_texts_of_the_column() {
        assert!(fits::<Folded>(&Type::Caseless));
        let others = [Type::Mac, Type::Collated, Type::Other];
        assert!(others.iter().all(|of| !fits::<Folded>(of)));
    }

    #[test]
    fn each_column_of_a_composite_key_is_checked() {
        let types: Fields = [("b".into(), Type::Padded)].into_iter().collect();
        let key = RowKey::new([KeyPart::Int(7), KeyPart::Text("x".into())]);
        let columns = ["a", "b"];
        let found = unfit(&types, &columns, &key, same_row::<(i64, String)>);
        assert_eq!(found.map(|unfit| unfit.column), Some("b"));
        let found = unfit(&types, &columns, &key, same_row::<(i64, PaddedText)>);
        assert_eq!(found, None);
    }

    #[test]
    fn a_key_type_that_panics_on_a_text_counts_as_fitting() {
        struct Panics;
        impl KeyColumn for Panics {
            fn to_part(&self) -> KeyPart {
                KeyPart::Null
            }

            fn from_part(_: &KeyPart) -> Option<Self> {
                panic!("as users do")
            }
        }
        assert!(fits::<Panics>(&Type::Uuid));
    }
}
