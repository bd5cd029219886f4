//! The SQL that removes what was installed, found by what it is rather than by what is remembered.

use tokio_postgres::Client;

use super::catalog;
use super::installed;
use super::plan::{Plan, drop_function, drop_trigger};
use super::shared;
use crate::error::Result;
use crate::name::TableName;

/// Works out how to remove the triggers of `tables`, those of their partitions and their functions; and,
/// with the last table, what all tables share. Only reads.
///
/// A table that is not watched, or no longer exists, is no error: whatever is left of it goes.
///
/// # Errors
/// If the catalog cannot be read.
pub async fn plan_uninstall(client: &Client, tables: &[TableName]) -> Result<Plan> {
    let mut functions = Vec::new();
    for table in tables {
        let function = catalog::function_name(client, table).await?;
        functions.extend(installed::functions(client, Some((table, &function))).await?);
    }
    functions.sort();
    functions.dedup();
    if functions.is_empty() {
        return Ok(Plan::new(String::new()));
    }
    remove(client, &functions).await
}

/// Works out how to remove everything of all tables. Only reads.
///
/// # Errors
/// If the catalog cannot be read.
pub async fn plan_uninstall_all(client: &Client) -> Result<Plan> {
    let functions = installed::functions(client, None).await?;
    if functions.is_empty() && installed::notify_rows(client).await?.is_none() {
        return Ok(Plan::new(String::new()));
    }
    remove(client, &functions).await
}

async fn remove(client: &Client, functions: &[String]) -> Result<Plan> {
    let triggers = installed::triggers(client, functions).await?;
    let mut statements: String = triggers.iter().map(drop_trigger).collect();
    statements.extend(functions.iter().map(|function| drop_function(function)));
    Ok(Plan::new(statements + &shared::remove()?))
}
