//! Finds the tables that arguments name.

use std::collections::HashMap;

use pgherald_core::__private::host;
use pgherald_core::__private::host::trigger::Watched;
use pgherald_core::TableName;
use tokio_postgres::{Client, Row};

use crate::failure::{Failure, stray_url};
use crate::words;

/// Finds tables whose `schema.name`, or whose name on the search path, is literally one of the texts $1. The first column is the
/// position in the array, from 1.
const FIND: &str = include_str!("sql/find.sql");
/// Finds tables with name $2 in schema $1 or, without a schema, on the search path. The first column is the position in the
/// arrays, from 1.
const FIND_SQL: &str = include_str!("sql/find_parsed.sql");

/// A table that an argument names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The table. If it does not exist, its name is the argument, in schema `public` if the argument names no schema.
    pub(crate) table: TableName,
    pub(crate) exists: bool,
}

/// Finds the tables that the arguments `typed` name, whether they exist or not. It also finds the tables in the specifications of
/// `installed`, which may have been dropped or renamed.
pub(crate) async fn find(
    client: &Client,
    typed: &[String],
    installed: &[Watched],
) -> Result<Vec<Named>, Failure> {
    let is_stray = |text: &&String| !text.starts_with('"') && host::resembles(text);
    if typed.iter().any(|text| is_stray(&text)) {
        return Err(stray_url());
    }
    let names: Vec<_> = typed.iter().map(|text| Name::parse(text)).collect();
    let literal = client.query(FIND, &[&typed]).await?;
    let mut found = by_place(&literal, typed.len())?;
    let mut former = HashMap::<_, Vec<_>>::new();
    for spec in installed.iter().filter_map(|one| one.spec.as_ref()) {
        let table = spec.table();
        former.entry(table.to_string()).or_default().push(table);
    }
    for ((text, name), found) in typed.iter().zip(&names).zip(&mut found) {
        if name.as_ref().is_some_and(|name| name.is_quoted) {
            found.clear();
            continue;
        }
        // The table was dropped or renamed.
        for table in former.get(text).into_iter().flatten().copied() {
            if !found.iter().any(|named| named.table == *table) {
                let (table, exists) = (table.clone(), false);
                found.push(Named { table, exists });
            }
        }
    }
    if found.iter().any(Vec::is_empty) {
        let part = |part: fn(&Name) -> Option<&str>| -> Vec<Option<&str>> {
            let names = names.iter().zip(&found);
            let unknown = names.map(|(name, found)| name.as_ref().filter(|_| found.is_empty()));
            unknown.map(|name| name.and_then(part)).collect()
        };
        let (schemas, tables) = (
            part(|name| name.schema.as_deref()),
            part(|name| Some(&name.name)),
        );
        let parsed = client.query(FIND_SQL, &[&schemas, &tables]).await?;
        for (found, parsed) in found.iter_mut().zip(by_place(&parsed, typed.len())?) {
            found.extend(parsed);
        }
    }
    let found = typed.iter().zip(&names).zip(found);
    found
        .map(|((text, name), found)| single(text, name.as_ref(), found))
        .collect()
}

/// Returns the table that `text` names in SQL, without a connection. Its schema is `public` if `text` names none.
pub(crate) fn unresolved(text: &str) -> Result<TableName, Failure> {
    if !text.starts_with('"') && host::resembles(text) {
        return Err(stray_url());
    }
    Ok(single(text, Name::parse(text).as_ref(), Vec::new())?.table)
}

/// Returns the table that `text` means. Fails if `found` has several candidates.
fn single(text: &str, name: Option<&Name>, mut found: Vec<Named>) -> Result<Named, Failure> {
    match (found.pop(), &*found) {
        (Some(named), []) => Ok(named),
        (None, _) => {
            let (schema, table) = match name {
                Some(name) => (name.schema.as_deref().unwrap_or("public"), &*name.name),
                None => text.split_once('.').unwrap_or(("public", text)),
            };
            let table = TableName::new(schema, table)?;
            Ok(Named {
                table,
                exists: false,
            })
        }
        (Some(last), several) => {
            let several = several.iter().chain([&last]);
            let names: Vec<_> = several.map(|named| words::quoted(&named.table)).collect();
            let message = format!("{text:?} may be any of {}", names.join(", "));
            Err(Failure::usage(message).hint("write it as one of these"))
        }
    }
}

/// Groups the tables of `rows` by the position in the first column.
fn by_place(rows: &[Row], count: usize) -> Result<Vec<Vec<Named>>, Failure> {
    let mut found = vec![Vec::new(); count];
    for row in rows {
        let table = TableName::new(row.try_get::<_, &str>(1)?, row.try_get::<_, &str>(2)?)?;
        if let Some(found) = found.get_mut(place(row)?) {
            found.push(Named {
                table,
                exists: true,
            });
        }
    }
    Ok(found)
}

/// Returns the index for a row: the position in its first column, minus 1.
fn place(row: &Row) -> Result<usize, Failure> {
    let place: i64 = row.try_get(0)?;
    Ok(usize::try_from(place - 1).unwrap_or(usize::MAX))
}

/// Like [`find`], for callers that report missing tables themselves.
pub(crate) async fn resolve(client: &Client, typed: &[String]) -> Result<Vec<TableName>, Failure> {
    let named = find(client, typed, &[]).await?.into_iter();
    Ok(named.map(|named| named.table).collect())
}

/// Whether events with this table's name are recorded in the outbox. They are those of the table itself or, if it is not watched,
/// of a table that had the name when it was installed. `watched` lists everything installed. `None` if the mode is unknown.
pub(crate) fn is_recorded(watched: &[Watched], table: &TableName) -> Option<bool> {
    let of = |is_its: &dyn Fn(&Watched) -> bool| -> Vec<_> {
        let its = watched.iter().filter(|one| is_its(one));
        its.map(|one| one.is_outbox).collect()
    };
    let mut modes = of(&|one| one.table.as_ref() == Some(table));
    if modes.is_empty() {
        modes = of(&|one| one.spec.as_ref().is_some_and(|spec| spec.table() == table));
    }
    match modes.contains(&Some(true)) {
        true => Some(true),
        false => (!modes.contains(&None)).then_some(false),
    }
}

/// A table's name, parsed as in SQL.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    schema: Option<String>,
    name: String,
    /// Whether all parts are in double quotes. Such a name is unambiguous.
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

/// Parses the identifier that `text` begins with. Returns it, whether it is in double quotes, and the rest of the text.
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
    fn table_names_are_parsed_as_in_sql() {
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
