//! The program of a distributor's process.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpServer};
use pgherald::__private::host::trigger::from_manifest;
use pgherald::trigger::{TriggerSpec, to_manifest};
use pgherald::{ConnectConfig, Herald};
use pgherald_core::Backoff;
use pgherald_distributor::{Distributor, Limits};

use crate::process::{self, Process};

/// The heartbeat of the distributor. Its clients notice a suspended process within three of them.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// Starts a distributor on a port. It reads the table of `spec` in the database at `url`, whose triggers are installed.
pub(crate) fn start(port: u16, url: &str, spec: &TriggerSpec) -> Process {
    let manifest = to_manifest(std::slice::from_ref(spec)).unwrap();
    Process::start("program::distributor", &format!("{port} {url} {manifest}"))
}

#[test]
#[ignore = "the program of another process"]
fn distributor() {
    if let Some(arguments) = process::arguments() {
        actix::System::new().block_on(serve(&arguments));
    }
}

async fn serve(arguments: &str) {
    let mut words = arguments.splitn(3, ' ');
    let mut word = || words.next().unwrap();
    let (port, config): (u16, ConnectConfig) = (word().parse().unwrap(), word().parse().unwrap());
    let [spec] = &from_manifest(word()).unwrap()[..] else {
        panic!("one table");
    };
    let herald = Herald::builder(config)
        .watch_with(spec.clone())
        .poll_interval(Duration::from_millis(100))
        .source(|source| {
            source
                .heartbeat(Duration::from_millis(200), Duration::from_millis(500))
                .connect_timeout(Duration::from_secs(2))
                .backoff(Backoff::new(
                    Duration::from_millis(10),
                    Duration::from_millis(200),
                ))
        })
        .start_without_waiting()
        .await
        .unwrap();
    let distributor = Distributor::builder(Arc::new(herald)).limits(limits());
    let distributor = distributor.build().unwrap();
    let routes = distributor.clone();
    let server = HttpServer::new(move || App::new().configure(|config| routes.configure(config)))
        .workers(1)
        .disable_signals()
        .shutdown_timeout(1)
        .h1_allow_half_closed(false)
        .bind(("127.0.0.1", port))
        .unwrap()
        .run();
    let handle = server.handle();
    actix::spawn(server);
    let mut terminated =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    terminated.recv().await;
    distributor.shutdown(Duration::from_secs(1)).await;
    handle.stop(false).await;
}

fn limits() -> Limits {
    Limits {
        heartbeat: HEARTBEAT,
        retry_spread: Duration::from_millis(100),
        ..Limits::default()
    }
}
