//! The desired state for one specification: a function, its comment, and triggers.

use postgres_protocol::escape::escape_literal;

use super::catalog::{Column, Member};
use super::note::{Note, Place};
use super::outbox::Description;
use super::spec::Mode;
use super::template::{dollar_quoted, qualified, render};
use super::validate::Valid;
use super::{VERSION, expression};
use crate::error::Result;
use crate::name::TableName;
use crate::operation::Operation;

/// The desired installation of one table.
#[derive(Debug)]
pub(super) struct Desired {
    /// The function's name, without its schema.
    pub(super) function: String,
    pub(super) body: String,
    /// The row of `outbox_relation` for the table, if its changes are recorded in the outbox.
    pub(super) description: Option<Description>,
    pub(super) note: Note,
    pub(super) triggers: Vec<DesiredTrigger>,
    /// The key columns in which equal values may have different texts, with their types.
    pub(super) ambiguous: Vec<(String, String)>,
}

#[derive(Debug)]
pub(super) struct DesiredTrigger {
    pub(super) name: String,
    pub(super) on: TableName,
    pub(super) operation: Operation,
    pub(super) is_row: bool,
    pub(super) firing: Firing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Firing {
    /// All sessions except those whose `session_replication_role` is `replica`.
    Origin,
    /// Sessions whose `session_replication_role` is `replica`.
    Replica,
    Always,
}

impl Firing {
    /// Whether a trigger whose state in the catalog is `state` fires in these sessions.
    pub(super) const fn includes(self, state: char) -> bool {
        match self {
            Self::Origin => matches!(state, 'O' | 'A'),
            Self::Replica => matches!(state, 'R' | 'A'),
            Self::Always => state == 'A',
        }
    }

    /// The words between ENABLE and TRIGGER.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Origin => "",
            Self::Replica => "REPLICA ",
            Self::Always => "ALWAYS ",
        }
    }
}

/// Derives the installation of a checked specification.
pub(super) fn desired(valid: &Valid<'_>) -> Result<Desired> {
    let mut triggers = Vec::new();
    for member in &valid.table.members {
        let operations = || valid.spec.operations.iter();
        triggers.extend(operations().map(|operation| trigger(valid, member, operation, false)));
        // The server applies replicated rows to the tables that hold them. TRUNCATE has no row-level triggers.
        if valid.spec.replicated && member.kind == "r" {
            let rows = operations().filter(|operation| *operation != Operation::Truncate);
            triggers.extend(rows.map(|operation| trigger(valid, member, operation, true)));
        }
    }
    Ok(Desired {
        body: body(valid)?,
        description: match valid.spec.mode {
            Mode::Notify => None,
            Mode::Outbox => Some(super::outbox::describe(valid)?),
        },
        note: note(valid),
        triggers,
        ambiguous: valid
            .key
            .iter()
            .filter(|column| column.is_ambiguous)
            .map(|column| (column.name.clone(), column.declared.clone()))
            .collect(),
        function: valid.function.clone(),
    })
}

/// A partition may also be watched on its own, so its triggers for the parent have other names.
fn trigger(
    valid: &Valid<'_>,
    member: &Member,
    operation: Operation,
    is_row: bool,
) -> DesiredTrigger {
    let mut name = format!("pgherald_notify_{operation}");
    if is_row {
        name.push_str("_row");
    }
    if !member.is_root {
        let function = &*valid.function;
        name.push_str(function.strip_prefix("notify").unwrap_or(function));
    }
    DesiredTrigger {
        name,
        on: member.name.0.clone(),
        operation,
        is_row,
        firing: match operation {
            _ if is_row => Firing::Replica,
            Operation::Truncate if valid.spec.replicated => Firing::Always,
            _ => Firing::Origin,
        },
    }
}

fn note(valid: &Valid<'_>) -> Note {
    let spec = valid.spec;
    let read = valid
        .key
        .iter()
        .chain(&valid.columns)
        .chain(&valid.when_changed);
    let names_objects = expression::names_objects(read.clone());
    let columns = read
        .clone()
        .map(|column| (column.name.clone(), column.number));
    let place = Place {
        table: valid.table.oid,
        columns: columns.collect(),
    };
    Note {
        version: VERSION,
        schema: spec.table.schema().to_owned(),
        table: spec.table.name().to_owned(),
        channel: spec.channel.as_str().to_owned(),
        key: names(&valid.key),
        columns: names(&valid.columns),
        every_column: spec.every_column,
        operations: spec.operations.iter().collect(),
        when_changed: spec.when_changed.clone(),
        outbox: spec.is_outbox(),
        old_columns: spec.old_columns,
        value_limit: spec.value_limit,
        replicated: spec.replicated,
        settings: expression::needs_settings(read),
        names_objects,
        place: Some(place),
    }
}

fn names(columns: &[Column]) -> Vec<String> {
    columns.iter().map(|column| column.name.clone()).collect()
}

