//! The comment of a table's function. It contains the specification of the function, to compare it with others later.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::{Mode, TriggerSpec};
use crate::name::{ChannelName, TableName};
use crate::operation::Operation;

/// The specification from which the function of a table was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) version: u32,
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) channel: String,
    pub(super) key: Vec<String>,
    pub(super) columns: Vec<String>,
    /// Whether the specification asked for every column.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) every_column: bool,
    pub(super) operations: Vec<Operation>,
    pub(super) when_changed: Vec<String>,
    /// Whether changes are recorded in the outbox.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) outbox: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) old_columns: bool,
    /// The limit of each value, if it is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) value_limit: Option<u32>,
    /// Whether replicated rows also fire triggers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) replicated: bool,
    /// Whether the function pins the session settings that text depends on.
    pub(super) settings: bool,
    /// Whether the function pins the settings that the names of objects depend on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) names_objects: bool,
    /// The numbers of the table and its columns in the catalog. They identify columns that were renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<Place>,
}

/// The numbers of a table and its columns in the catalog. A restored table has other numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) table: i64,
    pub(super) columns: BTreeMap<String, i16>,
}

impl Place {
    /// The name in `present` of the column that was called `name`. `None` if the column is gone, or `present` is another table.
    fn follow(&self, name: &str, present: &Self) -> Option<String> {
        let number = self
            .columns
            .get(name)
            .filter(|_| self.table == present.table)?;
        let mut columns = present.columns.iter();
        let (name, _) = columns.find(|(_, present)| *present == number)?;
        Some(name.clone())
    }
}

impl Note {
    /// The table for which the function was made.
    pub(super) fn table_name(&self) -> Option<TableName> {
        TableName::new(self.schema.as_str(), self.table.as_str()).ok()
    }

    /// Whether both describe the same function. The numbers in the catalog do not matter.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let place = other.place.clone();
        Self {
            place,
            ..self.clone()
        } == *other
    }

    /// The same note with the names in `present` of columns that were renamed since.
    pub(super) fn following(mut self, present: &Place) -> Self {
        if let Some(place) = &self.place {
            let lists = [&mut self.key, &mut self.columns, &mut self.when_changed];
            for name in lists.into_iter().flatten() {
                if let Some(renamed) = place.follow(name, present) {
                    *name = renamed;
                }
            }
        }
        self
    }

    /// The specification, with the names of all key columns. `None` if a name in the note is not valid.
    pub(super) fn spec(self) -> Option<TriggerSpec> {
        Some(TriggerSpec {
            table: TableName::new(self.schema, self.table).ok()?,
            channel: ChannelName::new(self.channel).ok()?,
            key: Some(self.key),
            columns: self.columns,
            optional_columns: Vec::new(),
            every_column: self.every_column,
            old_columns: self.old_columns,
            operations: self.operations.into_iter().collect(),
            when_changed: self.when_changed,
            value_limit: self.value_limit,
            replicated: self.replicated,
            mode: match self.outbox {
                true => Mode::Outbox,
                false => Mode::Notify,
            },
        })
    }

    /// Whether the function compares values by operators that only the `search_path` can resolve.
    pub(super) fn compares(&self) -> bool {
        self.old_columns || !self.when_changed.is_empty()
    }
}

/// Parses the comment of a table's function. `None` if pgherald did not write it.
pub(super) fn note(comment: Option<&str>) -> Option<Note> {
    serde_json::from_str(comment?).ok()
}
