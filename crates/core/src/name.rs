//! Names of channels, tables and columns, checked by PostgreSQL's rules. `postgres_protocol` quotes them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use postgres_protocol::escape::escape_identifier;

use crate::error::{Error, ErrorKind, Result};

/// The longest identifier that PostgreSQL keeps, in bytes (`NAMEDATALEN - 1`). It truncates longer ones silently.
pub(crate) const MAX_IDENTIFIER_BYTES: usize = 63;

/// Checks one identifier: 1 to 63 bytes, no NUL. `what` is its kind in the error.
pub(crate) fn check_identifier(what: &str, name: &str) -> Result<()> {
    let reason = if name.is_empty() {
        "is empty".to_owned()
    } else if name.contains('\0') {
        "contains a NUL byte".to_owned()
    } else if name.len() > MAX_IDENTIFIER_BYTES {
        format!(
            "has {} bytes, the limit is {MAX_IDENTIFIER_BYTES}",
            name.len()
        )
    } else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Name,
        format!("{what} name {name:?} {reason}"),
    ))
}

/// A channel of LISTEN and NOTIFY. Case-sensitive, because pgherald always quotes it.
///
/// ```
/// use pgherald_core::ChannelName;
///
/// assert!("orders".parse::<ChannelName>().is_ok());
/// assert!("x".repeat(64).parse::<ChannelName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// The default channel of pgherald's triggers.
    pub const DEFAULT: &'static str = "pgherald";

    /// The default channel of PGCacheWatch's triggers.
    pub const PGCACHEWATCH: &'static str = "ch_pgcachewatch_table_change";

    /// Checks `name`.
    ///
    /// # Errors
    /// If it is empty, longer than 63 bytes or contains NUL.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        check_identifier("channel", name)?;
        Ok(Self(name.into()))
    }

    /// Returns the name, unquoted.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn quoted(&self) -> String {
        escape_identifier(&self.0)
    }
}

impl Default for ChannelName {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl FromStr for ChannelName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::new(name)
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A table by schema and name, both as stored in the catalog: unquoted and case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    schema: Arc<str>,
    name: Arc<str>,
}

impl TableName {
    /// Checks `schema` and `name`.
    ///
    /// # Errors
    /// If either is empty, longer than 63 bytes or contains NUL.
    pub fn new(schema: impl AsRef<str>, name: impl AsRef<str>) -> Result<Self> {
        let (schema, name) = (schema.as_ref(), name.as_ref());
        check_identifier("schema", schema)?;
        check_identifier("table", name)?;
        Ok(Self {
            schema: schema.into(),
            name: name.into(),
        })
    }

    /// Returns the schema, unquoted.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Returns the table's own name, unquoted.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn quoted(&self) -> String {
        format!(
            "{}.{}",
            escape_identifier(&self.schema),
            escape_identifier(&self.name)
        )
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}
