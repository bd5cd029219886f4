//! The tables that a distributor serves, whatever a client may receive.
//!
//! A herald receives all events of its channels, so also those that triggers of tables that it does not watch announce there.

use std::collections::HashMap;

use pgherald_core::{Event, Filter, TableName};

/// The number of tables up to which each client's filter names them. Beyond that, the memory of the names costs more than a look
/// at each event.
const NAMED: usize = 32;

/// The tables that the herald watches. `None` if it listens to channels of other programs, whose tables it does not know.
#[derive(Debug, Default)]
pub(crate) struct Served(Option<HashMap<Box<str>, Vec<Box<str>>>>);

impl Served {
    pub(crate) fn new(watched: Option<&[TableName]>) -> Self {
        let Some(watched) = watched else {
            return Self(None);
        };
        let mut tables = HashMap::<Box<str>, Vec<Box<str>>>::new();
        for table in watched {
            let schemas = tables.entry(table.name().into()).or_default();
            schemas.push(table.schema().into());
        }
        Self(Some(tables))
    }

    pub(crate) fn has(&self, event: &Event) -> bool {
        match event.schema() {
            _ if self.0.is_none() => true,
            Some(schema) => self.has_table(schema, event.table()),
            // Triggers of watched tables send the schema.
            None => false,
        }
    }

    pub(crate) fn has_table(&self, schema: &str, name: &str) -> bool {
        let Some(tables) = &self.0 else { return true };
        let schemas = tables.get(name).into_iter().flatten();
        schemas.into_iter().any(|served| **served == *schema)
    }

    /// Adds the tables to an empty filter, if they are few.
    pub(crate) fn narrow(&self, filter: Filter) -> Filter {
        let Some(tables) = self.0.as_ref().filter(|tables| tables.len() <= NAMED) else {
            return filter;
        };
        let tables = tables
            .iter()
            .flat_map(|(name, schemas)| schemas.iter().map(move |schema| (schema, name)));
        tables.fold(filter, |filter, (schema, name)| {
            filter.table(&**schema, &**name)
        })
    }

    /// Whether events of other tables may arrive.
    pub(crate) fn is_limited(&self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use pgherald_core::{Event, Filter, Operation, TableName};

    use super::Served;

    #[test]
    fn only_watched_tables_are_served() {
        let watched = [
            TableName::new("a", "t").unwrap(),
            TableName::new("b", "t").unwrap(),
        ];
        let served = Served::new(Some(&watched));
        let filter = served.narrow(Filter::new());
        for (schema, name, is_served) in [
            ("a", "t", true),
            ("b", "t", true),
            ("c", "t", false),
            ("a", "u", false),
        ] {
            let event = Event::builder(schema, name, Operation::Insert).build();
            assert_eq!(served.has(&event), is_served);
            assert_eq!(filter.matches(&event), is_served);
        }
        let event = Event::builder("x", "y", Operation::Insert).build();
        assert!(Served::new(None).has(&event));
        assert!(!Served::new(Some(&[])).has(&event));
    }
}
