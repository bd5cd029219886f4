//! Text of a fixed length.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{KeyColumn, KeyPart};

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

impl From<&str> for PaddedText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for PaddedText {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl fmt::Display for PaddedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyColumn for PaddedText {
    fn to_part(&self) -> KeyPart {
        KeyPart::Text(self.0.as_str().into())
    }

    fn from_part(part: &KeyPart) -> Option<Self> {
        match part {
            KeyPart::Text(text) => Some(Self::new(text)),
            KeyPart::Null | KeyPart::Bool(_) | KeyPart::Int(_) => None,
        }
    }
}
