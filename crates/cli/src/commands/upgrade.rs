//! `pgherald upgrade`.

use std::process::ExitCode;

use pgherald_core::trigger::{self, Plan, TriggerSpec, Watched};
use tokio_postgres::Client;

use super::course::{Course, Heir, Renamed, courses, no_rights};
use super::doctor::{Finding, problems};
use super::plan::{IDLE, Said, conclude, plans, refusals};
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
    let _ = trigger::plan(&client, &[]).await?;
    let mut found = sort(&client, &trigger::watched(&client).await?).await?;
    let mut plan = found.plan(&client).await?;
    if upgrade.commit && !plan.is_empty() {
        found.pass_over_others(&client).await?;
        plan = found.plan(&client).await?;
    }
    let problem = format!("cannot be upgraded: {}", found.problems.join("; "));
    let is_all = found.problems.is_empty();
    let (done, idle) = match (is_all, found.wishes.is_empty()) {
        (true, _) => ("Everything is up to date.", IDLE),
        (false, false) => (ELSE, ELSE),
        (false, true) => ("", ""),
    };
    let told = found.wishes.iter().flat_map(|(_, notes)| notes.clone());
    // It is told on standard error, but to programs.
    let problems = (!is_all && output.is_json()).then(|| problem.clone());
    let notes = &*told.chain(problems).collect::<Vec<_>>();
    let said = Said { done, idle, notes };
    let code = conclude(&client, output, &plan, upgrade.commit, &said).await?;
    match is_all {
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
    let courses = courses(client, watched).await?;
    let staying = courses.iter().filter_map(|course| match course {
        Course::Stay(spec) => Some(spec.clone()),
        _ => None,
    });
    let staying: Vec<_> = staying.collect();
    let mut refused = refusals(client, &staying).await?.into_iter();
    let refusals = courses.iter().map(|course| match course {
        Course::Stay(_) => refused.next().flatten(),
        _ => None,
    });
    let refusals: Vec<_> = refusals.collect();
    let is_wrong = |course: &Course, refusal: &Option<String>| match course {
        Course::Overtaken => false,
        Course::Unreadable => true,
        Course::Stay(_) => refusal.is_some(),
        Course::Follow(renamed) => renamed.refusal.is_some(),
    };
    let all = watched.iter().zip(&courses).zip(&refusals);
    let wrong = all.filter(|((_, course), refusal)| is_wrong(course, refusal));
    let wrong: Vec<_> = wrong.map(|(one, _)| one).collect();
    let mut problems = problems(client, &wrong).await?.into_iter();
    let mut found = Found::default();
    for (course, refusal) in courses.into_iter().zip(refusals) {
        let mut findings = match is_wrong(&course, &refusal) {
            true => problems.next().unwrap_or_default(),
            false => Vec::new(),
        };
        match (course, refusal) {
            (Course::Overtaken, _) => {}
            (Course::Stay(spec), Some(why)) => {
                findings.retain(|found| found.fix.as_ref() != Some(&why));
                // It is not about the table: a later version has installed it, say.
                match findings.is_empty() {
                    true => found.blame(of_table(&spec, why), None),
                    false => found.blame_found(findings),
                }
            }
            (Course::Stay(spec), None) => found.wishes.push((spec, Vec::new())),
            (Course::Follow(renamed), _) if renamed.refusal.is_none() => {
                let now = renamed.spec.table();
                let loss = renamed.loss().map(|loss| format!("{now} {loss}."));
                let notes = loss.into_iter().chain(told_of_heir(&renamed)).collect();
                found.wishes.push((renamed.into_spec(), notes));
            }
            (Course::Unreadable | Course::Follow(_), _) => found.blame_found(findings),
        }
    }
    Ok(found)
}

impl Found {
    async fn plan(&self, client: &Client) -> Result<Plan, Failure> {
        let specs: Vec<_> = self.wishes.iter().map(|(spec, _)| spec.clone()).collect();
        Ok(trigger::plan(client, &specs).await?)
    }

    /// Leaves out what needs a change that this role may not make: it would fail all of them.
    async fn pass_over_others(&mut self, client: &Client) -> Result<(), Failure> {
        let wishes = std::mem::take(&mut self.wishes);
        let specs: Vec<_> = wishes.iter().map(|(spec, _)| spec.clone()).collect();
        let plans = plans(client, &specs).await?;
        // The tables that each of them changes.
        let changed: Vec<Vec<_>> = specs
            .iter()
            .zip(&plans)
            .map(|(spec, plan)| match plan {
                Ok(plan) if !plan.is_empty() => {
                    std::iter::once(spec.table()).chain(plan.moved()).collect()
                }
                _ => Vec::new(),
            })
            .collect();
        let mut rights = no_rights(client, &changed.concat()).await?.into_iter();
        for ((wish, plan), changed) in wishes.into_iter().zip(&plans).zip(&changed) {
            let mut problem = plan
                .as_ref()
                .err()
                .map(|why| (of_table(&wish.0, why.clone()), None));
            for (table, why) in changed.iter().zip(rights.by_ref()) {
                if let Some(why) = why {
                    problem = Some((why, Some(format!("run it as the owner of {table}"))));
                }
            }
            match problem {
                Some((why, fix)) => self.blame(why, fix),
                None => self.wishes.push(wish),
            }
        }
        Ok(())
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
fn of_table(spec: &TriggerSpec, why: String) -> String {
    let table = spec.table().to_string();
    match why.contains(&table) {
        true => why,
        false => format!("{table}: {why}"),
    }
}
