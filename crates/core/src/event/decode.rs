//! Decodes the payload of a notification into events.
//!
//! A payload is a JSON object. It must have the fields of PGCacheWatch's payloads: `operation`, `table` and `sent_at`. The
//! other fields are optional: `v`, `schema`, `xid`, `key`, `keys`, `types`, `columns` (see [`trigger`](crate::trigger)).
//! Without `schema` and `keys` the event is about the whole table. So payloads of PGCacheWatch's triggers decode as well.
//! Unknown fields are ignored.
//!
//! Events that a distributor forwards (see `encode`) may have more fields: `channel`, because they do not arrive on it, and
//! `outbox_id`, `old_columns` and `changed`, which only rows of the outbox have.
//!
//! A [`Decoder`] remembers tables and channels, so that their names are allocated once and compared by pointer downstream.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::value::RawValue;

use super::clock::Clock;
use super::payload::{Keys, Payload};
use super::{Event, Head, Record, Relation, RowKey};
use crate::error::{Error, ErrorKind, Result};
use crate::name::ChannelName;

/// The limit of remembered names, which payloads of other programs could exceed. At the limit, the memory is emptied.
const MAX_REMEMBERED: usize = 1_024;

/// The length of the excerpt of a payload in an error, in bytes.
const EXCERPT_BYTES: usize = 160;

/// Decodes payloads into [`Event`]s. Each connection has its own decoder.
#[derive(Debug, Default)]
pub struct Decoder {
    relations: Vec<Remembered>,
    /// The index of the relation of the last payload. Most streams have long runs of one table.
    last: usize,
    clock: Clock,
}

#[derive(Debug)]
struct Remembered {
    /// The `key` field as it was in the payload.
    key: Option<Box<str>>,
    /// The `types` field as it was in the payload.
    types: Option<Box<str>>,
    relation: Arc<Relation>,
}

/// How a payload has arrived.
struct Arrived<'a> {
    /// `None` if the payload itself names it.
    channel: Option<&'a str>,
    backend_pid: i32,
    received_at: SystemTime,
}

/// The fields that differ between the rows of a payload, in the order of the rows.
struct Rows<C, O> {
    columns: C,
    old_columns: C,
    changed: O,
    outbox_id: Option<i64>,
}

impl<'a, C, O> Rows<C, O>
where
    C: Iterator<Item = Option<&'a RawValue>>,
    O: Iterator<Item = Option<Vec<String>>>,
{
    /// Makes the event of the next row.
    fn event(&mut self, head: Arc<Head>, key: Option<RowKey>) -> Event {
        let text = |json: &RawValue| Arc::from(json.get());
        let record = Record {
            id: self.outbox_id,
            old_columns: self.old_columns.next().flatten().map(text),
            changed: self.changed.next().flatten(),
            span: None,
        };
        Event {
            head,
            key,
            columns: self.columns.next().flatten().map(text),
            record: record.is_some().then(|| Arc::new(record)),
            attachment: None,
        }
    }
}

impl Decoder {
    /// Makes a decoder that has seen no table yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the events of one payload to `events`: one per row key, or one for the whole table.
    ///
    /// # Errors
    /// If the payload is not JSON, lacks a required field, or has a field of the wrong type. `events` is then unchanged.
    pub fn decode(
        &mut self,
        channel: &str,
        payload: &str,
        backend_pid: i32,
        received_at: SystemTime,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let refuse = |cause| {
            let shown = excerpt(payload);
            let message = format!("payload on channel {channel:?} is not an event: {shown}");
            Error::with_source(ErrorKind::Decode, message, cause)
        };
        let arrived = Arrived {
            channel: Some(channel),
            backend_pid,
            received_at,
        };
        self.read(payload, &arrived, events).map_err(refuse)
    }

