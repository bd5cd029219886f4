//! Filters: select the events of a subscription.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::event::{ColumnValue, Event, Key, KeyColumn, Relation, RowKey, Table, column_value};
use crate::name::{ChannelName, TableName};
use crate::operation::OperationSet;
use crate::panic::contained;

type Predicate = dyn Fn(&Event) -> bool + Send + Sync;

/// A condition on events: channel, table, operation, row key, values of columns, and a function of your own.
///
/// Values of one dimension are alternatives, and all dimensions must match. An event that lacks the information to exclude it
/// matches: an event without a schema matches the table in every schema, an event about a whole table matches every row key, and
/// an event without a column matches every value of it. So a filter never hides a change.
///
/// The router finds the subscriptions of an event by table, operation, key and column, so subscriptions that do not match cost
/// nothing. A predicate of [`matching`](Self::matching) cannot be looked up: the router evaluates it for each event that meets the
/// other conditions.
///
/// ```
/// use pgherald_core::{Event, Filter, Operation};
///
/// let filter = Filter::new()
///     .table("public", "orders")
///     .operations(Operation::Insert | Operation::Delete)
///     .matching(|event| event.backend_pid() != 1);
/// assert!(filter.matches(&Event::builder("public", "orders", Operation::Insert).key(7).build()));
/// assert!(!filter.matches(&Event::builder("public", "orders", Operation::Update).key(7).build()));
/// ```
#[derive(Clone)]
#[must_use = "a filter does nothing until something subscribes with it"]
pub struct Filter {
    channels: Vec<ChannelName>,
    schemas: Vec<Box<str>>,
    tables: Vec<(Option<Box<str>>, Box<str>)>,
    operations: Option<OperationSet>,
    keys: HashSet<RowKey>,
    columns: Vec<(Box<str>, HashSet<ColumnValue>)>,
    predicates: Vec<Arc<Predicate>>,
    /// Filters that must match too.
    and: Vec<Filter>,
}

impl Filter {
    /// Makes a filter that matches everything.
    pub fn new() -> Self {
        Self {
            channels: Vec::new(),
            schemas: Vec::new(),
            tables: Vec::new(),
            operations: None,
            keys: HashSet::new(),
            columns: Vec::new(),
            predicates: Vec::new(),
            and: Vec::new(),
        }
    }

    /// Matches events that arrived on `channel`.
    pub fn channel(mut self, channel: ChannelName) -> Self {
        self.channels.push(channel);
        self
    }

