//! Checks for changes that fire no ordinary triggers: changes by sessions whose `session_replication_role` is `replica`, and
//! changes that a subscription applies.

use pgherald_core::__private::host;
use pgherald_core::__private::host::trigger::SpecParts;
use pgherald_core::trigger;
use tokio_postgres::Client;

use super::finding::{Finding, Findings, Verdict, or_ok, rows, value, wrong};
use crate::commands::install::command;
use crate::commands::plan::refusal;

/// The first server version whose subscriptions can apply prepared transactions.
const HAS_TWO_PHASE: i32 = 150_000;

/// Checks for roles, databases and sessions in which triggers do not fire.
pub(super) async fn role(client: &Client) -> Findings {
    let check = "replication role";
    let sql = include_str!("replication_role.sql");
    let found = wrong(client, check, Verdict::Failed, sql, &[]).await?;
    if found.is_empty() {
        return Ok(vec![Finding::ok(check, "triggers fire for all roles")]);
    }
    let watched = host::trigger::inspect_all(client, &[]).await?.watched();
    let mut specs = watched.iter().map(|one| one.spec.as_ref());
    let all_fire = specs.all(|spec| spec.is_some_and(trigger::TriggerSpec::is_replicated));
    Ok(match all_fire && !watched.is_empty() {
        true => {
            let text =
                "triggers fire for all roles, also where session_replication_role is replica";
            vec![Finding::ok(check, text)]
        }
        false => found,
    })
}

/// Checks for watched tables to which a subscription writes, if their triggers do not fire for its rows, or make it fail.
pub(super) async fn subscriptions(client: &Client) -> Findings {
    let check = "subscriptions";
    let written = rows(client, include_str!("subscriptions.sql"), &[]).await?;
    if written.is_empty() {
        return Ok(vec![Finding::ok(
            check,
            "no subscription writes a watched table",
        )]);
    }
    let actual = host::trigger::inspect_all(client, &[]).await?;
    let watched = actual.watched();
    let mut found = Vec::new();
    for row in &written {
        let (function, relation): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        let watched = watched.iter().find(|one| one.function == function);
        // The check of triggers reports a function without a specification.
        let Some(spec) = watched.and_then(host::trigger::Watched::current) else {
            continue;
        };
        if spec.is_replicated() {
            continue;
        }
        let text = format!(
            "a subscription writes {relation}, and triggers of {} do not fire for its rows",
            spec.table()
        );
        let spec = spec.replicated();
        let fix = match refusal(&actual, &spec) {
            None => command(&actual, &spec),
            Some(why) => why,
        };
        found.push(Finding::new(check, Verdict::Failed, text).fix(fix));
    }
    let version = "SELECT current_setting('server_version_num')::int4";
    if value::<i32>(client, version).await? >= HAS_TWO_PHASE {
        let sql = include_str!("two_phase.sql");
        found.extend(wrong(client, check, Verdict::Warning, sql, &[]).await?);
    }
    Ok(or_ok(
        found,
        check,
        "triggers fire for the rows of subscriptions",
    ))
}
