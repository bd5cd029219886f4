//! `pgherald watch`: what the sources say, as it comes.
//!
//! Reads from the sources directly: nothing is queued, so nothing is lost however slowly the output is taken; a reader
//! that stops for good is seen by the server as one that does not read.

mod print;
mod wish;

use std::process::ExitCode;

use futures_util::stream::{SelectAll, StreamExt};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{
    ChannelName, ConnectConfig, NotifySource, OutboxSource, Signal, Signals, TableName, supervise,
};
use tokio_postgres::Client;

use crate::arguments::Watch;
use crate::database::Database;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::output::Output;
use crate::tables::resolve;
use crate::words;
use wish::Wish;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    watch: &Watch,
) -> Result<ExitCode, Failure> {
    let client = database.client().await?;
    let tables = resolve(&client, &watch.tables).await?;
    let specs = match &watch.channel {
        Some(_) => Vec::new(),
        None => installed(&client, &tables).await?,
    };
    drop(client);
    let wish = Wish::new(&tables, watch, &specs)?;
    let signals = sources(database.config()?, watch.channel.as_deref(), specs)?;
    tokio::select! {
        result = follow(signals, output, &wish, watch.count) => result?,
        waited = interrupted() => waited?,
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What is installed for `tables`, or, if there are none, for all.
async fn installed(client: &Client, tables: &[TableName]) -> Result<Vec<TriggerSpec>, Failure> {
    let watched = trigger::watched(client).await?;
    let mut specs: Vec<_> = watched.into_iter().filter_map(|table| table.spec).collect();
    if tables.is_empty() && specs.is_empty() {
        return Err(
            Failure::problem("no table announces or records its changes")
                .hint("pgherald install TABLE --commit, or name somebody else's --channel"),
        );
    }
    if let Some(table) = tables
        .iter()
        .find(|table| !specs.iter().any(|spec| spec.table() == *table))
    {
        return Err(
            Failure::problem(format!("{table} does not announce or record its changes")).hint(
                format!(
                    "pgherald install {} --commit",
                    words::argument(&table.to_string())
                ),
            ),
        );
    }
    specs.retain(|spec| tables.is_empty() || tables.contains(spec.table()));
    Ok(specs)
}

/// A source for each mode that tables are in.
fn sources(
    config: ConnectConfig,
    channel: Option<&str>,
    specs: Vec<TriggerSpec>,
) -> Result<SelectAll<Signals>, Failure> {
    let (recording, announcing): (Vec<_>, Vec<_>) =
        specs.into_iter().partition(TriggerSpec::is_outbox);
    let mut signals = SelectAll::new();
    if channel.is_some() || !announcing.is_empty() {
        let mut builder = NotifySource::builder(config.clone());
        if let Some(channel) = channel {
            builder = builder.channel(ChannelName::new(channel)?);
        }
        builder = announcing
            .into_iter()
            .fold(builder, |builder, spec| builder.watch(spec));
        signals.push(supervise(builder.factory()?));
    }
    if !recording.is_empty() {
        let builder = OutboxSource::builder(config);
        let builder = recording
            .into_iter()
            .fold(builder, |builder, spec| builder.watch(spec));
        signals.push(supervise(builder.factory()?));
    }
    Ok(signals)
}

/// Prints what is wished for, until there was enough of it.
async fn follow(
    mut signals: SelectAll<Signals>,
    output: &mut Output,
    wish: &Wish,
    count: Option<u64>,
) -> Result<(), Failure> {
    let mut left = count;
    while let Some(signal) = signals.next().await {
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
            print::state(output, &signal)?;
        }
        output.flush()?;
    }
    Ok(())
}
