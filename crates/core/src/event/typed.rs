//! Events with the Rust type of their table.

use std::fmt;

use serde::de::DeserializeOwned;

use super::{Event, Key};
use crate::error::{Error, ErrorKind, Result};
use crate::filter::Filter;
use crate::operation::{Operation, OperationSet};

/// Ties a Rust type to a table.
///
/// ```
/// use pgherald_core::Table;
///
/// struct User;
///
/// impl Table for User {
///     const NAME: &'static str = "users";
///     const KEY: &'static [&'static str] = &["id"];
///     type Key = i64;
/// }
/// ```
pub trait Table: 'static {
    /// The schema, as stored in the catalog.
    const SCHEMA: &'static str = "public";

    /// The table's name, as stored in the catalog: unquoted and case-sensitive.
    const NAME: &'static str;

    /// The columns of the row key, in order. Usually those of the primary key.
    const KEY: &'static [&'static str];

    /// The columns that a row is read from, besides those of the key. [`TriggerSpec::of`](crate::trigger::TriggerSpec::of)
    /// requests them. `#[derive(Table)]` lists the fields of a `Deserialize` struct.
    const COLUMNS: &'static [&'static str] = &[];

    /// The [`COLUMNS`](Self::COLUMNS) that an event, or the table, may lack: fields with `#[serde(default)]`. A row that was
    /// recorded before such a column was added does not have it. See
    /// [`TriggerSpec::optional_columns`](crate::trigger::TriggerSpec::optional_columns).
    const OPTIONAL_COLUMNS: &'static [&'static str] = &[];

    /// Pairs of a column and its other names in events, such as the name before a rename. `#[derive(Table)]` takes them from
    /// `#[serde(alias)]`.
    const ALIASES: &'static [(&'static str, &'static [&'static str])] = &[];

    /// The Rust type of a row key.
    type Key: Key + 'static;
}

/// A type that handlers can receive in place of a plain [`Event`].
pub trait FromEvent: Sized + 'static {
    /// Narrows a filter to the events that this type can be made from.
    fn narrow(filter: Filter) -> Filter;

    /// Makes the typed event. Returns `None` if the event does not identify a row.
    ///
    /// # Errors
    /// If the event is of another table or operation, or its key does not fit [`Table::Key`].
    fn from_event(event: &Event) -> Result<Option<Self>>;
}

/// Accepts every event.
impl FromEvent for Event {
    fn narrow(filter: Filter) -> Filter {
        filter
    }

    fn from_event(event: &Event) -> Result<Option<Self>> {
        Ok(Some(event.clone()))
    }
}

/// Fails if the event is of another table or operation, because the subscription did not narrow its filter.
fn check<T: Table>(event: &Event, operations: OperationSet) -> Result<()> {
    let of_table = event.table() == T::NAME && event.schema().is_none_or(|name| name == T::SCHEMA);
    if of_table && operations.contains(event.operation()) {
        return Ok(());
    }
    let message = format!(
        "{event} is not an event of {operations:?} on {}.{}",
        T::SCHEMA,
        T::NAME
    );
    Err(Error::new(ErrorKind::Decode, message))
}

fn row_key<T: Table>(event: &Event) -> Result<Option<T::Key>> {
    let Some(key) = event.key() else {
        return Ok(None);
    };
    T::Key::from_row_key(key).map(Some).ok_or_else(|| {
        let expected = std::any::type_name::<T::Key>();
        Error::new(
            ErrorKind::Decode,
            format!("the row key of {event} is not a {expected}"),
        )
    })
}

macro_rules! row_events {
    ($($(#[$doc:meta])* $name:ident = $operations:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name<T: Table> {
            /// The row's key.
            pub key: T::Key,
            /// The event that this value was made from.
            pub event: Event,
        }

        impl<T: Table> $name<T> {
            /// Returns the row: the values after the change, or before it for a DELETE. Columns of the key are taken from the
            /// key. Values are read as by [`Event::columns`].
            ///
            /// # Errors
            /// If a column of [`Table::COLUMNS`] is missing, or a value does not fit its field. A notification has no columns
            /// if they are too large together.
            pub fn row(&self) -> Result<T>
            where
                T: DeserializeOwned,
            {
                self.event.row(self.event.columns.as_deref())
            }
        }

        impl<T: Table> FromEvent for $name<T> {
            fn narrow(filter: Filter) -> Filter {
                filter.and(Filter::new().table_of::<T>().operations($operations))
            }

            fn from_event(event: &Event) -> Result<Option<Self>> {
                check::<T>(event, $operations.into())?;
                Ok(row_key::<T>(event)?.map(|key| Self { key, event: event.clone() }))
            }
        }

        impl<T: Table> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.event).finish()
            }
        }
    )*};
}

