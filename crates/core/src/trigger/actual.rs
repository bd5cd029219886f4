//! The actual state of pgherald's objects and of the watched tables, as plain data. It is read once, and evaluated without a
//! connection.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::catalog::{Column, Function, Lookalike, Member, Outbox, Server, Table, Trigger, parse};
use super::catalog_type::CatalogTypes;
use super::expression::key_type;
use super::note::{Note, note};
use super::spec::TriggerSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;
use crate::types::Fields;

/// The actual state of a database, as [`inspect`](super::inspect()) reads it.
///
/// All decisions about triggers are made from this state, without a connection: [`plan`](Self::plan) plans an installation,
/// [`verify`](Self::verify) lists differences from a specification, [`watched`](Self::watched) lists what is installed, and
/// [`plan_uninstall`](Self::plan_uninstall) plans a removal.
#[derive(Debug, Default)]
pub struct Actual {
    pub(super) server: Server,
    /// The function that packs rows into payloads.
    pub(super) notify_rows: Option<Function>,
    /// The function that writes queries for tables that were altered.
    pub(super) rows_query: Option<Function>,
    pub(super) outbox: Option<Outbox>,
    /// The requirements of groups, as far as this role may read them.
    pub(super) requirements: Vec<Requirement>,
    /// Groups and tables whose requirements a later version of pgherald has stored.
    pub(super) unknown_requirements: Vec<(String, TableName)>,
    /// `None` for an inspected table that does not exist.
    pub(super) tables: HashMap<TableName, Option<Table>>,
    /// The functions of tables, by name.
    pub(super) functions: BTreeMap<String, Function>,
    /// The triggers that call each of these functions.
    triggers: HashMap<String, Vec<Trigger>>,
    /// The functions that were made for a table of each name.
    made_for: HashMap<TableName, Vec<String>>,
    /// The functions that the own triggers of each relation call, with the number of these triggers. The triggers that a relation
    /// has for its parent are not its own.
    called: HashMap<i64, BTreeMap<String, usize>>,
    /// The names of all functions of tables.
    names: HashSet<String>,
    /// Similar names of existing tables, for each name that has no table.
    lookalikes: HashMap<String, Vec<String>>,
}

/// The requirements of a group's handlers on a table, as a consumer of the group has stored them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requirement {
    /// The group's name.
    pub group: String,
    /// The table, and the minimum that must be installed on it.
    pub spec: TriggerSpec,
}

/// The functions and triggers of one table.
#[derive(Debug, Default)]
pub(super) struct Installation<'a> {
    /// The function that the table's triggers call, with its name. If they call none, a function that a former table of this name
    /// left behind.
    pub(super) function: Option<(&'a str, &'a Function)>,
    /// Other functions that its own triggers call.
    pub(super) superseded: Vec<(&'a str, &'a Function)>,
    /// Every trigger on any relation that calls one of these functions, and the table's other own triggers.
    pub(super) triggers: Vec<&'a Trigger>,
}

impl Installation<'_> {
    pub(super) fn functions(&self) -> impl Iterator<Item = (&str, &Function)> {
        self.function.iter().chain(&self.superseded).copied()
    }
}

