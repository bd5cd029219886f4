//! `pgherald upgrade`.

use std::process::ExitCode;

use pgherald_core::trigger::{self, Actual, Migration, Plan, TriggerSpec};
use tokio_postgres::Client;

use super::doctor::{Finding, problems};
use super::plan::{IDLE, Said, conclude, present, refusal, replanned};
use super::repair::{Renamed, Repair, no_right, repair};
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
    replanned(async || run_once(&client, output, upgrade).await).await
}

async fn run_once(
    client: &Client,
    output: &mut Output,
    upgrade: &Upgrade,
) -> Result<ExitCode, Failure> {
    let mut actual = trigger::inspect_all(client, &[]).await?;
    // What is wrong with what all tables share is wrong with each of them.
    let _ = actual.plan(&[])?;
    let migrations = actual.migrations()?;
    let mut migrated = Vec::new();
    if !migrations.is_empty() {
        if !upgrade.commit {
            return show(output, &migrations);
        }
        migrated = migrate(client, output, &migrations).await?;
        actual = trigger::inspect_all(client, &[]).await?;
    }
    let mut found = Found::sort(&actual);
    let mut plan = found.plan(&actual)?;
    if upgrade.commit && !plan.is_empty() {
        found.pass_over_others(&actual);
        plan = found.plan(&actual)?;
    }
    let problem = format!("cannot be upgraded: {}", found.problems.join("; "));
    let is_all = found.problems.is_empty();
    let (done, idle) = match (is_all, found.wishes.is_empty()) {
        (true, _) if !migrations.is_empty() => (ALL, ALL),
        (true, _) => (ALL, IDLE),
        (false, false) => (ELSE, ELSE),
        (false, true) => ("", ""),
    };
    let notes = found.wishes.iter().flat_map(|(_, notes)| notes.clone());
    let notes = migrated.into_iter().chain(notes);
    // Standard error has it, except for programs.
    let problems = (!is_all && output.is_json()).then(|| problem.clone());
    let notes = &*notes.chain(problems).collect::<Vec<_>>();
    let said = Said {
        done,
        idle,
        notes,
        ..Said::default()
    };
    let code = conclude(client, output, &plan, upgrade.commit, &said).await?;
    match is_all {
        true => Ok(code),
        false => Err(Failure::problem(problem).hint(match &*found.fixes {
            [] => "put it right as the message says".to_owned(),
            fixes => fixes.join("; then: "),
        })),
    }
}

/// Shows what is run before what is installed on tables can be planned.
fn show(output: &mut Output, migrations: &[Migration]) -> Result<ExitCode, Failure> {
    let sql: String = migrations.iter().map(|one| one.plan.sql()).collect();
    let said = Said {
        done: "",
        idle: "",
        notes: &["What is installed on tables is planned and upgraded after that.".to_owned()],
        ..Said::default()
    };
    present(output, &[], &sql, false, &said)
}

/// Runs them, and says of each that it was run: at once, or in notes to programs, which want one object.
async fn migrate(
    client: &Client,
    output: &mut Output,
    migrations: &[Migration],
) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for one in migrations {
        one.plan.apply(client).await?;
        let note = format!("The outbox now has version {} ({}).", one.number, one.name);
        match output.is_json() {
            true => notes.push(note),
            false => {
                output.line(&note)?;
                output.flush()?;
            }
        }
    }
    Ok(notes)
}

const ALL: &str = "Everything is up to date.";
const ELSE: &str = "Everything else is up to date.";

/// What can be upgraded, and what is wrong with the rest.
#[derive(Debug, Default)]
struct Found {
    /// What is to be installed, and what is to be said of it.
    wishes: Vec<(TriggerSpec, Vec<String>)>,
    problems: Vec<String>,
    fixes: Vec<String>,
}

impl Found {
    fn sort(actual: &Actual) -> Self {
        let watched = actual.watched();
        let mut found = Self::default();
        for one in &watched {
            let repair = repair(actual, &watched, one);
            let problems = |repair| problems(actual, one, repair);
            match repair {
                Repair::None => {}
                Repair::Unreadable => found.blame_found(problems(&repair)),
                Repair::Same(ref spec) => match refusal(actual, spec) {
                    None => found.wishes.push((spec.clone(), Vec::new())),
                    Some(why) => {
                        let mut findings = problems(&repair);
                        findings.retain(|found| found.fix.as_ref() != Some(&why));
                        // It is not about the table: a later version has installed it, say.
                        match findings.is_empty() {
                            true => found.blame(of_table(spec, why), None),
                            false => found.blame_found(findings),
                        }
                    }
                },
                Repair::Renamed(ref renamed) if renamed.refusal.is_some() => {
                    found.blame_found(problems(&repair));
                }
                Repair::Renamed(renamed) => found.follow(*renamed),
            }
        }
        found
    }

    /// Installs a table under its present name, and what has its former one.
    fn follow(&mut self, renamed: Renamed) {
        let (former, now) = (&renamed.former, renamed.spec.table());
        let loss = renamed.loss().map(|loss| format!("{now} {loss}."));
        let mut notes: Vec<_> = loss.into_iter().collect();
        match &renamed.successor {
            None => {}
            Some(Ok(spec)) => {
                let note =
                    format!("{former} is installed on like {now}, which was called so before.");
                self.wishes.push((spec.clone(), vec![note]));
            }
            Some(Err(why)) => notes.push(format!(
                "{former}, as {now} was called before, is not watched: {why}."
            )),
        }
        self.wishes.push((renamed.spec, notes));
    }

    fn plan(&self, actual: &Actual) -> Result<Plan, Failure> {
        let specs: Vec<_> = self.wishes.iter().map(|(spec, _)| spec.clone()).collect();
        Ok(actual.plan(&specs)?)
    }

    /// Leaves out what needs a change that this role may not make: it would fail all of them.
    fn pass_over_others(&mut self, actual: &Actual) {
        for wish in std::mem::take(&mut self.wishes) {
            let (spec, _) = &wish;
            let plan = actual.plan(std::slice::from_ref(spec));
            let needs_change = plan.is_ok_and(|plan| !plan.is_empty());
            match no_right(actual, spec.table()).filter(|_| needs_change) {
                Some(why) => {
                    let fix = format!("run it as the owner of {}", spec.table());
                    self.blame(why, Some(fix));
                }
                None => self.wishes.push(wish),
            }
        }
    }

    fn blame(&mut self, problem: String, fix: Option<String>) {
        self.problems.push(problem);
        self.fixes.extend(fix);
    }

    fn blame_found(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for found in findings {
            self.blame(found.finding, found.fix);
        }
    }
}

/// What is wrong with a table that nothing is wrong with but whose it is.
fn of_table(spec: &TriggerSpec, why: String) -> String {
    let table = spec.table().to_string();
    match why.contains(&table) {
        true => why,
        false => format!("{table}: {why}"),
    }
}
