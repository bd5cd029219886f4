//! Checks that the installed triggers are still in place, and fire.

use std::collections::BTreeMap;

use pgherald_core::__private::host;
use pgherald_core::__private::host::trigger::{Actual, Watched};
use pgherald_core::TableName;
use pgherald_core::trigger::{Drift, DriftKind, TriggerSpec};
use tokio_postgres::Client;

use super::UPGRADE;
use super::finding::{Finding, Findings, Verdict, or_ok, wrong};
use crate::commands::install::{command, written};
use crate::commands::plan::refusal;
use crate::commands::repair::{Renamed, Repair, repair};
use crate::words;

const CHECK: &str = "triggers";

pub(super) async fn check(client: &Client) -> Findings {
    let actual = host::trigger::inspect_all(client, &[]).await?;
    let watched = actual.watched();
    if watched.is_empty() {
        return Ok(vec![Finding::ok(CHECK, "none are installed")]);
    }
    let found = watched.iter().flat_map(|one| {
        let repair = repair(&actual, &watched, one);
        problems(&actual, one, &repair)
    });
    let found = found.collect();
    let tables = words::count(watched.len() as u64, "table");
    let fine = format!("of {tables}, all in place");
    let mut findings = or_ok(found, CHECK, &fine);
    findings.extend(keys(&actual, &watched));
    Ok(findings)
}

/// Notes the key types that caches of watched tables need, because their keys have several texts for one value. The database does
/// not show whether caches use them, so this is not a problem. There is one finding for all tables that need the same key type.
fn keys(actual: &Actual, watched: &[Watched]) -> Vec<Finding> {
    /// The number of columns to name.
    const NAMED: usize = 3;
    let mut columns = BTreeMap::<_, Vec<String>>::new();
    let specs = watched.iter().filter_map(Watched::current);
    for key in specs.flat_map(|spec| actual.spelled_keys(&spec)) {
        let column = format!("{} {:?} ({})", key.table, key.column, key.type_name);
        columns.entry(key.key_types).or_default().push(column);
    }
    let finding = |(key_types, columns): (Option<&str>, Vec<String>)| {
        let named = columns[..columns.len().min(NAMED)].join(", ");
        let more = match columns.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let needed = key_types.unwrap_or("a key type of the program that normalises the text");
        let text = format!(
            "values of {named}{more} have several texts: caches of their rows need {needed}, not String"
        );
        Finding::ok("keys", text)
    };
    columns.into_iter().map(finding).collect()
}

/// Returns the problems of an installation that needs `repair`.
pub(in crate::commands) fn problems(
    actual: &Actual,
    watched: &Watched,
    repair: &Repair,
) -> Vec<Finding> {
    match repair {
        Repair::None => Vec::new(),
        Repair::Unreadable => vec![unreadable(actual, watched)],
        Repair::Same(spec) => drifted(actual, watched, spec),
        Repair::Renamed(renamed) => vec![renaming(actual, renamed)],
    }
}

/// Returns the problems of a table that still has the name under which it was installed.
fn drifted(actual: &Actual, watched: &Watched, spec: &TriggerSpec) -> Vec<Finding> {
    let drifts = actual.verify(spec);
    if drifts.is_empty() {
        return Vec::new();
    }
    let refusal = refusal(actual, spec);
    let judge = |drift| judge(actual, drift, watched, spec, refusal.as_deref());
    drifts.iter().map(judge).collect()
}

/// Returns the fix for a table that no longer has all columns of its specification.
fn fix_of_unfit(actual: &Actual, watched: &Watched, spec: &TriggerSpec) -> String {
    let table = spec.table();
    let fitting = actual.trimmed(spec.clone());
    let fitting = fitting.map_err(|error| error.chain());
    match fitting.map(|spec| (refusal(actual, &spec), spec)) {
        Ok((None, spec)) => command(actual, &spec),
        // Another object has the name of a table that was dropped.
        _ if watched.table.is_none() => uninstall(actual, table),
        Ok((Some(why), _)) | Err(why) => format!("{why}; or {}", uninstall(actual, table)),
    }
}

