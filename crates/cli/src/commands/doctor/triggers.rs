//! Whether the triggers that were installed are still there, and fire.

use pgherald_core::TableName;
use pgherald_core::trigger::{self, Drift, DriftKind, TriggerSpec, Watched};
use tokio_postgres::Client;

use super::UPGRADE;
use super::finding::{Finding, Findings, Verdict, or_ok, wrong};
use crate::commands::install::{Shape, command};
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
        findings.extend(look(client, one).await?);
    }
    let tables = words::count(watched.len() as u64, "table");
    let fine = format!("of {tables}, all in place");
    Ok(or_ok(findings, CHECK, &fine))
}

/// What is wrong with one table.
pub(super) async fn look(client: &Client, watched: &Watched) -> Findings {
    let Some(spec) = &watched.spec else {
        return Ok(vec![unreadable(watched)]);
    };
    let drifts = trigger::verify(client, std::slice::from_ref(spec)).await?;
    if drifts.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(now) = moved(client, watched, spec, &drifts).await? {
        let former = spec.table();
        let text = format!("{former} is now {now}, and its changes come under the former name");
        let shape = Shape::of(client, now).await?;
        let fix = command(now, spec, &shape);
        return Ok(vec![Finding::new(CHECK, Verdict::Failed, text).fix(fix)]);
    }
    let refusal = refusal(client, spec).await?;
    let mut findings = Vec::with_capacity(drifts.len());
    for drift in &drifts {
        findings.push(judge(client, drift, watched, spec, refusal.as_deref()).await?);
    }
    Ok(findings)
}

/// What `spec` stands for now: of a table that was renamed, what is to stay with it.
pub(in crate::commands) async fn present(
    client: &Client,
    watched: &Watched,
    spec: &TriggerSpec,
) -> Result<TriggerSpec, Failure> {
    let drifts = trigger::verify(client, std::slice::from_ref(spec)).await?;
    let now = moved(client, watched, spec, &drifts).await?;
    let table = now.unwrap_or(spec.table()).clone();
    Ok(spec.clone().for_table(table))
}

/// What the table is called now that has the triggers, if they are to stay with it: its name has gone to something that they
/// do not fit, to nothing, or to another table of ours.
async fn moved<'a>(
    client: &Client,
    watched: &'a Watched,
    spec: &TriggerSpec,
    drifts: &[Drift],
) -> Result<Option<&'a TableName>, Failure> {
    let Some(now) = watched.table.as_ref().filter(|now| *now != spec.table()) else {
        return Ok(None);
    };
    let is_of_use = |drift: &Drift| {
        !matches!(
            drift.kind,
            DriftKind::TableMissing | DriftKind::Unfit { .. }
        )
    };
    let others = trigger::watched_of(client, spec.table()).await?;
    let is_swapped = others.iter().any(|one| one.function != watched.function);
    Ok((is_swapped || !drifts.iter().all(is_of_use)).then_some(now))
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
            let fix = format!("pgherald uninstall {} --commit", words::quoted(table));
            let text = format!("{table} does not exist any more; {function} is left over");
            (text, fix)
        }
        (DriftKind::Unfit { .. }, _) => {
            let shape = Shape::of(client, &drift.table).await?;
            (text, command(&drift.table, spec, &shape))
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
        None => finding(text).fix(format!("DROP FUNCTION {function}();")),
    }
}

/// Where somebody has told the server not to fire triggers.
pub(super) async fn replication_role(client: &Client) -> Findings {
    let check = "replication role";
    let sql = include_str!("replication_role.sql");
    let found = wrong(client, check, Verdict::Failed, sql, &[]).await?;
    Ok(or_ok(found, check, "triggers fire for all roles"))
}
