//! Builds events without a database.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Event, Head, Record, Relation, RowKey};
use crate::name::ChannelName;
use crate::operation::Operation;
use crate::types::{MAX_DEPTH, Type};

/// Builds an [`Event`]; see [`Event::builder`].
///
/// For example, the event of an UPDATE in outbox mode. Its values are read exactly like those of a real event:
///
/// ```
/// use pgherald_core::{Event, Operation};
///
/// # fn main() -> pgherald_core::Result<()> {
/// #[derive(serde::Deserialize)]
/// struct Product {
///     price: f64,
///     tags: Vec<String>,
/// }
///
/// let event = Event::builder("public", "products", Operation::Update)
///     .key(7)
///     .column_types([("price", "numeric"), ("tags", "text[]")])
///     .columns_json(r#"{"price":"9.50","tags":"{new,cheap}"}"#)
///     .old_columns_json(r#"{"price":"12.00","tags":"{new,cheap}"}"#)
///     .changed(["price"])
///     .outbox_id(1)
///     .build();
///
/// let (now, before) = (event.columns::<Product>()?.unwrap(), event.old_columns::<Product>()?.unwrap());
/// assert_eq!((now.price, before.price), (9.5, 12.0));
/// assert_eq!(now.tags, before.tags);
/// # Ok(())
/// # }
/// ```
#[must_use = "call build() to get the event"]
pub struct EventBuilder {
    relation: Relation,
    head: Head,
    key: Option<RowKey>,
    columns: Option<Arc<str>>,
    record: Option<Record>,
}

impl EventBuilder {
    pub(super) fn new(schema: String, table: String, operation: Operation) -> Self {
        let now = SystemTime::now();
        Self {
            relation: Relation {
                schema: Some(schema.into()),
                table: table.into(),
                ..Relation::default()
            },
            head: Head {
                relation: Arc::default(),
                operation,
                sent_at: now,
                received_at: now,
                transaction_id: None,
                backend_pid: 0,
            },
            key: None,
            columns: None,
            record: None,
        }
    }

