//! `pgherald install`.

use std::process::ExitCode;

use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{ChannelName, Operation, OperationSet, TableName};
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

use super::plan::{IDLE, Said, conclude};
use crate::arguments::{self, Columns, Install, Mode};
use crate::database::Database;
use crate::failure::Failure;
use crate::output::Output;
use crate::tables::{Fate, fates, place, resolve, split};
use crate::words;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    install: &Install,
) -> Result<ExitCode, Failure> {
    refuse_contradictions(install)?;
    refuse_repetitions(install)?;
    let client = database.client().await?;
    let tables = resolve(&client, &install.tables).await?;
    if install.mode.is_none() {
        refuse_to_leave_the_outbox(&client, &tables).await?;
    }
    let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
    let specs: Vec<_> = tables
        .into_iter()
        .map(|table| spec(table, install))
        .collect();
    let plan = trigger::plan(&client, &specs).await?;
    let done = format!("Installed on {}.", names.join(", "));
    let said = Said {
        done: &done,
        idle: IDLE,
        notes: &[],
    };
    conclude(&client, output, &plan, install.commit, &said).await
}

/// Refuses options of which one makes no sense beside the other.
fn refuse_contradictions(install: &Install) -> Result<(), Failure> {
    let is_outbox = install.mode == Some(Mode::Outbox);
    let leaves_updates_out = !install.operations.is_empty()
        && !install.operations.contains(&arguments::Operation::Update);
    let (message, hint) = if install.old_columns && !is_outbox {
        (
            "values before do not fit into notifications",
            "add --mode outbox, or leave --old-columns out",
        )
    } else if install.old_columns && install.columns.is_empty() {
        (
            "--old-columns is about the columns that travel with the event, and there are none",
            "add --columns, or leave --old-columns out",
        )
    } else if install.value_limit.is_some() && !is_outbox {
        (
            "a notification holds 8,000 bytes, whatever the limit of a value",
            "add --mode outbox, or leave --value-limit out",
        )
    } else if install.channel.is_some() && is_outbox {
        ("the outbox has no channel", "leave --channel out")
    } else if !install.when_changed.is_empty() && leaves_updates_out {
        (
            "--when-changed is about updates, which --operations leaves out",
            "add update to --operations",
        )
    } else {
        return Ok(());
    };
    Err(Failure::usage(message).hint(hint))
}

/// Refuses an option that names a column twice.
fn refuse_repetitions(install: &Install) -> Result<(), Failure> {
    let options = [
        ("key", &install.key),
        ("columns", &install.columns),
        ("when-changed", &install.when_changed),
    ];
    for (option, columns) in options {
        if let Some(name) = Columns::twice(columns) {
            let message = format!("--{option} names column {name:?} twice");
            return Err(Failure::usage(message).hint("name it once"));
        }
    }
    Ok(())
}

/// Whoever does not name a mode does not mean to take a table from the groups that read it.
async fn refuse_to_leave_the_outbox(client: &Client, tables: &[TableName]) -> Result<(), Failure> {
    let installed = trigger::watched(client).await?;
    let fates = fates(client, tables, &installed).await?;
    for (table, fate) in tables.iter().zip(fates) {
        let (message, hint) = match fate {
            Fate::NotRecorded => continue,
            Fate::Recorded => (
                format!("{table} records its changes in the outbox"),
                "--mode outbox leaves it so; --mode notify has it announce them instead",
            ),
            Fate::Inherited => (
                format!(
                    "{table} is not watched, but changes of a table that was called so before are recorded under the name"
                ),
                "--mode outbox has it record its own as well; --mode notify has it announce them",
            ),
            Fate::Unknown => (
                format!(
                    "what is installed on {table} does not tell whether it records its changes in the outbox"
                ),
                "--mode outbox has it record them; --mode notify has it announce them",
            ),
        };
        return Err(Failure::problem(message).hint(hint));
    }
    Ok(())
}

fn spec(table: TableName, install: &Install) -> TriggerSpec {
    let when_changed = Columns::all(&install.when_changed);
    let mut spec = TriggerSpec::new(table).when_changed(when_changed);
    if install.mode == Some(Mode::Outbox) {
        spec = spec.outbox();
    }
    if let Some(channel) = &install.channel {
        spec = spec.channel(channel.clone());
    }
    if !install.key.is_empty() {
        spec = spec.key_columns(Columns::all(&install.key));
    }
    spec = match Columns::is_every(&install.columns) {
        true => spec.every_column(),
        false => spec.columns(Columns::all(&install.columns)),
    };
    if install.old_columns {
        spec = spec.old_columns();
    }
    if let Some(bytes) = install.value_limit {
        spec = spec.value_limit(bytes);
    }
    if !install.operations.is_empty() {
        let operations = install
            .operations
            .iter()
            .map(|operation| Operation::from(*operation));
        spec = spec.operations(operations.collect::<OperationSet>());
    }
    spec
}

/// The commands that install what `specs` say, which fit their tables.
pub(in crate::commands) async fn commands(
    client: &Client,
    specs: &[&TriggerSpec],
) -> Result<Vec<String>, Failure> {
    if specs.is_empty() {
        return Ok(Vec::new());
    }
    let tables: Vec<_> = specs.iter().map(|spec| spec.table()).collect();
    let keys = primary_keys(client, &tables).await?;
    let commands = specs.iter().zip(keys);
    Ok(commands.map(|(spec, key)| command(spec, &key)).collect())
}

/// The command that installs what `spec` says on a table of primary key `primary_key`.
fn command(spec: &TriggerSpec, primary_key: &[String]) -> String {
    let mut command = format!("pgherald install {}", words::quoted(spec.table()));
    let mut add = |option: &str, values: &[String]| {
        if !values.is_empty() {
            command.push(' ');
            command.push_str(&words::option(option, &values.join(",")));
        }
    };
    let written = |names: &[String]| -> Vec<String> {
        let names = names.iter();
        names.map(|name| Columns::written(name)).collect()
    };
    let mode = if spec.is_outbox() { "outbox" } else { "notify" };
    add("mode", &[mode.to_owned()]);
    if *spec.channel_name() != ChannelName::default() {
        add("channel", &[spec.channel_name().to_string()]);
    }
    let key = spec.key_names().unwrap_or_default();
    if key != primary_key {
        add("key", &written(key));
    }
    add("columns", &written(spec.column_names()));
    if spec.announced() != OperationSet::ALL {
        let operations = spec.announced().iter().map(|one| one.to_string());
        add("operations", &operations.collect::<Vec<_>>());
    }
    add("when-changed", &written(spec.watched_columns()));
    if spec.has_old_columns() {
        command.push_str(" --old-columns");
    }
    if let Some(bytes) = spec.limit_of_values() {
        command.push_str(&format!(" --value-limit {bytes}"));
    }
    command.push_str(" --commit");
    command
}

/// The columns of the primary key of each of `tables`.
async fn primary_keys(client: &Client, tables: &[&TableName]) -> Result<Vec<Vec<String>>, Failure> {
    let sql = include_str!("sql/primary_key.sql");
    let (schemas, names) = split(tables);
    let parameters: [(&(dyn ToSql + Sync), Type); 2] =
        [(&schemas, Type::TEXT_ARRAY), (&names, Type::TEXT_ARRAY)];
    let mut keys = vec![Vec::new(); tables.len()];
    for row in &client.query_typed(sql, &parameters).await? {
        if let Some(key) = keys.get_mut(place(row)?) {
            key.push(row.try_get(1)?);
        }
    }
    Ok(keys)
}
