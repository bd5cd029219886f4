//! `pgherald doctor`: finds problems, and prints a fix for each. It reads, sends one notification on a channel of its own, and
//! runs the statements of consumers in a transaction that it rolls back. It changes nothing in the database.
//!
//! ```text
//!   server · path · rights · triggers · replicated · held_back · outbox · groups · consumers
//!      └── each queries the server and judges the result ──► Finding ──► a line, and its fix
//! ```
//!
//! A check without a subject, such as an outbox, is skipped. A check that cannot run has failed; the other checks still run.
//!
//! To add a check:
//! - Call it in `run`, before *consumers*, which has to be last. It returns at least one finding in each run, even if that says
//!   that it was skipped.
//! - Add its name to the list in `crates/cli/tests/command/doctor.rs`, with a test that its fix works.
//! - Add a section of the same name to `docs/operations.md`.

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
use crate::output::Output;
use crate::text::visible;
use finding::{Findings, Verdict};

pub(super) use finding::Finding;
pub(super) use triggers::problems;

/// The time limit of a check. Counting a lag of millions of events takes a while.
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
    let mut findings = run_queries(client, "server version", server::version(client)).await;
    findings.extend(run_queries(client, "primary", server::primary(client)).await);
    // These two checks need sessions outside of a transaction.
    findings.extend(run_check("pooler", path::pooler(client, database)).await);
    findings.extend(run_check("notifications", path::notifications(client, database)).await);
    findings.extend(run_queries(client, "rights", rights::check(client)).await);
    findings.extend(run_queries(client, "triggers", triggers::check(client)).await);
    let listeners = triggers::listeners(client);
    findings.extend(run_queries(client, "listeners", listeners).await);
    let nested = triggers::nested(client);
    findings.extend(run_queries(client, "nested statements", nested).await);
    findings.extend(run_queries(client, "replication role", replicated::role(client)).await);
    let subscriptions = replicated::subscriptions(client);
    findings.extend(run_queries(client, "subscriptions", subscriptions).await);
    let queue = held_back::queue(client, doctor.queue_usage);
    findings.extend(run_queries(client, "notification queue", queue).await);
    let transactions = held_back::transactions(client, limit);
    findings.extend(run_queries(client, "transactions", transactions).await);
    let prepared = held_back::prepared(client, limit);
    findings.extend(run_queries(client, "prepared transactions", prepared).await);
    findings.extend(run_queries(client, "replication slots", held_back::slots(client)).await);
    // These checks use transactions of their own.
    findings.extend(run_check("outbox history", consumers::history(client)).await);
    for (check, subject) in [
        ("outbox size", outbox::Subject::Size),
        ("outbox age", outbox::Subject::Age),
        ("groups", outbox::Subject::Groups),
    ] {
        findings.extend(run_queries(client, check, outbox::check(client, check, subject)).await);
    }
    // The last check: if it exceeds the time limit, the connection stays in a transaction.
    findings.extend(run_check("consumers", consumers::statements(client)).await);
    show(output, &findings)?;
    let failed = findings
        .iter()
        .any(|finding| finding.result == Verdict::Failed);
    Ok(ExitCode::from(u8::from(failed)))
}

/// Runs a check that only queries `client`. A query that exceeds the time limit is cancelled, so that the next checks can run.
async fn run_queries(
    client: &Client,
    check: &'static str,
    queries: impl Future<Output = Findings>,
) -> Vec<Finding> {
    run_check(check, Box::pin(guarded_within(client, PATIENCE, queries))).await
}

/// Runs a check. If it fails or exceeds the time limit, that is the finding.
async fn run_check(check: &'static str, running: impl Future<Output = Findings>) -> Vec<Finding> {
    let limit = 2 * PATIENCE;
    let late = |_| Failure::problem(format!("no answer within {limit:?}"));
    let found = timeout(limit, running).await.map_err(late).flatten();
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
                // With escaped characters, the fix would name another object.
                false => "the fix has characters that cannot be shown: see --json",
            };
            output.line(&format!("         {fix}"))?;
        }
    }
    output.flush()
}
