//! Encodes an event as the payload that [`Decoder`](super::Decoder) decodes.

use std::time::SystemTime;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Event, RowKey};
use crate::operation::Operation;
use crate::types::{Columns, Fields};

/// The version of the fields.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Payload<'a> {
    v: u32,
    operation: Operation,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a str>,
    table: &'a str,
    sent_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    xid: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    key: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<[&'a RowKey; 1]>,
    #[serde(skip_serializing_if = "Fields::is_empty")]
    types: &'a Fields,
    #[serde(skip_serializing_if = "Option::is_none")]
    columns: Option<[&'a RawValue; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_columns: Option<[&'a RawValue; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<[&'a [String]; 1]>,
}

impl Event {
    /// Returns the event as a JSON object, with the fields of a payload that announces one row. Beside the key, it has only the
    /// columns for which `keeps` returns true; `None` keeps all.
    ///
    /// # Errors
    /// If the columns are no JSON.
    pub(crate) fn to_payload_of(
        &self,
        keeps: Option<&dyn Fn(&str) -> bool>,
    ) -> serde_json::Result<String> {
        let Some(keeps) = keeps else {
            return self.encode(
                &self.head.relation.types,
                self.columns.as_deref(),
                self.old().as_deref(),
                self.changed(),
            );
        };
        let kept = |json: &str| kept(json, keeps);
        let changed = self.changed().map(|changed| {
            let names = changed.iter().filter(|name| keeps(name)).cloned();
            names.collect::<Vec<_>>()
        });
        self.encode(
            &self.head.relation.types.only(keeps),
            self.columns.as_deref().map(kept).transpose()?.as_deref(),
            self.old().as_deref().map(kept).transpose()?.as_deref(),
            changed.as_deref(),
        )
    }

    fn encode(
        &self,
        types: &Fields,
        columns: Option<&str>,
        old: Option<&str>,
        changed: Option<&[String]>,
    ) -> serde_json::Result<String> {
        let raw = |json| serde_json::from_str::<&RawValue>(json).map(|raw| [raw]);
        let relation = &self.head.relation;
        serde_json::to_string(&Payload {
            v: VERSION,
            operation: self.operation(),
            schema: self.schema(),
            table: self.table(),
            sent_at: microseconds(self.sent_at()),
            xid: self.transaction_id(),
            key: &relation.key_columns,
            keys: self.key().map(|key| [key]),
            types,
            columns: columns.map(raw).transpose()?,
            old_columns: old.map(raw).transpose()?,
            changed: changed.map(|changed| [changed]),
        })
    }
}

/// Returns the members of a JSON object that `keeps` keeps, with their values as they were written.
fn kept(json: &str, keeps: &dyn Fn(&str) -> bool) -> serde_json::Result<String> {
    let Columns(columns) = serde_json::from_str(json)?;
    let mut map = serde_json::Serializer::new(Vec::with_capacity(json.len()));
    map.collect_map(columns.into_iter().filter(|(name, _)| keeps(name)))?;
    // The bytes are those of a string.
    Ok(String::from_utf8_lossy(&map.into_inner()).into_owned())
}

/// Writes a time with six digits of its second, as PostgreSQL does.
fn microseconds(time: SystemTime) -> String {
    // Only a time that a program has chosen can be outside of the range of years.
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    format!("{time:.6}")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use crate::event::Decoder;
    use crate::{ChannelName, Event, KeyPart, Operation, RowKey};

    fn decoded(payload: &str) -> Vec<Event> {
        let mut events = Vec::new();
        let now = SystemTime::now();
        Decoder::new()
            .decode(ChannelName::DEFAULT, payload, 0, now, &mut events)
            .unwrap();
        events
    }

    #[test]
    fn encoded_events_decode_to_the_same_events() {
        let payload = r#"{"v":1,"operation":"update","schema":"public","table":"us\"ers","sent_at":"2026-01-02T03:04:05.678901Z","xid":77,"key":["id","part"],"keys":[[7,"a\"b"],[null,true],["x","1.50"]],"types":{"price":"numeric","tags":["text"]},"columns":[{"price":"9.50","tags":"{a,b}"},null,{"price":null}]}"#;
        let whole = r#"{"operation":"truncate","table":"t","sent_at":"2026-01-02T03:04:05Z"}"#;
        for event in decoded(payload).into_iter().chain(decoded(whole)) {
            let encoded = event.to_payload_of(None).unwrap();
            let [again] = &decoded(&encoded)[..] else {
                panic!("{encoded}");
            };
            assert_eq!(again.relation(), event.relation());
            assert_eq!(again.key(), event.key());
            assert_eq!(again.columns, event.columns);
            assert_eq!(again.sent_at(), event.sent_at());
            assert_eq!(again.operation(), event.operation());
            assert_eq!(again.transaction_id(), event.transaction_id());
        }
    }

    #[test]
    fn columns_that_are_not_kept_are_in_no_field() {
        let event = Event::builder("public", "t", Operation::Update)
            .key(7)
            .columns_json(r#"{"a":"1.50","secret":"x","b": [1] }"#)
            .old_columns_json(r#"{"secret":"y","b":null}"#)
            .changed(["secret", "b"])
            .column_types([("a", "numeric"), ("secret", "text")])
            .build();
        let keeps = |name: &str| name != "secret";
        let payload = event.to_payload_of(Some(&keeps)).unwrap();
        assert!(!payload.contains("secret"), "{payload}");
        let (_, fields) = payload.split_once(r#""types""#).unwrap();
        assert_eq!(
            fields,
            r#":{"a":"numeric"},"columns":[{"a":"1.50","b":[1]}],"old_columns":[{"a":"1.50","b":null}],"changed":[["b"]]}"#
        );
    }

    #[test]
    fn an_event_is_encoded_with_the_fields_that_it_has() {
        let event = Event::builder("public", "t", Operation::Update)
            .sent_at(SystemTime::UNIX_EPOCH)
            .key(RowKey::new([KeyPart::Int(7)]))
            .columns_json(r#"{"a":1}"#)
            .old_columns_json(r#"{"a":0}"#)
            .changed(["a"])
            .build();
        assert_eq!(
            event.to_payload_of(None).unwrap(),
            r#"{"v":1,"operation":"update","schema":"public","table":"t","sent_at":"1970-01-01T00:00:00.000000Z","keys":[7],"columns":[{"a":1}],"old_columns":[{"a":0}],"changed":[["a"]]}"#
        );
        let broken = Event::builder("public", "t", Operation::Insert).columns_json("{");
        assert!(broken.build().to_payload_of(None).is_err());
    }
}
