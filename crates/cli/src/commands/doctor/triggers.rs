//! Whether the triggers that were installed are still there, and fire.

use pgherald_core::TableName;
use pgherald_core::trigger::{self, Drift, DriftKind, TriggerSpec, Watched};
use tokio_postgres::Client;

use super::UPGRADE;
use super::finding::{Finding, Findings, Verdict, or_ok, wrong};
use crate::commands::install::command;
use crate::commands::plan::{heir, is_overtaken, refusal};
use crate::failure::Failure;
use crate::words;

const CHECK: &str = "triggers";

pub(super) async fn check(client: &Client) -> Findings {
    let watched = trigger::watched(client).await?;
    if watched.is_empty() {
        return Ok(vec![Finding::ok(CHECK, "none are installed")]);
    }
    let mut findings = Vec::new();
    for one in watched.iter().filter(|one| !is_overtaken(one, &watched)) {
        findings.extend(look(client, one).await?);
    }
    let tables = words::count(watched.len() as u64, "table");
    let fine = format!("of {tables}, all in place");
    Ok(or_ok(findings, CHECK, &fine))
}

/// What is wrong with one table.
pub(super) async fn look(client: &Client, watched: &Watched) -> Findings {
    let Some(spec) = watched.current() else {
        return Ok(vec![unreadable(watched)]);
    };
    if let Some(former) = watched.former() {
        return Ok(vec![renamed(client, watched, former, spec).await?]);
    }
    let drifts = trigger::verify(client, std::slice::from_ref(&spec)).await?;
    if drifts.is_empty() {
        return Ok(Vec::new());
    }
    let refusal = refusal(client, &spec).await?;
    let mut findings = Vec::with_capacity(drifts.len());
    for drift in &drifts {
        findings.push(judge(client, drift, watched, &spec, refusal.as_deref()).await?);
    }
    Ok(findings)
}

async fn renamed(
    client: &Client,
    watched: &Watched,
    former: &TableName,
    spec: TriggerSpec,
) -> Result<Finding, Failure> {
    let now = spec.table();
    let text = format!("{former} is now {now}, and its changes come under the former name");
    let finding = |text| Finding::new(CHECK, Verdict::Failed, text);
    if heir(client, watched).await?.is_some() {
        let text = format!("{text}; the table that is {former} now is not watched");
        return Ok(finding(text).fix(UPGRADE));
    }
    Ok(finding(text).fix(reinstall(client, spec).await?))
}

/// The command that installs what still fits of `spec`; or why nothing does.
async fn reinstall(client: &Client, spec: TriggerSpec) -> Result<String, Failure> {
    let spec = trigger::fitting(client, spec).await?;
    match refusal(client, &spec).await? {
        Some(why) => Ok(why),
        None => command(client, &spec).await,
    }
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
                Some(why) => why,
            };
            (text, fix)
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

fn unreadable(watched: &Watched) -> Finding {
    let function = &watched.function;
    let text = format!("the comment of {function} does not tell what it was made for");
    let finding = |text| Finding::new(CHECK, Verdict::Failed, text);
    match &watched.table {
        Some(table) => {
            let text = format!("{text}; add the options that {table} was installed with");
            let mode = match watched.is_outbox {
                Some(true) => "outbox",
                Some(false) => "notify",
                None => "…",
            };
            let table = words::quoted(table);
            finding(text).fix(format!("pgherald install {table} --mode {mode} --commit"))
        }
        // With it go triggers on what were partitions of a table that is gone.
        None => finding(text).fix(format!("DROP FUNCTION {function}() CASCADE;")),
    }
}

/// Where somebody has told the server not to fire triggers.
pub(super) async fn replication_role(client: &Client) -> Findings {
    let check = "replication role";
    let sql = include_str!("replication_role.sql");
    let found = wrong(client, check, Verdict::Failed, sql, &[]).await?;
    Ok(or_ok(found, check, "triggers fire for all roles"))
}
