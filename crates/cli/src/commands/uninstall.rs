//! `pgherald uninstall`.

use std::collections::HashSet;
use std::process::ExitCode;

use pgherald_core::trigger::{self, Plan};
use tokio_postgres::Client;

use super::group;
use super::plan::{IDLE, Said, conclude};
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
    let said = Said {
        done: &done,
        idle: IDLE,
        notes: &notes,
    };
    conclude(&client, output, &plan, uninstall.commit, &said).await
}

async fn everything(client: &Client) -> Result<(Plan, String, Vec<String>), Failure> {
    let plan = trigger::plan_uninstall_all(client).await?;
    let notes = groups(client).await?.map(|groups| {
        format!("With the outbox go {groups}: what they have not handled, and their dead letters.")
    });
    let done = "Removed everything.".to_owned();
    Ok((plan, done, notes.into_iter().collect()))
}

async fn some(client: &Client, typed: &[String]) -> Result<(Plan, String, Vec<String>), Failure> {
    let watched = trigger::watched(client).await?;
    let named = find(client, typed, &watched).await?;
    let tables: Vec<_> = named.iter().map(|named| named.table.clone()).collect();
    let mut gone = HashSet::new();
    let of_tables = trigger::watched_of(client, &tables).await?;
    for (Named { table, exists }, of_table) in named.iter().zip(of_tables) {
        let mut others = watched.iter();
        if let Some(other) = others.find(|one| one.former() == Some(table))
            && let Some(now) = &other.table
        {
            return Err(match of_table.is_empty() {
                true => Failure::problem(format!("{table} is now {now}"))
                    .hint(format!("pgherald uninstall {}", words::quoted(now))),
                // To be told from it, an upgrade would take the one for the other later.
                false => Failure::problem(format!(
                    "{now} was called {table} before, and its changes still come under that name"
                ))
                .hint("pgherald upgrade --commit, and then this again"),
            });
        }
        // What a table left behind that was dropped may go.
        if !exists && of_table.is_empty() {
            let message = format!("there is no table {table}, and nothing is left of one");
            return Err(Failure::problem(message).hint("pgherald status lists what is installed"));
        }
        gone.extend(of_table.into_iter().map(|one| one.function));
    }
    let plan = trigger::plan_uninstall(client, &tables).await?;
    let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
    let note = match watched.iter().any(|one| !gone.contains(&one.function)) {
        true => None,
        false => groups(client).await?.map(|groups| {
            format!("The outbox stays, for {groups}: pgherald uninstall --all removes it as well.")
        }),
    };
    let done = format!("Removed from {}.", names.join(", "));
    Ok((plan, done, note.into_iter().collect()))
}

/// The groups there are, if there are any.
async fn groups(client: &Client) -> Result<Option<String>, Failure> {
    let names = group::names_if_any(client).await?.unwrap_or_default();
    Ok(match &*names {
        [] => None,
        [name] => Some(format!("group {name}")),
        names => Some(format!("groups {}", names.join(", "))),
    })
}
