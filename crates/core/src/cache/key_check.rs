//! Checks whether the key types of a cache fit the key columns of its tables: whether they read all spellings of a
//! value as one key.
//!
//! A cache learns the types of key columns in two ways. [`KeyTypes`] are read from the catalog before the cache starts,
//! for all tables at once, so that the program gets an error. Events also carry the types. So a cache that was not
//! checked, or whose table was altered, is closed by the first event that it could miss. Until that event, no value in
//! the cache is outdated. The check itself is in [`types`](crate::types).

use std::collections::HashMap;

use tokio_postgres::Client;

use super::dependency::Dependency;
use super::driver::CacheDriver;
use super::key::CacheKey;
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;
use crate::trigger;
use crate::types::Fields;

/// The types of tables' columns, as read from the catalog: for `CacheDriver::check_key_types`.
#[derive(Clone, Debug, Default)]
pub struct KeyTypes(HashMap<TableName, Fields>);

impl KeyTypes {
    /// Reads the types of the columns of these tables. Tables that do not exist are left out.
    ///
    /// # Errors
    /// If the catalog cannot be read.
    pub async fn read(client: &Client, tables: &[&TableName]) -> Result<Self> {
        let actual = trigger::inspect(client, tables).await?;
        let types = tables.iter().filter_map(|table| {
            let types = actual.types_of(table)?;
            Some(((*table).clone(), types))
        });
        Ok(Self(types.collect()))
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> CacheDriver<K, V> {
    /// Checks that the key types of the cache fit the key columns of its tables, whose types it reads from the catalog;
    /// see [`Key`](crate::Key). Runs no statement if there is nothing to check.
    ///
    /// The check is optional: an event that the cache could miss closes it, and
    /// [`CacheHandle::refused`](crate::CacheHandle::refused) then returns the same error.
    ///
    /// ```no_run
    /// use pgherald_core::{CacheBuilder, Table};
    ///
    /// struct Session;
    /// impl Table for Session {
    ///     const NAME: &'static str = "sessions";
    ///     const KEY: &'static [&'static str] = &["id"]; // a uuid
    ///     type Key = String;
    /// }
    ///
    /// # async fn example(client: &tokio_postgres::Client) -> pgherald_core::Result<()> {
    /// let (_, driver) = CacheBuilder::<String, i64>::new("sessions").row_of::<Session>().build()?;
    /// assert!(driver.check_keys(client).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If a key type does not fit. The message names the column and the key types that fit. If the catalog cannot be
    /// read.
    pub async fn check_keys(&self, client: &Client) -> Result<()> {
        let tables: Vec<_> = self.checked().map(Dependency::name).collect();
        if tables.is_empty() {
            return Ok(());
        }
        self.check_key_types(&KeyTypes::read(client, &tables).await?)
    }

    /// As [`check_keys`](Self::check_keys), with types that were read before, for several caches at once.
    ///
    /// # Errors
    /// If a key type does not fit.
    pub(crate) fn check_key_types(&self, types: &KeyTypes) -> Result<()> {
        for dependency in self.checked() {
            // A table that does not exist is reported by the listener.
            if let Some(types) = types.0.get(dependency.name()) {
                dependency.check_types(types).map_err(|error| {
                    let message = format!("cache {:?}: {error}", self.name());
                    Error::new(ErrorKind::Config, message)
                })?;
            }
        }
        Ok(())
    }

    /// Returns whether `types` have all tables that must be checked, and the key types fit them.
    #[must_use]
    pub(crate) fn fits(&self, types: &KeyTypes) -> bool {
        let mut checked = self.checked();
        checked.all(|one| types.0.contains_key(one.name())) && self.check_key_types(types).is_ok()
    }

    fn checked(&self) -> impl Iterator<Item = &Dependency<K>> {
        let dependencies = self.dependencies.iter();
        dependencies.filter(|one| one.depends_on_types())
    }

    /// Returns whether the key types of the cache fit some column types only. Integers, for example, fit all.
    #[must_use]
    pub(crate) fn has_keys_to_check(&self) -> bool {
        self.checked().next().is_some()
    }
}