    /// Appends the event of a payload that a distributor forwards.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub(crate) fn decode_forwarded(
        &mut self,
        payload: &str,
        received_at: SystemTime,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let refuse = |cause| {
            let message = format!("a forwarded payload is not an event: {}", excerpt(payload));
            Error::with_source(ErrorKind::Decode, message, cause)
        };
        let arrived = Arrived {
            channel: None,
            backend_pid: 0,
            received_at,
        };
        self.read(payload, &arrived, events).map_err(refuse)
    }

    fn read(
        &mut self,
        payload: &str,
        arrived: &Arrived<'_>,
        events: &mut Vec<Event>,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let fields: Payload<'_> = serde_json::from_str(payload)?;
        fields.check_version()?;
        let sent_at = self.clock.read(&fields.sent_at)?;
        fields.check_rows()?;
        let named = fields.channel.as_deref().unwrap_or(ChannelName::DEFAULT);
        let relation = self.relation(arrived.channel.unwrap_or(named), &fields)?;
        let head = Arc::new(Head {
            relation,
            operation: fields.operation,
            sent_at,
            received_at: arrived.received_at,
            transaction_id: fields.xid,
            backend_pid: arrived.backend_pid,
        });
        let mut rows = Rows {
            columns: fields.columns.into_iter().flatten(),
            old_columns: fields.old_columns.into_iter().flatten(),
            changed: fields.changed.into_iter().flatten(),
            // A notification has no row in the outbox, whatever its payload says: every role can send one.
            outbox_id: fields.outbox_id.filter(|_| arrived.channel.is_none()),
        };
        match fields.keys {
            Keys::Unknown => events.push(rows.event(head, None)),
            Keys::One(key) => events.push(rows.event(head, Some(key))),
            Keys::Many(keys) => {
                events.extend(
                    keys.into_iter()
                        .map(|key| rows.event(Arc::clone(&head), Some(key))),
                );
            }
        }
        Ok(())
    }

    fn relation(&mut self, channel: &str, fields: &Payload<'_>) -> Result<Arc<Relation>> {
        let matches = |known: &Remembered| {
            let relation = &*known.relation;
            *relation.table == *fields.table
                && relation.schema.as_deref() == fields.schema.as_deref()
                && relation.channel.as_str() == channel
                && known.key.as_deref() == fields.key.map(RawValue::get)
                && known.types.as_deref() == fields.types.map(RawValue::get)
        };
        if let Some(known) = self.relations.get(self.last)
            && matches(known)
        {
            return Ok(Arc::clone(&known.relation));
        }
        if let Some(index) = self.relations.iter().position(matches) {
            self.last = index;
            return Ok(Arc::clone(&self.relations[index].relation));
        }
        let key_columns = match fields.key {
            Some(json) => serde_json::from_str::<Vec<Box<str>>>(json.get())
                .map_err(|cause| {
                    Error::with_source(
                        ErrorKind::Decode,
                        "key is not a list of column names",
                        cause,
                    )
                })?
                .into(),
            None => Box::default(),
        };
        let types = fields.types.map(|json| serde_json::from_str(json.get()));
        let types = types.transpose().map_err(|cause| {
            Error::with_source(
                ErrorKind::Decode,
                "types is not a map of column types",
                cause,
            )
        })?;
        let relation = Arc::new(Relation {
            channel: ChannelName::new(channel)?,
            schema: fields.schema.as_deref().map(Box::from),
            table: (*fields.table).into(),
            key_columns,
            types: types.unwrap_or_default(),
        });
        if self.relations.len() == MAX_REMEMBERED {
            self.relations.clear();
        }
        self.last = self.relations.len();
        self.relations.push(Remembered {
            key: fields.key.map(|json| json.get().into()),
            types: fields.types.map(|json| json.get().into()),
            relation: Arc::clone(&relation),
        });
        Ok(relation)
    }
}

