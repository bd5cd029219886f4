//! Events: one per changed row, or one per table if the row is unknown.

mod attachment;
mod builder;
mod clock;
mod column;
pub(crate) mod decode;
mod encode;
mod key;
mod key_json;
mod key_text;
mod key_types;
mod mac;
mod payload;
mod typed;
mod unchanged;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::name::ChannelName;
use crate::operation::Operation;
use crate::outbox::position::Span;
use crate::types::{self, Fields, RowParts};

use attachment::Attachment;
pub(crate) use attachment::with_room;
pub use builder::{ColumnType, EventBuilder};
pub(crate) use column::{ColumnValue, column_value};
pub(crate) use decode::Decoder;
#[cfg(feature = "distributor")]
pub(crate) use decode::excerpt;
pub use key::{Key, KeyColumn, KeyPart, RowKey};
pub(crate) use key::{same_key, same_row};
pub use key_text::{CaselessText, PaddedText};
pub use mac::MacAddress;
pub use typed::{Changed, Deleted, FromEvent, Inserted, Table, Truncated, Updated};

/// A committed change.
///
/// An event with a [`key`](Self::key) is about one row. An event without a key is about its whole table: a TRUNCATE, a table
/// without a key, or a statement that changed more rows than a notification can list.
///
/// Cloning is cheap: the events of one statement share everything but key and columns.
#[derive(Clone)]
pub struct Event {
    head: Arc<Head>,
    key: Option<RowKey>,
    columns: Option<Arc<str>>,
    record: Option<Arc<Record>>,
    attachment: Option<Attachment>,
}

/// The part that only events of the outbox have.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) id: Option<i64>,
    pub(crate) old_columns: Option<Arc<str>>,
    pub(crate) changed: Option<Vec<String>>,
    /// The difference that a source has read it in.
    pub(crate) span: Option<Arc<Span>>,
}

impl Record {
    fn is_some(&self) -> bool {
        self.id.is_some() || self.old_columns.is_some() || self.changed.is_some()
    }
}

/// The part that all events of one statement share.
pub(crate) struct Head {
    pub(crate) relation: Arc<Relation>,
    pub(crate) operation: Operation,
    pub(crate) sent_at: SystemTime,
    pub(crate) received_at: SystemTime,
    pub(crate) transaction_id: Option<u64>,
    pub(crate) backend_pid: i32,
}

/// A table as described by the payloads of one channel. All its events share it.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Relation {
    pub(crate) channel: ChannelName,
    pub(crate) schema: Option<Box<str>>,
    pub(crate) table: Box<str>,
    pub(crate) key_columns: Box<[Box<str>]>,
    /// The types of columns whose values are sent as text.
    pub(crate) types: Fields,
}

impl Event {
    /// Starts building an event, for tests and for sources other than PostgreSQL.
    ///
    /// ```
    /// use pgherald_core::{Event, Operation};
    ///
    /// let event = Event::builder("public", "users", Operation::Insert).key(7).build();
    /// assert_eq!(event.table(), "users");
    /// ```
    pub fn builder(
        schema: impl Into<String>,
        table: impl Into<String>,
        operation: Operation,
    ) -> EventBuilder {
        EventBuilder::new(schema.into(), table.into(), operation)
    }

    /// Returns the channel that the event arrived on.
    #[must_use]
    pub fn channel(&self) -> &ChannelName {
        &self.head.relation.channel
    }

