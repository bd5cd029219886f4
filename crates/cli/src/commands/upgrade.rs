//! `pgherald upgrade`.

use std::process::ExitCode;

use pgherald_core::trigger;

use super::doctor::{UPGRADE, faults};
use super::plan::conclude;
use crate::arguments::Upgrade;
use crate::database::Database;
use crate::failure::Failure;
use crate::output::Output;

/// Upgrades what fits; what does not is told, and keeps nothing else from being upgraded.
pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    upgrade: &Upgrade,
) -> Result<ExitCode, Failure> {
    let client = database.client().await?;
    let (mut specs, mut problems, mut fixes) = (Vec::new(), Vec::new(), Vec::new());
    for table in trigger::watched(&client).await? {
        let mut refusal = None;
        if let Some(spec) = &table.spec {
            match trigger::plan(&client, std::slice::from_ref(spec)).await {
                Ok(_) => {
                    specs.push(spec.clone());
                    continue;
                }
                Err(error) if !error.is_config() => return Err(error.into()),
                Err(error) => refusal = Some(error),
            }
        }
        let mut faults = faults(&client, &table).await?;
        faults.retain(|(_, fix)| fix.as_deref() != Some(UPGRADE));
        // It is not about the table: a later version has installed it, say.
        if let (true, Some(refusal)) = (faults.is_empty(), refusal) {
            return Err(refusal.into());
        }
        for (problem, fix) in faults {
            problems.push(problem);
            fixes.extend(fix);
        }
    }
    if !specs.is_empty() || problems.is_empty() {
        let plan = trigger::plan(&client, &specs).await?;
        let done = match problems.is_empty() {
            true => "Everything is up to date.",
            false => "Everything else is up to date.",
        };
        conclude(&client, output, &plan, upgrade.commit, done, &[]).await?;
    }
    match problems.is_empty() {
        true => Ok(ExitCode::SUCCESS),
        false => {
            let message = format!("cannot be upgraded: {}", problems.join("; "));
            Err(Failure::problem(message).hint(fixes.join("; then: ")))
        }
    }
}
