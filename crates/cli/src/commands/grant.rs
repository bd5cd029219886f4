//! `pgherald grant`.

use std::process::ExitCode;

use pgherald_core::__private::host;
use tokio_postgres::Client;

use super::plan::{Messages, present, replanned};
use crate::arguments::{Grant, Purpose};
use crate::database::Database;
use crate::failure::Failure;
use crate::guarded::guarded;
use crate::output::Output;
use crate::rights::{Change, Rights};

/// Begins the transaction of the grants. With this `search_path`, names in the statements resolve to the server's own types.
/// `lock_timeout` is set because GRANT waits for a transaction that has altered an object or granted rights on it, and meanwhile
/// keeps its locks on the objects before it.
const BEGIN: &str =
    "BEGIN;\nSET LOCAL search_path = pg_catalog, pg_temp;\nSET LOCAL lock_timeout = '2s';\n";

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    grant: &Grant,
) -> Result<ExitCode, Failure> {
    let client = database.client().await?;
    replanned(async || run_once(&client, output, grant).await).await
}

async fn run_once(
    client: &Client,
    output: &mut Output,
    grant: &Grant,
) -> Result<ExitCode, Failure> {
    let rights = guarded(client, Rights::of(client, &grant.role)).await?;
    let rights = rights.ok_or_else(|| no_role(&grant.role))?;
    refuse(&rights, grant.to)?;
    if rights.has_outbox {
        host::trigger::require_version(client).await?;
    }
    let grants = rights.grants(grant.to);
    if grant.commit && !grants.is_empty() {
        apply(client, &rights, grant.to, &grants).await?;
    }
    let sql = match grants.is_empty() {
        true => String::new(),
        false => format!("{BEGIN}{}COMMIT;\n", statements(&grants)),
    };
    let messages = Messages {
        done: &format!("Role {} may {}.", grant.role, words(grant.to)),
        idle: &idle(&rights, grant.to),
        notes: &notes(&rights, grant.to),
        ..Messages::default()
    };
    present(output, &[], &sql, grant.commit, &messages)
}

/// Returns what a role with this purpose does, as a verb.
pub(super) fn words(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Read => "read",
        Purpose::Consume => "run groups",
        Purpose::Install => "install",
    }
}

fn statements(changes: &[Change]) -> String {
    let lines = changes.iter();
    lines
        .map(|change| format!("{}\n", change.statement))
        .collect()
}

fn no_role(role: &str) -> Failure {
    let failure = Failure::problem(format!("there is no role {role:?}"));
    match role.eq_ignore_ascii_case("public") {
        true => failure.hint("PUBLIC means every role: name the role of one program"),
        false => failure.hint(
            "write the name as \\du of psql shows it, with its capitals and without quotes; CREATE ROLE … LOGIN; creates a role",
        ),
    }
}

/// Refuses a purpose that the role cannot have here.
fn refuse(rights: &Rights, purpose: Purpose) -> Result<(), Failure> {
    if rights.is_superuser {
        return Ok(());
    }
    let missing = match (purpose, rights.installer()) {
        (Purpose::Install, Some(owner)) => {
            let message = format!(
                "role {} cannot install: schema pgherald belongs to role {}, and one role installs all tables of a database",
                rights.role, owner.name
            );
            return Err(Failure::problem(message).hint(format!(
                "install as role {}; its members do so with PGOPTIONS='-c role=…'",
                owner.name
            )));
        }
        (Purpose::Install, None) => return Ok(()),
        (_, _) if rights.owner.is_none() => "there is no schema pgherald",
        (Purpose::Consume, _) if !rights.has_outbox => "there is no outbox",
        _ => return Ok(()),
    };
    let message = format!("{missing}: nothing can be granted on it yet");
    Err(Failure::problem(message).hint("first run pgherald install TABLE --mode outbox --commit"))
}

/// Runs the grants: all of them or none.
async fn apply(
    client: &Client,
    rights: &Rights,
    purpose: Purpose,
    grants: &[Change],
) -> Result<(), Failure> {
    let owner = rights.owner.as_ref();
    let owner = owner.map_or("of the database", |owner| &owner.name);
    let hint = format!("run it as role {owner}, or as a superuser");
    let run = async {
        let sql = format!("{BEGIN}{}", statements(grants));
        client.batch_execute(&sql).await?;
        let now = Rights::of(client, &rights.role).await?;
        // The server only warns if the granting role may not grant a right, so compare the result.
        match now.is_some_and(|now| now.grants(purpose).is_empty()) {
            true => Ok(client.batch_execute("COMMIT").await?),
            false => {
                let message = "this role may not grant all of these rights; nothing was changed";
                Err(Failure::problem(message).hint(hint.clone()))
            }
        }
    };
    let Err(failure) = run.await else {
        return Ok(());
    };
    client.batch_execute("ROLLBACK").await?;
    Err(match failure.is_forbidden() {
        true => failure.hint(hint),
        false => failure,
    })
}

/// Returns the message if nothing has to be granted.
fn idle(rights: &Rights, purpose: Purpose) -> String {
    let role = &rights.role;
    let may = words(purpose);
    match &rights.owner {
        _ if rights.is_superuser => {
            format!("Nothing to do: role {role} is a superuser. Give programs roles of their own.")
        }
        Some(owner) if rights.is_owner && owner.name == *role => {
            format!("Nothing to do: role {role} owns schema pgherald.")
        }
        Some(owner) if rights.is_owner => format!(
            "Nothing to do: role {role} has the rights of role {}, which owns schema pgherald.",
            owner.name
        ),
        _ => format!("Nothing to do: role {role} may {may}."),
    }
}

fn notes(rights: &Rights, purpose: Purpose) -> Vec<String> {
    if rights.is_superuser || rights.is_owner {
        return Vec::new();
    }
    let mut notes = Vec::new();
    if !rights.has_outbox && purpose == Purpose::Read {
        notes.push("There is no outbox yet: run this again when there is one.".to_owned());
    }
    if purpose == Purpose::Install {
        notes.push(format!(
            "Role {} also has to own the tables that it installs on.",
            rights.role
        ));
    }
    let more = rights.revokes(purpose).into_iter();
    notes.extend(more.map(|change| {
        format!(
            "Role {} has more rights than it needs to {}: {}",
            rights.role,
            words(purpose),
            change.statement
        )
    }));
    notes
}
