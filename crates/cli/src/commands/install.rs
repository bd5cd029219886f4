//! `pgherald install`.

mod check;
mod migration;
mod summary;

use std::path::Path;
use std::process::ExitCode;

use pgherald_core::__private::host;
use pgherald_core::__private::host::trigger::{Actual, SpecParts};
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{ChannelName, Operation, OperationSet, TableName};
use tokio_postgres::Client;

use super::plan::{IDLE, Messages, conclude, replanned};
use crate::arguments::{self, Columns, Install, Mode};
use crate::database::Database;
use crate::failure::Failure;
use crate::output::Output;
use crate::tables::resolve;
use crate::words;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    install: &Install,
) -> Result<ExitCode, Failure> {
    refuse_contradictions(install)?;
    refuse_repetitions(install)?;
    let from = install.from.as_deref().map(manifest).transpose()?;
    if install.migration {
        return migration::print(output, install, from);
    }
    let client = database.client().await?;
    let specs = match from {
        Some(specs) => specs,
        None => {
            let tables = resolve(&client, &install.tables).await?.into_iter();
            tables.map(|table| spec(table, install)).collect()
        }
    };
    if install.check {
        let tables: Vec<_> = specs.iter().map(TriggerSpec::table).collect();
        let actual = host::trigger::inspect_all(&client, &tables).await?;
        return check::check(output, &actual, &specs, install.narrow);
    }
    replanned(async || run_once(&client, output, install, &specs).await).await
}

async fn run_once(
    client: &Client,
    output: &mut Output,
    install: &Install,
    specs: &[TriggerSpec],
) -> Result<ExitCode, Failure> {
    let tables: Vec<_> = specs.iter().map(TriggerSpec::table).collect();
    let actual = host::trigger::inspect_all(client, &tables).await?;
    let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
    // Refuse a specification that does not fit its table before comparing it with the installation.
    let _ = actual.plan(specs)?;
    let (specs, mut notes) = match install.narrow {
        true => (specs.to_vec(), Vec::new()),
        false => widened(&actual, specs)?,
    };
    let plan = actual.plan(&specs)?;
    let mut summary = Vec::new();
    if !plan.is_empty() {
        let changes = actual.summary(&specs)?;
        summary = summary::lines(&changes);
        notes.extend(summary::groups(client, &changes).await?);
    }
    let done = format!("Installed on {}.", names.join(", "));
    let messages = Messages {
        done: &done,
        idle: IDLE,
        notes: &notes,
        summary: &summary,
        hides_sql: !install.sql,
    };
    conclude(client, output, &plan, install.commit, &messages).await
}

/// Reads the specifications in a manifest.
fn manifest(file: &Path) -> Result<Vec<TriggerSpec>, Failure> {
    let name = file.display();
    let text = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let text = text.map_err(|cause| Failure::usage(format!("cannot read {name}: {cause}")))?;
    let specs = host::trigger::from_manifest(&text)
        .map_err(|error| Failure::usage(format!("{name}: {}", error.chain())))?;
    match specs.is_empty() {
        true => Err(Failure::usage(format!("{name} lists no table"))),
        false => Ok(specs),
    }
}

/// Refuses options that contradict each other.
fn refuse_contradictions(install: &Install) -> Result<(), Failure> {
    let is_outbox = install.mode == Some(Mode::Outbox);
    let leaves_updates_out = !install.operations.is_empty()
        && !install.operations.contains(&arguments::Operation::Update);
    let (message, hint) = if install.old_columns && !is_outbox {
        (
            "notifications carry no old values",
            "add --mode outbox, or leave --old-columns out",
        )
    } else if install.old_columns && install.columns.is_empty() {
        (
            "--old-columns records old values of the columns that --columns names, and there are none",
            "add --columns, or leave --old-columns out",
        )
    } else if install.value_limit.is_some() && !is_outbox {
        (
            "--value-limit has no effect on notifications, which hold 8,000 bytes",
            "add --mode outbox, or leave --value-limit out",
        )
    } else if install.channel.is_some() && is_outbox {
        ("the outbox has no channel", "leave --channel out")
    } else if !install.when_changed.is_empty() && leaves_updates_out {
        (
            "--when-changed selects updates, which --operations leaves out",
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
        if let Some(name) = Columns::duplicate(columns) {
            let message = format!("--{option} names column {name:?} twice");
            return Err(Failure::usage(message).hint("name it once"));
        }
    }
    Ok(())
}

/// Returns `specs`, widened by the present installation, and notes about the additions.
fn widened(
    actual: &Actual,
    specs: &[TriggerSpec],
) -> Result<(Vec<TriggerSpec>, Vec<String>), Failure> {
    let mut notes = Vec::new();
    let mut widened = Vec::with_capacity(specs.len());
    for spec in specs {
        let wider = actual.widened(spec).map_err(|error| {
            let message = error.to_string();
            let message = message.rsplit_once("; ").map_or(&*message, |(message, _)| message);
            Failure::problem(message).hint(
                "add the options of the present installation (pgherald status lists them), or remove them with --narrow",
            )
        })?;
        let kept = actual.losses(spec);
        if !kept.is_empty() {
            let kept = kept.join(", ");
            notes.push(format!(
                "Kept on {}: {kept}. --narrow removes it.",
                spec.table()
            ));
        }
        widened.push(wider);
    }
    Ok((widened, notes))
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
    if install.replicated {
        spec = spec.replicated();
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

/// Quotes a table for a shell. Also quotes it as in SQL if the name of another installed table could be confused with it.
pub(in crate::commands) fn written(actual: &Actual, table: &TableName) -> String {
    let text = table.to_string();
    let resembles =
        |other: &TableName| other != table && (other.name() == text || other.to_string() == text);
    let is_ambiguous = actual.watched().iter().any(|one| {
        let former = one.spec.as_ref().map(TriggerSpec::table);
        one.table.as_ref().is_some_and(resembles) || former.is_some_and(resembles)
    });
    match is_ambiguous {
        true => words::quoted(table),
        false => words::table(table),
    }
}

/// Returns the command that installs `spec`, which has to fit its table.
pub(in crate::commands) fn command(actual: &Actual, spec: &TriggerSpec) -> String {
    let mut command = format!("pgherald install {}", written(actual, spec.table()));
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
    if key != actual.primary_key(spec.table()) {
        add("key", &written(key));
    }
    match spec.has_every_column() {
        true => add("columns", &["*".to_owned()]),
        false => add("columns", &written(spec.column_names())),
    }
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
    if spec.is_replicated() {
        command.push_str(" --replicated");
    }
    command.push_str(" --commit");
    command
}
