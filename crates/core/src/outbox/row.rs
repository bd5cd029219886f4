//! Converts rows of the outbox to events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_postgres::{Client, Row};

use super::WAKE_UP_CHANNEL;
use super::position::Span;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Event, Head, Record, Relation, RowKey};
use crate::name::{ChannelName, TableName};
use crate::operation::Operation;
use crate::types::Fields;

/// The columns that rows are read from.
macro_rules! columns {
    () => {
        "id, xid::pg_catalog.text, sent_at, relation, hash, operation, key, columns, old_columns, changed"
    };
}
pub(super) use columns;
/// The same columns without texts, which the writers of rows choose.
macro_rules! bare_columns {
    () => {
        "id, xid::pg_catalog.text, sent_at, relation, hash, operation, NULL::pg_catalog.text AS key, NULL::pg_catalog.text AS columns,
            NULL::pg_catalog.text AS old_columns, NULL::pg_catalog.text[] AS changed"
    };
}
pub(super) use bare_columns;

/// A row of the outbox.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) id: i64,
    pub(crate) xid: Option<u64>,
    pub(crate) sent_at: SystemTime,
    pub(crate) relation: i64,
    pub(crate) hash: i32,
    pub(crate) operation: i8,
    /// A JSON text.
    pub(crate) key: Option<Arc<str>>,
    pub(crate) columns: Option<Arc<str>>,
    pub(crate) old_columns: Option<Arc<str>>,
    pub(crate) changed: Option<Vec<Option<String>>>,
    /// Why the row cannot be decoded, if reading it has shown that.
    pub(crate) problem: Option<Arc<str>>,
}

/// The first time, in seconds since 1970, that PostgreSQL cannot represent. A later time, or one far before 1970, stands for
/// infinity.
const END_OF_TIME: u64 = 9_224_318_016_000;

impl Recorded {
    /// Converts a row that was selected by [`columns`]. A column that cannot be read is omitted, and becomes an error when
    /// the row is decoded.
    pub(crate) fn of(row: &Row) -> Result<Self> {
        let text = |name| Ok::<_, Error>(get::<Option<&str>>(row, name)?.map(Arc::<str>::from));
        let (changed, mut problem) = match row.try_get("changed") {
            Ok(changed) => (changed, None),
            Err(cause) => {
                let error = Error::with_source(ErrorKind::Decode, "changed cannot be read", cause);
                (None, Some(error.chain()))
            }
        };
        let sent_at = get(row, "sent_at")?;
        if is_infinite(sent_at) {
            problem = Some("sent_at is infinite".to_owned());
        }
        Ok(Self {
            id: get(row, "id")?,
            xid: get::<Option<&str>>(row, "xid")?.and_then(|xid| xid.parse().ok()),
            sent_at,
            relation: get(row, "relation")?,
            hash: get(row, "hash")?,
            operation: get(row, "operation")?,
            key: text("key")?,
            columns: text("columns")?,
            old_columns: text("old_columns")?,
            changed,
            problem: problem.map(Arc::from),
        })
    }

    /// Returns the approximate size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let texts = [&self.key, &self.columns, &self.old_columns];
        let texts = texts.into_iter().flatten().map(|text| text.len());
        let names = self.changed.iter().flatten().flatten().map(String::len);
        size_of::<Self>() + texts.chain(names).sum::<usize>()
    }

    /// Returns microseconds since 1970, or the least or greatest number if the time is infinite.
    pub(crate) fn sent_at_us(&self) -> i64 {
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        match self.sent_at.duration_since(UNIX_EPOCH) {
            _ if is_infinite(self.sent_at) && self.sent_at < UNIX_EPOCH => i64::MIN,
            Ok(since) => micros(since),
            Err(before) => -micros(before.duration()),
        }
    }

    fn event(
        &self,
        relation: Arc<Relation>,
        received_at: SystemTime,
        span: Option<&Arc<Span>>,
    ) -> Result<Event> {
        let id = self.id;
        let refuse = |why: &str| Error::new(ErrorKind::Decode, format!("outbox row {id}: {why}"));
        if let Some(problem) = &self.problem {
            return Err(refuse(problem));
        }
        let changed = self.changed.clone();
        let changed = changed.map(|names| names.into_iter().collect::<Option<Vec<_>>>());
        if changed == Some(None) {
            return Err(refuse("NULL among the names of changed columns"));
        }
        let operation = match self.operation.cast_unsigned() {
            b'I' => Operation::Insert,
            b'U' => Operation::Update,
            b'D' => Operation::Delete,
            b'T' => Operation::Truncate,
            other => {
                let message = format!("outbox row {id} has operation {:?}", char::from(other));
                return Err(Error::new(ErrorKind::Decode, message));
            }
        };
        let key = match &self.key {
            Some(json) => Some(json_of::<RowKey>(json, id)?),
            None => None,
        };
        let head = Head {
            relation,
            operation,
            sent_at: self.sent_at,
            received_at,
            transaction_id: self.xid,
            backend_pid: 0,
        };
        let record = Record {
            id: Some(id),
            old_columns: self.old_columns.clone(),
            changed: changed.flatten(),
            span: span.cloned(),
        };
        Ok(Event::recorded(head, key, self.columns.clone(), record))
    }
}

