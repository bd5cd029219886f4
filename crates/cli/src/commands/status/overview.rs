//! The state that `pgherald status` reads from the database.

use std::time::SystemTime;

use pgherald_core::__private::host;
use pgherald_core::__private::host::trigger::{Actual, SpecParts, Watched};
use pgherald_core::outbox;
use serde::Serialize;
use tokio_postgres::Client;

use crate::commands::group::state::{
    GroupState, Required, described, groups, has_outbox, requirements,
};
use crate::failure::Failure;
use crate::guarded::guarded;
use crate::words;

/// The state of everything in one database.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    /// The time by the clock of this machine.
    pub(super) at: String,
    /// Whether anything of pgherald is installed in this database.
    pub(super) is_installed: bool,
    pub(super) sessions: Vec<Session>,
    pub(super) tables: Vec<Table>,
    pub(super) outbox: Option<Outbox>,
    /// Why the existing outbox and its groups are not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hidden: Option<String>,
    pub(super) groups: Vec<GroupState>,
    pub(super) requirements: Vec<Required>,
}

/// A session of pgherald in this database.
#[derive(Debug, Serialize)]
pub(super) struct Session {
    /// `listener`, `consumer`, `outbox reader` (of a listener or a consumer), or `other`.
    pub(super) role: String,
    pub(super) application_name: String,
    pub(super) pid: i32,
    pub(super) user: String,
    /// Empty for a Unix socket, and if this role may not see the address.
    pub(super) client_address: String,
    pub(super) since: String,
    pub(super) state: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Table {
    /// The table or, if the function's comment does not contain the specification, the function.
    pub(super) table: String,
    pub(super) mode: Option<&'static str>,
    pub(super) channel: Option<String>,
    pub(super) operations: Vec<&'static str>,
    pub(super) key: Vec<String>,
    pub(super) columns: Vec<String>,
    /// Whether replicated rows fire the triggers, too.
    pub(super) replicated: bool,
    pub(super) triggers: usize,
    /// The first drift, if there is any.
    pub(super) drift: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Outbox {
    pub(super) bytes: u64,
    pub(super) oldest_seconds: Option<f64>,
    pub(super) keep_seconds: f64,
    pub(super) max_bytes: u64,
}

pub(super) async fn read(client: &Client) -> Result<Overview, Failure> {
    let queries = async {
        let sessions = sessions(client).await?;
        let actual = host::trigger::inspect_all(client, &[]).await?;
        Ok((sessions, actual, has_outbox(client).await?))
    };
    let (sessions, actual, has_outbox) = guarded(client, queries).await?;
    let tables = tables(&actual);
    let (mut hidden, mut shown) = (None, (None, Vec::new()));
    if has_outbox {
        let queries = async { Ok((Some(outbox(client).await?), groups(client).await?)) };
        match guarded(client, queries).await {
            Ok(found) => shown = found,
            // The other parts are shown even if this role may not read these.
            Err(failure) if failure.is_forbidden() => hidden = failure.message(),
            Err(failure) => return Err(failure),
        }
    }
    let (outbox, groups) = shown;
    Ok(Overview {
        at: words::time(SystemTime::now()),
        is_installed: !tables.is_empty() || outbox.is_some() || hidden.is_some(),
        sessions,
        tables,
        outbox,
        hidden,
        groups,
        requirements: requirements(&actual),
    })
}

async fn sessions(client: &Client) -> Result<Vec<Session>, Failure> {
    let rows = client
        .query(include_str!("../sql/sessions.sql"), &[])
        .await?;
    let session = |row: &tokio_postgres::Row| {
        Ok(Session {
            role: row.try_get(0)?,
            application_name: row.try_get(1)?,
            pid: row.try_get(2)?,
            user: row.try_get(3)?,
            client_address: row.try_get(4)?,
            since: row.try_get(5)?,
            state: row.try_get(6)?,
        })
    };
    rows.iter().map(session).collect()
}

fn tables(actual: &Actual) -> Vec<Table> {
    let table = |watched: Watched| {
        let Some(spec) = watched.current() else {
            return Table {
                table: watched.function,
                mode: None,
                channel: None,
                operations: Vec::new(),
                key: Vec::new(),
                columns: Vec::new(),
                replicated: false,
                triggers: watched.triggers,
                drift: Some("the function's comment does not contain its specification".to_owned()),
            };
        };
        let drifts = actual.verify(&spec);
        let drift = match watched.former() {
            Some(former) => Some(format!("renamed, its changes come under {former}")),
            None => drifts.first().map(described),
        };
        Table {
            table: spec.table().to_string(),
            mode: Some(if spec.is_outbox() { "outbox" } else { "notify" }),
            channel: (!spec.is_outbox()).then(|| spec.channel_name().to_string()),
            operations: spec
                .announced()
                .iter()
                .map(|operation| operation.as_str())
                .collect(),
            key: spec.key_names().unwrap_or_default().to_vec(),
            columns: spec.column_names().to_vec(),
            replicated: spec.is_replicated(),
            triggers: watched.triggers,
            drift,
        }
    };
    actual.watched().into_iter().map(table).collect()
}

async fn outbox(client: &Client) -> Result<Outbox, Failure> {
    let status = outbox::status(client).await?;
    Ok(Outbox {
        bytes: status.bytes,
        oldest_seconds: status.oldest.map(|oldest| oldest.as_secs_f64()),
        keep_seconds: status.keep.as_secs_f64(),
        max_bytes: status.max_bytes,
    })
}
