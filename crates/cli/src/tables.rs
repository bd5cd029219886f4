//! Tables as people name them.

use pgherald_core::TableName;
use tokio_postgres::Client;

use crate::failure::Failure;

/// What was typed, literally: `schema.name`, or a name on the search path; or else as SQL reads it.
const FIND: &str = "
    SELECT n.nspname::text, c.relname::text
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (
        n.nspname::text OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) c.relname::text = $1 OR (c.relname = $1 AND pg_catalog.pg_table_is_visible(c.oid))
    )
    ORDER BY c.relname = $1 DESC LIMIT 1";
const FIND_SQL: &str = "
    SELECT n.nspname::text, c.relname::text
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = pg_catalog.to_regclass($1)";

/// The tables that were typed. One that does not exist keeps the name it was given, in schema `public` if it has none:
/// whoever needs it to exist says that it does not.
pub(crate) async fn resolve(client: &Client, typed: &[String]) -> Result<Vec<TableName>, Failure> {
    let mut tables = Vec::with_capacity(typed.len());
    for text in typed {
        let mut found = client.query_opt(FIND, &[text]).await?;
        if found.is_none() {
            // What is no name in SQL is an error here, and no table.
            found = client
                .query_opt(FIND_SQL, &[text])
                .await
                .unwrap_or_default();
        }
        tables.push(match found {
            Some(row) => TableName::new(row.get::<_, &str>(0), row.get::<_, &str>(1))?,
            None => {
                let (schema, name) = text.split_once('.').unwrap_or(("public", text));
                TableName::new(schema, name)?
            }
        });
    }
    Ok(tables)
}
