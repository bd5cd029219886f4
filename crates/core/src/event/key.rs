//! Row keys: identify the row of an event, in a form that can be hashed, compared and sent.

use std::fmt;
use std::slice;
use std::sync::Arc;

/// One column of a row key.
///
/// Integers and booleans keep their type. All other types are the text that PostgreSQL's triggers write. That text does not
/// depend on the settings of the writing session, so equal keys compare equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyPart {
    /// SQL NULL. Occurs only if a chosen key column is nullable, and never in a primary key.
    Null,
    /// `boolean`.
    Bool(bool),
    /// `smallint`, `integer`, `bigint` and domains over them.
    Int(i64),
    /// Any other type, as text.
    Text(Arc<str>),
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// The key of one row: one [`KeyPart`] per key column, in the order of the key.
///
/// ```
/// use pgherald_core::RowKey;
///
/// assert_eq!(RowKey::from(7).to_string(), "7");
/// assert_eq!(RowKey::from((7, "eu")).parts().len(), 2);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey(Repr);

/// Single-column keys, by far the most common, need no allocation of their own.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    One(KeyPart),
    Many(Arc<[KeyPart]>),
}

impl RowKey {
    /// Makes a key of these columns.
    pub fn new(parts: impl IntoIterator<Item = KeyPart>) -> Self {
        let mut parts: Vec<KeyPart> = parts.into_iter().collect();
        match parts.len() {
            1 => Self::one(parts.remove(0)),
            _ => Self(Repr::Many(parts.into())),
        }
    }

    /// Makes a key of one column.
    pub(super) fn one(part: KeyPart) -> Self {
        Self(Repr::One(part))
    }

    /// Returns the columns.
    #[must_use]
    pub fn parts(&self) -> &[KeyPart] {
        match &self.0 {
            Repr::One(part) => slice::from_ref(part),
            Repr::Many(parts) => parts,
        }
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RowKey({self})")
    }
}

/// The columns joined by commas.
impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts().iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            part.fmt(f)?;
        }
        Ok(())
    }
}

/// A Rust type for the row keys of a table.
///
/// Implemented for integers, `bool`, strings, `Vec<u8>`, [`IpAddr`](std::net::IpAddr), [`PaddedText`](crate::PaddedText),
/// [`CaselessText`](crate::CaselessText), [`MacAddress`](crate::MacAddress) and tuples of them. The features of the same names add
/// `uuid::Uuid`, `rust_decimal::Decimal`, `ipnetwork::IpNetwork`, and the dates and times of `chrono`, `jiff` and `time`. A type of
/// your own (a `UserId`, a UUID) delegates to one of these.
///
/// # Types with several spellings
///
/// Most types have several texts for one value: a `uuid` in upper or lower case, a `timestamp` in each `DateStyle`. An event
/// has the text that PostgreSQL's triggers write. A cache with `String` keys would miss the event if a reader uses another
/// text, so a cache refuses such keys (see [`CacheBuilder::row_of`](crate::CacheBuilder::row_of)). A key type fits a column
/// if `from_row_key` reads all texts of a value as the same key:
///
/// | type of the column | key types |
/// |---|---|
/// | `smallint`, `integer`, `bigint` | `i8` to `i64`, `u8` to `u64` |
/// | `boolean` | `bool` |
/// | `text`, `varchar`, `name` with a deterministic collation, enums | `String`, `Arc<str>` |
/// | `character(n)` | [`PaddedText`](crate::PaddedText) |
/// | `uuid` | `uuid::Uuid` (feature `uuid`) |
/// | `date`, `time`, `timestamp`, `timestamptz` | those of `chrono`, `jiff` and `time` (features of these names), with microsecond precision: reads of a finer key bypass the cache |
/// | `numeric` | `rust_decimal::Decimal` (feature `rust_decimal`); `u64` if the values are whole |
/// | `inet`, `cidr` | `ipnetwork::IpNetwork` (feature `ipnetwork`), or [`IpAddr`](std::net::IpAddr) for hosts; an event about a network flushes the cache then |
/// | `macaddr`, `macaddr8` | [`MacAddress`](crate::MacAddress) |
/// | `bytea` | `Vec<u8>` |
/// | `citext` | [`CaselessText`](crate::CaselessText), for ASCII; an event about another text flushes the cache |
/// | domains | as for the base type |
/// | text with a nondeterministic collation, `interval`, `timetz`, `real`, `double precision`, `json`, `jsonb`, arrays, composites, ranges, types of extensions | a type of your own that normalises its text, or another key |
///
/// ```
/// use pgherald_core::{Key, RowKey};
///
/// #[derive(Debug, PartialEq)]
/// struct UserId(i64);
///
/// impl Key for UserId {
///     fn to_row_key(&self) -> RowKey {
///         self.0.to_row_key()
///     }
///     fn from_row_key(key: &RowKey) -> Option<Self> {
///         i64::from_row_key(key).map(UserId)
///     }
/// }
///
/// assert_eq!(UserId::from_row_key(&RowKey::from(7)), Some(UserId(7)));
/// assert_eq!(UserId::from_row_key(&RowKey::from("seven")), None);
/// ```
pub trait Key: Sized {
    /// Returns this key in the form that events carry.
    fn to_row_key(&self) -> RowKey;

