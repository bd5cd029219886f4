//! What stands in the database now.

use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::catalog::{self, Owner, get, rows};
use crate::error::Result;
use crate::name::TableName;
use crate::operation::Operation;

/// What `pgherald.notify_rows` takes.
const NOTIFY_ROWS_ARGUMENTS: &str = "text, text, text, text, text[], text[], text[]";

/// What `pgherald.rows_query` takes.
const ROWS_QUERY_ARGUMENTS: &str =
    "oid, text, text, text[], text[], text[], integer, text[], boolean, boolean, boolean";

/// What is installed for one table.
#[derive(Debug)]
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

#[derive(Debug)]
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

#[derive(Debug)]
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

/// Reads what is installed for `table`, whose function is called `function`.
pub(super) async fn installed(
    client: &Client,
    table: &TableName,
    function: &str,
) -> Result<Installed> {
    let names = functions(client, Some((table, function))).await?;
    let triggers = triggers(client, &names).await?;
    let mut superseded = Vec::new();
    for name in names {
        if name != function
            && let Some(function) = self::function(client, &name, "").await?
        {
            superseded.push((name, function));
        }
    }
    Ok(Installed {
        function: self::function(client, function, "").await?,
        superseded,
        triggers,
    })
}

/// The names of the functions made for a table, or for all tables.
pub(super) async fn functions(
    client: &Client,
    table: Option<(&TableName, &str)>,
) -> Result<Vec<String>> {
    let schema = table.map(|(table, _)| table.schema());
    let name = table.map(|(table, _)| table.name());
    let function = table.map(|(_, function)| function);
    let sql = include_str!("sql/catalog/functions.sql");
    let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
        (&schema, Type::TEXT),
        (&name, Type::TEXT),
        (&function, Type::TEXT),
    ];
    rows(client, sql, &parameters)
        .await?
        .iter()
        .map(|row| get(row, 0))
        .collect()
}

/// The names of the functions that `table` has now: those that its own triggers call, and the one that bears its name
/// unless it is another table that calls it, because that one was renamed.
pub(super) async fn own_functions(client: &Client, table: &TableName) -> Result<Vec<String>> {
    let own = catalog::function_name(client, table).await?;
    let mut names = functions(client, Some((table, &own))).await?;
    let triggers = triggers(client, &names).await?;
    names.retain(|name| {
        let mut roots = triggers
            .iter()
            .filter(|trigger| trigger.function == *name && trigger.is_root())
            .peekable();
        roots.peek().is_none() || roots.any(|trigger| trigger.on == *table)
    });
    Ok(names)
}

/// The function of schema `pgherald` that takes arguments of the types listed.
pub(super) async fn function(
    client: &Client,
    name: &str,
    arguments: &str,
) -> Result<Option<Function>> {
    let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
        (&name, Type::TEXT),
        (&arguments, Type::TEXT),
        (&NOTIFY_ROWS_ARGUMENTS, Type::TEXT),
    ];
    let rows = rows(
        client,
        include_str!("sql/catalog/function.sql"),
        &parameters,
    )
    .await?;
    rows.first()
        .map(|row| {
            Ok(Function {
                comment: get(row, 0)?,
                body: get(row, 1)?,
                owner: Owner {
                    name: get(row, 2)?,
                    is_trusted: get(row, 3)?,
                },
                is_callable: get(row, 4)?,
                is_definer: get(row, 5)?,
                settings: get(row, 6)?,
                has_trusted_helper: get(row, 7)?,
                has_callable_helper: get(row, 8)?,
            })
        })
        .transpose()
}

/// The function that packs rows into payloads.
pub(super) async fn notify_rows(client: &Client) -> Result<Option<Function>> {
    function(client, "notify_rows", NOTIFY_ROWS_ARGUMENTS).await
}

/// The function that writes queries for tables that were altered.
pub(super) async fn rows_query(client: &Client) -> Result<Option<Function>> {
    function(client, "rows_query", ROWS_QUERY_ARGUMENTS).await
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
        })
    };
    rows.first().map(outbox).transpose()
}
