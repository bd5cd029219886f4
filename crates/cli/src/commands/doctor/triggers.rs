//! Whether the triggers that were installed are still there, and fire.

use pgherald_core::TableName;
use pgherald_core::trigger::{self, Drift, DriftKind, TriggerSpec, Watched};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::UPGRADE;
use super::finding::{Finding, Findings, Verdict, or_ok, rows, wrong};
use crate::commands::install::{Shape, command};
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
        return unreadable(client, watched).await;
    };
    let drifts = trigger::verify(client, std::slice::from_ref(spec)).await?;
    if drifts
        .iter()
        .any(|drift| drift.kind == DriftKind::TableMissing)
    {
        return gone(client, watched, spec).await;
    }
    let mut findings = Vec::with_capacity(drifts.len());
    for drift in &drifts {
        findings.push(judge(client, drift, spec).await?);
    }
    Ok(findings)
}

async fn judge(client: &Client, drift: &Drift, spec: &TriggerSpec) -> Result<Finding, Failure> {
    let result = match drift.is_deaf() {
        true => Verdict::Failed,
        false => Verdict::Warning,
    };
    let finding = Finding::new(CHECK, result, drift.to_string());
    Ok(finding.fix(match drift.kind {
        DriftKind::Unfit { .. } => {
            let shape = Shape::of(client, &drift.table).await?;
            command(&drift.table, spec, &shape)
        }
        _ => UPGRADE.to_owned(),
    }))
}

/// The function of a table that does not exist under the name that it was installed with.
async fn gone(client: &Client, watched: &Watched, spec: &TriggerSpec) -> Findings {
    let table = spec.table();
    let finding = |text| Finding::new(CHECK, Verdict::Failed, text);
    let Some((now, _)) = table_of(client, watched).await? else {
        let text = format!(
            "{table} does not exist any more; {} is left over",
            watched.function
        );
        let fix = format!("pgherald uninstall {} --commit", words::table(table));
        return Ok(vec![finding(text).fix(fix)]);
    };
    let text = format!("{table} is now {now}, and its changes come under the former name");
    let shape = Shape::of(client, &now).await?;
    Ok(vec![finding(text).fix(command(&now, spec, &shape))])
}

async fn unreadable(client: &Client, watched: &Watched) -> Findings {
    let function = &watched.function;
    let text = format!("the comment of {function} does not tell what it was made for");
    let finding = |text| Finding::new(CHECK, Verdict::Failed, text);
    Ok(vec![match table_of(client, watched).await? {
        Some((table, outbox)) => {
            let text = format!("{text}; add the options that {table} was installed with");
            let mode = if outbox { "outbox" } else { "notify" };
            let table = words::table(&table);
            finding(text).fix(format!("pgherald install {table} --mode {mode} --commit"))
        }
        None => finding(text).fix(format!("DROP FUNCTION {function}();")),
    }])
}

/// The table whose triggers call the function, and whether it records changes in the outbox.
async fn table_of(
    client: &Client,
    watched: &Watched,
) -> Result<Option<(TableName, bool)>, Failure> {
    let sql = include_str!("table_of.sql");
    let rows = rows(client, sql, &[(&watched.function, Type::TEXT)]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let table = TableName::new(row.try_get::<_, &str>(0)?, row.try_get::<_, &str>(1)?)?;
    Ok(Some((table, row.try_get(2)?)))
}

/// Where somebody has told the server not to fire triggers.
pub(super) async fn replication_role(client: &Client) -> Findings {
    let check = "replication role";
    let sql = include_str!("replication_role.sql");
    let found = wrong(client, check, Verdict::Failed, sql, &[]).await?;
    Ok(or_ok(found, check, "triggers fire for all roles"))
}
