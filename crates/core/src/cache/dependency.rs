//! Dependencies of a cache, and the keys that events concern.

use std::fmt;
use std::sync::Arc;

use super::reading::Reading;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Changed, Event, FromEvent, Key, Relation, RowKey, Table, same_key, same_row};
use crate::filter::Filter;
use crate::name::TableName;
use crate::panic::contained;
use crate::types::{Fields, SameKey, Type};

/// The keys that an event concerns. [`keys_by`](crate::CacheBuilder::keys_by) returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Affected<K> {
    /// These keys. An empty list means that the event does not matter.
    Keys(Vec<K>),
    /// All keys, or unknown ones.
    Everything,
}

/// A row that keys depend on: the number of the dependency, and the row's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tag {
    dependency: usize,
    row: RowKey,
}

impl Tag {
    pub(super) fn new(dependency: usize, row: RowKey) -> Self {
        Self { dependency, row }
    }
}

/// Returns the key of the row that a cache key depends on.
pub(super) type Projection<K> = Arc<dyn Fn(&K) -> RowKey + Send + Sync>;

/// Returns the keys that an event concerns, or an error if its row key has another shape.
type Mapping<K> = Box<dyn Fn(&Event) -> Result<Affected<K>> + Send>;
/// Converts an event's row key to the form that the projection writes; `None` if it has another shape.
type Canonical = Box<dyn Fn(&RowKey) -> Option<RowKey> + Send>;

/// A table, and the effect of its events.
pub(super) struct Dependency<K> {
    table: TableName,
    /// The columns of a row's key. Empty if they do not matter.
    key_columns: &'static [&'static str],
    /// How row keys are read; `None` if they are not read.
    reading: Option<Reading>,
    /// The last relation of events whose key columns were found to fit.
    fitting: Option<Arc<Relation>>,
    effect: Effect<K>,
}

enum Effect<K> {
    Everything,
    Keys(Mapping<K>),
    /// The keys that the index has under this number.
    Row(usize, Canonical),
}

/// The effect of an event on the cache, by all of its dependencies together.
#[derive(Debug)]
pub(super) enum Effects<K> {
    /// Keys, and rows on which further keys depend. If both are empty, the event does not concern the cache.
    Some(Vec<K>, Vec<Tag>),
    Everything,
    /// The event names a row, but cannot be mapped to keys.
    Mismatch(Error),
    /// Events of the table may miss keys of the cache, which may be spelled differently.
    Unfit(Error),
}

impl<K: 'static> Dependency<K> {
    pub(super) fn table(table: TableName) -> Self {
        Self {
            table,
            key_columns: &[],
            reading: None,
            fitting: None,
            effect: Effect::Everything,
        }
    }

    pub(super) fn own<T: Table<Key = K>>() -> Result<Self>
    where
        K: Key + PartialEq,
    {
        Self::of::<T>(same_key::<K>, Effect::Keys(Box::new(own_key::<K>)))
    }

    pub(super) fn keys<T: Table>(mapping: Mapping<K>) -> Result<Self> {
        Self::of::<T>(same_row::<T::Key>, Effect::Keys(mapping))
    }

    fn of<T: Table>(same: SameKey, effect: Effect<K>) -> Result<Self> {
        let key_type = std::any::type_name::<T::Key>();
        Ok(Self {
            table: TableName::new(T::SCHEMA, T::NAME)?,
            key_columns: T::KEY,
            reading: Some(Reading { same, key_type }),
            fitting: None,
            effect,
        })
    }

    pub(super) fn row<T: Table>(number: usize) -> Result<Self> {
        // Reading the key by its type and writing it again gives the projection's form.
        let canonical = |key: &RowKey| T::Key::from_row_key(key).map(|key| key.to_row_key());
        let effect = Effect::Row(number, Box::new(canonical));
        Self::of::<T>(same_row::<T::Key>, effect)
    }

    /// Checks that its key columns, which have `types`, fit its key type.
    pub(super) fn check_types(&self, types: &Fields) -> Result<()> {
        let Some(reading) = self.reading else {
            return Ok(());
        };
        let key = self
            .key_columns
            .iter()
            .map(|column| types.get(column).sample());
        reading.check(&self.table, types, self.key_columns, &RowKey::new(key))
    }

    /// Whether the types of its key columns matter. They do not for a key of one integer, for example.
    pub(super) fn depends_on_types(&self) -> bool {
        let other = || {
            self.key_columns
                .iter()
                .map(|column| ((*column).into(), Type::Other))
        };
        // With several columns, each would need a test with the right types of the others.
        self.key_columns.len() > 1 || self.check_types(&other().collect()).is_err()
    }

    /// Checks that the event's key columns fit the key type. The result is kept for each relation.
    fn check_event(&mut self, event: &Event) -> Result<()> {
        let relation = event.relation();
        let (Some(reading), Some(key)) = (self.reading, event.key()) else {
            return Ok(());
        };
        let is_known = |known: &Arc<Relation>| Arc::ptr_eq(known, relation) || known == relation;
        if relation.types.is_empty() || self.fitting.as_ref().is_some_and(is_known) {
            return Ok(());
        }
        if contained(|| (reading.same)(key, key)).is_ok_and(|same| same.is_some()) {
            reading.check(&self.table, &relation.types, &relation.key_columns, key)?;
            self.fitting = Some(Arc::clone(relation));
        }
        Ok(())
    }

    pub(super) const fn name(&self) -> &TableName {
        &self.table
    }

    fn concerns(&self, event: &Event) -> bool {
        let schema = event.schema();
        event.table() == self.table.name() && schema.is_none_or(|name| name == self.table.schema())
    }

    /// Whether the event's key, if it lists its columns, has other columns than the type's key.
    fn is_of_other_columns(&self, event: &Event) -> bool {
        let columns = event.key_columns();
        !self.key_columns.is_empty()
            && !columns.is_empty()
            && !columns
                .iter()
                .map(|name| &**name)
                .eq(self.key_columns.iter().copied())
    }

    fn effect(&mut self, event: &Event) -> Effects<K> {
        if self.is_of_other_columns(event) {
            return Effects::Mismatch(mismatch(event));
        }
        if let Err(error) = self.check_event(event) {
            return Effects::Unfit(error);
        }
        match &self.effect {
            Effect::Everything => Effects::Everything,
            Effect::Keys(mapping) => match contained(|| mapping(event)) {
                Ok(Ok(Affected::Keys(keys))) => Effects::Some(keys, Vec::new()),
                Ok(Ok(Affected::Everything)) => Effects::Everything,
                Ok(Err(error)) => Effects::Mismatch(error),
                Err(message) => {
                    let message =
                        format!("finding the keys that {event} concerns panicked: {message}");
                    Effects::Mismatch(Error::new(ErrorKind::Panic, message))
                }
            },
            Effect::Row(number, canonical) => {
                let Some(row) = event.key() else {
                    return Effects::Everything;
                };
                match contained(|| canonical(row)) {
                    Ok(Some(row)) => Effects::Some(Vec::new(), vec![Tag::new(*number, row)]),
                    _ => Effects::Mismatch(mismatch(event)),
                }
            }
        }
    }
}

