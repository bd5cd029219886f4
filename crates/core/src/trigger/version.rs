//! The versions in comments: of the outbox, and of shared functions.

use std::cmp::Ordering;

use serde::Deserialize;
use tokio_postgres::Client;

use super::VERSION;
use super::query::{get, rows};
use crate::error::{Error, ErrorKind, Result};

/// Returns the version in a comment. `None` if pgherald did not write it.
pub(super) fn version(comment: Option<&str>) -> Option<u32> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let versioned: Versioned = serde_json::from_str(comment?).ok()?;
    Some(versioned.version)
}

/// The comment of an object that stores only its version.
pub(super) fn versioned(version: u32) -> String {
    serde_json::json!({ "version": version }).to_string()
}

pub(super) fn other_version(installed: u32) -> String {
    format!("version {installed} is installed, this program has version {VERSION}")
}

/// Refuses an outbox of another version, because this program may not be able to read and write its tables.
pub(crate) fn refuse_other_outbox(comment: Option<&str>) -> Result<()> {
    let installed = refuse_unknown_outbox(comment)?;
    let way_out = match installed.cmp(&VERSION) {
        Ordering::Equal => return Ok(()),
        Ordering::Greater => "upgrade this program",
        Ordering::Less => "stop the consumers of that version, then run pgherald upgrade --commit",
    };
    Err(Error::new(
        ErrorKind::Unsuitable,
        format!("pgherald.outbox: {}; {way_out}", other_version(installed)),
    ))
}

/// Refuses an outbox that pgherald did not install, and otherwise returns its version.
pub(super) fn refuse_unknown_outbox(comment: Option<&str>) -> Result<u32> {
    version(comment).ok_or_else(|| {
        let message =
            "cannot use pgherald.outbox: its comment is not pgherald's; uninstall all, or rename it";
        Error::new(ErrorKind::Unsuitable, message)
    })
}

/// Checks that the database has an outbox of the version that this program reads and writes.
///
/// # Errors
/// If there is no outbox; if it has another version (the error names the version and the way out); or if the catalog cannot be
/// read.
pub async fn require_version(client: &Client) -> Result<()> {
    let rows = rows(client, include_str!("sql/outbox_comment.sql"), &[]).await?;
    match rows.first() {
        Some(row) => refuse_other_outbox(get::<Option<&str>>(row, 0)?),
        None => Err(Error::new(
            ErrorKind::Triggers,
            "the database has no outbox (pgherald.outbox); install the triggers of the watched tables",
        )),
    }
}

/// Refuses to replace an object that a later version of pgherald installed.
pub(super) fn refuse_newer(object: &str, comment: Option<&str>) -> Result<()> {
    match version(comment) {
        Some(installed) if installed > VERSION => Err(Error::new(
            ErrorKind::Unsuitable,
            format!(
                "{object}: {}; upgrade this program",
                other_version(installed)
            ),
        )),
        _ => Ok(()),
    }
}
