//! Checks a specification against its table.

use std::collections::HashSet;

use super::actual::Actual;
use super::catalog::{Column, Table};
use super::spec::TriggerSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::name::{ChannelName, TableName};
use crate::operation::Operation;

/// A specification that fits its table.
#[derive(Debug)]
pub(super) struct Valid<'a> {
    pub(super) spec: &'a TriggerSpec,
    pub(super) table: &'a Table,
    /// The name of the table's function, without its schema.
    pub(super) function: String,
    /// Empty for events about the whole table.
    pub(super) key: Vec<Column>,
    pub(super) columns: Vec<Column>,
    pub(super) when_changed: Vec<Column>,
}

impl Valid<'_> {
    /// Whether no two rows of the table have the same key. That is so if the key contains the primary key, which partitions share.
    /// Children by INHERITS need not have the primary key, and may repeat keys of the table even if they have it.
    pub(super) fn is_key_unique(&self) -> bool {
        let members = &self.table.members;
        let has_children = members.len() > 1
            && members
                .iter()
                .any(|member| member.is_root && member.kind == "r");
        if has_children {
            return false;
        }
        let primary = primary_key(self.table);
        let in_key = |column: &Column| self.key.iter().any(|part| part.name == column.name);
        !primary.is_empty() && primary.iter().all(in_key)
    }

    /// The maximum size of a value's text in bytes.
    pub(super) fn value_limit(&self) -> u32 {
        match self.spec.is_outbox() {
            true => self
                .spec
                .value_limit
                .unwrap_or(TriggerSpec::DEFAULT_VALUE_LIMIT),
            // The maximum payload of pg_notify.
            false => 7_999,
        }
    }
}

/// The columns without repetitions, in the order in which they come first.
pub(super) fn without_duplicates<'a>(columns: impl Iterator<Item = &'a Column>) -> Vec<Column> {
    let mut once: Vec<Column> = Vec::new();
    for column in columns {
        if once.iter().all(|other| other.name != column.name) {
            once.push(column.clone());
        }
    }
    once
}

/// Checks `spec` against `table`. The table's function has, or will have, the name `function`.
pub(super) fn validate<'a>(
    spec: &'a TriggerSpec,
    table: &'a Table,
    function: String,
) -> Result<Valid<'a>> {
    check_kinds(&spec.table, table)?;
    check_options(spec)?;
    let key = match &spec.key {
        Some(names) => find(spec, table, names)?,
        None => primary_key(table),
    };
    if key.is_empty() && (spec.every_column || !spec.columns.is_empty()) {
        return Err(spec_error(
            spec,
            "columns need a key; name key columns, or no columns",
        ));
    }
    let columns = match spec.every_column {
        true => table
            .columns
            .iter()
            .filter(|column| !column.is_virtual)
            .cloned()
            .collect(),
        false => find(spec, table, &spec.columns)?,
    };
    if spec.old_columns && columns.is_empty() {
        return Err(spec_error(
            spec,
            "old columns need columns; name columns, or use every column",
        ));
    }
    let when_changed = find(spec, table, &spec.when_changed)?;
    Ok(Valid {
        spec,
        table,
        function,
        key,
        columns,
        when_changed,
    })
}

/// Checks that the options of `spec` do not contradict each other. This needs no table.
pub(super) fn check_options(spec: &TriggerSpec) -> Result<()> {
    if spec.operations.is_empty() {
        return Err(spec_error(
            spec,
            "no operation is announced; name at least one, or leave operations out for all",
        ));
    }
    if !spec.when_changed.is_empty() && !spec.operations.contains(Operation::Update) {
        return Err(spec_error(
            spec,
            "when_changed needs updates; add Operation::Update",
        ));
    }
    if spec.is_outbox() && spec.channel != ChannelName::default() {
        return Err(spec_error(
            spec,
            "the outbox has no channel; name no channel",
        ));
    }
    if spec.old_columns && !spec.is_outbox() {
        return Err(spec_error(
            spec,
            "notifications carry no old columns; use the outbox",
        ));
    }
    if spec.value_limit.is_some() && !spec.is_outbox() {
        return Err(spec_error(
            spec,
            "value_limit has no effect on notifications, which hold 8,000 bytes; use the outbox",
        ));
    }
    for names in [
        spec.key.as_deref().unwrap_or_default(),
        &spec.columns,
        &spec.when_changed,
    ] {
        let mut seen = HashSet::with_capacity(names.len());
        if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
            let problem = format!("column {name:?} is named twice; once is enough");
            return Err(spec_error(spec, &problem));
        }
    }
    Ok(())
}

impl Actual {
    /// Returns `spec` with optional columns replaced: those that the table has become columns, and the others are removed.
    pub(super) fn resolved(&self, spec: &TriggerSpec) -> TriggerSpec {
        let mut spec = spec.clone();
        let table = self.table(&spec.table);
        for name in std::mem::take(&mut spec.optional_columns) {
            // A missing table is an error whatever columns the specification has, so it is reported later.
            let is_there = table
                .as_ref()
                .is_ok_and(|table| table.columns.iter().any(|it| it.name == name));
            if is_there && !spec.columns.contains(&name) {
                spec.columns.push(name);
            }
        }
        spec
    }

