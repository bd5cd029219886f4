//! `pgherald watch`: prints events as they arrive.
//!
//! It reads from the sources directly, without a queue, so a slow reader of the output loses no events. If that reader stops
//! reading, the session stops reading from the server.

mod criteria;
mod print;

use std::collections::HashSet;
use std::process::ExitCode;

use futures_util::stream::{BoxStream, SelectAll, StreamExt};
use pgherald_core::__private::host;
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{
    ChannelName, ConnectConfig, Error, ErrorKind, NotifySource, OutboxSource, Signal, Signals,
    TableName, supervise,
};
use tokio_postgres::Client;

use crate::arguments::Watch;
use crate::database::Database;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::output::Output;
use crate::tables::{Named, find, is_recorded};
use crate::words;
use criteria::Criteria;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    watch: &Watch,
) -> Result<ExitCode, Failure> {
    let client = database.client().await?;
    let named = find(&client, &watch.tables, &[]).await?;
    let tables: Vec<_> = named.iter().map(|named| named.table.clone()).collect();
    let specs = match &watch.channel {
        Some(channel) => {
            refuse_unannounced(&client, channel, &named).await?;
            Vec::new()
        }
        None => installed(&client, &named).await?,
    };
    drop(client);
    let criteria = Criteria::new(&tables, watch, &specs)?;
    let signals = sources(database.config()?, watch.channel.as_ref(), specs)?;
    tokio::select! {
        result = follow(signals, output, &criteria, watch.count) => result?,
        waited = interrupted() => waited?,
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Fails if a table does not exist, or if its changes are recorded in the outbox and so never arrive on the channel.
async fn refuse_unannounced(
    client: &Client,
    channel: &ChannelName,
    named: &[Named],
) -> Result<(), Failure> {
    if named.is_empty() {
        return Ok(());
    }
    let installed = host::trigger::watched(client).await?;
    for Named { table, exists } in named {
        if !exists {
            return Err(no_table(table));
        }
        if is_recorded(&installed, table) == Some(true) {
            let message = format!(
                "changes of {table} are recorded in the outbox, not announced on channel {channel}"
            );
            return Err(Failure::usage(message).hint("leave --channel out"));
        }
    }
    Ok(())
}

fn no_table(table: &TableName) -> Failure {
    Failure::problem(format!("there is no table {table}"))
        .hint("pgherald status lists what is installed")
}

/// Returns the installed specifications of the tables or, if none are named, of all tables.
async fn installed(client: &Client, named: &[Named]) -> Result<Vec<TriggerSpec>, Failure> {
    let watched = host::trigger::watched(client).await?;
    let specs = watched.iter().filter_map(|one| one.spec.clone());
    let mut specs: Vec<_> = specs.collect();
    if named.is_empty() && specs.is_empty() {
        return Err(
            Failure::problem("no table announces or records its changes").hint(
                "pgherald install TABLE --commit, or name another program's channel with --channel",
            ),
        );
    }
    let is_of = |spec: &TriggerSpec, named: &Named| *spec.table() == named.table;
    let is_watched = |named: &&Named| specs.iter().any(|spec| is_of(spec, named));
    if let Some(Named { table, exists }) = named.iter().find(|named| !is_watched(named)) {
        if !exists {
            return Err(no_table(table));
        }
        // The table may have been installed under another name, or by hand.
        let has_triggers = watched.iter().any(|one| one.table.as_ref() == Some(table));
        let (problem, hint) = match has_triggers {
            false => (
                "does not announce or record its changes",
                format!("pgherald install {} --commit", words::table(table)),
            ),
            true => (
                "is not watched under this name",
                "pgherald doctor prints the fix".to_owned(),
            ),
        };
        return Err(Failure::problem(format!("{table} {problem}")).hint(hint));
    }
    specs.retain(|spec| named.is_empty() || named.iter().any(|named| is_of(spec, named)));
    Ok(specs)
}

/// Builds one source for each mode of the tables.
fn sources(
    config: ConnectConfig,
    channel: Option<&ChannelName>,
    specs: Vec<TriggerSpec>,
) -> Result<SelectAll<Labelled>, Failure> {
    let (recording, announcing): (Vec<_>, Vec<_>) =
        specs.into_iter().partition(TriggerSpec::is_outbox);
    let mut signals = SelectAll::new();
    if channel.is_some() || !announcing.is_empty() {
        let mut builder = NotifySource::builder(config.clone());
        if let Some(channel) = channel {
            builder = builder.channel(channel.clone());
        }
        builder = announcing
            .into_iter()
            .fold(builder, |builder, spec| builder.watch(spec));
        signals.push(labelled("notify", supervise(builder.factory()?)));
    }
    if !recording.is_empty() {
        let builder = OutboxSource::builder(config);
        let builder = recording
            .into_iter()
            .fold(builder, |builder, spec| builder.watch(spec));
        signals.push(labelled("outbox", supervise(builder.factory()?)));
    }
    Ok(signals)
}

/// Signals with the name of their source.
type Labelled = BoxStream<'static, (&'static str, Signal)>;

fn labelled(source: &'static str, signals: Signals) -> Labelled {
    signals.map(move |signal| (source, signal)).boxed()
}

/// Whether an error does not go away by waiting.
fn is_refusal(error: &Error) -> bool {
    !error.is_connection() && error.kind() != ErrorKind::Triggers
}

/// Prints events that match the criteria, until `count` events were printed.
async fn follow(
    mut signals: SelectAll<Labelled>,
    output: &mut Output,
    criteria: &Criteria,
    count: Option<u64>,
) -> Result<(), Failure> {
    let mut left = count;
    // Sources that have been live.
    let mut known = HashSet::new();
    while let Some((source, signal)) = signals.next().await {
        match &signal {
            Signal::Live => drop(known.insert(source)),
            Signal::Down(error) if !known.contains(source) && is_refusal(error) => {
                return Err(error.clone().into());
            }
            _ => {}
        }
        if let Signal::Events(events) = &signal {
            for event in events.iter().filter(|event| criteria.matches(event)) {
                print::event(output, event)?;
                if let Some(left) = &mut left {
                    *left -= 1;
                    if *left == 0 {
                        return Ok(());
                    }
                }
            }
        } else {
            print::state(output, source, &signal)?;
        }
        output.flush()?;
    }
    Ok(())
}
