//! The catalog, read through queries that name every object with its schema, outside any transaction.
//!
//! `query_typed` keeps the statements unnamed: nothing stays in the session, and poolers do not mind.

use futures_util::future::try_join3;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::error::{Error, Kind, Result};
use crate::name::TableName;

/// A table as the catalog has it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    /// The table itself first, then its partitions and children of every level.
    pub(super) members: Vec<Member>,
    /// The name that belongs to its function.
    pub(super) function: String,
}

#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// The type's name if it comes with PostgreSQL, domains resolved; `enum`; or empty.
    pub(super) type_name: String,
    /// The place in the primary key, from 1.
    pub(super) key_place: Option<i32>,
    /// Computed on reading, and therefore absent from what a trigger sees.
    pub(super) is_virtual: bool,
    /// The type as it was declared.
    pub(super) declared: String,
    /// Of a type whose values all have the same few bytes.
    pub(super) is_short: bool,
    /// Whether its text may name objects of the database, with their schema or without as the `search_path` has it.
    pub(super) names_objects: bool,
    /// Whether values that are equal may have different texts.
    pub(super) is_ambiguous: bool,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) is_root: bool,
    pub(super) name: TableName,
    pub(super) kind: String,
}

/// What plans need to know of the server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) version: i32,
    pub(super) has_schema: bool,
    /// Of the schema, if it exists.
    pub(super) owner: Option<Owner>,
}

/// Whom an object belongs to.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) name: String,
    /// Whether it is this role or a superuser: others may put code of theirs there later.
    pub(super) is_trusted: bool,
}

/// Reads the server's part of a plan.
pub(super) async fn server(client: &Client) -> Result<Server> {
    let rows = rows(client, include_str!("sql/catalog/server.sql"), &[]).await?;
    let row = rows
        .first()
        .ok_or_else(|| Error::new(Kind::Query, "the server told no version"))?;
    Ok(Server {
        version: get(row, 0)?,
        has_schema: get(row, 1)?,
        owner: match get(row, 2)? {
            Some(name) => Some(Owner {
                name,
                is_trusted: get(row, 3)?,
            }),
            None => None,
        },
    })
}

/// The relation's number, if there is one of that name.
async fn relation(client: &Client, name: &TableName) -> Result<Option<u32>> {
    let parameters: &[(&(dyn ToSql + Sync), Type)] =
        &[(&name.schema(), Type::TEXT), (&name.name(), Type::TEXT)];
    let relation = rows(client, include_str!("sql/catalog/relation.sql"), parameters).await?;
    relation.first().map(|row| get(row, 0)).transpose()
}

/// Reads table `name`, or `None` if there is no relation of that name.
pub(super) async fn table(client: &Client, name: &TableName) -> Result<Option<Table>> {
    let Some(oid) = relation(client, name).await? else {
        return Ok(None);
    };
    let (columns, members, function) = try_join3(
        columns(client, oid),
        members(client, oid),
        function_name(client, name),
    )
    .await?;
    Ok(Some(Table {
        columns,
        members,
        function,
    }))
}

async fn columns(client: &Client, oid: u32) -> Result<Vec<Column>> {
    let rows = rows(
        client,
        include_str!("sql/catalog/columns.sql"),
        &[(&oid, Type::OID)],
    )
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Column {
                name: get(row, 0)?,
                type_name: get(row, 1)?,
                key_place: get(row, 2)?,
                is_virtual: get(row, 3)?,
                declared: get(row, 4)?,
                is_short: get(row, 5)?,
                names_objects: get(row, 6)?,
                is_ambiguous: get(row, 7)?,
            })
        })
        .collect()
}

async fn members(client: &Client, oid: u32) -> Result<Vec<Member>> {
    let rows = rows(
        client,
        include_str!("sql/catalog/members.sql"),
        &[(&oid, Type::OID)],
    )
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Member {
                is_root: get(row, 0)?,
                name: TableName::new(get::<String>(row, 1)?, get::<String>(row, 2)?)?,
                kind: get(row, 3)?,
            })
        })
        .collect()
}

/// The name of the function that belongs to `table`, whether or not either exists.
pub(super) async fn function_name(client: &Client, table: &TableName) -> Result<String> {
    let sql = include_str!("sql/catalog/function_name.sql");
    let rows = rows(client, sql, &[(&table.quoted(), Type::TEXT)]).await?;
    let row = rows
        .first()
        .ok_or_else(|| Error::new(Kind::Query, "the server hashed nothing"))?;
    get(row, 0)
}

/// Tables that `name` may have meant.
pub(super) async fn lookalikes(client: &Client, name: &TableName) -> Result<Vec<String>> {
    let sql = include_str!("sql/catalog/lookalikes.sql");
    let rows = rows(client, sql, &[(&name.name(), Type::TEXT)]).await?;
    rows.iter()
        .map(|row| {
            Ok(format!(
                "{}.{}",
                get::<String>(row, 0)?,
                get::<String>(row, 1)?
            ))
        })
        .collect()
}

/// Runs a catalog query.
pub(super) async fn rows(
    client: &Client,
    sql: &str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>> {
    let outcome = client.query_typed(sql, parameters).await;
    outcome.map_err(|error| Error::of_statement("cannot read the catalog for triggers", error))
}

/// Takes column `index` of a catalog row.
pub(super) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    index: usize,
) -> Result<T> {
    row.try_get(index)
        .map_err(|error| Error::of_statement("cannot understand the catalog", error))
}
