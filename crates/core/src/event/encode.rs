//! Encodes an event as the payload that [`Decoder`](super::Decoder) decodes.
//!
//! It has the fields of a notification, and those of a row of the outbox. Only the process id of the backend is left out: it
//! means nothing to a client without access to the database.

use std::time::SystemTime;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::{Event, RowKey};
use crate::name::ChannelName;
use crate::operation::Operation;
use crate::types::{Columns, Fields};

/// The version of the fields.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Payload<'a> {
    v: u32,
    operation: Operation,
    /// Absent for the default channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a str>,
    table: &'a str,
    sent_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    xid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outbox_id: Option<i64>,
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

    /// Returns the event as [`to_payload_of`](Self::to_payload_of) does, without values of columns and without the names of the
    /// changed ones.
    ///
    /// # Errors
    /// Never, as it has no columns.
    pub(crate) fn to_bare_payload(&self) -> serde_json::Result<String> {
        self.encode(&self.head.relation.types.only(&|_| false), None, None, None)
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
        let channel = self.channel().as_str();
        serde_json::to_string(&Payload {
            v: VERSION,
            operation: self.operation(),
            channel: (channel != ChannelName::DEFAULT).then_some(channel),
            schema: self.schema(),
            table: self.table(),
            sent_at: microseconds(self.sent_at()),
            xid: self.transaction_id(),
            outbox_id: self.outbox_id(),
            key: &relation.key_columns,
            keys: self.key().map(|key| [key]),
            types,
            columns: columns.map(raw).transpose()?,
            old_columns: old.map(raw).transpose()?,
            changed: changed.map(|changed| [changed]),
        })
    }
}

/// Writes a time with six digits of its second, as PostgreSQL does.
fn microseconds(time: SystemTime) -> String {
    // Only a time that a program has chosen can be outside of the range of years.
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    format!("{time:.6}")
}

/// Returns the members of a JSON object that `keeps` keeps, with their values as they were written.
fn kept(json: &str, keeps: &dyn Fn(&str) -> bool) -> serde_json::Result<String> {
    let Columns(columns) = serde_json::from_str(json)?;
    let mut map = serde_json::Serializer::new(Vec::with_capacity(json.len()));
    map.collect_map(columns.into_iter().filter(|(name, _)| keeps(name)))?;
    // The bytes are those of a string.
    Ok(String::from_utf8_lossy(&map.into_inner()).into_owned())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

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

    fn json_value() -> impl Strategy<Value = serde_json::Value> {
        prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".{0,12}".prop_map(Into::into),
            Just(serde_json::json!({"unavailable": {"limit": 1}})),
        ]
    }

    fn columns() -> impl Strategy<Value = Option<String>> {
        let columns = prop::collection::btree_map(".{0,6}", json_value(), 0..4);
        prop::option::of(columns.prop_map(|columns| serde_json::json!(columns).to_string()))
    }

    fn key_part() -> impl Strategy<Value = KeyPart> {
        prop_oneof![
            Just(KeyPart::Null),
            any::<bool>().prop_map(KeyPart::Bool),
            any::<i64>().prop_map(KeyPart::Int),
            ".{0,8}".prop_map(|text| KeyPart::Text(text.into())),
        ]
    }

    prop_compose! {
        fn an_event()(
            names in ("[^\u{0}]{1,15}", "[^\u{0}]{1,15}", prop::option::of("[^\u{0}]{1,15}")),
            operation in prop::sample::select(Operation::ALL.to_vec()),
            key in prop::option::of(prop::collection::vec(key_part(), 1..4)),
            key_columns in prop::collection::vec(".{0,8}", 0..3),
            types in prop::collection::btree_map(".{0,6}", "(int8|numeric|text\\[\\]|mood|jsonb)", 0..3),
            columns in (columns(), columns()),
            changed in prop::option::of(prop::collection::vec(".{0,6}", 0..3)),
            ids in (any::<Option<i64>>(), any::<Option<u64>>()),
            // From year 1 to year 9999, in microseconds.
            sent_at in (-62_135_596_800_i64..253_370_764_800, 0_i32..1_000_000),
        ) -> Event {
            let (schema, table, channel) = names;
            let mut event = Event::builder(schema, table, operation)
                .key_columns(key_columns)
                .column_types(types.iter().map(|(name, of)| (name.clone(), &**of)))
                .sent_at(jiff::Timestamp::new(sent_at.0, sent_at.1 * 1_000).unwrap().into());
            if let Some(channel) = channel {
                event = event.channel(ChannelName::new(channel).unwrap());
            }
            if let Some(parts) = key {
                event = event.key(RowKey::new(parts));
            }
            if let Some(columns) = columns.0 {
                event = event.columns_json(columns);
            }
            if let Some(columns) = columns.1 {
                event = event.old_columns_json(columns);
            }
            if let Some(changed) = changed {
                event = event.changed(changed);
            }
            if let Some(id) = ids.0 {
                event = event.outbox_id(id);
            }
            if let Some(id) = ids.1 {
                event = event.transaction_id(id);
            }
            event.build()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_event_is_decoded_as_it_was_encoded(event in an_event()) {
            let payload = event.to_payload_of(None).unwrap();
            let mut events = Vec::new();
            let decoded = Decoder::new().decode_forwarded(&payload, SystemTime::now(), &mut events);
            prop_assert!(decoded.is_ok(), "{:?}: {}", decoded, payload);
            prop_assert_eq!(events.len(), 1);
            let again = &events[0];
            prop_assert_eq!(again.relation(), event.relation());
            prop_assert_eq!(again.key(), event.key());
            prop_assert_eq!(again.operation(), event.operation());
            prop_assert_eq!(again.sent_at(), event.sent_at());
            prop_assert_eq!(again.transaction_id(), event.transaction_id());
            prop_assert_eq!(again.outbox_id(), event.outbox_id());
            prop_assert_eq!(&again.columns, &event.columns);
            prop_assert_eq!(again.old(), event.old());
            prop_assert_eq!(again.changed(), event.changed());
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
            r#":{"a":"numeric"},"columns":[{"a":"1.50","b":[1]}],"old_columns":[{"b":null}],"changed":[["b"]]}"#
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
