//! `pgherald upgrade`.

use std::collections::HashSet;
use std::process::ExitCode;

use pgherald_core::trigger::{self, TriggerSpec, Watched};
use tokio_postgres::Client;

use super::doctor::{UPGRADE, faults, present};
use super::plan::{IDLE, Said, conclude, refusal};
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
    // What is wrong with what all tables share is wrong with each of them.
    let nothing = trigger::plan(&client, &[]).await?;
    let found = sort(&client, trigger::watched(&client).await?).await?;
    let plan = match found.specs.is_empty() {
        true => nothing,
        false => trigger::plan(&client, &found.specs).await?,
    };
    let problem = format!("cannot be upgraded: {}", found.problems.join("; "));
    let (done, idle, notes) = match (found.problems.is_empty(), found.specs.is_empty()) {
        (true, _) => ("Everything is up to date.", IDLE, &[][..]),
        (false, false) => (ELSE, ELSE, std::slice::from_ref(&problem)),
        (false, true) => ("", "", std::slice::from_ref(&problem)),
    };
    // They are told on standard error, but to programs.
    let notes = if output.is_json() { notes } else { &[] };
    let said = Said { done, idle, notes };
    let code = conclude(&client, output, &plan, upgrade.commit, &said).await?;
    match found.problems.is_empty() {
        true => Ok(code),
        false => Err(Failure::problem(problem).hint(match &*found.fixes {
            [] => "put it right as the message says".to_owned(),
            fixes => fixes.join("; then: "),
        })),
    }
}

const ELSE: &str = "Everything else is up to date.";

/// What can be upgraded, and what is wrong with the rest.
#[derive(Debug, Default)]
struct Found {
    specs: Vec<TriggerSpec>,
    problems: Vec<String>,
    fixes: Vec<String>,
}

async fn sort(client: &Client, watched: Vec<Watched>) -> Result<Found, Failure> {
    let mut found = Found::default();
    let mut leftover = Vec::new();
    for table in watched {
        let mut why = None;
        if let Some(spec) = &table.spec {
            let spec = present(client, &table, spec).await?;
            why = refusal(client, &spec).await?;
            if why.is_none() {
                match table.table {
                    Some(_) => found.specs.push(spec),
                    None => leftover.push(spec),
                }
                continue;
            }
        }
        let mut faults = faults(client, &table).await?;
        faults.retain(|(_, fix)| fix.as_deref() != Some(UPGRADE) && *fix != why);
        // It is not about the table: a later version has installed it, say.
        if let (true, Some(spec), Some(why)) = (faults.is_empty(), &table.spec, why) {
            faults.push(refused(spec, why));
        }
        for (problem, fix) in faults {
            found.problems.push(problem);
            found.fixes.extend(fix);
        }
    }
    // A function that no trigger calls has no say where another table has the name now.
    found.specs.append(&mut leftover);
    let mut tables = HashSet::new();
    found
        .specs
        .retain(|spec| tables.insert(spec.table().clone()));
    Ok(found)
}

/// What is wrong with a table that nothing is wrong with but whose it is.
fn refused(spec: &TriggerSpec, why: String) -> (String, Option<String>) {
    let table = spec.table().to_string();
    let problem = match why.contains(&table) {
        true => why,
        false => format!("{table}: {why}"),
    };
    (problem, None)
}
