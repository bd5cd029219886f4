//! Texts that are keys in a normalised form.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{KeyColumn, KeyPart};

/// Implements the traits of a text that `new` normalises. Texts for which `$is_key` does not hold are not keys.
macro_rules! normalised {
    ($name:ident, $is_key:expr) => {
        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::new(&text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl KeyColumn for $name {
            fn to_part(&self) -> KeyPart {
                KeyPart::Text(self.0.as_str().into())
            }

            fn from_part(part: &KeyPart) -> Option<Self> {
                let is_key: fn(&str) -> bool = $is_key;
                match part {
                    KeyPart::Text(text) => is_key(text).then(|| Self::new(text)),
                    KeyPart::Null | KeyPart::Bool(_) | KeyPart::Int(_) => None,
                }
            }
        }
    };
}

/// The value of a `citext` column, as a key. Values that differ in the case of ASCII letters only are equal, as they are in SQL.
///
/// This type stores lower case. Which other letters are equal depends on the locale of the database, which a program does not
/// know. So a text with other characters than ASCII is not a key: a cache does not store the value of such a key, and an event
/// about such a row invalidates everything. A database with the locale of Turkish or Azerbaijani, where `I` is not the upper case
/// of `i`, needs a key type of your own.
///
/// Do not use it for columns of type `text`, where `Ann` and `ann` are two rows: a cache would have one value for both. A
/// nondeterministic collation ignores more than the case; caches refuse this type there.
///
/// ```
/// use pgherald_core::{CaselessText, Key};
///
/// assert_eq!(CaselessText::new("Ann"), CaselessText::new("ANN"));
/// assert_eq!(CaselessText::new("Ann").as_str(), "ann");
/// assert_eq!(CaselessText::from_row_key(&"Zoë".to_owned().to_row_key()), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(from = "String")]
pub struct CaselessText(String);

impl CaselessText {
    /// Makes a value of `text` with ASCII letters in lower case.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_ascii_lowercase())
    }

    /// Returns the text in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

normalised!(CaselessText, str::is_ascii);

/// The value of a `character(n)` column, as a key. Values that differ only in trailing blanks are equal, as in SQL.
///
/// The server pads such a value to its length, and a client may write it without the blanks. This type removes trailing
/// blanks.
///
/// ```
/// use pgherald_core::PaddedText;
///
/// assert_eq!(PaddedText::new("eu"), PaddedText::new("eu  "));
/// assert_eq!(PaddedText::new("eu  ").as_str(), "eu");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(from = "String")]
pub struct PaddedText(String);

impl PaddedText {
    /// Makes a value without the trailing blanks of `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim_end_matches(' ').to_owned())
    }

    /// Returns the text without trailing blanks.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

normalised!(PaddedText, |_| true);
