//! Tables as people name them.

use pgherald_core::trigger::{self, Watched};
use pgherald_core::{ConnectConfig, TableName};
use tokio_postgres::{Client, Row};

use crate::failure::{Failure, stray_url};
use crate::words;

/// What was typed, literally: `schema.name`, or a name on the search path.
const FIND: &str = "
    SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p', 'v', 'm', 'f']::pg_catalog.\"char\"[]) AND (
        n.nspname::pg_catalog.text OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) c.relname::pg_catalog.text OPERATOR(pg_catalog.=) $1 OR (c.relname OPERATOR(pg_catalog.=) $1 AND pg_catalog.pg_table_is_visible(c.oid))
    )
    ORDER BY n.nspname, c.relname";
/// Whatever has name $2 in schema $1, or, without one, on the search path.
const FIND_SQL: &str = "
    SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
    WHERE c.relname::pg_catalog.text OPERATOR(pg_catalog.=) $2::pg_catalog.text
        AND CASE WHEN $1::pg_catalog.text IS NULL THEN pg_catalog.pg_table_is_visible(c.oid)
            ELSE n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) $1 END";

/// A table that was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// One that does not exist has the name it was given, in schema `public` if it has none.
    pub(crate) table: TableName,
    pub(crate) exists: bool,
}

/// The tables that were typed, whether they exist or not. Those `installed` are known although they may be gone.
pub(crate) async fn find(
    client: &Client,
    typed: &[String],
    installed: &[Watched],
) -> Result<Vec<Named>, Failure> {
    let mut tables = Vec::with_capacity(typed.len());
    for text in typed {
        tables.push(find_one(client, text, installed).await?);
    }
    Ok(tables)
}

async fn find_one(client: &Client, text: &str, installed: &[Watched]) -> Result<Named, Failure> {
    if !text.starts_with('"') && ConnectConfig::resembles(text) {
        return Err(stray_url());
    }
    let name = Name::parse(text);
    let is_quoted = name.as_ref().is_some_and(|name| name.is_quoted);
    let mut found = match is_quoted {
        true => Vec::new(),
        false => existing(&client.query(FIND, &[&text]).await?)?,
    };
    if !is_quoted {
        // One that is gone, or has another name now.
        let specs = installed.iter().filter_map(|one| one.spec.as_ref());
        let former = specs.map(|spec| spec.table());
        for table in former.filter(|table| table.to_string() == text) {
            if !found.iter().any(|named| named.table == *table) {
                let (table, exists) = (table.clone(), false);
                found.push(Named { table, exists });
            }
        }
    }
    if let (true, Some(name)) = (found.is_empty(), &name) {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
            [&name.schema, &name.name];
        found = existing(&client.query(FIND_SQL, &parameters).await?)?;
    }
    match &*found {
        [named] => Ok(named.clone()),
        [] => {
            let (schema, table) = match &name {
                Some(name) => (name.schema.as_deref().unwrap_or("public"), &*name.name),
                None => text.split_once('.').unwrap_or(("public", text)),
            };
            let table = TableName::new(schema, table)?;
            Ok(Named {
                table,
                exists: false,
            })
        }
        several => {
            let names: Vec<_> = several
                .iter()
                .map(|named| words::quoted(&named.table))
                .collect();
            let message = format!("{text:?} may be any of {}", names.join(", "));
            Err(Failure::usage(message).hint("write it as one of these"))
        }
    }
}

fn existing(rows: &[Row]) -> Result<Vec<Named>, Failure> {
    let named = |row: &Row| {
        let (table, exists) = (name(row)?, true);
        Ok(Named { table, exists })
    };
    rows.iter().map(named).collect()
}

/// The same, where whoever needs them to exist says that they do not.
pub(crate) async fn resolve(client: &Client, typed: &[String]) -> Result<Vec<TableName>, Failure> {
    let named = find(client, typed, &[]).await?.into_iter();
    Ok(named.map(|named| named.table).collect())
}

/// The table of which a row has the schema and the name.
pub(crate) fn name(row: &Row) -> Result<TableName, Failure> {
    Ok(TableName::new(
        row.try_get::<_, &str>(0)?,
        row.try_get::<_, &str>(1)?,
    )?)
}

/// What becomes of a table's changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// They are announced, or nothing is installed.
    NotRecorded,
    /// The outbox has them.
    Recorded,
    /// They are not, but those of a table that was called so before are, under the name of it.
    Inherited,
    /// What is installed does not tell.
    Unknown,
}

/// What becomes of the changes of `table`, or of those that come under its name, in a database where `installed` is all there
/// is.
pub(crate) async fn fate(
    client: &Client,
    table: &TableName,
    installed: &[Watched],
) -> Result<Fate, Failure> {
    let is_named = |one: &&Watched| one.spec.as_ref().is_some_and(|spec| spec.table() == table);
    let of = trigger::watched_of(client, table).await?;
    let modes: Vec<_> = match of.is_empty() {
        true => installed
            .iter()
            .filter(is_named)
            .map(|one| one.is_outbox)
            .collect(),
        false => of.iter().map(|one| one.is_outbox).collect(),
    };
    Ok(if modes.contains(&Some(true)) {
        match of.is_empty() {
            true => Fate::Inherited,
            false => Fate::Recorded,
        }
    } else if modes.contains(&None) {
        Fate::Unknown
    } else {
        Fate::NotRecorded
    })
}

/// A table's name as SQL reads it.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    schema: Option<String>,
    name: String,
    /// Whether all of it is in double quotes, so that it can mean nothing else.
    is_quoted: bool,
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let (first, quoted, rest) = identifier(text.trim())?;
        let Some(rest) = rest.trim_start().strip_prefix('.') else {
            return rest.is_empty().then_some(Self {
                schema: None,
                name: first,
                is_quoted: quoted,
            });
        };
        let (second, also_quoted, rest) = identifier(rest.trim_start())?;
        rest.is_empty().then_some(Self {
            schema: Some(first),
            name: second,
            is_quoted: quoted && also_quoted,
        })
    }
}

/// The identifier that `text` begins with, whether it is in double quotes, and what comes behind it.
fn identifier(text: &str) -> Option<(String, bool, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (name, rest) = words::unquoted(quoted)?;
        return (!name.is_empty()).then_some((name, true, rest));
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_$".contains(c) || !c.is_ascii();
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let begins_well = name.starts_with(|c: char| !c.is_ascii_digit() && c != '$');
    begins_well.then(|| (name.to_ascii_lowercase(), false, rest))
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn names_are_read_as_sql_reads_them() {
        let read = |text| {
            let name = Name::parse(text)?;
            Some((name.schema.unwrap_or_default(), name.name, name.is_quoted))
        };
        let expected = [
            ("Users", "", "users", false),
            ("Shop . Orders", "shop", "orders", false),
            (r#""a.b"."c""d""#, "a.b", "c\"d", true),
            (r#"public."My Table""#, "public", "My Table", false),
            (r#""x""#, "", "x", true),
            ("größe", "", "größe", false),
        ];
        for (text, schema, name, quoted) in expected {
            assert_eq!(
                read(text),
                Some((schema.to_owned(), name.to_owned(), quoted)),
                "{text}"
            );
        }
        for wrong in [
            "", "a b", "a.", ".a", "a.b.c", r#""a"#, r#""""#, r#""a"b"#, "1a", "a-b", "$a",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
