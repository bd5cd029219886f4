//! Reads the actual state of a database, in a number of statements that does not depend on the number of tables.

use std::collections::BTreeSet;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use super::actual::{Actual, Requirement};
use super::catalog::{Outbox, OutboxRows};
use super::query::{get, rows};
use super::spec::TriggerSpec;
use crate::error::Result;
use crate::name::TableName;

/// The parameters of `pgherald.notify_rows`.
pub(super) const NOTIFY_ROWS_ARGUMENTS: &str = "text, text, text, text, text[], text[], text[]";

/// The parameters of `pgherald.rows_query`.
pub(super) const ROWS_QUERY_ARGUMENTS: &str =
    "oid, text, text, text[], text[], text[], integer, text[], boolean, boolean, boolean";

/// Reads the tables `names`, and what is installed on them. Only reads, without a transaction, in at most three statements: they
/// read the catalog, the rows that the outbox relies on, and the requirements of groups.
///
/// # Errors
/// If the catalog cannot be read.
pub async fn inspect(client: &Client, names: &[&TableName]) -> Result<Actual> {
    read(client, names, false).await
}

/// Reads everything that is installed, the tables for which it was installed, the tables that groups require, and the tables
/// `names`. Only reads, without a transaction, in at most three statements. It needs at most six if nothing is installed on one of
/// these tables that is not in `names`.
///
/// # Errors
/// If the catalog cannot be read.
pub async fn inspect_all(client: &Client, names: &[&TableName]) -> Result<Actual> {
    let actual = read(client, names, true).await?;
    let watched = actual.watched();
    let made_for = watched.iter().filter_map(|one| one.spec.as_ref());
    let required = actual.requirements.iter().map(|one| &one.spec);
    let more: BTreeSet<_> = made_for
        .chain(required)
        .map(TriggerSpec::table)
        .filter(|table| !actual.tables.contains_key(table))
        .collect();
    match more.is_empty() {
        true => Ok(actual),
        false => {
            let names: Vec<_> = names.iter().copied().chain(more).collect();
            read(client, &names, true).await
        }
    }
}

async fn read(client: &Client, names: &[&TableName], every: bool) -> Result<Actual> {
    let (schemas, tables) = split(names);
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&schemas, Type::TEXT_ARRAY),
        (&tables, Type::TEXT_ARRAY),
        (&every, Type::BOOL),
        (&NOTIFY_ROWS_ARGUMENTS, Type::TEXT),
        (&ROWS_QUERY_ARGUMENTS, Type::TEXT),
    ];
    let objects = rows(client, include_str!("sql/inspect.sql"), &parameters).await?;
    let objects: Vec<(&str, &str)> = objects
        .iter()
        .map(|row| Ok((get(row, 0)?, get(row, 1)?)))
        .collect::<Result<_>>()?;
    let mut actual = Actual::assemble(names, objects)?;
    if let Some(outbox) = &mut actual.outbox
        && outbox.has_readable_rows()
    {
        // A separate statement, because a statement that names a missing table fails.
        let rows = rows(client, include_str!("sql/outbox_rows.sql"), &[]).await?;
        outbox.rows = rows.first().map(outbox_rows).transpose()?;
    }
    if actual
        .outbox
        .as_ref()
        .is_some_and(Outbox::has_readable_requirements)
    {
        let rows = rows(client, include_str!("sql/requirements.sql"), &[]).await?;
        for row in &rows {
            let (group, text): (String, &str) = (get(row, 0)?, get(row, 3)?);
            match serde_json::from_str(text) {
                Ok(spec) => actual.requirements.push(Requirement { group, spec }),
                // A later version wrote it. It matters only for installations on that table.
                Err(_) => {
                    let table = TableName::new(get::<&str>(row, 1)?, get::<&str>(row, 2)?)?;
                    actual.unknown_requirements.push((group, table));
                }
            }
        }
    }
    Ok(actual)
}

fn outbox_rows(row: &Row) -> Result<OutboxRows> {
    Ok(OutboxRows {
        are_complete: get(row, 0)?,
        relations: get::<Vec<i64>>(row, 1)?.into_iter().collect(),
    })
}

/// The schemas and the names of tables, as parameters of a statement.
pub(super) fn split<'a>(names: &[&'a TableName]) -> (Vec<&'a str>, Vec<&'a str>) {
    names
        .iter()
        .map(|name| (name.schema(), name.name()))
        .unzip()
}