/// Mapping of `row_of`: the row's key is the cache's key.
fn own_key<K: Key>(event: &Event) -> Result<Affected<K>> {
    match event.key() {
        None => Ok(Affected::Everything),
        Some(row) => K::from_row_key(row)
            .map(|key| Affected::Keys(vec![key]))
            .ok_or_else(|| mismatch(event)),
    }
}

/// Whether an event about this key's row is read as this key.
pub(super) fn is_followed<K: Key + PartialEq>(key: &K) -> bool {
    K::from_row_key(&key.to_row_key()).is_some_and(|read| read == *key)
}

/// Mapping of `keys_by`.
pub(super) fn mapped<T: Table, K>(
    event: &Event,
    map: &impl Fn(&Changed<T>) -> Affected<K>,
) -> Result<Affected<K>> {
    Ok(match Changed::from_event(event)? {
        Some(change) => map(&change),
        None => Affected::Everything,
    })
}

fn mismatch(event: &Event) -> Error {
    let message = format!(
        "the row key of {event} (columns {:?}) does not fit the type of the cache's dependency",
        event.key_columns()
    );
    Error::new(ErrorKind::Decode, message)
}

/// Returns the effect of `event` by all of `dependencies`.
pub(super) fn effects<K: 'static>(dependencies: &mut [Dependency<K>], event: &Event) -> Effects<K> {
    let (mut keys, mut tags) = (Vec::new(), Vec::new());
    for dependency in dependencies.iter_mut().filter(|dep| dep.concerns(event)) {
        match dependency.effect(event) {
            Effects::Some(some_keys, some_tags) => {
                keys.extend(some_keys);
                tags.extend(some_tags);
            }
            all => return all,
        }
    }
    Effects::Some(keys, tags)
}

/// Returns the tables of the dependencies.
pub(super) fn tables<K>(dependencies: &[Dependency<K>]) -> impl Iterator<Item = &TableName> {
    dependencies.iter().map(|dependency| &dependency.table)
}

/// Returns a filter for the events of the dependencies.
pub(super) fn filter<K>(dependencies: &[Dependency<K>]) -> Filter {
    tables(dependencies).fold(Filter::new(), |filter, table| {
        filter.table(table.schema(), table.name())
    })
}

impl<K> fmt::Debug for Dependency<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match &self.effect {
            Effect::Everything => "everything",
            Effect::Keys(_) => "keys",
            Effect::Row(..) => "row",
        };
        write!(f, "{} -> {effect}", self.table)
    }
}
