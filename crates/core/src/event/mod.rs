//! What a source publishes: one event per changed row, or per table where the row is not known.

mod builder;
mod caseless;
mod decode;
mod key;
mod key_types;
mod mac;
mod padded;
mod typed;
mod unchanged;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;

use crate::error::{Error, Kind, Result};
use crate::name::ChannelName;
use crate::operation::Operation;
use crate::types::{self, Fields, RowParts};

pub use builder::{ColumnType, EventBuilder};
pub use caseless::CaselessText;
pub use decode::Decoder;
pub use key::{Key, KeyColumn, KeyPart, RowKey};
pub(crate) use key::{same_key, same_row};
pub use mac::MacAddress;
pub use padded::PaddedText;
pub use typed::{Changed, Deleted, FromEvent, Inserted, Table, Truncated, Updated};

/// A committed change.
///
/// An event is about one row when [`key`](Self::key) is there, else about its table as a whole: a
/// TRUNCATE, a table without a key, or a statement that touched more rows than a notification can list.
/// Cloning is cheap: the events of one statement share everything but key and columns.
#[derive(Clone)]
pub struct Event {
    head: Arc<Head>,
    key: Option<RowKey>,
    columns: Option<Arc<str>>,
    record: Option<Arc<Record>>,
}

/// What only events of the outbox have.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) id: Option<i64>,
    pub(crate) old_columns: Option<Arc<str>>,
    pub(crate) changed: Option<Vec<String>>,
}

/// What all events of one statement have in common.
pub(crate) struct Head {
    pub(crate) relation: Arc<Relation>,
    pub(crate) operation: Operation,
    pub(crate) sent_at: SystemTime,
    pub(crate) received_at: SystemTime,
    pub(crate) transaction_id: Option<u64>,
    pub(crate) backend_pid: i32,
}

