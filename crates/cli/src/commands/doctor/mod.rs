//! `pgherald doctor`: what is wrong, and how to put it right. It only reads, sends one notification that nobody else
//! listens for, and leaves nothing behind.
//!
//! ```text
//!   server · path · rights · triggers · held_back · outbox
//!      └── each asks the server, judges ──► Finding ──► line, and its fix
//! ```
//!
//! A check that has nothing to look at is skipped. One that cannot run has failed, and keeps no other from running.

mod finding;
mod held_back;
mod outbox;
mod path;
mod rights;
mod server;
mod triggers;

use std::collections::HashSet;
use std::io;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use pgherald_core::trigger::Watched;
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::arguments::Doctor;
use crate::database::Database;
use crate::failure::Failure;
use crate::output::Output;
use finding::{Finding, Findings, Verdict};

/// A check that takes longer says so. Counting lag takes a while where it is millions.
const PATIENCE: Duration = Duration::from_secs(30);

/// The fix of what is not as it was installed.
pub(super) const UPGRADE: &str = "pgherald upgrade --commit";

type Looking<'a> = Pin<Box<dyn Future<Output = Findings> + 'a>>;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    doctor: &Doctor,
) -> Result<ExitCode, Failure> {
    let client = &database.client().await?;
    let limit = &*doctor.long_transaction;
    held_back::require_interval(client, limit).await?;
    let mut findings = Vec::new();
    let mut look = async |check: &'static str, looking: Looking<'_>| {
        let found = timeout(PATIENCE, looking).await;
        let late = |_| Failure::problem(format!("no answer within {PATIENCE:?}"));
        match found.map_err(late).flatten() {
            Ok(found) => findings.extend(found),
            Err(failure) => findings.push(Finding::unknown(check, failure)),
        }
    };
    look("server version", Box::pin(server::version(client))).await;
    look("primary", Box::pin(server::primary(client))).await;
    look("pooler", Box::pin(path::pooler(client, database))).await;
    let notifications = path::notifications(client, database);
    look("notifications", Box::pin(notifications)).await;
    look("rights", Box::pin(rights::check(client))).await;
    look("triggers", Box::pin(triggers::check(client))).await;
    let replication_role = triggers::replication_role(client);
    look("replication role", Box::pin(replication_role)).await;
    let queue = held_back::queue(client, doctor.queue_usage);
    look("notification queue", Box::pin(queue)).await;
    let transactions = held_back::transactions(client, limit);
    look("transactions", Box::pin(transactions)).await;
    let prepared = held_back::prepared(client, limit);
    look("prepared transactions", Box::pin(prepared)).await;
    look("replication slots", Box::pin(held_back::slots(client))).await;
    for (check, of) in [
        ("outbox size", outbox::Of::Size),
        ("outbox age", outbox::Of::Age),
        ("groups", outbox::Of::Groups),
    ] {
        look(check, Box::pin(outbox::check(client, check, of))).await;
    }
    show(output, &findings)?;
    let failed = findings
        .iter()
        .any(|finding| finding.result == Verdict::Failed);
    Ok(ExitCode::from(u8::from(failed)))
}

/// What is wrong with one table, and what puts it right.
pub(super) async fn faults(
    client: &Client,
    watched: &Watched,
) -> Result<Vec<(String, Option<String>)>, Failure> {
    let found = triggers::look(client, watched).await?.into_iter();
    Ok(found.map(|found| (found.finding, found.fix)).collect())
}

fn show(output: &mut Output, findings: &[Finding]) -> io::Result<()> {
    let mut fixes = HashSet::new();
    for finding in findings {
        if output.is_json() {
            output.object(finding)?;
            continue;
        }
        let verdict = format!("{:<7}", finding.result.word());
        let verdict = output.toned(finding.result.tone(), &verdict);
        output.line(&format!(
            "{verdict}  {:<21}  {}",
            finding.check, finding.finding
        ))?;
        if let Some(fix) = &finding.fix {
            let is_new = fixes.insert(fix);
            let fix = if is_new { fix } else { "as above" };
            output.line(&format!("         {fix}"))?;
        }
    }
    output.flush()
}