    /// Reads the key of an event. Returns `None` if it does not fit this type.
    fn from_row_key(key: &RowKey) -> Option<Self>;
}

/// A Rust type for one key column. Keys of several columns are tuples of them.
pub trait KeyColumn: Sized {
    /// Returns this value in the form that events carry.
    fn to_part(&self) -> KeyPart;

    /// Reads a key column of an event. Returns `None` if it has another type or is out of range.
    fn from_part(part: &KeyPart) -> Option<Self>;
}

/// Returns whether `K` reads two row keys as the same key; see [`SameKey`](crate::types::SameKey).
pub(crate) fn same_row<K: Key>(one: &RowKey, other: &RowKey) -> Option<bool> {
    let (one, other) = (K::from_row_key(one)?, K::from_row_key(other)?);
    Some(one.to_row_key() == other.to_row_key())
}

/// Like [`same_row`], but compares the values of `K`.
pub(crate) fn same_key<K: Key + PartialEq>(one: &RowKey, other: &RowKey) -> Option<bool> {
    Some(K::from_row_key(one)? == K::from_row_key(other)?)
}

impl<T: KeyColumn> Key for T {
    fn to_row_key(&self) -> RowKey {
        RowKey(Repr::One(self.to_part()))
    }

    fn from_row_key(key: &RowKey) -> Option<Self> {
        match &key.0 {
            Repr::One(part) => T::from_part(part),
            Repr::Many(_) => None,
        }
    }
}

macro_rules! integer_key_columns {
    ($($int:ty)*) => {$(
        impl KeyColumn for $int {
            fn to_part(&self) -> KeyPart {
                KeyPart::Int(i64::from(*self))
            }

            fn from_part(part: &KeyPart) -> Option<Self> {
                match part {
                    KeyPart::Int(value) => Self::try_from(*value).ok(),
                    _ => None,
                }
            }
        }
    )*};
}

integer_key_columns!(i8 i16 i32 i64 u8 u16 u32);

/// Also for `numeric` columns with whole values, such as `numeric(20)`.
impl KeyColumn for u64 {
    fn to_part(&self) -> KeyPart {
        match i64::try_from(*self) {
            Ok(value) => KeyPart::Int(value),
            Err(_) => KeyPart::Text(self.to_string().into()),
        }
    }

    fn from_part(part: &KeyPart) -> Option<Self> {
        match part {
            KeyPart::Int(value) => Self::try_from(*value).ok(),
            // Accept only the canonical text: `07` may be another row.
            KeyPart::Text(text) => text
                .parse()
                .ok()
                .filter(|value: &Self| *value.to_string() == **text),
            KeyPart::Null | KeyPart::Bool(_) => None,
        }
    }
}

impl KeyColumn for bool {
    fn to_part(&self) -> KeyPart {
        KeyPart::Bool(*self)
    }

    fn from_part(part: &KeyPart) -> Option<Self> {
        match part {
            KeyPart::Bool(value) => Some(*value),
            _ => None,
        }
    }
}

macro_rules! text_key_columns {
    ($($text:ty)*) => {$(
        impl KeyColumn for $text {
            fn to_part(&self) -> KeyPart {
                KeyPart::Text(AsRef::<str>::as_ref(self).into())
            }

            fn from_part(part: &KeyPart) -> Option<Self> {
                match part {
                    KeyPart::Text(value) => Some(Self::from(&**value)),
                    _ => None,
                }
            }
        }
    )*};
}

text_key_columns!(String Arc<str>);

