//! Events that know which table they belong to.

use std::fmt;

use serde::de::DeserializeOwned;

use super::{Event, Key};
use crate::error::{Error, Kind, Result};
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
    /// The schema as it stands in the catalog.
    const SCHEMA: &'static str = "public";

    /// The table's name as it stands in the catalog: unquoted, case counts.
    const NAME: &'static str;

    /// The columns that make up the row key, in order; usually those of the primary key.
    const KEY: &'static [&'static str];

    /// The columns, besides those of the key, that a row is read from. [`TriggerSpec::of`](crate::trigger::TriggerSpec::of)
    /// asks for them. `#[derive(Table)]` names those of a `Deserialize` struct's fields.
    const COLUMNS: &'static [&'static str] = &[];

    /// Those of [`COLUMNS`](Self::COLUMNS) that an event, and the table, may lack: fields with `#[serde(default)]`. Rows that
    /// were recorded before their column was added do not have it. See
    /// [`TriggerSpec::optional_columns`](crate::trigger::TriggerSpec::optional_columns).
    const OPTIONAL_COLUMNS: &'static [&'static str] = &[];

    /// Other names under which events may have a column, such as the one before the column was renamed: the column, and its
    /// names. `#[derive(Table)]` takes them from `#[serde(alias)]`.
    const ALIASES: &'static [(&'static str, &'static [&'static str])] = &[];

    /// What a row key is in Rust.
    type Key: Key + 'static;
}

/// What a handler can ask to be given instead of a plain [`Event`].
pub trait FromEvent: Sized + 'static {
    /// Narrows a filter to the events that this type can be made of.
    fn narrow(filter: Filter) -> Filter;

    /// Makes the typed event, or `None` if the event does not tell which row it is about.
    ///
    /// # Errors
    /// If the event does not belong to this type, or its key has another shape than [`Table::Key`].
    fn from_event(event: &Event) -> Result<Option<Self>>;
}

/// Every event, as it is.
impl FromEvent for Event {
    fn narrow(filter: Filter) -> Filter {
        filter
    }

    fn from_event(event: &Event) -> Result<Option<Self>> {
        Ok(Some(event.clone()))
    }
}

/// Fails if the event is of another table or operation: whoever subscribed did not narrow the filter.
fn check<T: Table>(event: &Event, operations: OperationSet) -> Result<()> {
    let of_table = event.table() == T::NAME && event.schema().is_none_or(|name| name == T::SCHEMA);
    if of_table && operations.contains(event.operation()) {
        return Ok(());
    }
    let message = format!(
        "{event} is none of {operations:?} of {}.{}",
        T::SCHEMA,
        T::NAME
    );
    Err(Error::new(Kind::Decode, message))
}

fn row_key<T: Table>(event: &Event) -> Result<Option<T::Key>> {
    let Some(key) = event.key() else {
        return Ok(None);
    };
    T::Key::from_row_key(key).map(Some).ok_or_else(|| {
        let wanted = std::any::type_name::<T::Key>();
        Error::new(
            Kind::Decode,
            format!("the row key of {event} is not a {wanted}"),
        )
    })
}

macro_rules! row_events {
    ($($(#[$doc:meta])* $name:ident = $operations:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name<T: Table> {
            /// The row's key.
            pub key: T::Key,
            /// The event it was made of.
            pub event: Event,
        }

        impl<T: Table> $name<T> {
            /// The row: the values after the change, and before it for a DELETE. Columns of the key are taken from the key.
            /// Their values are read as by [`Event::columns`].
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
    /// A row of `T`'s table was inserted, updated or deleted; [`Event::operation`] tells which.
    ///
    /// TRUNCATE names no rows: it comes as a resync.
    Changed = OperationSet::ALL;
}

macro_rules! old_rows {
    ($($name:ident)*) => {$(
        impl<T: Table> $name<T> {
            /// The row before an UPDATE. `None` if the event has no values before: the trigger was not told to record them (see
            /// [`TriggerSpec::old_columns`](crate::trigger::TriggerSpec::old_columns)), the UPDATE changed the key, or the
            /// event is of another operation.
            ///
            /// # Errors
            /// As [`row`](Self::row).
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
    /// The event it was made of.
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
    use crate::{Event, Filter, Operation, OperationSet};

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
    fn a_typed_event_takes_its_own_table_and_operation_only() {
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
    fn an_event_about_the_whole_table_names_no_row() {
        let truncated = Event::builder("public", "users", Operation::Truncate).build();
        assert!(Changed::<User>::from_event(&truncated).unwrap().is_none());
        assert!(Truncated::<User>::from_event(&truncated).unwrap().is_some());
    }

    #[test]
    fn a_key_of_another_type_is_a_named_error() {
        let event = Event::builder("public", "users", Operation::Insert)
            .key("abc")
            .build();
        let error = Inserted::<User>::from_event(&event).unwrap_err();
        assert!(error.is_decode());
        assert_eq!(
            error.to_string(),
            "the row key of insert public.users abc is not a i64"
        );
    }
}
