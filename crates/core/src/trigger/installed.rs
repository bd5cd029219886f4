//! What stands in the database now.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::catalog::{get, rows};
use crate::error::Result;
use crate::name::TableName;
use crate::operation::Operation;

/// What is installed for one table.
#[derive(Debug)]
pub(super) struct Installed {
    pub(super) function: Option<Function>,
    /// Other functions that the table's own triggers call: it had another name when they were made.
    pub(super) superseded: Vec<String>,
    /// Every trigger that calls one of them, on whatever table.
    pub(super) triggers: Vec<Trigger>,
}

#[derive(Debug)]
pub(super) struct Function {
    pub(super) comment: Option<String>,
    pub(super) body: String,
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
    Ok(Installed {
        function: self::function(client, function).await?,
        triggers: triggers(client, &names).await?,
        superseded: names.into_iter().filter(|name| name != function).collect(),
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
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] = [
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

/// A function of schema `pgherald`.
pub(super) async fn function(client: &Client, name: &str) -> Result<Option<Function>> {
    let sql = include_str!("sql/catalog/function.sql");
    let rows = rows(client, sql, &[(&name, Type::TEXT)]).await?;
    rows.first()
        .map(|row| {
            Ok(Function {
                comment: get(row, 0)?,
                body: get(row, 1)?,
            })
        })
        .transpose()
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