impl Actual {
    /// Assembles the state of a database that was inspected for the tables `names`. Each object is a kind and a JSON text.
    pub(super) fn assemble<'a>(
        names: &[&TableName],
        objects: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        let mut actual = Self::default();
        let (mut members, mut columns) = (Vec::<Member>::new(), Vec::<Column>::new());
        let mut lookalikes = Vec::<Lookalike>::new();
        let mut types = CatalogTypes::default();
        for (kind, json) in objects {
            match kind {
                "server" => actual.server = parse(json)?,
                "outbox" => actual.outbox = Some(parse(json)?),
                "name" => drop(actual.names.insert(parse(json)?)),
                "member" => members.push(parse(json)?),
                "column" => columns.push(parse(json)?),
                "type" => types.add(parse(json)?),
                "lookalike" => lookalikes.push(parse(json)?),
                "trigger" => actual.add_trigger(parse(json)?),
                "function" => {
                    let function: Function = parse(json)?;
                    match &*function.name {
                        "notify_rows" => actual.notify_rows = Some(function),
                        "rows_query" => actual.rows_query = Some(function),
                        _ => actual.add_function(function),
                    }
                }
                _ => {
                    let message = format!("cannot interpret the catalog: it has a {kind:?}");
                    return Err(Error::new(ErrorKind::Query, message));
                }
            }
        }
        for triggers in actual.triggers.values_mut() {
            triggers.sort_by(|one, other| (&one.on.0, &one.name).cmp(&(&other.on.0, &other.name)));
        }
        for column in &mut columns {
            column.read_as = types.read_as(column.type_oid);
        }
        for name in names {
            actual.tables.insert((*name).clone(), None);
        }
        actual.add_tables(members, columns);
        actual.add_lookalikes(lookalikes);
        Ok(actual)
    }

    fn add_function(&mut self, mut function: Function) {
        function.note = note(function.comment.as_deref());
        if let Some(name) = function.note.as_ref().and_then(Note::table_name) {
            let made_for = self.made_for.entry(name).or_default();
            made_for.push(function.name.clone());
        }
        self.functions.insert(function.name.clone(), function);
    }

    fn add_trigger(&mut self, trigger: Trigger) {
        if trigger.is_root {
            let called = self.called.entry(trigger.relation).or_default();
            *called.entry(trigger.function.clone()).or_default() += 1;
        }
        let triggers = self.triggers.entry(trigger.function.clone());
        triggers.or_default().push(trigger);
    }

    fn add_tables(&mut self, mut members: Vec<Member>, mut columns: Vec<Column>) {
        members.sort_by(|one, other| {
            (!one.is_root, &one.name.0).cmp(&(!other.is_root, &other.name.0))
        });
        columns.sort_by_key(|column| (column.root, column.number));
        let mut tables = HashMap::<i64, Table>::new();
        for member in members {
            tables.entry(member.root).or_default().members.push(member);
        }
        for column in columns {
            tables.entry(column.root).or_default().columns.push(column);
        }
        for (oid, mut table) in tables {
            table.oid = oid;
            if let Some(root) = table.members.first().filter(|member| member.is_root) {
                self.tables.insert(root.name.0.clone(), Some(table));
            }
        }
    }

    fn add_lookalikes(&mut self, mut lookalikes: Vec<Lookalike>) {
        /// The maximum number of names to list.
        const FEW: usize = 5;
        lookalikes.sort_by(|one, other| one.name.0.cmp(&other.name.0));
        for Lookalike { of, name } in lookalikes {
            let found = self.lookalikes.entry(of).or_default();
            if found.len() < FEW {
                found.push(name.0.to_string());
            }
        }
    }

    /// Returns the table of that name.
    ///
    /// # Errors
    /// If it does not exist, or was not inspected.
    pub(super) fn table(&self, name: &TableName) -> Result<&Table> {
        if let Some(Some(table)) = self.tables.get(name) {
            return Ok(table);
        }
        let advice = match (self.tables.get(name), self.lookalikes.get(name.name())) {
            (None, _) => "or was not inspected; inspect it".to_owned(),
            (_, None) => "create it first".to_owned(),
            (_, Some(others)) => format!("there is {}", others.join(", ")),
        };
        let message = format!("table {name} does not exist; {advice}");
        Err(Error::new(ErrorKind::Spec, message))
    }

    /// The types of the columns of a table, each as if it were part of the key. `None` if the table does not exist, or was not
    /// inspected.
    pub(crate) fn types_of(&self, name: &TableName) -> Option<Fields> {
        let columns = self.table(name).ok()?.columns.iter();
        Some(
            columns
                .map(|column| (column.name.as_str().into(), key_type(column)))
                .collect(),
        )
    }

    pub(super) fn triggers_of(&self, function: &str) -> &[Trigger] {
        self.triggers.get(function).map_or(&[], Vec::as_slice)
    }

    /// The table whose own triggers call `function`, if there is exactly one. A function that the triggers of several tables call
    /// belongs to none of them, because it announces changes under one name only.
    pub(super) fn owner_of(&self, function: &str) -> Option<&TableName> {
        let mut callers = self.callers(function);
        let first = callers.next()?;
        callers.all(|other| other == first).then_some(first)
    }

    /// The tables whose own triggers call `function`, once for each trigger.
    fn callers(&self, function: &str) -> impl Iterator<Item = &TableName> {
        let own = self.triggers_of(function).iter();
        own.filter(|trigger| trigger.is_root)
            .map(|trigger| &trigger.on.0)
    }

    /// The functions that were made for a table of that name. The table may have another name now.
    fn made_for(&self, name: &TableName) -> impl Iterator<Item = (&str, &Function)> {
        let made_for = self.made_for.get(name).into_iter().flatten();
        let made_for = made_for.filter_map(|function| self.functions.get_key_value(function));
        made_for.map(|(function, of)| (&**function, of))
    }

    /// The functions that were made for a table of that name, and that no table's own triggers call.
    pub(super) fn orphans_of(&self, name: &TableName) -> impl Iterator<Item = (&str, &Function)> {
        self.made_for(name)
            .filter(|(function, _)| self.callers(function).next().is_none())
    }

    /// Other tables whose changes are reported under that name, because they had it at their installation.
    pub(super) fn namesakes_of(&self, name: &TableName) -> BTreeSet<&TableName> {
        let callers = self
            .made_for(name)
            .flat_map(|(function, _)| self.callers(function));
        callers.filter(|caller| *caller != name).collect()
    }

    /// Whether a table that had that name at its installation, and still reports changes under it, records them. `None` if there
    /// is no such table.
    pub(super) fn namesake_mode(&self, name: &TableName) -> Option<bool> {
        let mut made_for = self.made_for(name);
        let is_called = |function: &str| self.callers(function).next().is_some();
        let (_, function) = made_for.find(|(function, _)| is_called(function))?;
        function.note.as_ref().map(|note| note.outbox)
    }

    pub(super) fn installation(&self, name: &TableName, table: &Table) -> Installation<'_> {
        let called = self.called.get(&table.oid);
        let mut called: Vec<_> = called.into_iter().flatten().collect();
        called.sort_by_key(|(function, count)| (std::cmp::Reverse(**count), *function));
        let (own, shared): (Vec<_>, Vec<_>) = called
            .into_iter()
            .map(|(function, _)| function)
            .partition(|function| self.owner_of(function).is_some());
        let mut functions = own.into_iter().filter_map(|function| {
            let (name, function) = self.functions.get_key_value(function)?;
            Some((&**name, function))
        });
        let function = functions.next().or_else(|| self.orphans_of(name).next());
        let superseded: Vec<_> = functions.collect();
        let names = function.iter().chain(&superseded).map(|(name, _)| *name);
        let triggers = names.flat_map(|name| self.triggers_of(name));
        let shared = shared.into_iter().flat_map(|name| self.triggers_of(name));
        let is_on_it = |trigger: &&Trigger| trigger.is_root && trigger.relation == table.oid;
        Installation {
            triggers: triggers.chain(shared.filter(is_on_it)).collect(),
            function,
            superseded,
        }
    }

    /// An unused name for a function of `table`. It does not contain the table's name, because that may change. Two programs that
    /// install on the table at the same time choose the same name.
    pub(super) fn free_name(&self, table: &Table) -> String {
        let names = (0_u32..).map(|number| format!("notify_{:08x}{number:08x}", table.oid));
        let mut free = names.filter(|name| !self.names.contains(name));
        free.next().unwrap_or_default()
    }
}