    /// Sets the row. Without a row, the event is about the whole table.
    pub fn key(mut self, key: impl Into<RowKey>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the names of the key's columns.
    pub fn key_columns<C: Into<String>>(mut self, names: impl IntoIterator<Item = C>) -> Self {
        self.relation.key_columns = names
            .into_iter()
            .map(|name| name.into().into_boxed_str())
            .collect();
        self
    }

    /// Sets the extra columns, as a JSON object. A value is JSON, or a string with the text that PostgreSQL writes for a
    /// value of the column's [type](Self::column_types).
    pub fn columns_json(mut self, json: impl AsRef<str>) -> Self {
        self.columns = Some(json.as_ref().into());
        self
    }

    /// Sets the extra columns before an UPDATE, as a JSON object: see [`Event::old_columns`]. Real events have them only in
    /// outbox mode, and only if the specification [requests them](crate::trigger::TriggerSpec::old_columns).
    pub fn old_columns_json(mut self, json: impl AsRef<str>) -> Self {
        self.record().old_columns = Some(json.as_ref().into());
        self
    }

    /// Sets the names of the extra columns that an UPDATE changed: see [`Event::changed`].
    pub fn changed<C: Into<String>>(mut self, names: impl IntoIterator<Item = C>) -> Self {
        self.record().changed = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the event's number in the outbox: see [`Event::outbox_id`].
    pub fn outbox_id(mut self, id: i64) -> Self {
        self.record().id = Some(id);
        self
    }

    /// Sets the types of columns, by name. They decide how the strings in [`columns_json`](Self::columns_json),
    /// [`old_columns_json`](Self::old_columns_json) and the key are read. The strings of a column without a type are read as
    /// they are, like `text`.
    pub fn column_types<C: Into<String>, T: Into<ColumnType>>(
        mut self,
        types: impl IntoIterator<Item = (C, T)>,
    ) -> Self {
        let types = types.into_iter().map(|(name, of)| {
            let of = of.into().0;
            // The installer does the same with types that are nested deeper.
            let of = if of.depth() < MAX_DEPTH {
                of
            } else {
                Type::Text
            };
            (name.into().into_boxed_str(), of)
        });
        self.relation.types = types.collect();
        self
    }

    /// Sets the channel. The default is [`ChannelName::DEFAULT`].
    pub fn channel(mut self, channel: ChannelName) -> Self {
        self.relation.channel = channel;
        self
    }

    /// Sets when the trigger fired. The default is now.
    pub fn sent_at(mut self, sent_at: SystemTime) -> Self {
        self.head.sent_at = sent_at;
        self
    }

    /// Sets when the event was read. The default is now.
    pub fn received_at(mut self, received_at: SystemTime) -> Self {
        self.head.received_at = received_at;
        self
    }

    /// Sets the transaction id.
    pub fn transaction_id(mut self, id: u64) -> Self {
        self.head.transaction_id = Some(id);
        self
    }

    /// Returns the event.
    #[must_use]
    pub fn build(self) -> Event {
        let head = Head {
            relation: Arc::new(self.relation),
            ..self.head
        };
        Event {
            head: Arc::new(head),
            key: self.key,
            columns: self.columns,
            record: self.record.map(Arc::new),
            attachment: None,
        }
    }

    fn record(&mut self) -> &mut Record {
        self.record.get_or_insert_default()
    }
}

impl fmt::Debug for EventBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBuilder")
            .field("relation", &self.relation)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The PostgreSQL type of a column, for [`EventBuilder::column_types`].
///
/// ```
/// use pgherald_core::{ColumnType, Event, Operation};
///
/// # fn main() -> pgherald_core::Result<()> {
/// let address = ColumnType::composite([("street", "text"), ("zip", "integer")]);
/// let event = Event::builder("public", "users", Operation::Insert)
///     .key(7)
///     .column_types([("addresses", address.array()), ("born", "date".into())])
///     .columns_json(r#"{"addresses":"{\"(\\\"High St\\\",12345)\"}","born":"1815-12-10"}"#)
///     .build();
/// assert_eq!(
///     event.columns_json().unwrap(),
///     r#"{"addresses":[{"street":"High St","zip":12345}],"born":"1815-12-10"}"#
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnType(Type);

impl ColumnType {
    /// Returns PostgreSQL's type of this name, such as `int8` or `bigint`, `numeric`, `timestamptz`, `jsonb`. A name that
    /// ends with `[]` stands for an array. Any other name stands for a type whose text is read as it is: strings, enums,
    /// ranges, types of extensions.
    ///
    /// For a domain, use the name of its base type.
    #[must_use]
    pub fn named(name: &str) -> Self {
        if let Some(element) = name.strip_suffix("[]") {
            let element_type = Self::named(element);
            // Arrays have any number of dimensions, so `int[][]` is `int[]`.
            return match element_type.0 {
                Type::Array { .. } => element_type,
                _ => element_type.delimited(if element == "box" { ';' } else { ',' }),
            };
        }
        let name = match name {
            "smallint" | "integer" | "int" | "bigint" => "int8",
            "real" | "double precision" => "float8",
            "boolean" => "bool",
            "decimal" => "numeric",
            "timestamp without time zone" => "timestamp",
            "timestamp with time zone" => "timestamptz",
            "time with time zone" => "timetz",
            "character" => "bpchar",
            name => name,
        };
        Self(match (Type::of_server(name), Type::of_servers_key(name)) {
            // An unknown name may be an enum.
            (Type::Text, Type::Other) => Type::Text,
            (Type::Text, key) => key,
            (read_as, _) => read_as,
        })
    }

    /// Returns a composite type with these fields, in the order of their declaration.
    #[must_use]
    pub fn composite<N: Into<String>, T: Into<Self>>(
        fields: impl IntoIterator<Item = (N, T)>,
    ) -> Self {
        let fields = fields.into_iter();
        let fields = fields.map(|(name, of)| (name.into().into_boxed_str(), of.into().0));
        Self(Type::Composite(fields.collect()))
    }

    /// Returns the array of this type, with any number of dimensions.
    #[must_use]
    pub fn array(self) -> Self {
        self.delimited(',')
    }

    fn delimited(self, delimiter: char) -> Self {
        let element = Box::new(self.0);
        Self(Type::Array { element, delimiter })
    }
}

/// See [`ColumnType::named`].
impl From<&str> for ColumnType {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::ColumnType;
    use crate::{Event, Operation};

    fn read(of: impl Into<ColumnType>, text: &str) -> Value {
        let columns = json!({ "v": text }).to_string();
        let event = Event::builder("public", "t", Operation::Insert)
            .key(1)
            .column_types([("v", of.into())])
            .columns_json(columns);
        serde_json::from_str::<Value>(&event.build().columns_json().unwrap()).unwrap()["v"].clone()
    }

    #[test]
    fn columns_are_read_by_the_named_type() {
        for (name, text, expected) in [
            ("bigint", "7", json!(7)),
            ("int4", "7", json!(7)),
            ("double precision", "0.5", json!(0.5)),
            ("boolean", "t", json!(true)),
            ("jsonb", r#"{"a":[1]}"#, json!({"a": [1]})),
            ("decimal", "1.50", json!("1.50")),
            (
                "timestamp with time zone",
                "2026-11-29 01:02:03+00",
                json!("2026-11-29T01:02:03+00:00"),
            ),
            ("integer[]", "{1,NULL}", json!([1, null])),
            ("int4[][]", "{{1,2},{3,4}}", json!([[1, 2], [3, 4]])),
            (
                "box[]",
                "{(1,1),(0,0);(2,2),(0,0)}",
                json!(["(1,1),(0,0)", "(2,2),(0,0)"]),
            ),
            ("mood", "so so", json!("so so")),
        ] {
            assert_eq!(read(name, text), expected, "{name}");
        }
    }

    #[test]
    fn types_nested_too_deep_are_read_as_text() {
        let mut of = ColumnType::named("int4");
        for _ in 0..1_000 {
            of = ColumnType::composite([("f", of)]);
        }
        assert_eq!(read(of, "(1)"), json!("(1)"));
    }

    #[test]
    fn built_events_have_a_record_only_if_it_is_set() {
        let plain = Event::builder("public", "t", Operation::Update).key(1);
        let event = plain.build();
        assert_eq!(event.outbox_id(), None);
        assert_eq!(event.changed(), None);
        assert!(event.old_columns_json().is_none());
        let changed = Event::builder("public", "t", Operation::Update).changed(["a"]);
        let event = changed.build();
        assert_eq!(event.changed(), Some(&["a".to_owned()][..]));
        assert_eq!(event.outbox_id(), None);
        let numbered = Event::builder("public", "t", Operation::Insert).outbox_id(7);
        assert_eq!(numbered.build().outbox_id(), Some(7));
    }
}
