//! The objects that all tables share: the schema, the functions `notify_rows` and `rows_query`, and the outbox.

use std::collections::BTreeMap;

use postgres_protocol::escape::escape_literal;

use super::VERSION;
use super::actual::Actual;
use super::catalog::{Function, Outbox, OutboxRows, Server};
use super::compare::is_body;
use super::migration;
use super::outbox::{Description, without_types};
use super::template::{dollar_quoted, render};
use super::version::{other_version, refuse_newer, refuse_other_outbox, version, versioned};
use crate::error::{Error, ErrorKind, Result};
use crate::name::TableName;

pub(super) const BODY: &str = include_str!("sql/objects/notify_rows_body.sql");
pub(super) const ROWS_QUERY: &str = include_str!("sql/objects/rows_query_body.sql");

/// The settings that `rows_query` pins.
pub(super) const PINNED: [&str; 1] = ["search_path=pg_catalog, pg_temp"];

/// Marks the schema as created by pgherald, so that uninstalling does not drop a schema that another program created. It must never
/// change, because it is compared with the installed comment.
pub(super) const SCHEMA_COMMENT: &str =
    "Made by pgherald; it goes when the last table is uninstalled.";

/// The state of the shared functions.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shared {
    Missing(&'static str),
    Outdated(&'static str, String),
    Current,
}

#[cfg(test)]
pub(super) fn helpers() -> [(&'static str, &'static str, &'static [&'static str]); 2] {
    [
        ("notify_rows", BODY, &[]),
        ("rows_query", ROWS_QUERY, &PINNED),
    ]
}

/// Returns the state of the shared functions: of the first that differs, if there is one.
pub(super) fn state(actual: &Actual) -> Shared {
    let of = |name, function: &Option<Function>, body, settings: &[&str]| match function {
        None => Some(Shared::Missing(name)),
        Some(function) => {
            let reason = outdated(function, body, settings)?;
            Some(Shared::Outdated(name, reason))
        }
    };
    let has_other_owner = match (&actual.notify_rows, &actual.rows_query) {
        (Some(one), Some(other)) => !other.owner.is_trusted && other.owner.name != one.owner.name,
        _ => false,
    };
    of("pgherald.notify_rows", &actual.notify_rows, BODY, &[])
        .or_else(|| {
            of(
                "pgherald.rows_query",
                &actual.rows_query,
                ROWS_QUERY,
                &PINNED,
            )
        })
        .unwrap_or_else(|| match has_other_owner {
            true => {
                let reason = "it belongs to another role than pgherald.notify_rows";
                Shared::Outdated("pgherald.rows_query", reason.to_owned())
            }
            false => Shared::Current,
        })
}

/// Refuses shared functions that a later program installed, that belong to another role, or that this role may not call.
pub(super) fn refuse(actual: &Actual) -> Result<()> {
    for (name, function) in [
        ("pgherald.notify_rows", &actual.notify_rows),
        ("pgherald.rows_query", &actual.rows_query),
    ] {
        if let Some(function) = function {
            refuse_newer(name, function.comment.as_deref())?;
            function.owner.refuse_untrusted(name)?;
            refuse_forbidden(name, function)?;
        }
    }
    Ok(())
}

fn outdated(function: &Function, body: &str, settings: &[&str]) -> Option<String> {
    match version(function.comment.as_deref()) {
        None => Some("its comment is not pgherald's".to_owned()),
        Some(version) if version != VERSION => Some(other_version(version)),
        Some(_) if !is_body(&function.body, body) => {
            Some("its body differs from this program's".to_owned())
        }
        Some(_) if function.is_definer || function.settings != settings => {
            Some("it runs with other rights or settings than it should".to_owned())
        }
        Some(_) => None,
    }
}

fn refuse_forbidden(object: &str, helper: &Function) -> Result<()> {
    if helper.is_callable {
        return Ok(());
    }
    let name = &helper.owner.name;
    Err(Error::new(
        ErrorKind::Unsuitable,
        format!("{object} belongs to {name}, and you may not call it; install as {name}"),
    ))
}

#[derive(Clone, Copy, Debug)]
pub(super) enum OutboxState<'a> {
    /// No table needs it.
    NotNeeded,
    Missing,
    /// With the rows that it relies on, if this role may read them.
    Installed(Option<&'a OutboxRows>),
}

impl OutboxState<'_> {
    /// Whether rows that readers and trimming rely on are missing.
    fn is_incomplete(&self) -> bool {
        matches!(self, Self::Installed(Some(rows)) if !rows.are_complete)
    }

    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// Whether nothing has to be created in the outbox.
    pub(super) fn is_current(&self) -> bool {
        !self.is_missing() && !self.is_incomplete()
    }

    /// Whether the outbox is known to lack `description`.
    pub(super) fn lacks(&self, description: &Description) -> bool {
        match self {
            Self::Installed(Some(rows)) => !rows.relations.contains(&description.relation),
            Self::NotNeeded | Self::Missing | Self::Installed(None) => false,
        }
    }

    /// Whether the outbox is known to lack every description of the table. A description with other types than the columns have
    /// now is enough to read the rows.
    pub(super) fn lacks_table(&self, description: &Description) -> bool {
        let is_it =
            |relation: &i64| without_types(*relation) == without_types(description.relation);
        match self {
            Self::Installed(Some(rows)) => !rows.relations.iter().any(is_it),
            Self::NotNeeded | Self::Missing | Self::Installed(None) => false,
        }
    }
}