fn is_infinite(time: SystemTime) -> bool {
    let distance = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since,
        Err(before) => before.duration() * 2,
    };
    distance.as_secs() >= END_OF_TIME
}

/// The tables of all relations seen so far.
#[derive(Debug, Default)]
pub(crate) struct Relations(HashMap<i64, Arc<Relation>>);

impl Relations {
    /// Decodes each row to an event, or to an error that names the row.
    ///
    /// # Errors
    /// If reading from the server fails.
    pub(crate) async fn events(
        &mut self,
        client: &Client,
        rows: &[Recorded],
        span: Option<&Arc<Span>>,
    ) -> Result<Vec<Result<Event>>> {
        let received_at = SystemTime::now();
        let mut events = Vec::with_capacity(rows.len());
        // Query an unknown relation once per page, not once per row. It may exist by the next page.
        let mut unknown = HashMap::<i64, Error>::new();
        for row in rows {
            if let Some(error) = unknown.get(&row.relation) {
                events.push(Err(error.clone()));
                continue;
            }
            let event = match self.relation(client, row.relation).await {
                Ok(relation) => row.event(relation, received_at, span),
                Err(error) if error.kind() == ErrorKind::Decode => {
                    unknown.insert(row.relation, error.clone());
                    Err(error)
                }
                Err(error) => return Err(error),
            };
            events.push(event);
        }
        Ok(events)
    }

    /// Returns the table of a relation that was seen before.
    pub(crate) fn table(&self, id: i64) -> Option<TableName> {
        let relation = self.0.get(&id)?;
        TableName::new(relation.schema.as_deref()?, &relation.table).ok()
    }

    async fn relation(&mut self, client: &Client, id: i64) -> Result<Arc<Relation>> {
        if let Some(relation) = self.0.get(&id) {
            return Ok(Arc::clone(relation));
        }
        let sql = "SELECT schema_name, table_name, key_columns, column_types FROM pgherald.outbox_relation WHERE id OPERATOR(pg_catalog.=) $1";
        let row = client.query_opt(sql, &[&id]).await.map_err(failed)?;
        let row = row.ok_or_else(|| {
            let message = format!("pgherald.outbox_relation has no row {id}; install the triggers");
            Error::new(ErrorKind::Decode, message)
        })?;
        let key_columns = match get::<Option<String>>(&row, "key_columns")? {
            Some(json) => json_of::<Vec<Box<str>>>(&json, id)?.into(),
            None => Box::default(),
        };
        let types = match get::<Option<String>>(&row, "column_types")? {
            Some(json) => serde_json::from_str(&json).map_err(|cause| {
                let message =
                    format!("column_types of row {id} of pgherald.outbox_relation are not types");
                Error::with_source(ErrorKind::Decode, message, cause)
            })?,
            None => Fields::default(),
        };
        let relation = Arc::new(Relation {
            channel: ChannelName::new(WAKE_UP_CHANNEL)?,
            schema: Some(get::<String>(&row, "schema_name")?.into()),
            table: get::<String>(&row, "table_name")?.into(),
            key_columns,
            types,
        });
        self.0.insert(id, Arc::clone(&relation));
        Ok(relation)
    }
}

fn json_of<'a, T: serde::Deserialize<'a>>(json: &'a str, id: i64) -> Result<T> {
    serde_json::from_str(json).map_err(|cause| {
        let message = format!("outbox row {id} has {json:?} where a key is expected");
        Error::with_source(ErrorKind::Decode, message, cause)
    })
}

/// Reads the column `name` of a row of the outbox or of a group.
pub(crate) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    name: &str,
) -> Result<T> {
    row.try_get(name).map_err(|cause| {
        let message = format!("cannot read column {name} of an outbox row");
        Error::with_source(ErrorKind::Decode, message, cause)
    })
}

pub(crate) fn failed(cause: tokio_postgres::Error) -> Error {
    Error::of_statement("cannot read the outbox", cause)
}
