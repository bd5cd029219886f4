//! `pgherald upgrade`.

use std::process::ExitCode;

use pgherald_core::trigger::{self, TriggerSpec, Watched};
use tokio_postgres::Client;

use super::doctor::{UPGRADE, faults};
use super::plan::{IDLE, Said, conclude, heir, is_overtaken, refusal};
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
    let found = sort(&client, &trigger::watched(&client).await?).await?;
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
    let problems = if output.is_json() { notes } else { &[] };
    let notes = [&found.notes, problems].concat();
    let notes = &*notes;
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
    notes: Vec<String>,
    problems: Vec<String>,
    fixes: Vec<String>,
}

async fn sort(client: &Client, watched: &[Watched]) -> Result<Found, Failure> {
    let mut found = Found::default();
    for table in watched.iter().filter(|one| !is_overtaken(one, watched)) {
        let mut why = None;
        if let Some(spec) = table.current() {
            why = refusal(client, &spec).await?;
            if why.is_none() {
                found.specs.push(spec);
                found.inherit(heir(client, table).await?, table);
                continue;
            }
        }
        let mut faults = faults(client, table).await?;
        faults.retain(|(_, fix)| fix.as_deref() != Some(UPGRADE) && *fix != why);
        // It is not about the table: a later version has installed it, say.
        if let (true, Some(spec), Some(why)) = (faults.is_empty(), table.current(), why) {
            faults.push(refused(&spec, why));
        }
        for (problem, fix) in faults {
            found.problems.push(problem);
            found.fixes.extend(fix);
        }
    }
    Ok(found)
}

impl Found {
    /// Takes in the table that has got the name of one that was renamed.
    fn inherit(&mut self, heir: Option<TriggerSpec>, renamed: &Watched) {
        if let (Some(heir), Some(now)) = (heir, &renamed.table) {
            let name = heir.table();
            let note = format!("{name} is installed on like {now}, which was called so before.");
            self.notes.push(note);
            self.specs.push(heir);
        }
    }
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
