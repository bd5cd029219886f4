//! Whether the triggers that were installed are still there, and fire.

use pgherald_core::TableName;
use pgherald_core::trigger::{self, Drift, DriftKind, TriggerSpec, Watched};
use tokio_postgres::Client;

use super::UPGRADE;
use super::finding::{Finding, Findings, Verdict, or_ok, wrong};
use crate::commands::course::{Course, Heir, Renamed, course};
use crate::commands::install::command;
use crate::commands::plan::refusal;
use crate::failure::Failure;
use crate::words;

const CHECK: &str = "triggers";

pub(super) async fn check(client: &Client) -> Findings {
    let watched = trigger::watched(client).await?;
    if watched.is_empty() {
        return Ok(vec![Finding::ok(CHECK, "none are installed")]);
    }
    let mut findings = Vec::new();
    for one in &watched {
        findings.extend(match course(client, one, &watched).await? {
            Course::Overtaken => Vec::new(),
            Course::Unreadable => vec![unreadable(client, one).await?],
            Course::Stay(spec) => drifted(client, one, &spec).await?,
            Course::Follow(renamed) => vec![moved(client, &renamed).await?],
        });
    }
    let tables = words::count(watched.len() as u64, "table");
    let fine = format!("of {tables}, all in place");
    Ok(or_ok(findings, CHECK, &fine))
}

/// What is wrong with a table that has the name it was installed under.
pub(in crate::commands) async fn drifted(
    client: &Client,
    watched: &Watched,
    spec: &TriggerSpec,
) -> Findings {
    let drifts = trigger::verify(client, std::slice::from_ref(spec)).await?;
    if drifts.is_empty() {
        return Ok(Vec::new());
    }
    let refusal = refusal(client, spec).await?;
    let mut findings = Vec::with_capacity(drifts.len());
    for drift in &drifts {
        findings.push(judge(client, drift, watched, spec, refusal.as_deref()).await?);
    }
    Ok(findings)
}

pub(in crate::commands) async fn moved(
    client: &Client,
    renamed: &Renamed,
) -> Result<Finding, Failure> {
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
        (None, _) => command(client, &renamed.spec).await?,
    };
    Ok(Finding::new(CHECK, Verdict::Failed, text).fix(fix))
}

async fn judge(
    client: &Client,
    drift: &Drift,
    watched: &Watched,
    spec: &TriggerSpec,
    refusal: Option<&str>,
) -> Result<Finding, Failure> {
    let result = match drift.is_deaf() {
        true => Verdict::Failed,
        false => Verdict::Warning,
    };
    let text = drift.to_string();
    let (text, fix) = match (&drift.kind, refusal) {
        (DriftKind::TableMissing, _) => {
            let (table, function) = (spec.table(), &watched.function);
            let text = format!("{table} does not exist any more; {function} is left over");
            (text, uninstall(table))
        }
        (DriftKind::Unfit { .. }, _) => {
            let fitting = trigger::fitting(client, spec.clone()).await?;
            let fix = match self::refusal(client, &fitting).await? {
                None => command(client, &fitting).await?,
                // Something else has the name of a table that was dropped.
                Some(_) if watched.table.is_none() => uninstall(spec.table()),
                Some(why) => format!("{why}; or {}", uninstall(spec.table())),
            };
            (text, fix)
        }
        (DriftKind::AmbiguousKey { column, .. }, _) => {
            let text = text.rsplit_once("; ").map_or(&*text, |(text, _)| text);
            let table = words::quoted(spec.table());
            let fix = format!(
                "have {column:?} hold one text for each value (a CHECK, a scale for numeric) and ask by that text; or take \
                 another key: pgherald install {table} --key …"
            );
            (text.to_owned(), fix)
        }
        (_, None) => (text, UPGRADE.to_owned()),
        (_, Some(why)) => {
            let text = text
                .strip_suffix("; install the triggers again")
                .map_or(&*text, |text| text);
            (text.to_owned(), why.to_owned())
        }
    };
    Ok(Finding::new(CHECK, result, text).fix(fix))
}

fn uninstall(table: &TableName) -> String {
    format!("pgherald uninstall {} --commit", words::quoted(table))
}

pub(in crate::commands) async fn unreadable(
    client: &Client,
    watched: &Watched,
) -> Result<Finding, Failure> {
    let function = &watched.function;
    let text = format!("the comment of {function} does not tell what it was made for");
    let finding = |text| Finding::new(CHECK, Verdict::Failed, text);
    let Some(table) = &watched.table else {
        // With it go triggers on what were partitions of a table that is gone.
        return Ok(finding(text).fix(format!("DROP FUNCTION {function}() CASCADE;")));
    };
    let spec = TriggerSpec::new(table.clone());
    let (mode, spec) = match watched.is_outbox {
        Some(true) => ("outbox", spec.outbox()),
        Some(false) => ("notify", spec),
        None => ("…", spec),
    };
    if let Some(why) = refusal(client, &spec).await? {
        return Ok(finding(text).fix(why));
    }
    let text = format!("{text}; add the options that {table} was installed with");
    let table = words::quoted(table);
    Ok(finding(text).fix(format!("pgherald install {table} --mode {mode} --commit")))
}

/// Where somebody has told the server not to fire triggers.
pub(super) async fn replication_role(client: &Client) -> Findings {
    let check = "replication role";
    let sql = include_str!("replication_role.sql");
    let found = wrong(client, check, Verdict::Failed, sql, &[]).await?;
    Ok(or_ok(found, check, "triggers fire for all roles"))
}
