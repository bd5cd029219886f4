//! Checks the history of the outbox, and the statements of consumers.

use std::sync::Arc;

use pgherald_core::__private::host;
use tokio_postgres::Client;

use super::UPGRADE;
use super::finding::{Finding, Findings, Verdict, value};
use crate::failure::Failure;
use crate::guarded::guarded;

const HISTORY: &str = "outbox history";
const CONSUMERS: &str = "consumers";

/// Checks that the outbox has this version, is complete, and was written by this server.
pub(super) async fn history(client: &Client) -> Findings {
    if !guarded(client, super::outbox::is_there(client)).await? {
        let skipped = Finding::new(HISTORY, Verdict::Skipped, "there is no outbox");
        return Ok(vec![skipped]);
    }
    host::trigger::require_version(client).await?;
    let reason = async {
        let sql = "SELECT pgherald.restored()";
        value::<Option<String>>(client, sql).await
    };
    let found = match guarded(client, reason).await? {
        None => Finding::ok(HISTORY, "this server has written the outbox"),
        Some(reason) => {
            let text = format!(
                "{reason}; the next consumer or source that connects moves the unread events of all groups to their parked \
                 events, and gives each group a resync"
            );
            Finding::new(HISTORY, Verdict::Warning, text).fix("SELECT pgherald.history();")
        }
    };
    let mut findings = vec![found];
    let sql = "SELECT (SELECT pg_catalog.count(*) FROM pgherald.outbox_retention) OPERATOR(pg_catalog.=) 1
        AND (SELECT pg_catalog.count(*) FROM pgherald.outbox_part) OPERATOR(pg_catalog.=) 4";
    if !guarded(client, value::<bool>(client, sql)).await? {
        let text = "outbox_retention or outbox_part lacks rows, for example because the schema was restored without its data: \
                    consumers read nothing and trim nothing";
        findings.push(Finding::new(HISTORY, Verdict::Failed, text).fix(UPGRADE));
    }
    Ok(findings)
}

/// Runs the statements of consumers, and rolls them back. A statement that fails would stop consumers.
pub(super) async fn statements(client: &Arc<Client>) -> Findings {
    let skipped = |why: String| Ok(vec![Finding::new(CONSUMERS, Verdict::Skipped, why)]);
    if !guarded(client, super::outbox::is_there(client)).await? {
        return skipped("there is no outbox".to_owned());
    }
    if guarded(
        client,
        value::<bool>(client, "SELECT pg_catalog.pg_is_in_recovery()"),
    )
    .await?
    {
        return skipped("the server is a replica".to_owned());
    }
    match host::group::rehearse(client).await.map_err(Failure::from) {
        Ok(()) => Ok(vec![Finding::ok(
            CONSUMERS,
            "the statements of consumers succeed",
        )]),
        // The check of rights reports the missing right, with the statement that grants it.
        Err(failure) if failure.is_forbidden() => skipped(format!(
            "this role may not run groups: {}",
            failure.message().unwrap_or_default()
        )),
        Err(failure) => {
            let text = format!(
                "a statement of consumers fails: {}",
                failure.message().unwrap_or_default()
            );
            Ok(vec![Finding::new(CONSUMERS, Verdict::Failed, text)])
        }
    }
}