    /// Matches events of all tables in `schema`.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schemas.push(schema.into().into());
        self
    }

    /// Matches events of one table.
    pub fn table(mut self, schema: impl Into<String>, name: impl Into<String>) -> Self {
        self.tables
            .push((Some(schema.into().into()), name.into().into()));
        self
    }

    /// Matches events of every table with this name, in any schema.
    pub fn table_in_any_schema(mut self, name: impl Into<String>) -> Self {
        self.tables.push((None, name.into().into()));
        self
    }

    /// Matches events of `T`'s table.
    pub fn table_of<T: Table>(self) -> Self {
        self.table(T::SCHEMA, T::NAME)
    }

    /// Matches events of these operations.
    pub fn operations(mut self, operations: impl Into<OperationSet>) -> Self {
        let so_far = self.operations.unwrap_or(OperationSet::EMPTY);
        self.operations = Some(so_far | operations.into());
        self
    }

    /// Matches events about the row with this key, and events about its whole table.
    pub fn key(mut self, key: &impl Key) -> Self {
        self.keys.insert(key.to_row_key());
        self
    }

    /// Matches events whose column `name` has this value, before or after the change.
    ///
    /// Several values of a column are alternatives; different columns must all match. The trigger has to send the column
    /// ([`TriggerSpec::columns`](crate::trigger::TriggerSpec::columns)), and an event without the column matches. To match the
    /// row that leaves the value with an UPDATE, the trigger has to send old values as well
    /// ([`old_columns`](crate::trigger::TriggerSpec::old_columns)). The value is compared as text, in the form that events have;
    /// see [`KeyPart`](crate::KeyPart).
    ///
    /// ```
    /// use pgherald_core::{Event, Filter, Operation};
    ///
    /// let filter = Filter::new().table("public", "orders").column("tenant", &7_i64);
    /// let event = |columns| Event::builder("public", "orders", Operation::Insert).columns_json(columns).build();
    /// assert!(filter.matches(&event(r#"{"tenant":7}"#)));
    /// assert!(!filter.matches(&event(r#"{"tenant":8}"#)));
    /// ```
    pub fn column(mut self, name: impl Into<String>, value: &impl KeyColumn) -> Self {
        let name = name.into();
        let value = column_value(&value.to_part());
        match self
            .columns
            .iter_mut()
            .find(|(column, _)| **column == *name)
        {
            Some((_, values)) => {
                values.insert(value);
            }
            None => self.columns.push((name.into(), HashSet::from([value]))),
        }
        self
    }

    /// Matches events for which `predicate` returns true.
    ///
    /// The predicate runs in the listener, so it must be quick and must not block. If it panics, the event counts as
    /// matching, and the panic is logged.
    pub fn matching(mut self, predicate: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Self {
        self.predicates.push(Arc::new(predicate));
        self
    }

    /// Matches only events that `other` matches as well. Unlike the other methods, it never adds alternatives.
    pub fn and(mut self, other: Self) -> Self {
        self.and.push(other);
        self
    }

    /// Returns whether the filter matches `event`.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.wants_relation(event) && self.wants_row(event)
    }

    /// Returns whether events on `channel` can match.
    pub(crate) fn wants_channel(&self, channel: &ChannelName) -> bool {
        self.names_channel(channel) && self.and.iter().all(|filter| filter.wants_channel(channel))
    }

    /// Returns whether events of `table` can match.
    pub(crate) fn wants_table(&self, table: &TableName) -> bool {
        let schemas = &self.schemas;
        let tables = &self.tables;
        let names = |(schema, name): &(Option<Box<str>>, Box<str>)| {
            **name == *table.name()
                && schema
                    .as_deref()
                    .is_none_or(|schema| schema == table.schema())
        };
        (schemas.is_empty() || schemas.iter().any(|schema| **schema == *table.schema()))
            && (tables.is_empty() || tables.iter().any(names))
            && self.and.iter().all(|filter| filter.wants_table(table))
    }

    /// Returns the events of a batch that match, among those with the indices `candidates`: the batch itself if all match, `None`
    /// if none matches. The other events do not match.
    pub(crate) fn select(
        &self,
        batch: &Arc<[Event]>,
        candidates: &[Range<usize>],
    ) -> Option<Arc<[Event]>> {
        let mut run = Run {
            filter: self,
            decided: None,
        };
        let (mut picked, mut rest) = (Vec::new(), candidates);
        let after_miss;
        if let [all] = candidates
            && *all == (0..batch.len())
        {
            let Some(miss) = batch.iter().position(|event| !run.wants(event)) else {
                return Some(Arc::clone(batch));
            };
            picked.extend_from_slice(&batch[..miss]);
            after_miss = miss + 1..batch.len();
            rest = std::slice::from_ref(&after_miss);
        }
        for range in rest {
            let events = batch[range.clone()].iter();
            picked.extend(events.filter(|event| run.wants(event)).cloned());
        }
        (!picked.is_empty()).then(|| picked.into())
    }

    /// Returns the names of tables: each matching event is about one of them. `None` if it may be about any table.
    pub(crate) fn table_names(&self) -> Option<BTreeSet<&str>> {
        let parts = self.parts().into_iter();
        let named = parts.filter(|filter| !filter.tables.is_empty());
        let fewest = named.min_by_key(|filter| filter.tables.len())?;
        Some(fewest.tables.iter().map(|(_, name)| &**name).collect())
    }

    /// Returns the condition under which the router files this filter: the fewest keys, otherwise the column with the fewest
    /// values, otherwise the operations.
    pub(crate) fn place(&self) -> Place<'_> {
        let parts = self.parts();
        let columns = parts.iter().flat_map(|filter| &filter.columns);
        let keys = parts.iter().map(|filter| &filter.keys);
        if let Some(keys) = keys
            .filter(|keys| !keys.is_empty())
            .min_by_key(|keys| keys.len())
        {
            return Place::Keys(keys);
        }
        if let Some((name, values)) = columns.min_by_key(|(_, values)| values.len()) {
            return Place::Column(name, values);
        }
        let operations = parts.iter().filter_map(|filter| filter.operations);
        Place::Operations(operations.fold(OperationSet::ALL, OperationSet::intersection))
    }

    /// Returns this filter and all filters that must match too.
    fn parts(&self) -> Vec<&Self> {
        let mut parts = vec![self];
        let mut next = 0;
        while let Some(filter) = parts.get(next) {
            let and = filter.and.iter();
            parts.extend(and);
            next += 1;
        }
        parts
    }

    /// Checks the channel by this filter alone, without the filters in `and`.
    fn names_channel(&self, channel: &ChannelName) -> bool {
        self.channels.is_empty() || self.channels.contains(channel)
    }

    fn wants_relation(&self, event: &Event) -> bool {
        let schema = event.schema();
        self.names_channel(event.channel())
            && (self.schemas.is_empty()
                || schema.is_none_or(|schema| self.schemas.iter().any(|s| **s == *schema)))
            && (self.tables.is_empty()
                || self.tables.iter().any(|(wanted_schema, name)| {
                    **name == *event.table()
                        && match (wanted_schema, schema) {
                            (Some(wanted), Some(schema)) => **wanted == *schema,
                            _ => true,
                        }
                }))
            && self.and.iter().all(|filter| filter.wants_relation(event))
    }

    fn wants_columns(&self, event: &Event) -> bool {
        if self.columns.is_empty() {
            return true;
        }
        let values = event.column_values();
        self.columns.iter().all(|(name, wanted)| {
            let values = values.of(name);
            values.is_none_or(|mut values| values.any(|value| wanted.contains(&value)))
        })
    }

    fn wants_row(&self, event: &Event) -> bool {
        self.operations
            .is_none_or(|operations| operations.contains(event.operation()))
            && (self.keys.is_empty() || event.key().is_none_or(|key| self.keys.contains(key)))
            && self.wants_columns(event)
            && self
                .predicates
                .iter()
                .all(|predicate| holds(predicate, event))
            && self.and.iter().all(|filter| filter.wants_row(event))
    }
}

