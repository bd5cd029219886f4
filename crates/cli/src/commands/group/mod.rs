//! `pgherald group`.
//!
//! ```text
//!   list, show ── state: requirements, lag, consumers ──► report
//!   pause, resume, seek, delete ── operations of core ──► outcome: what was done, and the state of the group
//! ```

mod delete;
mod list;
mod outcome;
mod seek;
mod show;
pub(super) mod state;

use std::process::ExitCode;
use std::sync::Arc;

use pgherald_core::group;
use tokio_postgres::Client;

use self::state::has_outbox;
use crate::arguments::Group;
use crate::database::Database;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    arguments: &Group,
) -> Result<ExitCode, Failure> {
    let client = Arc::new(database.client().await?);
    let name = match arguments {
        Group::List => return list::list(&client, output).await,
        Group::Show { group }
        | Group::Pause { group }
        | Group::Resume { group }
        | Group::Seek { group, .. }
        | Group::Delete { group, .. } => group,
    };
    must_exist(&client, name).await?;
    let group = group::Group::new(&client, name);
    match arguments {
        Group::List => Ok(ExitCode::SUCCESS),
        Group::Show { .. } => show::show(&client, output, name).await,
        Group::Pause { .. } => {
            group.pause().await?;
            let done =
                format!("Group {name} is paused: running attempts finish, and no new ones start.");
            outcome::conclude(output, &group.status().await?, &done, Vec::new())
        }
        Group::Resume { .. } => {
            group.resume().await?;
            let done = format!("Group {name} is resumed.");
            outcome::conclude(output, &group.status().await?, &done, Vec::new())
        }
        Group::Seek { to, commit, .. } => {
            seek::seek(&client, output, &group, name, to, *commit).await
        }
        Group::Delete { commit, .. } => delete::delete(&client, output, name, *commit).await,
    }
}

fn no_outbox() -> Failure {
    Failure::problem("there is no outbox in this database, and therefore no group")
        .hint("pgherald install TABLE --mode outbox --commit")
}

/// Fails if there is no outbox.
pub(super) async fn must_have_outbox(client: &Client) -> Result<(), Failure> {
    match has_outbox(client).await? {
        true => Ok(()),
        false => Err(no_outbox()),
    }
}

/// Returns the names of all groups. Fails if there is no outbox.
pub(super) async fn names(client: &Client) -> Result<Vec<String>, Failure> {
    names_if_any(client).await?.ok_or_else(no_outbox)
}

/// Returns the names of all groups. `None` if there is no outbox.
pub(super) async fn names_if_any(client: &Client) -> Result<Option<Vec<String>>, Failure> {
    if !has_outbox(client).await? {
        return Ok(None);
    }
    let sql = "SELECT name FROM pgherald.consumer_group ORDER BY name";
    let rows = client.query(sql, &[]).await?;
    let names = rows.iter().map(|row| Ok(row.try_get(0)?));
    names.collect::<Result<_, Failure>>().map(Some)
}

/// Fails if there is no such group. The hint lists the existing groups.
pub(super) async fn must_exist(client: &Client, name: &str) -> Result<(), Failure> {
    let names = names(client).await?;
    if names.iter().any(|other| other == name) {
        return Ok(());
    }
    let hint = match &*names {
        [] => "there is no group yet: a group is created by its first consumer".to_owned(),
        names => format!(
            "existing groups: {}; a group is created by its first consumer",
            names.join(", ")
        ),
    };
    Err(Failure::problem(format!("there is no group {name:?}")).hint(hint))
}
