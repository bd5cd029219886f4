//! `pgherald upgrade`.

use std::process::ExitCode;

use pgherald_core::trigger::{self, TriggerSpec, Watched};
use tokio_postgres::Client;

use super::course::{Course, Heir, Renamed, course, no_right};
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
    let mut found = sort(&client, &trigger::watched(&client).await?).await?;
    if upgrade.commit {
        found.pass_over_others(&client).await?;
    }
    let (specs, told): (Vec<_>, Vec<_>) = found.wishes.into_iter().unzip();
    let plan = match specs.is_empty() {
        true => nothing,
        false => trigger::plan(&client, &specs).await?,
    };
    let problem = format!("cannot be upgraded: {}", found.problems.join("; "));
    let (done, idle, notes) = match (found.problems.is_empty(), specs.is_empty()) {
        (true, _) => ("Everything is up to date.", IDLE, &[][..]),
        (false, false) => (ELSE, ELSE, std::slice::from_ref(&problem)),
        (false, true) => ("", "", std::slice::from_ref(&problem)),
    };
    // They are told on standard error, but to programs.
    let problems = if output.is_json() { notes } else { &[] };
    let notes = [&*told.concat(), problems].concat();
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
    /// What is to be installed, and what is to be said of it.
    wishes: Vec<(TriggerSpec, Vec<String>)>,
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
                None => found.wishes.push((spec, Vec::new())),
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
                let now = renamed.spec.table();
                let loss = renamed.loss().map(|loss| format!("{now} {loss}."));
                let notes = loss.into_iter().chain(told_of_heir(&renamed)).collect();
                found.wishes.push((renamed.into_spec(), notes));
            }
        }
    }
    Ok(found)
}

impl Found {
    /// Leaves out what needs a change that this role may not make: it would fail all of them.
    async fn pass_over_others(&mut self, client: &Client) -> Result<(), Failure> {
        for (spec, notes) in std::mem::take(&mut self.wishes) {
            let plan = trigger::plan(client, std::slice::from_ref(&spec)).await?;
            let own = (!plan.is_empty()).then_some(spec.table());
            let mut fault = None;
            for table in own.into_iter().chain(plan.moved()) {
                if let Some(why) = no_right(client, table).await? {
                    fault = Some((why, Some(format!("run it as the owner of {table}"))));
                }
            }
            match fault {
                Some(fault) => self.blame([fault]),
                None => self.wishes.push((spec, notes)),
            }
        }
        Ok(())
    }

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
