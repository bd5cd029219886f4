//! `pgherald upgrade`.

use std::process::ExitCode;

use pgherald_core::trigger::{self, TriggerSpec, Watched};
use tokio_postgres::Client;

use super::course::{Course, Heir, Renamed, course};
use super::doctor::{Fault, drifted, moved, unreadable};
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
    for one in watched {
        match course(client, one, watched).await? {
            Course::Overtaken => {}
            Course::Unreadable => found.blame([unreadable(client, one).await?]),
            Course::Stay(spec) => match refusal(client, &spec).await? {
                None => found.specs.push(spec),
                Some(why) => {
                    let mut faults = drifted(client, one, &spec).await?;
                    faults.retain(|(_, fix)| fix.as_ref() != Some(&why));
                    // It is not about the table: a later version has installed it, say.
                    if faults.is_empty() {
                        faults.push(refused(&spec, why));
                    }
                    found.blame(faults);
                }
            },
            Course::Follow(renamed) if renamed.refusal.is_some() => {
                found.blame([moved(client, &renamed).await?]);
            }
            Course::Follow(renamed) => {
                let loss = renamed.loss();
                let now = renamed.spec.table();
                found
                    .notes
                    .extend(loss.map(|loss| format!("{now} {loss}.")));
                found.notes.extend(told_of_heir(&renamed));
                found.specs.push(renamed.into_spec());
            }
        }
    }
    Ok(found)
}

impl Found {
    fn blame(&mut self, faults: impl IntoIterator<Item = Fault>) {
        for (problem, fix) in faults {
            self.problems.push(problem);
            self.fixes.extend(fix);
        }
    }
}

/// What is to be said of the table that has got the name of one that was renamed.
fn told_of_heir(renamed: &Renamed) -> Option<String> {
    let (former, now) = (&renamed.former, renamed.spec.table());
    match &renamed.heir {
        Heir::None => None,
        Heir::Fit(_) => Some(format!(
            "{former} is installed on like {now}, which was called so before."
        )),
        Heir::Unfit(why) => Some(format!(
            "{former}, as {now} was called before, is not watched: {why}."
        )),
    }
}

/// What is wrong with a table that nothing is wrong with but whose it is.
fn refused(spec: &TriggerSpec, why: String) -> Fault {
    let table = spec.table().to_string();
    let problem = match why.contains(&table) {
        true => why,
        false => format!("{table}: {why}"),
    };
    (problem, None)
}
