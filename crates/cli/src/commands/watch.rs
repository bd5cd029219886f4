//! `pgherald watch`: what the sources say, as it comes.
//!
//! Reads from the sources directly: nothing is queued, so nothing is lost however slowly the output is taken; a reader
//! that stops for good is seen by the server as one that does not read.

mod print;
mod wish;

use std::collections::HashSet;
use std::process::ExitCode;

use futures_util::stream::{BoxStream, SelectAll, StreamExt};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{
    ChannelName, ConnectConfig, Error, NotifySource, OutboxSource, Signal, Signals, TableName,
    supervise,
};
use tokio_postgres::Client;

use crate::arguments::Watch;
use crate::database::Database;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::output::Output;
use crate::tables::{Named, find, is_recorded};
use crate::words;
use wish::Wish;

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
            refuse_what_never_comes(&client, channel, &named).await?;
            Vec::new()
        }
        None => installed(&client, &named).await?,
    };
    drop(client);
    let wish = Wish::new(&tables, watch, &specs)?;
    let signals = sources(database.config()?, watch.channel.as_ref(), specs)?;
    tokio::select! {
        result = follow(signals, output, &wish, watch.count) => result?,
        waited = interrupted() => waited?,
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Refuses to wait at a channel for what comes by the outbox, or of a table that is not there.
async fn refuse_what_never_comes(
    client: &Client,
    channel: &ChannelName,
    named: &[Named],
) -> Result<(), Failure> {
    if named.is_empty() {
        return Ok(());
    }
    let installed = trigger::watched(client).await?;
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

/// What is installed for the tables, or, if there are none, for all.
async fn installed(client: &Client, named: &[Named]) -> Result<Vec<TriggerSpec>, Failure> {
    let watched = trigger::watched(client).await?;
    let specs = watched.iter().filter_map(|one| one.spec.clone());
    let mut specs: Vec<_> = specs.collect();
    if named.is_empty() && specs.is_empty() {
        return Err(
            Failure::problem("no table announces or records its changes")
                .hint("pgherald install TABLE --commit, or name somebody else's --channel"),
        );
    }
    let is_of = |spec: &TriggerSpec, named: &Named| *spec.table() == named.table;
    let is_watched = |named: &&Named| specs.iter().any(|spec| is_of(spec, named));
    if let Some(Named { table, exists }) = named.iter().find(|named| !is_watched(named)) {
        if !exists {
            return Err(no_table(table));
        }
        // It may have been installed under another name, or by hand.
        let is_called = watched.iter().any(|one| one.table.as_ref() == Some(table));
        let (problem, hint) = match is_called {
            false => (
                "does not announce or record its changes",
                format!("pgherald install {} --commit", words::table(table)),
            ),
            true => (
                "is not watched under this name",
                "pgherald doctor says how to put it right".to_owned(),
            ),
        };
        return Err(Failure::problem(format!("{table} {problem}")).hint(hint));
    }
    specs.retain(|spec| named.is_empty() || named.iter().any(|named| is_of(spec, named)));
    Ok(specs)
}

/// A source for each mode that tables are in.
fn sources(
    config: ConnectConfig,
    channel: Option<&ChannelName>,
    specs: Vec<TriggerSpec>,
) -> Result<SelectAll<Told>, Failure> {
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
        signals.push(told("notify", supervise(builder.factory()?)));
    }
    if !recording.is_empty() {
        let builder = OutboxSource::builder(config);
        let builder = recording
            .into_iter()
            .fold(builder, |builder, spec| builder.watch(spec));
        signals.push(told("outbox", supervise(builder.factory()?)));
    }
    Ok(signals)
}

/// Signals, and which source they are of.
type Told = BoxStream<'static, (&'static str, Signal)>;

fn told(source: &'static str, signals: Signals) -> Told {
    signals.map(move |signal| (source, signal)).boxed()
}

/// What does not go away by waiting.
fn is_refusal(error: &Error) -> bool {
    !error.is_connection() && !error.is_triggers()
}

/// Prints what is wished for, until there was enough of it.
async fn follow(
    mut signals: SelectAll<Told>,
    output: &mut Output,
    wish: &Wish,
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
            for event in events.iter().filter(|event| wish.is_for(event)) {
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
