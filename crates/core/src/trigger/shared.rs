//! What all tables share: the schema, and the function that packs rows into payloads.

use postgres_protocol::escape::escape_literal;

use super::VERSION;
use super::catalog::{Owner, Server};
use super::compare::{is_body, other_version, version};
use super::installed::{Function, Outbox};
use super::template::{dollar_quoted, render};
use crate::error::{Error, Kind, Result};

const BODY: &str = include_str!("sql/v2/notify_rows_body.sql");

/// Marks the schema as made by pgherald, so that uninstalling drops no one else's.
const SCHEMA_COMMENT: &str = "Made by pgherald; it goes when the last table is uninstalled.";

/// How the shared objects stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shared {
    Missing,
    Outdated(String),
    Current,
}

/// Judges the shared function.
pub(super) fn shared(function: Option<&Function>) -> Shared {
    let Some(function) = function else {
        return Shared::Missing;
    };
    match version(function.comment.as_deref()) {
        None => Shared::Outdated("its comment is not pgherald's".to_owned()),
        Some(version) if version != VERSION => Shared::Outdated(other_version(version)),
        Some(_) if !is_body(&function.body, BODY) => {
            Shared::Outdated("its body is not what was installed".to_owned())
        }
        Some(_) if function.is_definer || !function.settings.is_empty() => {
            Shared::Outdated("it runs with other rights or settings than it should".to_owned())
        }
        Some(_) => Shared::Current,
    }
}

/// Refuses to build on what somebody else may replace by code that would run with this role's rights.
pub(super) fn refuse_stranger(object: &str, owner: &Owner) -> Result<()> {
    if owner.is_trusted {
        return Ok(());
    }
    let name = &owner.name;
    Err(Error::new(
        Kind::Unsuitable,
        format!(
            "{object} belongs to {name}, who could make the triggers run anything with your rights; \
             install as {name}, or let a superuser own it"
        ),
    ))
}

/// Refuses a shared function that this role may not call.
pub(super) fn refuse_forbidden(helper: &Function) -> Result<()> {
    if helper.is_callable {
        return Ok(());
    }
    let name = &helper.owner.name;
    Err(Error::new(
        Kind::Unsuitable,
        format!(
            "pgherald.notify_rows belongs to {name}, and you may not call it; install as {name}"
        ),
    ))
}

/// Refuses to replace what a later program installed.
pub(super) fn refuse_newer(object: &str, comment: Option<&str>) -> Result<()> {
    match version(comment) {
        Some(installed) if installed > VERSION => Err(Error::new(
            Kind::Unsuitable,
            format!(
                "{object}: {}; upgrade this program",
                other_version(installed)
            ),
        )),
        _ => Ok(()),
    }
}

/// The outbox as it is, if some table needs it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OutboxState {
    NotNeeded,
    Missing,
    Current,
}

/// Judges the outbox, `installed` if there is one.
pub(super) fn outbox(installed: Option<&Outbox>, is_needed: bool) -> Result<OutboxState> {
    if !is_needed {
        return Ok(OutboxState::NotNeeded);
    }
    let Some(outbox) = installed else {
        return Ok(OutboxState::Missing);
    };
    let object = "pgherald.outbox";
    refuse_newer(object, outbox.comment.as_deref())?;
    refuse_stranger(object, &outbox.owner)?;
    if version(outbox.comment.as_deref()).is_none() {
        let message = "pgherald.outbox is not what was installed: its comment is not pgherald's; uninstall all, or \
                       move it away";
        return Err(Error::new(Kind::Unsuitable, message));
    }
    Ok(OutboxState::Current)
}

/// The statements before those of the tables: they make the shared objects.
pub(super) fn prepare(server: &Server, shared: &Shared, outbox: &OutboxState) -> Result<String> {
    let mut statements = prepare_notify_rows(server, shared)?;
    if *outbox == OutboxState::Missing {
        let comment = escape_literal(&note());
        let trim = dollar_quoted(include_str!("sql/v2/trim_outbox_body.sql"));
        let values = [("comment", &*comment), ("trim", &*trim)];
        statements += &render(include_str!("sql/v2/outbox.sql"), &values)?;
    }
    Ok(statements)
}

fn note() -> String {
    serde_json::json!({ "version": VERSION }).to_string()
}

fn prepare_notify_rows(server: &Server, shared: &Shared) -> Result<String> {
    if *shared == Shared::Current {
        return Ok(String::new());
    }
    let comment = escape_literal(SCHEMA_COMMENT);
    let schema = match server.has_schema {
        true => String::new(),
        false => render(include_str!("sql/v2/schema.sql"), &[("comment", &comment)])?,
    };
    let values = [
        ("body", &*dollar_quoted(BODY)),
        ("comment", &*escape_literal(&note())),
    ];
    Ok(schema + &render(include_str!("sql/v2/notify_rows.sql"), &values)?)
}

/// The statement after those of the tables: it insists that the shared objects exist, and that they and
/// `functions` belong to nobody else.
pub(super) fn require(functions: &[&str]) -> Result<String> {
    let functions = escape_literal(&format!("{{{}}}", functions.join(",")));
    let body = render(
        include_str!("sql/v2/require_shared_body.sql"),
        &[("functions", &functions)],
    )?;
    render(
        include_str!("sql/v2/require_shared.sql"),
        &[("body", &dollar_quoted(&body))],
    )
}

/// The statement that drops the shared objects if no table is left; and, if groups are to be spared, no group.
pub(super) fn remove(spares_groups: bool) -> Result<String> {
    let comment = escape_literal(SCHEMA_COMMENT);
    let spares_groups = if spares_groups { "true" } else { "false" };
    let body = render(
        include_str!("sql/v2/remove_shared_body.sql"),
        &[("comment", &comment), ("spares_groups", spares_groups)],
    )?;
    render(
        include_str!("sql/v2/remove_shared.sql"),
        &[("body", &dollar_quoted(&body))],
    )
}
