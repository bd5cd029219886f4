//! How a dependency reads row keys, and the columns that this does not fit.

use crate::error::{Error, ErrorKind, Result};
use crate::event::RowKey;
use crate::name::TableName;
use crate::types::{Fields, SameKey, unfit};

/// How a dependency reads row keys.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    pub(super) same: SameKey,
    /// The Rust type, for messages.
    pub(super) key_type: &'static str,
}

impl Reading {
    /// Returns an error if one of these columns has several spellings that the Rust type keeps apart. `key` is a valid
    /// key of the columns.
    pub(super) fn check(
        self,
        table: &TableName,
        types: &Fields,
        columns: &[impl AsRef<str>],
        key: &RowKey,
    ) -> Result<()> {
        let Some(unfit) = unfit(types, columns, key, self.same) else {
            return Ok(());
        };
        let way_out = match unfit.column_type.key_types() {
            Some(types) => format!("use {types} as its key type"),
            None => {
                "use a key type of your own that normalises the text, or another key".to_owned()
            }
        };
        let message = format!(
            "key column {:?} of {table} is {}, whose values have several texts, and {} keeps them apart: an event would miss a value \
             that was cached under another text; {way_out}, or depend on the whole table (table_of)",
            unfit.column,
            unfit.column_type.described(),
            self.key_type,
        );
        Err(Error::new(ErrorKind::Config, message))
    }
}
