//! What stands in the database now.

use std::collections::HashMap;

use futures_util::future::try_join;
use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::VERSION;
use super::catalog::{self, Owner, Table, get, rows};
use super::compare::version;
use crate::error::Result;
use crate::name::TableName;
use crate::operation::Operation;

/// What `pgherald.notify_rows` takes.
const NOTIFY_ROWS_ARGUMENTS: &str = "text, text, text, text, text[], text[], text[]";

/// What `pgherald.rows_query` takes.
const ROWS_QUERY_ARGUMENTS: &str =
    "oid, text, text, text[], text[], text[], integer, text[], boolean, boolean, boolean";

/// What is installed for one table.
#[derive(Debug, Default)]
pub(super) struct Installed {
    pub(super) function: Option<Function>,
    /// Other functions that the table's own triggers call, by name: it had another name when they were made.
    pub(super) superseded: Vec<(String, Function)>,
    /// Every trigger that calls one of them, on whatever table.
    pub(super) triggers: Vec<Trigger>,
}

impl Installed {
    /// Its functions by name, where the table's own is called `own`.
    pub(super) fn functions<'a>(
        &'a self,
        own: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Function)> {
        let superseded = self.superseded.iter();
        let own = self.function.iter().map(move |function| (own, function));
        own.chain(superseded.map(|(name, function)| (&**name, function)))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) comment: Option<String>,
    pub(super) body: String,
    pub(super) owner: Owner,
    /// Whether this role may call it.
    pub(super) is_callable: bool,
    /// Whether it runs with its owner's rights.
    pub(super) is_definer: bool,
    pub(super) settings: Vec<String>,
    /// Whether schema and shared function belong to its owner or a superuser.
    pub(super) has_trusted_helper: bool,
    /// Whether its owner may call the shared function.
    pub(super) has_callable_helper: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Trigger {
    pub(super) on: TableName,
    pub(super) name: String,
    pub(super) function: String,
    pub(super) enabled: bool,
    events: i16,
    new_table: Option<String>,
    old_table: Option<String>,
    unconditional: bool,
}

impl Trigger {
    /// Whether it is on the watched table itself, rather than on a partition for its sake.
    pub(super) fn is_root(&self) -> bool {
        let operation = self.name.strip_prefix("pgherald_notify_");
        operation.is_some_and(|word| !word.contains('_'))
    }

    /// Whether this is a statement-level AFTER trigger of `operation` with the given transition tables
    /// and nothing besides.
    pub(super) fn is_made_for(
        &self,
        operation: Operation,
        new: Option<&str>,
        old: Option<&str>,
    ) -> bool {
        // The bits of pg_trigger.tgtype; row level is 1 and BEFORE is 2.
        let event = match operation {
            Operation::Insert => 4,
            Operation::Delete => 8,
            Operation::Update => 16,
            Operation::Truncate => 32,
        };
        self.events == event
            && self.new_table.as_deref() == new
            && self.old_table.as_deref() == old
            && self.unconditional
    }
}

/// Reads what is installed for `tables`, and returns it for each, in their order. Nothing is installed for one that does not
/// exist.
pub(super) async fn all(client: &Client, tables: &[Option<Table>]) -> Result<Vec<Installed>> {
    let made = |table: &Option<Table>| match table {
        Some(table) => (Some(table.oid), table.function.clone()),
        None => (None, String::new()),
    };
    let (oids, functions): (Vec<_>, Vec<_>) = tables.iter().map(made).unzip();
    let names = functions_of(client, &oids, &functions).await?;
    let every = names.concat();
    let (definitions, triggers) =
        try_join(definitions(client, &every, ""), triggers_of(client, &every)).await?;
    let installed = names.into_iter().zip(&functions).map(|(names, own)| {
        // A function may belong to two tables, of which one has the name that the other one had.
        let defined = |name: &String| Some((name.clone(), definitions.get(name)?.clone()));
        let triggers = names.iter().filter_map(|name| triggers.get(name)).flatten();
        Installed {
            triggers: triggers.cloned().collect(),
            function: definitions
                .get(own)
                .filter(|_| names.contains(own))
                .cloned(),
            superseded: names
                .iter()
                .filter(|name| *name != own)
                .filter_map(defined)
                .collect(),
        }
    });
    Ok(installed.collect())
}

/// The names of the functions made for any table.
pub(super) async fn every_function(client: &Client) -> Result<Vec<String>> {
    let sql = include_str!("sql/catalog/every_function.sql");
    let rows = rows(client, sql, &[]).await?;
    rows.iter().map(|row| get(row, 0)).collect()
}

/// The names of the functions made for each of the tables `oids`, whose own functions are called `functions`.
async fn functions_of(
    client: &Client,
    oids: &[Option<u32>],
    functions: &[String],
) -> Result<Vec<Vec<String>>> {
    let sql = include_str!("sql/catalog/functions.sql");
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&oids, Type::OID_ARRAY), (&functions, Type::TEXT_ARRAY)];
    let mut names = vec![Vec::new(); oids.len()];
    for row in &rows(client, sql, &parameters).await? {
        let place = usize::try_from(get::<i64>(row, 0)? - 1).unwrap_or(usize::MAX);
        if let Some(names) = names.get_mut(place) {
            names.push(get(row, 1)?);
        }
    }
    Ok(names)
}