row_events! {
    /// A row of `T`'s table was inserted.
    Inserted = Operation::Insert;
    /// A row of `T`'s table was updated.
    Updated = Operation::Update;
    /// A row of `T`'s table was deleted.
    Deleted = Operation::Delete;
    /// A row of `T`'s table was inserted, updated or deleted, see [`Event::operation`].
    ///
    /// TRUNCATE identifies no rows. It arrives as a resync.
    Changed = OperationSet::ALL;
}

macro_rules! old_rows {
    ($($name:ident)*) => {$(
        impl<T: Table> $name<T> {
            /// Returns the row before an UPDATE. `None` if the event has no old values: the specification does not request
            /// them (see [`TriggerSpec::old_columns`](crate::trigger::TriggerSpec::old_columns)), the UPDATE changed the key,
            /// or the event is of another operation.
            ///
            /// # Errors
            /// As for [`row`](Self::row).
            pub fn old(&self) -> Result<Option<T>>
            where
                T: DeserializeOwned,
            {
                let old = self.event.old();
                old.map(|columns| self.event.row(Some(&columns))).transpose()
            }
        }
    )*};
}

old_rows!(Updated Changed);

/// `T`'s table was truncated.
pub struct Truncated<T: Table> {
    /// The event that this value was made from.
    pub event: Event,
    table: std::marker::PhantomData<fn() -> T>,
}

impl<T: Table> FromEvent for Truncated<T> {
    fn narrow(filter: Filter) -> Filter {
        filter
            .table(T::SCHEMA, T::NAME)
            .operations(Operation::Truncate)
    }

    fn from_event(event: &Event) -> Result<Option<Self>> {
        Ok(Some(Self {
            event: event.clone(),
            table: std::marker::PhantomData,
        }))
    }
}

impl<T: Table> fmt::Debug for Truncated<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Truncated").field(&self.event).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Changed, FromEvent, Inserted, Table, Truncated};
    use crate::{ErrorKind, Event, Filter, Operation, OperationSet};

    struct User;

    impl Table for User {
        const NAME: &'static str = "users";
        const KEY: &'static [&'static str] = &["id"];
        type Key = i64;
    }

    fn event(table: &str, operation: Operation) -> Event {
        Event::builder("public", table, operation).key(7).build()
    }

    #[test]
    fn typed_events_accept_only_their_table_and_operation() {
        let filter = Inserted::<User>::narrow(Filter::new());
        assert!(filter.matches(&event("users", Operation::Insert)));
        assert!(!filter.matches(&event("users", Operation::Update)));
        assert!(!filter.matches(&event("orders", Operation::Insert)));
        let wide = Filter::new()
            .table("public", "orders")
            .operations(OperationSet::ALL);
        let narrowed = Inserted::<User>::narrow(wide);
        assert!(!narrowed.matches(&event("orders", Operation::Insert)));
        assert!(!narrowed.matches(&event("users", Operation::Delete)));
        assert!(Inserted::<User>::from_event(&event("users", Operation::Update)).is_err());
        assert!(Inserted::<User>::from_event(&event("orders", Operation::Insert)).is_err());
        let inserted = Inserted::<User>::from_event(&event("users", Operation::Insert));
        assert_eq!(inserted.unwrap().unwrap().key, 7);
    }

    #[test]
    fn whole_table_events_have_no_row_key() {
        let truncated = Event::builder("public", "users", Operation::Truncate).build();
        assert!(Changed::<User>::from_event(&truncated).unwrap().is_none());
        assert!(Truncated::<User>::from_event(&truncated).unwrap().is_some());
    }

    #[test]
    fn mismatched_key_type_is_a_decode_error() {
        let event = Event::builder("public", "users", Operation::Insert)
            .key("abc")
            .build();
        let error = Inserted::<User>::from_event(&event).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert_eq!(
            error.to_string(),
            "the row key of insert public.users abc is not a i64"
        );
    }
}
