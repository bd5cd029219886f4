//! `pgherald upgrade`.

use std::process::ExitCode;

use pgherald_core::__private::host;
use pgherald_core::__private::host::trigger::{Actual, Migration};
use pgherald_core::trigger::{Plan, TriggerSpec};
use tokio_postgres::Client;

use super::doctor::{Finding, problems};
use super::plan::{IDLE, Messages, conclude, present, refusal, replanned};
use super::repair::{Renamed, Repair, no_right, repair};
use crate::arguments::Upgrade;
use crate::database::Database;
use crate::failure::Failure;
use crate::output::Output;

/// Upgrades everything that can be upgraded. It reports the other installations as problems, which do not stop the rest.
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
    let mut actual = host::trigger::inspect_all(client, &[]).await?;
    // An empty plan fails if the shared objects cannot be upgraded, and then no table can.
    let _ = actual.plan(&[])?;
    let migrations = actual.migrations()?;
    let mut migrated = Vec::new();
    if !migrations.is_empty() {
        if !upgrade.commit {
            return show(output, &migrations);
        }
        migrated = migrate(client, output, &migrations).await?;
        actual = host::trigger::inspect_all(client, &[]).await?;
    }
    let mut found = Found::sort(&actual);
    let mut plan = found.plan(&actual)?;
    if upgrade.commit && !plan.is_empty() {
        found.leave_out_forbidden(&actual);
        plan = found.plan(&actual)?;
    }
    let problem = format!("cannot be upgraded: {}", found.problems.join("; "));
    let is_all = found.problems.is_empty();
    let (done, idle) = match (is_all, found.upgrades.is_empty()) {
        (true, _) if !migrations.is_empty() => (ALL, ALL),
        (true, _) => (ALL, IDLE),
        (false, false) => (ELSE, ELSE),
        (false, true) => ("", ""),
    };
    let notes = found.upgrades.iter().flat_map(|(_, notes)| notes.clone());
    let notes = migrated.into_iter().chain(notes);
    // Standard error reports the problems. For programs, the object contains them, too.
    let problems = (!is_all && output.is_json()).then(|| problem.clone());
    let notes = &*notes.chain(problems).collect::<Vec<_>>();
    let messages = Messages {
        done,
        idle,
        notes,
        ..Messages::default()
    };
    let code = conclude(client, output, &plan, upgrade.commit, &messages).await?;
    match is_all {
        true => Ok(code),
        false => Err(Failure::problem(problem).hint(match &*found.fixes {
            [] => "correct what the message names".to_owned(),
            fixes => fixes.join("; then: "),
        })),
    }
}

/// Shows the migrations, which have to run before the triggers of tables can be planned.
fn show(output: &mut Output, migrations: &[Migration]) -> Result<ExitCode, Failure> {
    let sql: String = migrations.iter().map(|one| one.plan.sql()).collect();
    let messages = Messages {
        done: "",
        idle: "",
        notes: &["The triggers of tables are planned and upgraded after that.".to_owned()],
        ..Messages::default()
    };
    present(output, &[], &sql, false, &messages)
}

/// Runs the migrations, and reports each: at once, or in the returned notes if the output is one JSON object.
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

/// The installations that can be upgraded, and the problems of the others.
#[derive(Debug, Default)]
struct Found {
    /// The specifications to install, each with its notes.
    upgrades: Vec<(TriggerSpec, Vec<String>)>,
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
                Repair::Unreadable => found.add_findings(problems(&repair)),
                Repair::Same(ref spec) => match refusal(actual, spec) {
                    None => found.upgrades.push((spec.clone(), Vec::new())),
                    Some(why) => {
                        let mut findings = problems(&repair);
                        findings.retain(|found| found.fix.as_ref() != Some(&why));
                        // The refusal is not about the table. For example, a later version has installed its triggers.
                        match findings.is_empty() {
                            true => found.add_problem(of_table(spec, why), None),
                            false => found.add_findings(findings),
                        }
                    }
                },
                Repair::Renamed(ref renamed) if renamed.refusal.is_some() => {
                    found.add_findings(problems(&repair));
                }
                Repair::Renamed(renamed) => found.add_renamed(*renamed),
            }
        }
        found
    }

    /// Adds a renamed table under its present name, and the table that has its former name.
    fn add_renamed(&mut self, renamed: Renamed) {
        let (former, now) = (&renamed.former, renamed.spec.table());
        let loss = renamed.loss().map(|loss| format!("{now} {loss}."));
        let mut notes: Vec<_> = loss.into_iter().collect();
        match &renamed.successor {
            None => {}
            Some(Ok(spec)) => {
                let note =
                    format!("{former} gets the triggers of {now}, which had that name before.");
                self.upgrades.push((spec.clone(), vec![note]));
            }
            Some(Err(why)) => notes.push(format!(
                "{former}, the table with the former name of {now}, is not watched: {why}."
            )),
        }
        self.upgrades.push((renamed.spec, notes));
    }

    fn plan(&self, actual: &Actual) -> Result<Plan, Failure> {
        let specs: Vec<_> = self.upgrades.iter().map(|(spec, _)| spec.clone()).collect();
        Ok(actual.plan(&specs)?)
    }

    /// Leaves out tables that this role may not change but would have to. One of them would make the whole plan fail.
    fn leave_out_forbidden(&mut self, actual: &Actual) {
        for upgrade in std::mem::take(&mut self.upgrades) {
            let (spec, _) = &upgrade;
            let plan = actual.plan(std::slice::from_ref(spec));
            let needs_change = plan.is_ok_and(|plan| !plan.is_empty());
            match no_right(actual, spec.table()).filter(|_| needs_change) {
                Some(why) => {
                    let fix = format!("run it as the owner of {}", spec.table());
                    self.add_problem(why, Some(fix));
                }
                None => self.upgrades.push(upgrade),
            }
        }
    }

    fn add_problem(&mut self, problem: String, fix: Option<String>) {
        self.problems.push(problem);
        self.fixes.extend(fix);
    }

    fn add_findings(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for found in findings {
            self.add_problem(found.finding, found.fix);
        }
    }
}

/// Returns the refusal `why`, with the table's name if it does not contain it.
fn of_table(spec: &TriggerSpec, why: String) -> String {
    let table = spec.table().to_string();
    match why.contains(&table) {
        true => why,
        false => format!("{table}: {why}"),
    }
}