/// Returns the state of the outbox, which is `installed` if it exists. Refuses one that this program cannot use.
pub(super) fn outbox(installed: Option<&Outbox>, is_needed: bool) -> Result<OutboxState<'_>> {
    if !is_needed {
        return Ok(OutboxState::NotNeeded);
    }
    let Some(outbox) = installed else {
        return Ok(OutboxState::Missing);
    };
    let object = "pgherald.outbox";
    refuse_newer(object, outbox.comment.as_deref())?;
    outbox.owner.refuse_untrusted(object)?;
    refuse_other_outbox(outbox.comment.as_deref())?;
    Ok(OutboxState::Installed(outbox.rows.as_ref()))
}

/// The statement that creates the schema if there is none. It runs before the installers' lock, which is an object in the schema.
pub(super) fn schema(server: &Server) -> Result<String> {
    match server.has_schema {
        true => Ok(String::new()),
        false => make_schema(),
    }
}

pub(super) fn make_schema() -> Result<String> {
    let body = dollar_quoted(include_str!("sql/objects/schema_body.sql"));
    render(include_str!("sql/objects/schema.sql"), &[("body", &*body)])
}

/// The statements that create the shared objects. They run before the statements of the tables.
pub(super) fn prepare(
    server: &Server,
    shared: &Shared,
    outbox: &OutboxState<'_>,
) -> Result<String> {
    let mut statements = prepare_helpers(server, shared)?;
    if outbox.is_missing() {
        statements += &migration::make()?;
    } else if outbox.is_incomplete() {
        statements += migration::SEED;
    }
    Ok(statements)
}

fn prepare_helpers(server: &Server, shared: &Shared) -> Result<String> {
    if *shared == Shared::Current {
        return Ok(String::new());
    }
    let comment = match server.has_schema {
        true => String::new(),
        false => {
            let comment = escape_literal(SCHEMA_COMMENT);
            format!("COMMENT ON SCHEMA pgherald IS {comment};\n")
        }
    };
    Ok(comment + &notify_rows(&dollar_quoted(BODY))? + &rows_query(&dollar_quoted(ROWS_QUERY))?)
}

/// The statements that create `pgherald.notify_rows` with a quoted body.
pub(super) fn notify_rows(body: &str) -> Result<String> {
    helper(include_str!("sql/objects/notify_rows.sql"), body)
}

/// The statements that create `pgherald.rows_query` with a quoted body.
pub(super) fn rows_query(body: &str) -> Result<String> {
    helper(include_str!("sql/objects/rows_query.sql"), body)
}

fn helper(template: &str, body: &str) -> Result<String> {
    let comment = escape_literal(&versioned(VERSION));
    render(template, &[("body", body), ("comment", &*comment)])
}

/// The assumptions of the plan for one table.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) function: String,
    pub(super) table: TableName,
    /// The present comment of the function, if it has any.
    pub(super) before: Option<String>,
    /// The comment that the plan gives the function. It is accepted too, because then the same plan was applied already.
    pub(super) after: String,
}

/// The statement that fails if something else was installed on the tables since they were inspected. It runs before the
/// statements of the tables.
pub(super) fn expect(expected: &[Expected]) -> Result<String> {
    if expected.is_empty() {
        return Ok(String::new());
    }
    let of = |text: &dyn Fn(&Expected) -> Option<String>| array(expected.iter().map(text));
    let values = [
        ("functions", &*of(&|one| Some(one.function.clone()))),
        ("tables", &*of(&|one| Some(one.table.to_string()))),
        ("before", &*of(&|one| one.before.clone())),
        ("after", &*of(&|one| Some(one.after.clone()))),
    ];
    let body = render(include_str!("sql/objects/as_planned_body.sql"), &values)?;
    render(
        include_str!("sql/objects/as_planned.sql"),
        &[("body", &dollar_quoted(&body))],
    )
}

fn array(items: impl Iterator<Item = Option<String>>) -> String {
    let items = items.map(|item| match item {
        Some(item) => escape_literal(&item),
        None => "NULL".to_owned(),
    });
    format!("ARRAY[{}]", items.collect::<Vec<_>>().join(", "))
}

/// The statement that fails if a shared object is missing, if an untrusted role owns one of them or one of the functions, or if the
/// own triggers of another table call a function. It runs after the statements of the tables.
pub(super) fn require(functions: &BTreeMap<String, &TableName>) -> Result<String> {
    let tables = functions.values().map(|table| Some(table.quoted()));
    let values = [
        ("functions", &*array(functions.keys().cloned().map(Some))),
        ("tables", &*array(tables)),
    ];
    let body = render(include_str!("sql/objects/require_shared_body.sql"), &values)?;
    render(
        include_str!("sql/objects/require_shared.sql"),
        &[("body", &dollar_quoted(&body))],
    )
}

/// The statement that drops the shared objects if no watched table is left. If it spares groups, it drops nothing while there is a
/// group.
pub(super) fn remove(spares_groups: bool) -> Result<String> {
    let comment = escape_literal(SCHEMA_COMMENT);
    let spares_groups = if spares_groups { "true" } else { "false" };
    let body = render(
        include_str!("sql/objects/remove_shared_body.sql"),
        &[("comment", &comment), ("spares_groups", spares_groups)],
    )?;
    render(
        include_str!("sql/objects/remove_shared.sql"),
        &[("body", &dollar_quoted(&body))],
    )
}
