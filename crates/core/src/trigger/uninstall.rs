//! The SQL that removes what was installed, found by what it is rather than by what is remembered.

use tokio_postgres::Client;

use super::installed;
use super::plan::{Plan, drop_function, drop_trigger};
use super::shared;
use crate::error::Result;
use crate::name::TableName;

/// Works out how to remove the triggers of `tables`, those of their partitions and their functions; and,
/// with the last table, what all tables share. Only reads.
///
/// While there are [groups](crate::group), the outbox stays, with what they have not handled and their dead letters:
/// [`plan_uninstall_all`] removes that too.
///
/// A table that is not watched, or no longer exists, is no error: whatever is left of it goes. One that was renamed is found
/// under its present name only.
///
/// # Errors
/// If the catalog cannot be read.
pub async fn plan_uninstall(client: &Client, tables: &[TableName]) -> Result<Plan> {
    let mut functions = installed::own_functions(client, tables).await?.concat();
    functions.sort();
    functions.dedup();
    if functions.is_empty() {
        return Ok(Plan::empty());
    }
    remove(client, &functions, true).await
}

/// Works out how to remove everything of all tables, the outbox with what is in it, and all groups. Only reads.
///
/// # Errors
/// If the catalog cannot be read.
pub async fn plan_uninstall_all(client: &Client) -> Result<Plan> {
    let functions = installed::every_function(client).await?;
    if functions.is_empty()
        && installed::notify_rows(client).await?.is_none()
        && installed::outbox(client).await?.is_none()
    {
        return Ok(Plan::empty());
    }
    remove(client, &functions, false).await
}

async fn remove(client: &Client, functions: &[String], spares_groups: bool) -> Result<Plan> {
    let triggers = installed::triggers(client, functions).await?;
    let mut statements: String = triggers.iter().map(drop_trigger).collect();
    statements.extend(functions.iter().map(|function| drop_function(function)));
    Plan::new("", &(statements + &shared::remove(spares_groups)?))
}