/// Returns the beginning of a text from outside, in quotes and on one line, for error messages.
pub(crate) fn excerpt(payload: &str) -> String {
    let mut end = payload.len().min(EXCERPT_BYTES);
    while !payload.is_char_boundary(end) {
        end -= 1;
    }
    let shown = &payload[..end];
    match payload.len() {
        length if length > end => format!("{shown:?}… ({length} bytes)"),
        _ => format!("{shown:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::{Decoder, MAX_REMEMBERED};
    use crate::{ErrorKind, Event, Operation, RowKey};

    const OURS: &str = r#"{"v":1,"operation":"update","schema":"public","table":"users","sent_at":"2026-01-02T03:04:05.678901+00:00","xid":77,"key":["id"],"keys":[7,8],"columns":[{"email":"a@x"},null]}"#;
    const EMPTY: &str =
        r#"{"operation":"insert","table":"t","sent_at":"2026-01-02T03:04:05Z","keys":[]}"#;
    const THEIRS: &str =
        r#"{"operation" : "insert", "table" : "users", "sent_at" : "2026-01-02T05:04:05.5+02:00"}"#;

    fn decode(payload: &str) -> crate::Result<Vec<Event>> {
        let mut events = Vec::new();
        Decoder::new().decode("ch", payload, 42, SystemTime::now(), &mut events)?;
        Ok(events)
    }

    #[test]
    fn one_event_per_row() {
        let events = decode(OURS).unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0].key(), Some(&RowKey::from(7)));
        assert_eq!(
            events[0].columns_json().as_deref(),
            Some(r#"{"email":"a@x"}"#)
        );
        assert_eq!(events[1].key(), Some(&RowKey::from(8)));
        assert_eq!(events[1].columns_json(), None);
        let event = &events[0];
        assert_eq!((event.schema(), event.table()), (Some("public"), "users"));
        assert_eq!(event.operation(), Operation::Update);
        assert_eq!(event.transaction_id(), Some(77));
        assert_eq!(event.backend_pid(), 42);
        assert_eq!(event.key_columns(), [Box::from("id")]);
        let micros = event
            .sent_at()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_micros();
        assert_eq!(micros, 1_767_323_045_678_901);
    }

    #[test]
    fn pgcachewatch_payloads_are_table_level_events() {
        let events = decode(THEIRS).unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!((events[0].schema(), events[0].key()), (None, None));
        let since = events[0]
            .sent_at()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert_eq!(since, Duration::from_millis(1_767_323_045_500));
    }

    #[test]
    fn an_empty_list_of_keys_is_a_table_level_event() {
        let events = decode(EMPTY).unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].key(), None);
    }

    #[test]
    fn bad_payloads_are_decode_errors_and_add_no_event() {
        let cases = [
            "",
            "not json",
            "[]",
            r#"{"table":"t","sent_at":"2026-01-02T03:04:05Z"}"#,
            r#"{"operation":"upsert","table":"t","sent_at":"2026-01-02T03:04:05Z"}"#,
            r#"{"operation":"insert","sent_at":"2026-01-02T03:04:05Z"}"#,
            r#"{"operation":"insert","table":"t"}"#,
            r#"{"operation":"insert","table":"t","sent_at":"2026-01-02T03:04:05"}"#,
            r#"{"operation":"insert","table":"t","sent_at":"yesterday"}"#,
            r#"{"operation":"insert","table":7,"sent_at":"2026-01-02T03:04:05Z"}"#,
            r#"{"v":2,"operation":"insert","table":"t","sent_at":"2026-01-02T03:04:05Z"}"#,
            r#"{"operation":"insert","table":"t","sent_at":"2026-01-02T03:04:05Z","keys":[{}]}"#,
            r#"{"operation":"insert","table":"t","sent_at":"2026-01-02T03:04:05Z","keys":[1],"columns":[]}"#,
            r#"{"operation":"insert","table":"t","sent_at":"2026-01-02T03:04:05Z","keys":[1],"old_columns":[{},{}]}"#,
            r#"{"operation":"insert","table":"t","sent_at":"2026-01-02T03:04:05Z","changed":[["a"],["a"]]}"#,
            r#"{"operation":"insert","table":"t","sent_at":"2026-01-02T03:04:05Z","key":7,"keys":[1]}"#,
            &format!("{{{}", "ü".repeat(3_990)),
        ];
        for payload in cases {
            let error = decode(payload).expect_err(payload);
            assert_eq!(error.kind(), ErrorKind::Decode, "{payload}: {error:?}");
            assert!(error.to_string().len() < 600, "{error}");
        }
    }

    #[test]
    fn extreme_times_are_decode_errors() {
        for sent_at in [
            "-009999-01-01T00:00:00Z",
            // The library's smallest second with a fraction, which fails an assertion in the library.
            "-009999-01-02T01:59:58.5Z",
            "-009999-01-02T01:59:58.000001+00:00",
            "-009999-01-02T01:59:59.999999Z",
            "-009999-01-02T01:59:59.000001+00:00",
            "-000001-01-01T00:00:00+00:00",
            "+009999-01-01T00:00:00Z",
            "10000-01-01T00:00:00+00:00",
            "0044-03-15T12:00:00+00:00 BC",
            "9999-12-31T23:59:59.999999-23:59",
            "2026-01-02T03:04:05+99:99",
            "2026-01-02T03:04:05-99:99",
            "infinity",
            "-infinity",
        ] {
            let payload = format!(r#"{{"operation":"insert","table":"t","sent_at":"{sent_at}"}}"#);
            let error = decode(&payload).expect_err(sent_at);
            assert_eq!(error.kind(), ErrorKind::Decode, "{sent_at}: {error:?}");
        }
        let leap = r#"{"operation":"insert","table":"t","sent_at":"2016-12-31T23:59:60.500000Z"}"#;
        assert_eq!(decode(leap).unwrap().len(), 1);
        let first = r#"{"operation":"insert","table":"t","sent_at":"0000-01-01T00:00:00Z"}"#;
        assert_eq!(decode(first).unwrap().len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn any_text_is_a_time_or_a_typed_error(
            sent_at in prop_oneof![
                "[-+]?[0-9]{4,6}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,9})?(Z|[-+][0-9]{2}(:[0-9]{2}){0,2})?",
                "-?00[09]{4}-(01|12)-(0[12]|3[01])T(0[0-2]|2[34]):59:(59|60)(\\.999999|\\.000001)?(Z|[-+](25|99|00):(59|99|00))",
                "\\PC{0,40}",
            ],
        ) {
            let payload = serde_json::json!({"operation": "insert", "table": "t", "sent_at": sent_at});
            match decode(&payload.to_string()) {
                Ok(events) => prop_assert_eq!(events.len(), 1),
                Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Decode),
            }
        }
    }

    #[test]
    fn unknown_names_do_not_accumulate() {
        let mut decoder = Decoder::new();
        let mut events = Vec::new();
        for n in 0..3 * MAX_REMEMBERED {
            let payload = format!(
                r#"{{"operation":"insert","table":"t{n}","sent_at":"2026-01-02T03:04:05Z"}}"#
            );
            let channel = format!("ch{n}");
            decoder
                .decode(&channel, &payload, 1, SystemTime::now(), &mut events)
                .unwrap();
        }
        assert_eq!(events.len(), 3 * MAX_REMEMBERED);
        assert!(decoder.relations.len() <= MAX_REMEMBERED);
        assert_eq!(events[1_500].table(), "t1500");
    }
}
