//! What all tables share: the schema, and the function that packs rows into payloads.

use postgres_protocol::escape::escape_literal;
use tokio_postgres::Client;

use super::VERSION;
use super::catalog::Server;
use super::compare::{is_body, other_version, version};
use super::installed;
use super::template::{dollar_quoted, render};
use crate::error::{Error, Kind, Result};

/// The function's name, without its schema.
pub(super) const NOTIFY_ROWS: &str = "notify_rows";

const BODY: &str = include_str!("sql/v1/notify_rows_body.sql");

/// Marks the schema as made by pgherald, so that uninstalling drops no one else's.
const SCHEMA_COMMENT: &str = "Made by pgherald; it goes when the last table is uninstalled.";

/// How the shared objects stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shared {
    Missing,
    Outdated(String),
    Current,
}

/// Looks at the shared objects.
///
/// # Errors
/// If the catalog cannot be read.
pub(super) async fn shared(client: &Client) -> Result<Shared> {
    let Some(function) = installed::function(client, NOTIFY_ROWS).await? else {
        return Ok(Shared::Missing);
    };
    Ok(match version(function.comment.as_deref()) {
        None => Shared::Outdated("its comment is not pgherald's".to_owned()),
        Some(version) if version != VERSION => Shared::Outdated(other_version(version)),
        Some(_) if !is_body(&function.body, BODY) => {
            Shared::Outdated("its body is not what was installed".to_owned())
        }
        Some(_) => Shared::Current,
    })
}

/// Refuses to replace what a later program installed.
pub(super) fn refuse_newer(object: &str, comment: Option<&str>) -> Result<()> {
    match version(comment) {
        Some(installed) if installed > VERSION => Err(Error::new(
            Kind::Spec,
            format!(
                "{object}: {}; upgrade this program",
                other_version(installed)
            ),
        )),
        _ => Ok(()),
    }
}

/// The statements before those of the tables: they make the shared objects, or insist that they exist.
pub(super) fn prepare(server: Server, shared: &Shared) -> Result<String> {
    if *shared == Shared::Current {
        return Ok(include_str!("sql/v1/require_shared.sql").to_owned());
    }
    let comment = escape_literal(SCHEMA_COMMENT);
    let schema = match server.has_schema {
        true => String::new(),
        false => render(include_str!("sql/v1/schema.sql"), &[("comment", &comment)])?,
    };
    let comment = serde_json::json!({ "version": VERSION }).to_string();
    let values = [
        ("body", &*dollar_quoted(BODY)),
        ("comment", &*escape_literal(&comment)),
    ];
    Ok(schema + &render(include_str!("sql/v1/notify_rows.sql"), &values)?)
}

/// The statement that drops the shared objects if nothing else is left.
pub(super) fn remove() -> Result<String> {
    let comment = escape_literal(SCHEMA_COMMENT);
    let body = render(
        include_str!("sql/v1/remove_shared_body.sql"),
        &[("comment", &comment)],
    )?;
    render(
        include_str!("sql/v1/remove_shared.sql"),
        &[("body", &dollar_quoted(&body))],
    )
}