fn renaming(actual: &Actual, renamed: &Renamed) -> Finding {
    let (former, now) = (&renamed.former, renamed.spec.table());
    let text =
        format!("{former} was renamed to {now}, and its changes still come under the former name");
    let text = match renamed.loss() {
        Some(loss) => format!("{text}; it {loss}"),
        None => text,
    };
    let text = match &renamed.successor {
        None => text,
        Some(Ok(_)) => format!("{text}; another table is called {former} now, and is not watched"),
        Some(Err(why)) => {
            format!("{text}; another table is called {former} now, and is not watched: {why}")
        }
    };
    let fix = match (&renamed.refusal, &renamed.successor) {
        (Some(why), _) => format!("{why}; or {}", uninstall(actual, now)),
        // After an install of the renamed table alone, no finding would mention the table with its former name.
        (None, Some(Ok(_))) => UPGRADE.to_owned(),
        (None, _) => command(actual, &renamed.spec),
    };
    Finding::new(CHECK, Verdict::Failed, text).fix(fix)
}

fn judge(
    actual: &Actual,
    drift: &Drift,
    watched: &Watched,
    spec: &TriggerSpec,
    refusal: Option<&str>,
) -> Finding {
    let result = match drift.loses_changes() {
        true => Verdict::Failed,
        false => Verdict::Warning,
    };
    let text = format!("{}: {}", drift.table, drift.problem());
    let (text, fix) = match (&drift.kind, refusal) {
        (DriftKind::TableMissing, _) => {
            let (table, function) = (spec.table(), &watched.function);
            let text = format!("{table} no longer exists; {function} is left over");
            (text, uninstall(actual, table))
        }
        (DriftKind::Unfit { .. }, _) => (text, fix_of_unfit(actual, watched, spec)),
        (DriftKind::AmbiguousKey { column, .. }, _) => {
            let table = written(actual, spec.table());
            let fix = format!(
                "make sure that {column:?} holds one text for each value (a CHECK, a scale for numeric), and use that text in \
                 queries; or choose another key: pgherald install {table} --narrow --key …"
            );
            (text, fix)
        }
        (_, None) => (text, UPGRADE.to_owned()),
        (_, Some(why)) => (text, why.to_owned()),
    };
    Finding::new(CHECK, result, text).fix(fix)
}

fn uninstall(actual: &Actual, table: &TableName) -> String {
    format!("pgherald uninstall {} --commit", written(actual, table))
}

fn unreadable(actual: &Actual, watched: &Watched) -> Finding {
    let function = &watched.function;
    let text = format!("the comment of {function} does not contain its specification");
    let finding = |text| Finding::new(CHECK, Verdict::Failed, text);
    let Some(table) = &watched.table else {
        // CASCADE also drops its triggers on former partitions of a dropped table.
        return finding(text).fix(format!("DROP FUNCTION {function}() CASCADE;"));
    };
    let spec = TriggerSpec::new(table.clone());
    let (mode, spec) = match watched.is_outbox {
        Some(true) => ("outbox", spec.outbox()),
        Some(false) => ("notify", spec),
        None => ("…", spec),
    };
    if let Some(why) = refusal(actual, &spec) {
        return finding(text).fix(why);
    }
    let text = format!("{text}; add the options that {table} was installed with");
    let table = written(actual, table);
    // If the mode is unknown, the chosen mode may differ from the installed one, which requires --narrow.
    let narrow = if watched.is_outbox.is_none() {
        " --narrow"
    } else {
        ""
    };
    finding(text).fix(format!(
        "pgherald install {table} --mode {mode}{narrow} --commit"
    ))
}

/// Checks for connected listeners that require more than is installed.
pub(super) async fn listeners(client: &Client) -> Findings {
    let check = "listeners";
    let sql = include_str!("listeners.sql");
    let found = wrong(client, check, Verdict::Failed, sql, &[]).await?;
    Ok(or_ok(found, check, "no connected listener lacks triggers"))
}

/// Checks for tables whose own triggers may cause the last event of a row to have older values.
pub(super) async fn nested(client: &Client) -> Findings {
    let check = "nested statements";
    let sql = include_str!("nested.sql");
    let found = wrong(client, check, Verdict::Warning, sql, &[]).await?;
    Ok(or_ok(
        found,
        check,
        "the last event of each row has its final values",
    ))
}
