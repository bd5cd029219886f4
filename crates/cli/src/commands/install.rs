//! `pgherald install`.

use std::process::ExitCode;

use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{ChannelName, Operation, TableName};

use super::plan::conclude;
use crate::arguments::{Install, Mode};
use crate::database::Database;
use crate::failure::Failure;
use crate::output::Output;
use crate::tables::resolve;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    install: &Install,
) -> Result<ExitCode, Failure> {
    let client = database.client().await?;
    let tables = resolve(&client, &install.tables).await?;
    let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
    let specs = tables.into_iter().map(|table| spec(table, install));
    let specs = specs.collect::<Result<Vec<_>, _>>()?;
    let plan = trigger::plan(&client, &specs).await?;
    let done = format!("Installed on {}.", names.join(", "));
    conclude(&client, output, &plan, install.commit, &done).await
}

fn spec(table: TableName, install: &Install) -> Result<TriggerSpec, Failure> {
    let mut spec = TriggerSpec::new(table).when_changed(&install.when_changed);
    if install.mode == Mode::Outbox {
        spec = spec.outbox();
    }
    if let Some(channel) = &install.channel {
        spec = spec.channel(ChannelName::new(channel)?);
    }
    if let Some(key) = &install.key {
        spec = spec.key_columns(key);
    }
    spec = match &*install.columns {
        [all] if all == "*" => spec.every_column(),
        columns => spec.columns(columns),
    };
    if install.old_columns {
        spec = spec.old_columns();
    }
    if !install.operations.is_empty() {
        let operations = install
            .operations
            .iter()
            .map(|operation| Operation::from(*operation));
        spec = spec.operations(operations.collect::<pgherald_core::OperationSet>());
    }
    Ok(spec)
}
