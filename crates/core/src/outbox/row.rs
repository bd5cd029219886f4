//! From a row of the outbox to an event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_postgres::{Client, Row};

use super::WAKE_UP_CHANNEL;
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Head, Record, Relation, RowKey};
use crate::name::ChannelName;
use crate::operation::Operation;

/// What the rows are read by.
pub(super) const COLUMNS: &str =
    "id, xid::text, sent_at, relation, operation, key, columns, old_columns, changed";

/// The tables that were met so far.
#[derive(Debug, Default)]
pub(super) struct Relations(HashMap<i64, Arc<Relation>>);

impl Relations {
    /// Makes events of rows. What cannot be understood fails with its id.
    pub(super) async fn events(&mut self, client: &Client, rows: &[Row]) -> Result<Vec<Event>> {
        let received_at = SystemTime::now();
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            let relation = self.relation(client, get(row, 3)?).await?;
            events.push(event(row, relation, received_at)?);
        }
        Ok(events)
    }

    async fn relation(&mut self, client: &Client, id: i64) -> Result<Arc<Relation>> {
        if let Some(relation) = self.0.get(&id) {
            return Ok(Arc::clone(relation));
        }
        let sql = "SELECT schema_name, table_name, key_columns FROM pgherald.outbox_relation WHERE id = $1";
        let row = client.query_opt(sql, &[&id]).await.map_err(failed)?;
        let row = row.ok_or_else(|| {
            let message =
                format!("pgherald.outbox_relation has no row {id}; install the triggers again");
            Error::new(Kind::Decode, message)
        })?;
        let key_columns = match get::<Option<String>>(&row, 2)? {
            Some(json) => json_of::<Vec<Box<str>>>(&json)?.into(),
            None => Box::default(),
        };
        let relation = Arc::new(Relation {
            channel: ChannelName::new(WAKE_UP_CHANNEL)?,
            schema: Some(get::<String>(&row, 0)?.into()),
            table: get::<String>(&row, 1)?.into(),
            key_columns,
        });
        self.0.insert(id, Arc::clone(&relation));
        Ok(relation)
    }
}

fn event(row: &Row, relation: Arc<Relation>, received_at: SystemTime) -> Result<Event> {
    let operation = match get::<i8>(row, 4)?.cast_unsigned() {
        b'I' => Operation::Insert,
        b'U' => Operation::Update,
        b'D' => Operation::Delete,
        b'T' => Operation::Truncate,
        other => {
            let message = format!("an outbox row has operation {:?}", char::from(other));
            return Err(Error::new(Kind::Decode, message));
        }
    };
    let key = match get::<Option<&str>>(row, 5)? {
        Some(json) => Some(json_of::<RowKey>(json)?),
        None => None,
    };
    let text = |index| Ok::<_, Error>(get::<Option<&str>>(row, index)?.map(Arc::<str>::from));
    let xid = get::<&str>(row, 1)?;
    let head = Head {
        relation,
        operation,
        sent_at: get(row, 2)?,
        received_at,
        transaction_id: xid.parse().ok(),
        backend_pid: 0,
    };
    let record = Record {
        id: get(row, 0)?,
        old_columns: text(7)?,
        changed: get(row, 8)?,
    };
    Ok(Event::recorded(head, key, text(6)?, record))
}

fn json_of<'a, T: serde::Deserialize<'a>>(json: &'a str) -> Result<T> {
    serde_json::from_str(json).map_err(|cause| {
        let message = format!("an outbox row has {json:?} where a key is expected");
        Error::with_source(Kind::Decode, message, cause)
    })
}

pub(super) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    index: usize,
) -> Result<T> {
    row.try_get(index).map_err(|cause| {
        Error::with_source(
            Kind::Decode,
            "an outbox row is not what it should be",
            cause,
        )
    })
}

pub(super) fn failed(cause: tokio_postgres::Error) -> Error {
    Error::of_statement("cannot read the outbox", cause)
}
