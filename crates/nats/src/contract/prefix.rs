//! The first tokens of all subjects of a relay.

use std::fmt;
use std::str::FromStr;

use pgherald_core::__private::host::errors;
use pgherald_core::{Error, Result};

/// The longest prefix in bytes.
const LONGEST: usize = 128;
/// What the first tokens of heartbeats have behind the prefix.
const HEARTBEAT: &str = "-heartbeat";

/// The first tokens of all subjects of a relay: `pg`, or `shop.eu.orders`.
///
/// One or more tokens of ASCII letters, digits, `_` and `-`, separated by dots; 128 bytes at most. It does not end with `-heartbeat`,
/// because a stream of its subjects would store the heartbeats of another prefix.
///
/// ```
/// use pgherald_nats::contract::Prefix;
///
/// let prefix: Prefix = "shop.orders".parse()?;
/// assert_eq!(prefix.control(3), "shop.orders.3.$control");
/// assert_eq!(prefix.heartbeat(3), "shop.orders-heartbeat.3");
/// assert!("shop.*".parse::<Prefix>().is_err());
/// # Ok::<(), pgherald_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(Box<str>);

impl Prefix {
    /// Returns the prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the subjects that a stream has to store: `PREFIX.>`.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}.>", self.0)
    }

    /// Returns the subjects of one slice: `PREFIX.SLICE.>`.
    #[must_use]
    pub fn slice(&self, slice: u16) -> String {
        format!("{}.{slice}.>", self.0)
    }

    /// Returns the subject of a slice's announcements.
    #[must_use]
    pub fn control(&self, slice: u16) -> String {
        format!("{}.{slice}.$control", self.0)
    }

    /// Returns the subjects of the announcements of all slices.
    #[must_use]
    pub fn controls(&self) -> String {
        format!("{}.*.$control", self.0)
    }

    /// Returns the subject of a slice's heartbeats.
    #[must_use]
    pub fn heartbeat(&self, slice: u16) -> String {
        format!("{}{HEARTBEAT}.{slice}", self.0)
    }

    /// Returns the subjects of the heartbeats of all slices.
    #[must_use]
    pub fn heartbeats(&self) -> String {
        format!("{}{HEARTBEAT}.*", self.0)
    }
}

impl Default for Prefix {
    /// Returns `pg`.
    fn default() -> Self {
        Self("pg".into())
    }
}

impl FromStr for Prefix {
    type Err = Error;

    /// # Errors
    /// If the text is not a valid prefix.
    fn from_str(text: &str) -> Result<Self> {
        let is_token = |token: &str| {
            let mut bytes = token.bytes();
            !token.is_empty()
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        if text.ends_with(HEARTBEAT) {
            return Err(errors::bad_nats(format!(
                "{text:?} is no prefix of subjects, because it ends with {HEARTBEAT}: its stream would store the heartbeats of the prefix {:?}",
                text.trim_end_matches(HEARTBEAT)
            )));
        }
        match text.len() <= LONGEST && text.split('.').all(is_token) {
            true => Ok(Self(text.into())),
            false => Err(errors::bad_nats(format!(
                "{text:?} is no prefix of subjects: use one or more tokens of ASCII letters, digits, _ and -, separated by dots, of \
                 {LONGEST} bytes at most"
            ))),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Prefix;

    #[test]
    fn prefixes_with_wildcards_or_other_characters_are_refused() {
        for good in ["pg", "a.b-c.D_1", "a-heartbeat.b", &"x".repeat(128)] {
            assert_eq!(good.parse::<Prefix>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "*",
            "a.>",
            "a.*.b",
            "a b",
            "ü",
            "$JS",
            "a\n",
            "pg-heartbeat",
            "a.b-heartbeat",
            &"x".repeat(129),
        ] {
            let error = bad.parse::<Prefix>().expect_err(bad);
            assert!(error.is_config(), "{bad}");
        }
    }
}
