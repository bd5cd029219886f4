//! Whether the triggers that were installed are still there, and fire.

use pgherald_core::TableName;
use pgherald_core::trigger::{self, Drift, DriftKind, TriggerSpec, Watched};
use tokio_postgres::Client;

use super::UPGRADE;
use super::finding::{Finding, Findings, Verdict, or_ok, wrong};
use crate::commands::course::{Course, Heir, Renamed, courses};
use crate::commands::install::commands;
use crate::commands::plan::refusals;
use crate::failure::Failure;
use crate::words;

const CHECK: &str = "triggers";

pub(super) async fn check(client: &Client) -> Findings {
    let watched = trigger::watched(client).await?;
    if watched.is_empty() {
        return Ok(vec![Finding::ok(CHECK, "none are installed")]);
    }
    let courses = courses(client, &watched).await?;
    let pairs: Vec<_> = watched.iter().zip(&courses).collect();
    let findings = problems(client, &pairs).await?.concat();
    let tables = words::count(watched.len() as u64, "table");
    let fine = format!("of {tables}, all in place");
    Ok(or_ok(findings, CHECK, &fine))
}

/// What is wrong with each of the installations, of which it was found what is to become of them. Asks for all of them at once.
pub(in crate::commands) async fn problems(
    client: &Client,
    installed: &[(&Watched, &Course)],
) -> Result<Vec<Vec<Finding>>, Failure> {
    let mut unreadable = Vec::new();
    let mut staying = Vec::new();
    let mut renamed = Vec::new();
    for (one, course) in installed {
        match course {
            Course::Overtaken => {}
            Course::Unreadable => unreadable.push(*one),
            Course::Stay(spec) => staying.push((*one, spec.clone())),
            Course::Follow(follow) => renamed.push(&**follow),
        }
    }
    let mut unreadable = self::unreadable(client, &unreadable).await?.into_iter();
    let mut staying = drifted(client, &staying).await?.into_iter();
    let mut renamed = moved(client, &renamed).await?.into_iter();
    let findings = installed.iter().map(|(_, course)| match course {
        Course::Overtaken => Vec::new(),
        Course::Unreadable => unreadable.next().into_iter().collect(),
        Course::Stay(_) => staying.next().unwrap_or_default(),
        Course::Follow(_) => renamed.next().into_iter().collect(),
    });
    Ok(findings.collect())
}

/// What is wrong with tables that have the names they were installed under.
async fn drifted(
    client: &Client,
    staying: &[(&Watched, TriggerSpec)],
) -> Result<Vec<Vec<Finding>>, Failure> {
    let specs: Vec<_> = staying.iter().map(|(_, spec)| spec.clone()).collect();
    let drifts = trigger::verify_each(client, &specs).await?;
    let drifting = drifts.iter().zip(staying);
    let drifting: Vec<_> = drifting.filter(|(drifts, _)| !drifts.is_empty()).collect();
    let specs: Vec<_> = drifting.iter().map(|(_, (_, spec))| spec.clone()).collect();
    let refusals = refusals(client, &specs).await?;
    let is_unfit = |drift: &Drift| matches!(drift.kind, DriftKind::Unfit { .. });
    let unfit = drifting
        .iter()
        .filter(|(drifts, _)| drifts.iter().any(is_unfit));
    let unfit: Vec<_> = unfit.map(|(_, one)| *one).collect();
    let mut fixes = fixes(client, &unfit).await?.into_iter();
    let mut refusals = refusals.into_iter();
    let findings = drifts.iter().zip(staying).map(|(drifts, (watched, spec))| {
        if drifts.is_empty() {
            return Vec::new();
        }
        let refusal = refusals.next().flatten();
        let fix = match drifts.iter().any(is_unfit) {
            true => fixes.next(),
            false => None,
        };
        let judge = |drift| judge(drift, watched, spec, refusal.as_deref(), fix.as_deref());
        drifts.iter().map(judge).collect()
    });
    Ok(findings.collect())
}

/// What puts right tables that do not have any more what was specified.
async fn fixes(
    client: &Client,
    unfit: &[&(&Watched, TriggerSpec)],
) -> Result<Vec<String>, Failure> {
    if unfit.is_empty() {
        return Ok(Vec::new());
    }
    let specs = unfit.iter().map(|(_, spec)| spec.clone()).collect();
    let fitting = trigger::fitting(client, specs).await?;
    let fitting: Vec<_> = fitting.into_iter().collect::<Result<_, _>>()?;
    let refusals = refusals(client, &fitting).await?;
    let commands = commands(client, &fitting.iter().collect::<Vec<_>>()).await?;
    let fixes = unfit.iter().zip(refusals).zip(commands);
    let fixes = fixes.map(|(((watched, spec), refusal), command)| match refusal {
        None => command,
        // Something else has the name of a table that was dropped.
        Some(_) if watched.table.is_none() => uninstall(spec.table()),
        Some(why) => format!("{why}; or {}", uninstall(spec.table())),
    });
    Ok(fixes.collect())
}