pub(super) fn body(valid: &Valid<'_>) -> Result<String> {
    match valid.spec.mode {
        Mode::Notify => super::notify::body(valid),
        Mode::Outbox => super::outbox::body(valid),
    }
}

impl Desired {
    pub(super) fn qualified(&self) -> String {
        qualified(&self.function)
    }

    /// The statements that create or replace the function, and describe the table in the outbox.
    pub(super) fn define(&self) -> Result<String> {
        let values = [
            ("function", &*self.qualified()),
            ("settings", &*self.settings()),
            ("body", &dollar_quoted(&self.body)),
        ];
        let function = render(include_str!("sql/objects/table_function.sql"), &values)?;
        let description = self.description.as_ref();
        let description = description.map_or("", |description| &*description.statement);
        Ok(description.to_owned() + &function)
    }

    /// The settings that the function pins, one on each line.
    fn settings(&self) -> String {
        let mut settings = String::new();
        // Pinning adds a quarter to the cost of recording a row. A function that compares nothing needs no search_path, because
        // every name in it is qualified. But it decides whether the text of a value that names an object contains the schema.
        if !self.note.outbox || self.note.compares() || self.note.names_objects {
            settings.push_str(include_str!("sql/objects/search_path.sql").trim_end());
        }
        if self.note.names_objects {
            settings.push_str(include_str!("sql/objects/names_settings.sql").trim_end());
        }
        if self.note.settings {
            settings.push_str(include_str!("sql/objects/text_settings.sql").trim_end());
        }
        if !self.note.when_changed.is_empty() && !self.note.outbox {
            settings.push_str(include_str!("sql/objects/compare_settings.sql").trim_end());
        }
        settings
    }

    /// The settings that the function pins, as the catalog stores them.
    pub(super) fn pinned(&self) -> Vec<String> {
        let settings = self.settings();
        let lines = settings
            .lines()
            .filter_map(|line| line.trim().strip_prefix("SET "));
        lines
            .map(|line| line.replacen(" = ", "=", 1).replace('\'', ""))
            .collect()
    }

    /// The function's comment, which contains the specification.
    pub(super) fn comment(&self) -> String {
        serde_json::json!(self.note).to_string()
    }

    /// The statement that sets the function's comment.
    pub(super) fn annotate(&self) -> String {
        let note = escape_literal(&self.comment());
        format!("COMMENT ON FUNCTION {}() IS {note};\n", self.qualified())
    }

    /// The statements that create or replace `trigger`.
    ///
    /// Before PostgreSQL 14, the trigger must be dropped first, which also waits for readers of the table.
    pub(super) fn attach(&self, trigger: &DesiredTrigger, server_version: i32) -> Result<String> {
        let name = postgres_protocol::escape::escape_identifier(&trigger.name);
        let table = trigger.on.quoted();
        let (drop, create) = if server_version >= 140_000 {
            (String::new(), "CREATE OR REPLACE TRIGGER")
        } else {
            (
                format!("DROP TRIGGER IF EXISTS {name} ON {table};\n"),
                "CREATE TRIGGER",
            )
        };
        let (new, old) = trigger.transition_tables();
        let mut referencing = String::new();
        for (table, word) in [(new, "NEW"), (old, "OLD")] {
            if let Some(table) = table {
                referencing.push_str(&format!("{word} TABLE AS {table} "));
            }
        }
        if !referencing.is_empty() {
            referencing.insert_str(0, "REFERENCING ");
        }
        let values = [
            ("create", create),
            ("trigger", &*name),
            ("event", &trigger.operation.as_str().to_uppercase()),
            ("table", &table),
            ("referencing", &referencing),
            ("level", if trigger.is_row { "ROW" } else { "STATEMENT" }),
            ("function", &self.qualified()),
        ];
        let create = render(include_str!("sql/objects/trigger.sql"), &values)?;
        let enable = match trigger.firing {
            // The state of a new trigger.
            Firing::Origin => String::new(),
            _ => trigger.enable(),
        };
        Ok(drop + &create + &enable)
    }
}

impl DesiredTrigger {
    pub(super) const fn transition_tables(&self) -> (Option<&'static str>, Option<&'static str>) {
        match self.is_row {
            true => (None, None),
            false => transition_tables(self.operation),
        }
    }

    /// The statement that makes it fire in its sessions.
    pub(super) fn enable(&self) -> String {
        let name = postgres_protocol::escape::escape_identifier(&self.name);
        let (table, words) = (self.on.quoted(), self.firing.words());
        format!("ALTER TABLE ONLY {table} ENABLE {words}TRIGGER {name};\n")
    }
}

/// The transition tables, new and old, of a statement-level trigger of `operation`.
const fn transition_tables(operation: Operation) -> (Option<&'static str>, Option<&'static str>) {
    match operation {
        Operation::Insert => (Some("pgherald_new"), None),
        Operation::Update => (Some("pgherald_new"), Some("pgherald_old")),
        Operation::Delete => (None, Some("pgherald_old")),
        Operation::Truncate => (None, None),
    }
}