    /// Returns the table's schema. `None` if the trigger does not send it, as with PGCacheWatch.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.head.relation.schema.as_deref()
    }

    /// Returns the table's name, without schema.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.head.relation.table
    }

    /// Returns the operation.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.head.operation
    }

    /// Returns the key of the changed row. `None` if the event is about the whole table.
    #[must_use]
    pub fn key(&self) -> Option<&RowKey> {
        self.key.as_ref()
    }

    /// Returns the names of the key's columns, in the order of the key. Empty if the trigger does not send them.
    #[must_use]
    pub fn key_columns(&self) -> &[Box<str>] {
        &self.head.relation.key_columns
    }

    /// Reads the columns that the trigger specification names into `T`.
    ///
    /// The values are the new ones for inserts and updates, and the old ones for deletes. Returns `None` if the specification
    /// names no columns, if the columns together are too large for a notification, or if the event is about the whole table.
    ///
    /// A field of `T` may have any type that suits the type of its column, as with a database driver:
    ///
    /// | PostgreSQL | Rust |
    /// |---|---|
    /// | `smallint`, `integer`, `bigint`, `oid` | integers, `f64`, `String` |
    /// | `real`, `double precision` | `f32`, `f64`, also for `NaN` and infinities; `String` |
    /// | `numeric` | decimal types, `String`, `f64`; integers if it is whole; in a `serde_json::Value`, a string |
    /// | `json`, `jsonb` | any type that the JSON fits: structs, maps, `serde_json::Value` |
    /// | arrays, with all their dimensions | `Vec` and other collections, of `Option` if elements may be null |
    /// | composite types | structs with the same fields |
    /// | `timestamptz`, `timestamp`, `date`, `time`, `timetz` | types that read ISO 8601: those of chrono and jiff; those of time with `time::serde::rfc3339` or similar |
    /// | `bytea` | `Vec<u8>`, `serde_bytes::ByteBuf` |
    /// | enums | enums, `String` |
    /// | domains | as for the base type |
    /// | `uuid`, `inet`, `interval` (ISO 8601), ranges, types of extensions, all others | types that read a string: `uuid::Uuid`, `IpAddr`, `String` |
    ///
    /// Use `Option` for a column that may be null.
    ///
    /// A `numeric` may have more digits than any number type of Rust, and no digit is lost. So where serde does not request a
    /// type, a `numeric` is a string with all of its digits: in a `serde_json::Value`, in a field with `#[serde(flatten)]`,
    /// in untagged enums, and in [`columns_json`](Self::columns_json). This includes whole numbers, and does not depend on
    /// the feature `arbitrary_precision` of serde_json. Numbers within `json` and `jsonb` are those of serde_json.
    ///
    /// # Errors
    /// If the columns do not fit `T`, or a column of `T` is [unavailable](Self::unavailable).
    pub fn columns<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.columns
            .as_ref()
            .map(|json| self.read(json))
            .transpose()
    }

    fn read<T: DeserializeOwned>(&self, json: &str) -> Result<T> {
        let read = types::from_columns(json, &self.head.relation.types);
        read.map_err(|cause| self.unfit::<T>(json, cause))
    }

    /// Reads a row of `T` from `columns` and the key. The caller chooses the current columns or those before an UPDATE.
    fn row<T: Table + DeserializeOwned>(&self, columns: Option<&str>) -> Result<T> {
        let optional = |column: &&str| T::OPTIONAL_COLUMNS.contains(column);
        let required = T::COLUMNS.iter().copied();
        let required: Vec<_> = required.filter(|column| !optional(column)).collect();
        let row = types::from_row(&RowParts {
            columns,
            types: &self.head.relation.types,
            key_columns: T::KEY,
            key: self.key.as_ref().map_or(&[], RowKey::parts),
            required: &required,
            aliases: T::ALIASES,
        });
        row.map_err(|cause| self.unfit::<T>(columns.unwrap_or_default(), cause))
    }

    fn unfit<T>(&self, json: &str, cause: types::Error) -> Error {
        let target = std::any::type_name::<T>();
        let mut message = format!("columns of {self} do not fit {target}");
        for (column, limit) in types::unavailable(json) {
            message.push_str(&format!(
                "; column {column:?} is unavailable, because its value exceeds the limit of {limit} bytes: leave it \
                 out and read it from the table, or record the table with a higher limit (TriggerSpec::value_limit, \
                 pgherald install --value-limit)"
            ));
        }
        Error::with_source(ErrorKind::Decode, message, cause)
    }

    /// Returns the names of columns whose values were too large for the event, see
    /// [`TriggerSpec::value_limit`](crate::trigger::TriggerSpec::value_limit). Their values are unknown, not null.
    ///
    /// [`columns_json`](Self::columns_json) has an object `{"unavailable":{"limit":…}}` in place of such a value. A value of
    /// type `jsonb` may look the same, but is not listed here. [`columns`](Self::columns) returns an error for a type that
    /// has the column, and works for a type that does not.
    ///
    /// ```
    /// use pgherald_core::{Event, Operation};
    ///
    /// let event = Event::builder("public", "files", Operation::Insert)
    ///     .key(1)
    ///     .columns_json(r#"{"note":"a","body":{"unavailable":{"limit":1048576}}}"#)
    ///     .build();
    /// assert_eq!(event.unavailable(), ["body"]);
    /// ```
    #[must_use]
    pub fn unavailable(&self) -> Vec<String> {
        let json = self.columns.as_deref().unwrap_or_default();
        let found = types::unavailable(json).into_iter();
        found.map(|(column, _)| column).collect()
    }

    /// Returns the extra columns as a JSON object. The values are read as by [`columns`](Self::columns): numbers, booleans,
    /// arrays, objects, and strings for everything else, such as `numeric`, `NaN` and times.
    #[must_use]
    pub fn columns_json(&self) -> Option<Cow<'_, str>> {
        Some(self.typed(Cow::Borrowed(self.columns.as_deref()?)))
    }

    fn typed<'a>(&self, json: Cow<'a, str>) -> Cow<'a, str> {
        let types = &self.head.relation.types;
        match types.is_empty() {
            true => json,
            false => types::to_json(&json, types).map_or(json, Cow::Owned),
        }
    }

    /// Reads the same columns before an UPDATE into `T`.
    ///
    /// Returns `None` if the specification does not request them, for other operations, and for notifications: see
    /// [`TriggerSpec::old_columns`](crate::trigger::TriggerSpec::old_columns).
    ///
    /// # Errors
    /// If the columns do not fit `T`, or a column of `T` is unavailable, as for [`columns`](Self::columns).
    pub fn old_columns<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.old().map(|json| self.read(&json)).transpose()
    }

    /// Returns the same columns before an UPDATE as a JSON object, like [`columns_json`](Self::columns_json).
    #[must_use]
    pub fn old_columns_json(&self) -> Option<Cow<'_, str>> {
        self.old().map(|json| self.typed(json))
    }

    /// The columns before an UPDATE, as sent by the trigger.
    fn old(&self) -> Option<Cow<'_, str>> {
        let old = self.record.as_ref()?.old_columns.as_deref()?;
        let now = self.columns.as_deref().unwrap_or_default();
        Some(unchanged::filled(old, now))
    }

    /// Returns the names of the extra columns that an UPDATE changed. `None` in the same cases as
    /// [`old_columns`](Self::old_columns).
    #[must_use]
    pub fn changed(&self) -> Option<&[String]> {
        self.record.as_ref()?.changed.as_deref()
    }

    /// Returns the event's number in the outbox, which is unique within the database. `None` for notifications.
    #[must_use]
    pub fn outbox_id(&self) -> Option<i64> {
        self.record.as_ref()?.id
    }

    /// Returns when the trigger fired, by the server's clock.
    #[must_use]
    pub fn sent_at(&self) -> SystemTime {
        self.head.sent_at
    }

    /// Returns when this process read the event, by its own clock.
    #[must_use]
    pub fn received_at(&self) -> SystemTime {
        self.head.received_at
    }

    /// Returns `received_at - sent_at`: the rest of the transaction, the commit, and the delivery to this process.
    ///
    /// Zero if the server's clock is ahead of this process's clock.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.head
            .received_at
            .duration_since(self.head.sent_at)
            .unwrap_or_default()
    }

    /// Returns the transaction id (`xid8`). `None` if the trigger does not send it.
    #[must_use]
    pub fn transaction_id(&self) -> Option<u64> {
        self.head.transaction_id
    }

    /// Returns the process id of the server backend that made the change. 0 for events of the outbox.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.head.backend_pid
    }

    /// The difference that a source has read this event in.
    pub(crate) fn span(&self) -> Option<&Arc<Span>> {
        self.record.as_ref()?.span.as_ref()
    }

    pub(crate) fn recorded(
        head: Head,
        key: Option<RowKey>,
        columns: Option<Arc<str>>,
        record: Record,
    ) -> Self {
        Self {
            head: Arc::new(head),
            key,
            columns,
            record: Some(Arc::new(record)),
            attachment: None,
        }
    }

    pub(crate) fn relation(&self) -> &Arc<Relation> {
        &self.head.relation
    }
}

/// `insert public.users 7`
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.operation())?;
        if let Some(schema) = self.schema() {
            write!(f, "{schema}.")?;
        }
        f.write_str(self.table())?;
        match &self.key {
            Some(key) => write!(f, " {key}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("channel", &self.channel().as_str())
            .field("schema", &self.schema())
            .field("table", &self.table())
            .field("operation", &self.operation())
            .field("key", &self.key)
            .field("columns", &self.columns)
            .field("sent_at", &self.sent_at())
            .field("received_at", &self.received_at())
            .field("transaction_id", &self.transaction_id())
            .field("backend_pid", &self.backend_pid())
            .field("outbox_id", &self.outbox_id())
            .finish()
    }
}