    /// Returns `spec` without columns that its table no longer has. If one of them belongs to the key, the primary key replaces the
    /// key.
    ///
    /// # Errors
    /// If the table does not exist.
    pub fn trimmed(&self, spec: TriggerSpec) -> Result<TriggerSpec> {
        let table = self.table(&spec.table)?;
        Ok(trim(spec, table))
    }

    /// Returns the columns of a table's primary key. Empty if the table does not exist.
    #[must_use]
    pub fn primary_key(&self, table: &TableName) -> Vec<String> {
        let table = self.table(table);
        let key = table.map(primary_key).unwrap_or_default();
        key.into_iter().map(|column| column.name).collect()
    }

    /// Returns whether `part` is the table `whole`, or one of its partitions or children.
    #[must_use]
    pub fn is_part(&self, part: &TableName, whole: &TableName) -> bool {
        let is_part = |table: &Table| table.members.iter().any(|member| member.name.0 == *part);
        self.table(whole).is_ok_and(is_part)
    }

    /// Returns whether this is an ordinary or a partitioned table.
    #[must_use]
    pub fn is_table(&self, table: &TableName) -> bool {
        let root = self.table(table).ok().and_then(|it| it.members.first());
        root.is_some_and(|root| root.is_table())
    }

    /// Returns whether this role may create triggers on a table, its partitions and its children.
    #[must_use]
    pub fn may_have_triggers(&self, table: &TableName) -> bool {
        let is_free = |table: &Table| table.members.iter().all(|member| member.may_have_triggers);
        self.table(table).is_ok_and(is_free)
    }
}

pub(super) fn trim(mut spec: TriggerSpec, table: &Table) -> TriggerSpec {
    let is_there = |name: &String| {
        let mut columns = table.columns.iter();
        columns.any(|column| column.name == *name && !column.is_virtual)
    };
    // A part of a key does not identify rows.
    spec.key = spec.key.filter(|key| key.iter().all(is_there));
    let has_key = match &spec.key {
        Some(key) => !key.is_empty(),
        None => !primary_key(table).is_empty(),
    };
    spec.columns.retain(|column| has_key && is_there(column));
    spec.when_changed.retain(is_there);
    spec.every_column &= has_key;
    spec.old_columns &= spec.every_column || !spec.columns.is_empty();
    spec
}

/// The problem with tables of this schema, if triggers cannot be installed in it.
fn reserved(schema: &str) -> Option<&'static str> {
    match schema {
        schema if schema.starts_with("pg_temp") => {
            Some("is temporary: only its own session sees it")
        }
        schema if schema.starts_with("pg_") || schema == "information_schema" => {
            Some("belongs to the server, which allows no triggers on it")
        }
        _ => None,
    }
}

fn check_kinds(name: &TableName, table: &Table) -> Result<()> {
    if let Some(advice) = reserved(name.schema()) {
        return Err(Error::new(ErrorKind::Spec, format!("{name} {advice}")));
    }
    for member in &table.members {
        let advice = match member.kind.as_str() {
            _ if member.is_table() => continue,
            "v" => "is a view, which changes without triggers; watch the tables beneath it",
            "m" => "is a materialized view, which has no triggers; watch the tables beneath it",
            "f" => "is a foreign table, whose triggers see no rows; watch it on its own server",
            _ => "is not a table; only tables have triggers",
        };
        let subject = if member.is_root {
            format!("{name}")
        } else {
            format!("{name} cannot be watched: its partition {}", member.name.0)
        };
        return Err(Error::new(ErrorKind::Spec, format!("{subject} {advice}")));
    }
    Ok(())
}

fn find(spec: &TriggerSpec, table: &Table, names: &[String]) -> Result<Vec<Column>> {
    let mut found: Vec<Column> = Vec::with_capacity(names.len());
    for name in names {
        let Some(column) = table.columns.iter().find(|column| column.name == *name) else {
            let existing: Vec<_> = table.columns.iter().map(|column| &*column.name).collect();
            let existing = existing.join(", ");
            return Err(spec_error(
                spec,
                &format!("there is no column {name:?}; the columns are {existing}"),
            ));
        };
        if column.is_virtual {
            let problem = format!("column {name:?} is virtual, so triggers cannot see it");
            return Err(spec_error(
                spec,
                &format!("{problem}; name the columns that it is computed from"),
            ));
        }
        found.push(column.clone());
    }
    Ok(found)
}

fn primary_key(table: &Table) -> Vec<Column> {
    let mut key: Vec<_> = table
        .columns
        .iter()
        .filter(|column| column.key_place.is_some())
        .cloned()
        .collect();
    key.sort_by_key(|column| column.key_place);
    key
}

fn spec_error(spec: &TriggerSpec, problem: &str) -> Error {
    Error::new(
        ErrorKind::Spec,
        format!("specification of {}: {problem}", spec.table),
    )
}
