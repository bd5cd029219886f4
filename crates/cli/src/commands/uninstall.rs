//! `pgherald uninstall`.

use std::process::ExitCode;

use pgherald_core::__private::host;
use pgherald_core::__private::host::trigger::Watched;
use pgherald_core::TableName;
use pgherald_core::trigger::{self, Plan};
use tokio_postgres::Client;

use super::group;
use super::plan::{IDLE, Messages, conclude};
use crate::arguments::Uninstall;
use crate::database::Database;
use crate::failure::Failure;
use crate::output::Output;
use crate::tables::{Named, find};
use crate::words;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    uninstall: &Uninstall,
) -> Result<ExitCode, Failure> {
    let client = database.client().await?;
    let (plan, done, notes) = match uninstall.all {
        true => everything(&client).await?,
        false => some(&client, &uninstall.tables).await?,
    };
    let messages = Messages {
        done: &done,
        idle: IDLE,
        notes: &notes,
        ..Messages::default()
    };
    conclude(&client, output, &plan, uninstall.commit, &messages).await
}

async fn everything(client: &Client) -> Result<(Plan, String, Vec<String>), Failure> {
    let plan = trigger::plan_uninstall_all(client).await?;
    let groups = groups(client).await?.filter(|_| !plan.is_empty());
    let notes = groups.map(|groups| {
        format!("Removed with the outbox: {groups}, with all unhandled events and dead letters.")
    });
    let done = "Removed everything.".to_owned();
    Ok((plan, done, notes.into_iter().collect()))
}

async fn some(client: &Client, typed: &[String]) -> Result<(Plan, String, Vec<String>), Failure> {
    let actual = host::trigger::inspect_all(client, &[]).await?;
    let watched = actual.watched();
    let named = find(client, typed, &watched).await?;
    let tables: Vec<_> = named.iter().map(|named| named.table.clone()).collect();
    // What a dropped table left behind counts as part of the table that now has its name.
    let is_of = |one: &Watched, table: &TableName| match &one.table {
        Some(now) => now == table,
        None => one.spec.as_ref().is_some_and(|spec| spec.table() == table),
    };
    for Named { table, exists } in &named {
        let is_watched = watched.iter().any(|one| is_of(one, table));
        let mut others = watched.iter();
        if let Some(other) = others.find(|one| one.former() == Some(table))
            && let Some(now) = &other.table
        {
            return Err(match is_watched {
                false => Failure::problem(format!("{table} was renamed to {now}"))
                    .hint(format!("pgherald uninstall {}", words::table(now))),
                // Otherwise a later upgrade would confuse the two tables.
                true => Failure::problem(format!(
                    "{now} was called {table} before, and its changes still come under that name"
                ))
                .hint("pgherald upgrade --commit, then repeat this command"),
            });
        }
        // What a dropped table left behind can be removed.
        if !exists && !is_watched {
            let message = format!("there is no table {table}, and nothing is installed for it");
            return Err(Failure::problem(message).hint("pgherald status lists what is installed"));
        }
    }
    let actual = host::trigger::inspect_all(client, &tables.iter().collect::<Vec<_>>()).await?;
    let plan = actual.plan_uninstall(&tables)?;
    let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
    let is_removed = |one: &Watched| tables.iter().any(|table| is_of(one, table));
    let note = match !plan.is_empty() && watched.iter().all(is_removed) {
        false => None,
        true => groups(client).await?.map(|groups| {
            format!("The outbox stays for {groups}; pgherald uninstall --all removes it as well.")
        }),
    };
    let done = format!("Removed from {}.", names.join(", "));
    Ok((plan, done, note.into_iter().collect()))
}

/// Lists the existing groups, if there are any.
async fn groups(client: &Client) -> Result<Option<String>, Failure> {
    let names = group::names_if_any(client).await?.unwrap_or_default();
    Ok(match &*names {
        [] => None,
        [name] => Some(format!("group {name}")),
        names => Some(format!("groups {}", names.join(", "))),
    })
}
