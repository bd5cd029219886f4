//! `pgherald relay`: stores events in a stream of NATS JetStream.
//!
//! ```text
//! arguments ──► nats (servers, credentials, TLS) ──► Relay ──► plan: database, group, stream ──► report
//!           └─► tables (what is installed)            │                                    │
//!                                                     └──► run, until a signal, then drain ◄┘ unless --dry-run
//!                                                            └──► observer: limits of the stream, metrics
//! ```
//!
//! The command verifies everything before it writes anything. It ends with an error where a running relay would retry.

mod nats;
mod observer;
mod plan;
mod tables;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use pgherald_core::__private::host;
use pgherald_core::Health;
use pgherald_nats::{Relay, RelayHandle, RelayOptions, StreamOptions};

use self::observer::Observer;
use self::plan::Plan;
use self::tables::Tables;
use crate::arguments;
use crate::database::Database;
use crate::failure::{self, Failure};
use crate::interrupt::interrupted;
use crate::log;
use crate::output::Output;

/// The `application_name` of the sessions.
const NAME: &str = "pgherald-relay";

/// How long the command waits, when it ends, for batches that it has sent.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    arguments: &arguments::Relay,
) -> Result<ExitCode, Failure> {
    refuse_urls(arguments)?;
    let nats = nats::config(arguments)?;
    if !arguments.dry_run {
        log::start(output.is_json())?;
    }
    if let Some(address) = arguments.metrics {
        serve_metrics(address)?;
    }
    let config = database.config()?.application_name(NAME);
    let client = Arc::new(config.client().await?);
    let tables = Tables::find(&client, &arguments.tables).await?;
    let servers = nats.to_string();
    let options = options(arguments, &tables);
    let (handle, relay) = Relay::new(config.clone(), nats, options).map_err(nats::refused)?;
    let plan = Plan::make(&client, arguments, &tables, &relay, servers).await?;
    drop(client);
    if arguments.dry_run {
        plan.report(output)?;
        return Ok(ExitCode::SUCCESS);
    }
    relay.verify().await.map_err(nats::refused)?;
    plan.warn();
    let observer = Observer::new(config, handle.clone(), arguments);
    let mut health = handle.health();
    let announced = async {
        // The group exists from now on. A new group does not relay earlier changes.
        if health.wait_for(Health::is_live).await.is_ok() {
            plan.announce(output)?;
        }
        Ok(())
    };
    let observed = async { tokio::try_join!(announced, observer.run()).map(drop) };
    let local = tokio::task::LocalSet::new();
    let running = until_interrupted(relay, &handle, observed);
    Box::pin(local.run_until(running)).await?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the relay until a signal arrives, and drains it. Fails if `observed` does.
async fn until_interrupted(
    relay: Relay,
    handle: &RelayHandle,
    observed: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let mut running = tokio::task::spawn_local(relay.run());
    tokio::select! {
        waited = interrupted() => waited?,
        // Ends by itself only if something is wrong.
        _ = &mut running => return Err(Failure::problem("the relay has ended")),
        failed = observed => failed?,
    }
    tracing::info!("waiting for the batches that were sent");
    // The relay ends at the deadline, but it may still be waiting for a server that does not answer.
    let drained = tokio::time::timeout(GRACE + Duration::from_secs(1), handle.drain(GRACE)).await;
    let report = drained.unwrap_or_else(|_| handle.report());
    tracing::info!(
        events = report.events,
        batches = report.batches,
        fenced = report.fenced,
        refused = report.refused,
        unknown = report.unknown,
        resyncs = report.resyncs,
        truncated = report.truncated,
        "the relay has ended"
    );
    Ok(())
}

fn options(arguments: &arguments::Relay, tables: &Tables) -> RelayOptions {
    let mut options = RelayOptions::new(group(arguments), &arguments.stream)
        .prefix(arguments.prefix.clone())
        .filter(tables.filter())
        .requires(tables.specs().iter().cloned());
    if let Some(count) = arguments.slices {
        options = options.slices(count);
    }
    if !arguments.create {
        return options;
    }
    let mut stream = StreamOptions::new().replicas(arguments.replicas.into());
    if let Some(age) = arguments.max_age {
        stream = stream.max_age(age);
    }
    options.create(stream)
}

/// Fails if another argument looks like the URL of a server. Errors show arguments, and a URL may contain a secret.
fn refuse_urls(arguments: &arguments::Relay) -> Result<(), Failure> {
    let names = [Some(&arguments.stream), arguments.group.as_ref()];
    let mut shown = names.into_iter().flatten().chain(&arguments.tables);
    match shown.any(|text| host::resembles(text)) {
        true => Err(failure::stray_server()),
        false => Ok(()),
    }
}

/// Returns the name of the relay's group.
fn group(arguments: &arguments::Relay) -> String {
    let given = arguments.group.clone();
    given.unwrap_or_else(|| format!("relay-{}", arguments.stream))
}

/// Installs the recorder of metrics, before anything is measured, and serves it.
fn serve_metrics(address: std::net::SocketAddr) -> Result<(), Failure> {
    pgherald::prometheus::serve(address).map_err(|error| {
        Failure::problem(format!("cannot serve metrics on {address}: {error}")).hint(
            "end the program that uses the port, or choose another one: --metrics ADDRESS:PORT",
        )
    })?;
    pgherald_nats::telemetry::describe();
    Ok(())
}