async fn moved(client: &Client, renamed: &[&Renamed]) -> Result<Vec<Finding>, Failure> {
    let specs: Vec<_> = renamed.iter().map(|one| &one.spec).collect();
    let commands = commands(client, &specs).await?;
    let findings = renamed.iter().zip(commands);
    Ok(findings
        .map(|(one, command)| moved_one(one, command))
        .collect())
}

fn moved_one(renamed: &Renamed, command: String) -> Finding {
    let (former, now) = (&renamed.former, renamed.spec.table());
    let text = format!("{former} is now {now}, and its changes come under the former name");
    let text = match renamed.loss() {
        Some(loss) => format!("{text}; it {loss}"),
        None => text,
    };
    let text = match &renamed.heir {
        Heir::None => text,
        Heir::Fit(_) => format!("{text}; the table that is {former} now is not watched"),
        Heir::Unfit(why) => {
            format!("{text}; the table that is {former} now is not watched: {why}")
        }
    };
    let fix = match (&renamed.refusal, &renamed.heir) {
        (Some(why), _) => format!("{why}; or {}", uninstall(now)),
        (None, Heir::Fit(_)) => UPGRADE.to_owned(),
        (None, _) => command,
    };
    Finding::new(CHECK, Verdict::Failed, text).fix(fix)
}

/// `fix` is what puts a table right that does not have any more what was specified.
fn judge(
    drift: &Drift,
    watched: &Watched,
    spec: &TriggerSpec,
    refusal: Option<&str>,
    fix: Option<&str>,
) -> Finding {
    let result = match drift.is_deaf() {
        true => Verdict::Failed,
        false => Verdict::Warning,
    };
    let text = drift.to_string();
    let (text, fix) = match (&drift.kind, refusal, fix) {
        (DriftKind::TableMissing, ..) => {
            let (table, function) = (spec.table(), &watched.function);
            let text = format!("{table} does not exist any more; {function} is left over");
            (text, uninstall(table))
        }
        (DriftKind::Unfit { .. }, _, Some(fix)) => (text, fix.to_owned()),
        (DriftKind::AmbiguousKey { column, .. }, ..) => {
            let text = text.rsplit_once("; ").map_or(&*text, |(text, _)| text);
            let table = words::quoted(spec.table());
            let fix = format!(
                "have {column:?} hold one text for each value (a CHECK, a scale for numeric) and ask by that text; or take \
                 another key: pgherald install {table} --key …"
            );
            (text.to_owned(), fix)
        }
        (_, None, _) => (text, UPGRADE.to_owned()),
        (_, Some(why), _) => {
            let text = text
                .strip_suffix("; install the triggers again")
                .map_or(&*text, |text| text);
            (text.to_owned(), why.to_owned())
        }
    };
    Finding::new(CHECK, result, text).fix(fix)
}

fn uninstall(table: &TableName) -> String {
    format!("pgherald uninstall {} --commit", words::quoted(table))
}

async fn unreadable(client: &Client, watched: &[&Watched]) -> Result<Vec<Finding>, Failure> {
    let mode_of = |watched: &Watched, table: &TableName| {
        let spec = TriggerSpec::new(table.clone());
        match watched.is_outbox {
            Some(true) => ("outbox", spec.outbox()),
            Some(false) => ("notify", spec),
            None => ("…", spec),
        }
    };
    let called = watched
        .iter()
        .filter_map(|one| Some((*one, one.table.as_ref()?)));
    let specs: Vec<_> = called.map(|(one, table)| mode_of(one, table).1).collect();
    let mut refusals = refusals(client, &specs).await?.into_iter();
    let findings = watched.iter().map(|one| {
        let function = &one.function;
        let text = format!("the comment of {function} does not tell what it was made for");
        let finding = |text| Finding::new(CHECK, Verdict::Failed, text);
        let Some(table) = &one.table else {
            // With it go triggers on what were partitions of a table that is gone.
            return finding(text).fix(format!("DROP FUNCTION {function}() CASCADE;"));
        };
        if let Some(why) = refusals.next().flatten() {
            return finding(text).fix(why);
        }
        let (mode, _) = mode_of(one, table);
        let text = format!("{text}; add the options that {table} was installed with");
        let table = words::quoted(table);
        finding(text).fix(format!("pgherald install {table} --mode {mode} --commit"))
    });
    Ok(findings.collect())
}

/// Tables whose own triggers may leave older values in the last event of a row.
pub(super) async fn nested(client: &Client) -> Findings {
    let check = "nested statements";
    let sql = include_str!("nested.sql");
    let found = wrong(client, check, Verdict::Warning, sql, &[]).await?;
    Ok(or_ok(
        found,
        check,
        "recorded in an order that ends in the final state",
    ))
}

/// Where somebody has told the server not to fire triggers.
pub(super) async fn replication_role(client: &Client) -> Findings {
    let check = "replication role";
    let sql = include_str!("replication_role.sql");
    let found = wrong(client, check, Verdict::Failed, sql, &[]).await?;
    Ok(or_ok(found, check, "triggers fire for all roles"))
}