/// The condition under which the router files a filter. Each event that matches the filter meets it, or lacks the key or the
/// column.
pub(crate) enum Place<'a> {
    Keys(&'a HashSet<RowKey>),
    Column(&'a str, &'a HashSet<ColumnValue>),
    Operations(OperationSet),
}

impl Default for Filter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("channels", &self.channels)
            .field("schemas", &self.schemas)
            .field("tables", &self.tables)
            .field("operations", &self.operations)
            .field("keys", &self.keys)
            .field("columns", &self.columns)
            .field("predicates", &self.predicates.len())
            .field("and", &self.and)
            .finish()
    }
}

/// Predicates are values of the user, so a panic in their destructors is contained.
impl Drop for Filter {
    fn drop(&mut self) {
        for predicate in self.predicates.drain(..) {
            if let Err(message) = contained(|| drop(predicate)) {
                tracing::error!(message, "the destructor of a filter predicate panicked");
            }
        }
    }
}

/// Decides once per run of events of one table what depends on the table only. Most streams have long runs.
struct Run<'a> {
    filter: &'a Filter,
    decided: Option<(&'a Arc<Relation>, bool)>,
}

impl<'a> Run<'a> {
    fn wants(&mut self, event: &'a Event) -> bool {
        let relation = event.relation();
        let wanted = match self.decided {
            Some((decided, wanted)) if Arc::ptr_eq(decided, relation) => wanted,
            _ => {
                let wanted = self.filter.wants_relation(event);
                self.decided = Some((relation, wanted));
                wanted
            }
        };
        wanted && self.filter.wants_row(event)
    }
}

