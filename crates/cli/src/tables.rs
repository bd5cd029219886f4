//! Tables as people name them.

use pgherald_core::TableName;
use pgherald_core::trigger;
use tokio_postgres::{Client, Row};

use crate::failure::Failure;
use crate::words;

/// What was typed, literally: `schema.name`, or a name on the search path; or else as SQL reads it.
const FIND: &str = "
    SELECT n.nspname::text, c.relname::text
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (
        n.nspname::text OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) c.relname::text = $1 OR (c.relname = $1 AND pg_catalog.pg_table_is_visible(c.oid))
    )
    ORDER BY n.nspname, c.relname";
const FIND_SQL: &str = "
    SELECT n.nspname::text, c.relname::text
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = pg_catalog.to_regclass($1)";

/// A table that was typed.
#[derive(Debug)]
pub(crate) struct Named {
    /// One that does not exist has the name it was given, in schema `public` if it has none.
    pub(crate) table: TableName,
    pub(crate) exists: bool,
}

/// The tables that were typed, whether they exist or not.
pub(crate) async fn find(client: &Client, typed: &[String]) -> Result<Vec<Named>, Failure> {
    let mut tables = Vec::with_capacity(typed.len());
    for text in typed {
        let mut found = client.query(FIND, &[text]).await?;
        if found.is_empty() {
            // What is no name in SQL is an error here, and no table.
            found = client.query(FIND_SQL, &[text]).await.unwrap_or_default();
        }
        let name = |row: &Row| {
            Ok(TableName::new(
                row.try_get::<_, &str>(0)?,
                row.try_get::<_, &str>(1)?,
            )?)
        };
        let found: Vec<_> = found.iter().map(name).collect::<Result<_, Failure>>()?;
        tables.push(match &*found {
            [table] => Named {
                table: table.clone(),
                exists: true,
            },
            [] => {
                let (schema, name) = text.split_once('.').unwrap_or(("public", text));
                Named {
                    table: TableName::new(schema, name)?,
                    exists: false,
                }
            }
            several => {
                let names: Vec<_> = several.iter().map(words::quoted).collect();
                let message = format!("{text:?} may be any of {}", names.join(", "));
                return Err(Failure::usage(message).hint("write it as one of these"));
            }
        });
    }
    Ok(tables)
}

/// The same, where whoever needs them to exist says that they do not.
pub(crate) async fn resolve(client: &Client, typed: &[String]) -> Result<Vec<TableName>, Failure> {
    let named = find(client, typed).await?.into_iter();
    Ok(named.map(|named| named.table).collect())
}

/// The first of these tables that records its changes in the outbox.
pub(crate) async fn recorded(
    client: &Client,
    tables: &[TableName],
) -> Result<Option<TableName>, Failure> {
    let watched = trigger::watched(client).await?;
    let mut specs = watched.into_iter().filter_map(|one| one.spec);
    let found = specs.find(|spec| spec.is_outbox() && tables.contains(spec.table()));
    Ok(found.map(|spec| spec.table().clone()))
}
