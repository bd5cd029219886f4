//! Checks the rights of this role: it has the rights that it needs, and no others.

use tokio_postgres::Client;

use super::finding::{Finding, Findings, Verdict, or_ok, rows, value, wrong};
use crate::arguments::Purpose;
use crate::commands::grant::words;
use crate::failure::Failure;
use crate::rights::{Change, Rights};

const CHECK: &str = "rights";

pub(super) async fn check(client: &Client) -> Findings {
    let role: String = value(client, "SELECT current_user::text").await?;
    let rights = Rights::of(client, &role).await?;
    let rights = rights.ok_or_else(|| Failure::problem(format!("there is no role {role:?}")))?;
    let mut found = granted(&rights);
    found.extend(recorders(client).await?);
    let sql = include_str!("rights.sql");
    found.extend(wrong(client, CHECK, Verdict::Warning, sql, &[]).await?);
    Ok(or_ok(found, CHECK, &fine(&rights)))
}

/// Reports rights that triggers lack. Triggers run with the rights of the role that installed them, and writes to their tables
/// fail without these rights.
async fn recorders(client: &Client) -> Findings {
    let mut found = Vec::new();
    for row in rows(client, include_str!("recorders.sql"), &[]).await? {
        let (role, records, tables): (&str, bool, &str) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let Some(rights) = Rights::of(client, role).await? else {
            continue;
        };
        found.extend(rights.grants_of_triggers(records).into_iter().map(|change| {
            let text = format!(
                "writes to {tables} fail: their triggers run with the rights of role {role}, which lacks {}",
                change.rights
            );
            Finding::new(CHECK, Verdict::Failed, text).fix(change.statement)
        }));
    }
    Ok(found)
}

fn granted(rights: &Rights) -> Vec<Finding> {
    let (role, purpose) = (&rights.role, rights.purpose());
    let may = words(purpose);
    let missing = |change: Change| {
        let text = format!("role {role} may not {may}: it lacks {}", change.rights);
        // A role without rights may be meant to listen only, which needs none. If there is an outbox, the role needs rights.
        let verdict = match rights.has_some() || rights.has_outbox {
            true => Verdict::Failed,
            false => Verdict::Warning,
        };
        Finding::new(CHECK, verdict, text).fix(change.statement)
    };
    let surplus = |change: Change| {
        let through = match change.grantee == rights.quoted {
            true => String::new(),
            false => format!(" through {}", change.grantee),
        };
        let text = format!(
            "role {role} has more rights than it needs to {may}: {}{through}",
            change.rights
        );
        Finding::new(CHECK, Verdict::Warning, text).fix(change.statement)
    };
    let missing = rights.grants(purpose).into_iter().map(missing);
    let surplus = rights.revokes(purpose).into_iter().map(surplus);
    missing.chain(surplus).collect()
}

fn fine(rights: &Rights) -> String {
    let role = &rights.role;
    match (&rights.owner, rights.installer()) {
        _ if rights.is_superuser => format!("role {role} is a superuser"),
        (Some(owner), None) if rights.is_owner && owner.name != *role => format!(
            "role {role} has the rights of role {0}, which installs: PGOPTIONS='-c role={0}'",
            owner.quoted
        ),
        (_, installer) => {
            let may = match rights.purpose() {
                Purpose::Read => "read, and has no other rights",
                Purpose::Consume => "run groups, and has no other rights",
                Purpose::Install if rights.is_owner => "install, read, and run groups",
                Purpose::Install => "install and read, and has no other rights",
            };
            let installs = installer.map_or(String::new(), |owner| {
                format!("; role {} installs", owner.name)
            });
            format!("role {role} may {may}{installs}")
        }
    }
}
