//! The catalog, read through queries that name every object with its schema, outside any transaction.
//!
//! A query takes the names of all tables at once. So the number of statements does not depend on the number of tables, and
//! neither does a query scan a catalog once per table.
//!
//! `query_typed` keeps the statements unnamed: nothing stays in the session, and poolers do not mind.

use std::collections::{HashMap, HashSet};

use futures_util::future::try_join;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::error::{Error, Kind, Result};
use crate::name::TableName;

/// A table as the catalog has it.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) oid: u32,
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
    /// The type, or the domain, quoted and with its schema.
    pub(super) exact_type: String,
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

/// What the catalog has under a table's name.
#[derive(Debug)]
pub(super) struct Relation {
    /// `None` if there is no relation of that name.
    pub(super) oid: Option<u32>,
    /// The name that belongs to the table's function, whether or not either exists.
    pub(super) function: String,
}

/// Looks up `names`, and returns one relation for each, in their order.
pub(super) async fn relations(client: &Client, names: &[&TableName]) -> Result<Vec<Relation>> {
    let sql = include_str!("sql/catalog/relations.sql");
    let (schemas, tables) = split(names);
    let written: Vec<_> = names.iter().map(|name| name.quoted()).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
        (&schemas, Type::TEXT_ARRAY),
        (&tables, Type::TEXT_ARRAY),
        (&written, Type::TEXT_ARRAY),
    ];
    let rows = rows(client, sql, &parameters).await?;
    let relation = |row| {
        Ok(Relation {
            oid: get(row, 0)?,
            function: get(row, 1)?,
        })
    };
    rows.iter().map(relation).collect()
}

/// The schemas and the names, as parameters.
pub(super) fn split<'a>(names: &[&'a TableName]) -> (Vec<&'a str>, Vec<&'a str>) {
    names
        .iter()
        .map(|name| (name.schema(), name.name()))
        .unzip()
}

/// Reads the tables `names`. Returns one for each, in their order; `None` if there is no relation of that name.
pub(super) async fn tables(client: &Client, names: &[&TableName]) -> Result<Vec<Option<Table>>> {
    let relations = relations(client, names).await?;
    let oids: Vec<u32> = relations
        .iter()
        .filter_map(|relation| relation.oid)
        .collect();
    let (mut columns, mut members) =
        try_join(columns(client, &oids), members(client, &oids)).await?;
    let table = |relation: Relation| {
        let oid = relation.oid?;
        Some(Table {
            oid,
            columns: columns.remove(&oid).unwrap_or_default(),
            // Without any, the table was dropped since.
            members: members.remove(&oid)?,
            function: relation.function,
        })
    };
    Ok(relations.into_iter().map(table).collect())
}

async fn columns(client: &Client, oids: &[u32]) -> Result<HashMap<u32, Vec<Column>>> {
    let sql = include_str!("sql/catalog/columns.sql");
    let mut columns = HashMap::<_, Vec<_>>::with_capacity(oids.len());
    for row in &rows(client, sql, &[(&oids, Type::OID_ARRAY)]).await? {
        columns.entry(get(row, 0)?).or_default().push(Column {
            name: get(row, 1)?,
            type_name: get(row, 2)?,
            key_place: get(row, 3)?,
            is_virtual: get(row, 4)?,
            declared: get(row, 5)?,
            is_short: get(row, 6)?,
            names_objects: get(row, 7)?,
            is_ambiguous: get(row, 8)?,
            exact_type: get(row, 9)?,
        });
    }
    Ok(columns)
}

async fn members(client: &Client, oids: &[u32]) -> Result<HashMap<u32, Vec<Member>>> {
    let sql = include_str!("sql/catalog/members.sql");
    let mut members = HashMap::<_, Vec<_>>::with_capacity(oids.len());
    for row in &rows(client, sql, &[(&oids, Type::OID_ARRAY)]).await? {
        members.entry(get(row, 0)?).or_default().push(Member {
            is_root: get(row, 1)?,
            name: TableName::new(get::<String>(row, 2)?, get::<String>(row, 3)?)?,
            kind: get(row, 4)?,
        });
    }
    Ok(members)
}

/// For each of `names`, without schemas, the first few tables that it may have meant.
pub(super) async fn lookalikes(
    client: &Client,
    names: &HashSet<&str>,
) -> Result<HashMap<String, Vec<String>>> {
    const FEW: usize = 5;
    let mut found = HashMap::<String, Vec<_>>::new();
    if names.is_empty() {
        return Ok(found);
    }
    let names: Vec<_> = names.iter().collect();
    let sql = include_str!("sql/catalog/lookalikes.sql");
    for row in &rows(client, sql, &[(&names, Type::TEXT_ARRAY)]).await? {
        let lookalikes = found.entry(get(row, 0)?).or_default();
        if lookalikes.len() < FEW {
            let (schema, name): (&str, &str) = (get(row, 1)?, get(row, 2)?);
            lookalikes.push(format!("{schema}.{name}"));
        }
    }
    Ok(found)
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
