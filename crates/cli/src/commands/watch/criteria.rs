//! Selects the events to print.

use pgherald_core::__private::host::trigger::SpecParts;
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{Event, Filter, Operation, OperationSet, TableName};

use crate::arguments::Watch;
use crate::failure::Failure;
use crate::keys::{KEY, meets};

/// The criteria for events to print.
#[derive(Debug)]
pub(super) struct Criteria {
    /// An event has to match one of these.
    filters: Vec<Filter>,
    /// Columns and values. An event's key has to meet all of these.
    conditions: Vec<(String, String)>,
}

impl Criteria {
    /// Fails if a condition names a column that is in no key of `specs`. Without `specs`, any name is accepted.
    pub(super) fn new(
        tables: &[TableName],
        watch: &Watch,
        specs: &[TriggerSpec],
    ) -> Result<Self, Failure> {
        for (column, _) in watch.conditions.iter().filter(|(column, _)| column != KEY) {
            let mut keys = specs.iter().filter_map(TriggerSpec::key_names);
            if !specs.is_empty() && !keys.any(|key| key.contains(column)) {
                let names: Vec<_> = specs
                    .iter()
                    .filter_map(TriggerSpec::key_names)
                    .flatten()
                    .map(String::as_str)
                    .collect();
                return Err(Failure::usage(format!("no key has a column {column:?}"))
                    .hint(format!("use key, or one of: {}", names.join(", "))));
            }
        }
        let operations = watch
            .operation
            .iter()
            .map(|operation| Operation::from(*operation));
        let base = match watch.operation.is_empty() {
            true => Filter::new(),
            false => Filter::new().operations(operations.collect::<OperationSet>()),
        };
        let of = |table: &TableName| base.clone().table(table.schema(), table.name());
        let filters = match tables {
            [] => vec![base],
            tables => tables.iter().map(of).collect(),
        };
        Ok(Self {
            filters,
            conditions: watch.conditions.clone(),
        })
    }

    /// Whether the event is to be printed. An event without a key, such as a truncate, meets all conditions.
    pub(super) fn matches(&self, event: &Event) -> bool {
        self.filters.iter().any(|filter| filter.matches(event))
            && meets(event, &self.conditions).unwrap_or(true)
    }
}
