//! `pgherald doctor`: what is wrong, and how to put it right. It only reads, sends one notification that nobody else
//! listens for, and leaves nothing behind.
//!
//! ```text
//!   server · path · rights · triggers · held_back · outbox
//!      └── each asks the server, judges ──► Finding ──► line, and its fix
//! ```
//!
//! A check that cannot run is skipped, with the reason, and keeps no other from running.

mod finding;
mod held_back;
mod outbox;
mod path;
mod rights;
mod server;
mod triggers;

use std::io;
use std::process::ExitCode;

use crate::arguments::Doctor;
use crate::database::Database;
use crate::failure::Failure;
use crate::output::Output;
use finding::{Finding, Findings, Verdict};

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    doctor: &Doctor,
) -> Result<ExitCode, Failure> {
    let client = database.client().await?;
    held_back::require_interval(&client, &doctor.long_transaction).await?;
    let limit = &doctor.long_transaction;
    let mut findings = Vec::new();
    let mut take = |check: &'static str, found: Findings| match found {
        Ok(found) => findings.extend(found),
        Err(failure) => findings.push(Finding::skipped(check, &failure)),
    };
    take("server version", server::version(&client).await);
    take("primary", server::primary(&client).await);
    take("pooler", path::pooler(&client, database).await);
    take(
        "notifications",
        path::notifications(&client, database).await,
    );
    take("rights", rights::check(&client).await);
    take("triggers", triggers::check(&client).await);
    take(
        "replication role",
        triggers::replication_role(&client).await,
    );
    take(
        "notification queue",
        held_back::queue(&client, doctor.queue_usage).await,
    );
    take(
        "transactions",
        held_back::transactions(&client, limit).await,
    );
    take(
        "prepared transactions",
        held_back::prepared(&client, limit).await,
    );
    take("replication slots", held_back::slots(&client).await);
    take("outbox size", outbox::size(&client).await);
    take("outbox age", outbox::age(&client).await);
    take("groups", outbox::groups(&client).await);
    show(output, &findings)?;
    let failed = findings
        .iter()
        .any(|finding| finding.result == Verdict::Failed);
    Ok(ExitCode::from(u8::from(failed)))
}

fn show(output: &mut Output, findings: &[Finding]) -> io::Result<()> {
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
            output.line(&format!("         {fix}"))?;
        }
    }
    output.flush()
}