macro_rules! tuple_keys {
    ($($name:ident $index:tt),+) => {
        impl<$($name: KeyColumn),+> Key for ($($name,)+) {
            fn to_row_key(&self) -> RowKey {
                RowKey::new([$(self.$index.to_part()),+])
            }

            fn from_row_key(key: &RowKey) -> Option<Self> {
                const COLUMNS: usize = [$($index),+].len();
                let parts: &[KeyPart; COLUMNS] = key.parts().try_into().ok()?;
                Some(($($name::from_part(&parts[$index])?,)+))
            }
        }
    };
}

tuple_keys!(A 0, B 1);
tuple_keys!(A 0, B 1, C 2);
tuple_keys!(A 0, B 1, C 2, D 3);

impl From<i64> for RowKey {
    fn from(value: i64) -> Self {
        value.to_row_key()
    }
}

impl From<&str> for RowKey {
    fn from(value: &str) -> Self {
        Self(Repr::One(KeyPart::Text(value.into())))
    }
}

impl From<String> for RowKey {
    fn from(value: String) -> Self {
        value.to_row_key()
    }
}

impl From<(i64, &str)> for RowKey {
    fn from((first, second): (i64, &str)) -> Self {
        Self::new([KeyPart::Int(first), KeyPart::Text(second.into())])
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, KeyPart, RowKey};

    #[test]
    fn key_types_refuse_row_keys_that_do_not_fit() {
        assert_eq!(i16::from_row_key(&RowKey::from(70_000)), None);
        assert_eq!(i64::from_row_key(&RowKey::from("7")), None);
        assert_eq!(u64::from_row_key(&RowKey::from(-1)), None);
        for other in ["07", "+7", "7.0", "18446744073709551616", ""] {
            assert_eq!(u64::from_row_key(&RowKey::from(other)), None, "{other}");
        }
        assert_eq!(<(i64, String)>::from_row_key(&RowKey::from(7)), None);
        let key = RowKey::from((7, "eu"));
        assert_eq!(
            <(i64, String)>::from_row_key(&key),
            Some((7, "eu".to_owned()))
        );
        assert_eq!(i64::from_row_key(&key), None);
    }

    #[test]
    fn u64_keys_beyond_bigint_match_numeric_text() {
        for number in [0, 7, i64::MAX.cast_unsigned(), u64::MAX] {
            assert_eq!(u64::from_row_key(&number.to_row_key()), Some(number));
            let text = RowKey::from(number.to_string());
            assert_eq!(u64::from_row_key(&text), Some(number));
        }
    }

    #[test]
    fn ip_address_keys_accept_hosts_and_refuse_networks() {
        use std::net::IpAddr;

        let address = |text: &str| IpAddr::from_row_key(&RowKey::from(text));
        for host in ["10.0.0.1", "fe80::a", "::ffff:1.2.3.4"] {
            assert_eq!(address(host), host.parse().ok(), "{host}");
            assert_eq!(
                host.parse::<IpAddr>().unwrap().to_row_key(),
                RowKey::from(host)
            );
        }
        assert_eq!(address("10.0.0.1/32"), address("10.0.0.1"));
        assert_eq!(address("fe80::a/128"), address("fe80::a"));
        for network in [
            "10.0.0.0/8",
            "10.0.0.1/",
            "10.0.0.1/128",
            "fe80::/10",
            "fe80::a/32",
            "",
        ] {
            assert_eq!(address(network), None, "{network}");
        }
    }

    #[cfg(feature = "ipnetwork")]
    #[test]
    fn network_keys_accept_networks_and_hosts() {
        use ipnetwork::IpNetwork;

        let network = |text: &str| IpNetwork::from_row_key(&RowKey::from(text));
        for text in [
            "10.0.0.1",
            "10.0.0.0/8",
            "10.0.0.1/8",
            "fe80::/10",
            "::ffff:1.2.3.4",
        ] {
            assert_eq!(network(text), text.parse().ok(), "{text}");
            assert_eq!(network(text).unwrap().to_row_key(), RowKey::from(text));
        }
        assert_eq!(network("10.0.0.1/32"), network("10.0.0.1"));
        assert_ne!(network("10.0.0.1/8"), network("10.0.0.0/8"));
        for text in ["10.0.0.1/33", "10.0.0.1/", ""] {
            assert_eq!(network(text), None, "{text}");
        }
    }

    #[test]
    fn a_composite_key_of_one_column_equals_the_single_column() {
        assert_eq!(RowKey::new([KeyPart::Int(7)]), RowKey::from(7));
    }
}
