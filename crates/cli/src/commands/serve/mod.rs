//! `pgherald serve`: events over WebSocket and Server-Sent Events.

mod limits;
mod tls;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpServer};
use pgherald::prometheus;
use pgherald_actors::{Herald, HeraldBuilder};
use pgherald_core::__private::host;
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{Channels, ConnectConfig};
use pgherald_distributor::__private::TablePattern;
use pgherald_distributor::{Access, Distributor, Limits, LivePage, telemetry};

use crate::arguments::Serve;
use crate::database::Database;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::log;
use crate::output::Output;

/// The `application_name` of the session.
const NAME: &str = "pgherald-serve";

/// How long clients have at the end to receive what was sent to them and to disconnect.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    serve: &Serve,
) -> Result<ExitCode, Failure> {
    check(serve)?;
    log::start(output.is_json())?;
    let access = access(serve)?;
    let tls = tls::config(serve.tls_cert.as_deref(), serve.tls_key.as_deref())?;
    if !serve.listen.ip().is_loopback() && tls.is_none() {
        tracing::warn!(
            listen = %serve.listen,
            "tokens and events are sent without encryption: use --tls-cert and --tls-key, or a proxy that ends TLS on this machine"
        );
    }
    limits::allow_open_files(serve.clients);
    let render = recorder()?;

    let specs = specs(database, serve).await?;
    tracing::info!(tables = specs.len(), "tables are served");
    let channels = Channels::new();
    let herald = builder(database.config()?, &channels, specs)
        .start()
        .await?;
    let herald = Arc::new(herald);
    let mut builder = Distributor::builder(Arc::clone(&herald))
        .origins(&serve.origin)
        .metrics(render)
        .page(LivePage::new().database(database.config()?))
        .limits(Limits {
            clients: serve.clients,
            clients_per_address: serve.clients_per_address,
            buffer: serve.buffer,
            ..Limits::default()
        });
    if !serve.channels.is_empty() {
        builder = builder.channels(channels, &serve.channels);
    }
    if let Some(access) = access {
        builder = builder.access(access);
    }
    let distributor = builder
        .build()
        .map_err(|error| Failure::usage(error.chain()))?;

    let routes = distributor.clone();
    let server = HttpServer::new(move || App::new().configure(|config| routes.configure(config)))
        .h1_allow_half_closed(false)
        .shutdown_timeout(GRACE.as_secs())
        .disable_signals();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let bound = match tls {
        Some(config) => server.bind_rustls_0_23(serve.listen, config),
        None => server.bind(serve.listen),
    };
    let server = bound.map_err(|error| {
        Failure::problem(format!("cannot listen on {}: {error}", serve.listen)).hint(
            "end the program that uses the port, or choose another one: --listen ADDRESS:PORT",
        )
    })?;
    for address in server.addrs() {
        output.line(&format!("listening on {scheme}://{address}"))?;
    }
    output.flush()?;
    let server = server.run();
    let handle = server.handle();
    let mut serving = tokio::spawn(server);
    tokio::select! {
        waited = interrupted() => waited?,
        // Ends by itself only if something is wrong.
        ended = &mut serving => return Err(Failure::problem(match ended {
            Ok(Err(error)) => format!("the server has ended: {error}"),
            _ => "the server has ended".to_owned(),
        })),
    }
    tracing::info!(clients = distributor.clients(), "shutting down");
    let left = distributor.shutdown(GRACE).await;
    handle.stop(left == 0).await;
    herald.shutdown(GRACE).await?;
    tracing::info!(cut_off = left, "shut down");
    Ok(ExitCode::SUCCESS)
}

/// Refuses what would expose the database to everybody.
fn check(serve: &Serve) -> Result<(), Failure> {
    let has_tokens = serve.tokens.is_some() || !serve.jwt_key.is_empty();
    if serve.listen.ip().is_loopback() || has_tokens {
        return Ok(());
    }
    let message = format!(
        "{} is reachable from other machines, and no tokens are required",
        serve.listen
    );
    Err(Failure::usage(message).hint(
        "require tokens: pgherald token new NAME --tables PATTERN --append tokens.jsonl, then --tokens tokens.jsonl; or listen on \
         127.0.0.1",
    ))
}

/// Returns who may connect. `None` for clients on this machine.
fn access(serve: &Serve) -> Result<Option<Access>, Failure> {
    if serve.tokens.is_none() && serve.jwt_key.is_empty() {
        return Ok(None);
    }
    let with_tokens = serve
        .tokens
        .iter()
        .try_fold(Access::new(), |access, path| access.tokens(path));
    let mut keys = serve.jwt_key.iter();
    let access =
        with_tokens.and_then(|access| keys.try_fold(access, |access, path| access.key(path)));
    access
        .map(Some)
        .map_err(|error| Failure::usage(error.chain()))
}

/// Installs the recorder of metrics, before anything is measured. Returns the function that writes them.
fn recorder() -> Result<impl Fn() -> String + Send + Sync + 'static, Failure> {
    let recorder = prometheus::builder().and_then(prometheus::PrometheusBuilder::install_recorder);
    let recorder =
        recorder.map_err(|error| Failure::problem(format!("cannot record metrics: {error}")))?;
    pgherald_core::telemetry::describe();
    telemetry::describe();
    let upkeep = recorder.clone();
    tokio::spawn(async move {
        // Drains the histograms, which grow while no scraper reads the metrics.
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(move || recorder.render())
}

/// Returns the installed specifications of the tables to serve.
async fn specs(database: &Database, serve: &Serve) -> Result<Vec<TriggerSpec>, Failure> {
    let patterns = serve
        .tables
        .iter()
        .map(|pattern| TablePattern::parse(pattern).map(|parsed| (pattern, parsed)));
    let patterns: Result<Vec<_>, _> = patterns.collect();
    let patterns = patterns.map_err(|error| Failure::usage(error.chain()))?;
    let client = database.client().await?;
    let watched = host::trigger::watched(&client).await?;
    let mut specs: Vec<_> = watched.into_iter().filter_map(|one| one.spec).collect();
    let matches = |pattern: &TablePattern, spec: &TriggerSpec| {
        pattern.matches(Some(spec.table().schema()), spec.table().name())
    };
    for (pattern, parsed) in &patterns {
        if !specs.iter().any(|spec| matches(parsed, spec)) {
            return Err(Failure::problem(format!(
                "no installed table matches {pattern:?}"
            ))
            .hint("pgherald status lists what is installed; pgherald install TABLE --commit installs"));
        }
    }
    let is_served = |spec: &TriggerSpec| {
        let mut patterns = patterns.iter();
        patterns.len() == 0 || patterns.any(|(_, parsed)| matches(parsed, spec))
    };
    specs.retain(is_served);
    if specs.is_empty() && serve.channels.is_empty() {
        return Err(
            Failure::problem("no table announces or records its changes").hint(
                "pgherald install TABLE --commit, or serve the channels of other programs with --channels PATTERN",
            ),
        );
    }
    Ok(specs)
}

fn builder(config: ConnectConfig, channels: &Channels, specs: Vec<TriggerSpec>) -> HeraldBuilder {
    let builder = Herald::builder(config.application_name(NAME));
    let builder = specs.into_iter().fold(builder, HeraldBuilder::watch_with);
    builder.source(|source| source.channels(channels))
}