/// The names of the functions that each of `tables` has now: those that its own triggers call, and the one that bears its name
/// unless it is another table that calls it, because that one was renamed.
pub(super) async fn own_functions(
    client: &Client,
    tables: &[TableName],
) -> Result<Vec<Vec<String>>> {
    let relations = catalog::relations(client, &tables.iter().collect::<Vec<_>>()).await?;
    let relations = relations.into_iter();
    let (oids, functions): (Vec<_>, Vec<_>) = relations
        .map(|relation| (relation.oid, relation.function))
        .unzip();
    let mut names = functions_of(client, &oids, &functions).await?;
    let triggers = triggers_of(client, &names.concat()).await?;
    for (table, names) in tables.iter().zip(&mut names) {
        names.retain(|name| {
            let triggers = triggers.get(name).into_iter().flatten();
            let mut roots = triggers.filter(|trigger| trigger.is_root()).peekable();
            roots.peek().is_none() || roots.any(|trigger| trigger.on == *table)
        });
    }
    Ok(names)
}

/// The functions of schema `pgherald` called `names` that take arguments of the types listed, by name.
pub(super) async fn definitions(
    client: &Client,
    names: &[String],
    arguments: &str,
) -> Result<HashMap<String, Function>> {
    let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
        (&names, Type::TEXT_ARRAY),
        (&arguments, Type::TEXT),
        (&NOTIFY_ROWS_ARGUMENTS, Type::TEXT),
    ];
    let sql = include_str!("sql/catalog/definitions.sql");
    let mut definitions = HashMap::with_capacity(names.len());
    for row in &rows(client, sql, &parameters).await? {
        let function = Function {
            comment: get(row, 1)?,
            body: get(row, 2)?,
            owner: Owner {
                name: get(row, 3)?,
                is_trusted: get(row, 4)?,
            },
            is_callable: get(row, 5)?,
            is_definer: get(row, 6)?,
            settings: get(row, 7)?,
            has_trusted_helper: get(row, 8)?,
            has_callable_helper: get(row, 9)?,
        };
        definitions.insert(get(row, 0)?, function);
    }
    Ok(definitions)
}

/// The function that packs rows into payloads.
pub(super) async fn notify_rows(client: &Client) -> Result<Option<Function>> {
    shared_function(client, "notify_rows", NOTIFY_ROWS_ARGUMENTS).await
}

/// The function that writes queries for tables that were altered.
pub(super) async fn rows_query(client: &Client) -> Result<Option<Function>> {
    shared_function(client, "rows_query", ROWS_QUERY_ARGUMENTS).await
}

async fn shared_function(client: &Client, name: &str, arguments: &str) -> Result<Option<Function>> {
    let name = name.to_owned();
    let mut found = definitions(client, std::slice::from_ref(&name), arguments).await?;
    Ok(found.remove(&name))
}

/// Every trigger that calls one of `functions`, by the function's name.
pub(super) async fn triggers_of(
    client: &Client,
    functions: &[String],
) -> Result<HashMap<String, Vec<Trigger>>> {
    let mut by_function = HashMap::<_, Vec<_>>::with_capacity(functions.len());
    for trigger in triggers(client, functions).await? {
        let function = trigger.function.clone();
        by_function.entry(function).or_default().push(trigger);
    }
    Ok(by_function)
}

/// Every trigger that calls one of `functions`.
pub(super) async fn triggers(client: &Client, functions: &[String]) -> Result<Vec<Trigger>> {
    let sql = include_str!("sql/catalog/triggers.sql");
    let rows = rows(client, sql, &[(&functions, Type::TEXT_ARRAY)]).await?;
    rows.iter()
        .map(|row| {
            Ok(Trigger {
                on: TableName::new(get::<String>(row, 0)?, get::<String>(row, 1)?)?,
                name: get(row, 2)?,
                function: get(row, 3)?,
                enabled: get(row, 4)?,
                events: get(row, 5)?,
                new_table: get(row, 6)?,
                old_table: get(row, 7)?,
                unconditional: get(row, 8)?,
            })
        })
        .collect()
}

/// The outbox as the catalog has it.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) comment: Option<String>,
    pub(super) owner: Owner,
    /// The rows that it relies on, if they were asked for, it is of this program's version, and this role may read them.
    pub(super) rows: Option<Arc<OutboxRows>>,
}

/// The rows that the outbox relies on, and that a restore of its schema alone does not bring.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutboxRows {
    /// Whether those that readers and trimming rely on are there.
    pub(super) are_complete: bool,
    /// The relations that are described.
    pub(super) relations: Vec<i64>,
}

/// The rows of an outbox of this version. `None` if this role may not read them.
async fn outbox_rows(client: &Client) -> Result<Option<OutboxRows>> {
    let sql = include_str!("sql/catalog/outbox_is_readable.sql");
    let is_readable = rows(client, sql, &[]).await?;
    if !is_readable.first().map_or(Ok(false), |row| get(row, 0))? {
        return Ok(None);
    }
    let rows = rows(client, include_str!("sql/catalog/outbox_rows.sql"), &[]).await?;
    let found = |row| {
        Ok(OutboxRows {
            are_complete: get(row, 0)?,
            relations: get(row, 1)?,
        })
    };
    rows.first().map(found).transpose()
}

/// The outbox, if there is one.
pub(super) async fn outbox(client: &Client) -> Result<Option<Outbox>> {
    let rows = rows(client, include_str!("sql/catalog/outbox.sql"), &[]).await?;
    let outbox = |row| {
        Ok(Outbox {
            comment: get(row, 0)?,
            owner: Owner {
                name: get(row, 1)?,
                is_trusted: get(row, 2)?,
            },
            rows: None,
        })
    };
    rows.first().map(outbox).transpose()
}

/// The outbox, if there is one, with the rows that it relies on.
pub(super) async fn outbox_with_rows(client: &Client) -> Result<Option<Outbox>> {
    let Some(mut outbox) = outbox(client).await? else {
        return Ok(None);
    };
    if version(outbox.comment.as_deref()) == Some(VERSION) {
        outbox.rows = outbox_rows(client).await?.map(Arc::new);
    }
    Ok(Some(outbox))
}