/// A table as the payloads of one channel name it; shared by all its events.
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
    /// Starts an event of your own, for tests and for sources other than PostgreSQL's.
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

    /// The channel the event came through.
    #[must_use]
    pub fn channel(&self) -> &ChannelName {
        &self.head.relation.channel
    }

    /// The table's schema; `None` from triggers that do not tell it, such as PGCacheWatch's.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.head.relation.schema.as_deref()
    }

    /// The table's name, without schema.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.head.relation.table
    }

    /// What happened.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.head.operation
    }

    /// Which row it happened to; `None` if the event is about the whole table.
    #[must_use]
    pub fn key(&self) -> Option<&RowKey> {
        self.key.as_ref()
    }

    /// The names of the key's columns, in the key's order; empty where the trigger did not tell.
    #[must_use]
    pub fn key_columns(&self) -> &[Box<str>] {
        &self.head.relation.key_columns
    }

    /// The columns that the trigger specification names, read into `T`.
    ///
    /// A field of `T` may have any type that stands for the type of its column, as with a database driver:
    ///
    /// | PostgreSQL | Rust |
    /// |---|---|
    /// | `smallint`, `integer`, `bigint`, `oid` | integers, `f64`, `String` |
    /// | `real`, `double precision` | `f32`, `f64`, also for `NaN` and infinities; `String` |
    /// | `numeric` | decimal types, `String`, `f64`; integers if it is whole; in a `serde_json::Value`, a string |
    /// | `json`, `jsonb` | any type that its JSON fits: structs, maps, `serde_json::Value` |
    /// | arrays, with all their dimensions | `Vec` and other collections, of `Option` if elements may be null |
    /// | composite types | structs with a field for each of theirs |
    /// | `timestamptz`, `timestamp`, `date`, `time`, `timetz` | types that read ISO 8601: those of chrono and jiff; of time with `time::serde::rfc3339` and the like |
    /// | `bytea` | `Vec<u8>`, `serde_bytes::ByteBuf` |
    /// | enums | enums, `String` |
    /// | domains | as for the type beneath |
    /// | `uuid`, `inet`, `interval` (ISO 8601), ranges, types of extensions, all others | types that read a string: `uuid::Uuid`, `IpAddr`, `String` |
    ///
    /// `Option` stands for a column that may be null.
    ///
    /// A `numeric` may have more digits than any number type of Rust, and no digit is lost. So where serde does not ask for a
    /// type, a `numeric` is a string with all of its digits: in a `serde_json::Value`, in a field with `#[serde(flatten)]`, in
    /// untagged enums, and in [`columns_json`](Self::columns_json). That is the same for whole numbers, with and without the
    /// feature `arbitrary_precision` of serde_json. Numbers within `json` and `jsonb` are those of serde_json.
    ///
    /// New values for inserts and updates, old values for deletes. `None` if the specification names no columns, if they
    /// were too large together for a notification, or if the event is about the whole table.
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

    /// Makes the row of `T`, from columns and key: as it is now, or as it was before an UPDATE.
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
        Error::with_source(Kind::Decode, message, cause)
    }

    /// The names of columns whose values were too large for the event, see
    /// [`TriggerSpec::value_limit`](crate::trigger::TriggerSpec::value_limit). Their values are unknown, not null.
    ///
    /// In [`columns_json`](Self::columns_json) an object `{"unavailable":{"limit":…}}` stands in the place of such a value. A
    /// value of type `jsonb` may look the same, but is not listed here. [`columns`](Self::columns) returns an error for a type
    /// that has the column, and works for a type that does not.
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

    /// The extra columns as a JSON object. Its values have the types of [`columns`](Self::columns): numbers, booleans, arrays,
    /// objects, and strings for everything else, such as `numeric`, `NaN` and times.
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

    /// The same columns before an UPDATE, read into `T`. `None` if the specification does not ask for them, for other
    /// operations, and for notifications: see [`TriggerSpec::old_columns`](crate::trigger::TriggerSpec::old_columns).
    ///
    /// # Errors
    /// If the columns do not fit `T`, or a column of `T` is unavailable, as for [`columns`](Self::columns).
    pub fn old_columns<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.old().map(|json| self.read(&json)).transpose()
    }

    /// The same columns before an UPDATE as a JSON object, like [`columns_json`](Self::columns_json).
    #[must_use]
    pub fn old_columns_json(&self) -> Option<Cow<'_, str>> {
        self.old().map(|json| self.typed(json))
    }

    /// The columns before an UPDATE, as they were sent.
    fn old(&self) -> Option<Cow<'_, str>> {
        let old = self.record.as_ref()?.old_columns.as_deref()?;
        let now = self.columns.as_deref().unwrap_or_default();
        Some(unchanged::filled(old, now))
    }

    /// The names of those extra columns that an UPDATE changed. `None` where [`old_columns`](Self::old_columns) is.
    #[must_use]
    pub fn changed(&self) -> Option<&[String]> {
        self.record.as_ref()?.changed.as_deref()
    }

    /// Its number in the outbox, which no other event of this database has; `None` of notifications.
    #[must_use]
    pub fn outbox_id(&self) -> Option<i64> {
        self.record.as_ref()?.id
    }

    /// When the trigger fired, by the database server's clock.
    #[must_use]
    pub fn sent_at(&self) -> SystemTime {
        self.head.sent_at
    }

    /// When this process read the event, by its own clock.
    #[must_use]
    pub fn received_at(&self) -> SystemTime {
        self.head.received_at
    }

    /// `received_at - sent_at`: what is left of the transaction, the commit, and the way here.
    ///
    /// Zero where the server's clock is ahead of ours.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.head
            .received_at
            .duration_since(self.head.sent_at)
            .unwrap_or_default()
    }

    /// The transaction (`xid8`); `None` from triggers that do not tell it.
    #[must_use]
    pub fn transaction_id(&self) -> Option<u64> {
        self.head.transaction_id
    }

    /// The process id of the server backend that made the change; 0 of events of the outbox.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.head.backend_pid
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
