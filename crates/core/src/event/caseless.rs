//! Text whose case does not matter.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{KeyColumn, KeyPart};

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

impl From<&str> for CaselessText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for CaselessText {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl fmt::Display for CaselessText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyColumn for CaselessText {
    fn to_part(&self) -> KeyPart {
        KeyPart::Text(self.0.as_str().into())
    }

    fn from_part(part: &KeyPart) -> Option<Self> {
        match part {
            KeyPart::Text(text) => text.is_ascii().then(|| Self::new(text)),
            KeyPart::Null | KeyPart::Bool(_) | KeyPart::Int(_) => None,
        }
    }
}