fn holds(predicate: &Arc<Predicate>, event: &Event) -> bool {
    contained(|| predicate(event)).unwrap_or_else(|message| {
        tracing::error!(%event, message, "filter predicate panicked; the event counts as matching");
        true
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Filter;
    use crate::{ChannelName, Event, Operation, OperationSet, RowKey};

    fn event(schema: &str, table: &str, key: i64) -> Event {
        Event::builder(schema, table, Operation::Insert)
            .key(key)
            .build()
    }

    #[test]
    fn dimensions_must_all_hold_and_values_are_alternatives() {
        let filter = Filter::new()
            .table("public", "a")
            .table("app", "b")
            .key(&1_i64)
            .key(&2_i64);
        assert!(filter.matches(&event("public", "a", 1)));
        assert!(filter.matches(&event("app", "b", 2)));
        assert!(!filter.matches(&event("app", "a", 1)));
        assert!(!filter.matches(&event("public", "a", 3)));
        assert!(
            !Filter::new()
                .schema("app")
                .matches(&event("public", "a", 1))
        );
        assert!(
            Filter::new()
                .table_in_any_schema("a")
                .matches(&event("x", "a", 1))
        );
        let channel = ChannelName::new("other").unwrap();
        assert!(
            !Filter::new()
                .channel(channel)
                .matches(&event("public", "a", 1))
        );
    }

    #[test]
    fn whole_table_events_match_any_key_filter() {
        let whole = Event::builder("public", "a", Operation::Truncate).build();
        assert!(Filter::new().key(&7_i64).matches(&whole));
    }

    #[test]
    fn selecting_everything_shares_the_batch() {
        let batch: Arc<[Event]> = (0..10).map(|n| event("public", "a", n)).collect();
        let all = Filter::new()
            .table("public", "a")
            .select(&batch, std::slice::from_ref(&(0..10)))
            .unwrap();
        assert!(Arc::ptr_eq(&all, &batch));
    }

    #[test]
    fn selecting_some_keeps_their_order() {
        let batch: Arc<[Event]> = (0..10)
            .map(|n| event("public", if n % 3 == 0 { "a" } else { "b" }, n))
            .collect();
        let some = Filter::new()
            .table("public", "a")
            .select(&batch, std::slice::from_ref(&(0..10)))
            .unwrap();
        let keys: Vec<_> = some
            .iter()
            .map(|event| event.key().cloned().unwrap())
            .collect();
        assert_eq!(keys, [0, 3, 6, 9].map(RowKey::from));
        assert!(
            Filter::new()
                .table("public", "c")
                .select(&batch, std::slice::from_ref(&(0..10)))
                .is_none()
        );
    }

    #[test]
    fn and_narrows_and_never_adds_alternatives() {
        let inserts = Filter::new()
            .table("public", "a")
            .operations(Operation::Insert);
        let filter = inserts.and(
            Filter::new()
                .table("public", "b")
                .operations(OperationSet::ALL),
        );
        assert!(!filter.matches(&event("public", "a", 1)));
        assert!(!filter.matches(&event("public", "b", 1)));
        let filter = Filter::new()
            .key(&1_i64)
            .and(Filter::new().table("public", "a"));
        assert!(filter.matches(&event("public", "a", 1)));
        assert!(!filter.matches(&event("public", "a", 2)));
    }

    #[test]
    fn a_panicking_predicate_lets_the_event_through() {
        let filter = Filter::new().matching(|_| panic!("predicate"));
        assert!(filter.matches(&event("public", "a", 1)));
    }
}
