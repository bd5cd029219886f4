//! `pgherald uninstall`.

use std::process::ExitCode;

use pgherald_core::TableName;
use pgherald_core::trigger::{self, Plan, Watched};
use tokio_postgres::Client;

use super::group;
use super::plan::conclude;
use crate::arguments::Uninstall;
use crate::database::Database;
use crate::failure::Failure;
use crate::output::Output;
use crate::tables::{Named, find};

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    uninstall: &Uninstall,
) -> Result<ExitCode, Failure> {
    let client = database.client().await?;
    let (plan, done, notes) = match uninstall.all {
        true => everything(&client).await?,
        false => some(&client, &find(&client, &uninstall.tables).await?).await?,
    };
    conclude(&client, output, &plan, uninstall.commit, &done, &notes).await
}

async fn everything(client: &Client) -> Result<(Plan, String, Vec<String>), Failure> {
    let plan = trigger::plan_uninstall_all(client).await?;
    let notes = groups(client).await?.map(|groups| {
        format!("With the outbox go {groups}: what they have not handled, and their dead letters.")
    });
    let done = "Removed everything.".to_owned();
    Ok((plan, done, notes.into_iter().collect()))
}

async fn some(client: &Client, named: &[Named]) -> Result<(Plan, String, Vec<String>), Failure> {
    let watched = trigger::watched(client).await?;
    let is_of = |one: &Watched, table: &TableName| {
        one.spec.as_ref().is_some_and(|spec| spec.table() == table)
    };
    for Named { table, exists } in named {
        // What a table left behind that was dropped may go.
        if !exists && !watched.iter().any(|one| is_of(one, table)) {
            let message = format!("there is no table {table}, and nothing is left of one");
            return Err(Failure::problem(message).hint("pgherald status lists what is installed"));
        }
    }
    let tables: Vec<_> = named.iter().map(|named| named.table.clone()).collect();
    let plan = trigger::plan_uninstall(client, &tables).await?;
    let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
    let is_left = |one: &Watched| !tables.iter().any(|table| is_of(one, table));
    let note = match watched.iter().any(is_left) {
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
