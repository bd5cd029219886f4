//! `pgherald doctor`: finds problems, and prints a fix for each. It reads, sends one notification on a channel of its own, and
//! runs the statements of consumers in a transaction that it rolls back. It leaves nothing behind.
//!
//! ```text
//!   server · path · rights · triggers · replicated · held_back · outbox · groups · consumers
//!      └── each asks the server, judges ──► Finding ──► line, and its fix
//! ```
//!
//! A check that has nothing to look at is skipped. A check that cannot run has failed; the other checks run nevertheless.

mod consumers;
mod finding;
mod groups;
mod held_back;
mod outbox;
mod path;
mod replicated;
mod rights;
mod server;
mod triggers;

use std::collections::HashSet;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use crate::arguments::Doctor;
use crate::database::Database;
use crate::failure::Failure;
use crate::guarded::{guarded, guarded_within};
use crate::output::{Output, visible};
use finding::{Findings, Verdict};

pub(super) use finding::Finding;
pub(super) use triggers::problems;

/// A check that takes longer says so. Counting lag takes a while where it is millions.
const PATIENCE: Duration = Duration::from_secs(30);

/// The fix for an installation that has drifted.
const UPGRADE: &str = "pgherald upgrade --commit";

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    doctor: &Doctor,
) -> Result<ExitCode, Failure> {
    let client = &Arc::new(database.client().await?);
    let limit = &*doctor.long_transaction;
    guarded(client, held_back::require_interval(client, limit)).await?;
    let mut findings = ask(client, "server version", server::version(client)).await;
    findings.extend(ask(client, "primary", server::primary(client)).await);
    // Sessions and notifications are not looked at from within a transaction.
    findings.extend(look("pooler", path::pooler(client, database)).await);
    findings.extend(look("notifications", path::notifications(client, database)).await);
    findings.extend(ask(client, "rights", rights::check(client)).await);
    findings.extend(ask(client, "triggers", triggers::check(client)).await);
    let listeners = triggers::listeners(client);
    findings.extend(ask(client, "listeners", listeners).await);
    let nested = triggers::nested(client);
    findings.extend(ask(client, "nested statements", nested).await);
    findings.extend(ask(client, "replication role", replicated::role(client)).await);
    let subscriptions = replicated::subscriptions(client);
    findings.extend(ask(client, "subscriptions", subscriptions).await);
    let queue = held_back::queue(client, doctor.queue_usage);
    findings.extend(ask(client, "notification queue", queue).await);
    let transactions = held_back::transactions(client, limit);
    findings.extend(ask(client, "transactions", transactions).await);
    let prepared = held_back::prepared(client, limit);
    findings.extend(ask(client, "prepared transactions", prepared).await);
    findings.extend(ask(client, "replication slots", held_back::slots(client)).await);
    // These checks use transactions of their own.
    findings.extend(look("outbox history", consumers::history(client)).await);
    for (check, of) in [
        ("outbox size", outbox::Of::Size),
        ("outbox age", outbox::Of::Age),
        ("groups", outbox::Of::Groups),
    ] {
        findings.extend(ask(client, check, outbox::check(client, check, of)).await);
    }
    // At the end, because if it takes too long, it leaves the connection in a transaction.
    findings.extend(look("consumers", consumers::statements(client)).await);
    show(output, &findings)?;
    let failed = findings
        .iter()
        .any(|finding| finding.result == Verdict::Failed);
    Ok(ExitCode::from(u8::from(failed)))
}

/// The findings of a check that only queries `client`. A query that takes too long is cancelled, so that the next checks can
/// run.
async fn ask(
    client: &Client,
    check: &'static str,
    asking: impl Future<Output = Findings>,
) -> Vec<Finding> {
    look(check, Box::pin(guarded_within(client, PATIENCE, asking))).await
}

/// The findings of a check, even if it cannot run or takes too long.
async fn look(check: &'static str, looking: impl Future<Output = Findings>) -> Vec<Finding> {
    let limit = 2 * PATIENCE;
    let late = |_| Failure::problem(format!("no answer within {limit:?}"));
    let found = timeout(limit, looking).await.map_err(late).flatten();
    found.unwrap_or_else(|failure| vec![Finding::unknown(check, failure)])
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
        output.line(verdict.then(&format!("  {:<21}  {}", finding.check, finding.finding)))?;
        if let Some(fix) = &finding.fix {
            let is_new = fixes.insert(fix);
            let fix = match visible(fix) == fix.as_str() {
                _ if !is_new => "as above",
                true => fix,
                // Escaped, it would be about something else.
                false => "the fix has characters that cannot be shown: see --json",
            };
            output.line(&format!("         {fix}"))?;
        }
    }
    output.flush()
}
