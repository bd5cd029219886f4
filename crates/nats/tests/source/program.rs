//! The program of a relay's process.

use std::time::Duration;

use pgherald::__private::host::trigger::from_manifest;
use pgherald::trigger::{TriggerSpec, to_manifest};
use pgherald_nats::{NatsConfig, Relay, RelayOptions};

use crate::fake::STREAM;
use crate::process::{self, Process};

/// Another relay takes over from a killed one after this time.
const LEASE: Duration = Duration::from_millis(600);
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Starts a relay of a number of slices. It relays the table of `spec` in the database at `url`, whose triggers are installed.
pub(crate) fn start(url: &str, nats: &str, slices: u16, spec: &TriggerSpec) -> Process {
    let manifest = to_manifest(std::slice::from_ref(spec)).unwrap();
    let arguments = format!("{nats} {slices} {url} {manifest}");
    Process::start("program::relay", &arguments)
}

#[test]
#[ignore = "the program of another process"]
fn relay() {
    process::run(serve);
}

async fn serve(arguments: String) {
    log();
    let mut words = arguments.splitn(4, ' ');
    let mut word = || words.next().unwrap();
    let (nats, slices, url) = (word(), word().parse().unwrap(), word().parse().unwrap());
    let options = RelayOptions::new("relay", STREAM)
        .requires(from_manifest(word()).unwrap())
        .slices(slices)
        .lease(LEASE)
        .heartbeat(HEARTBEAT);
    let nats = NatsConfig::new(nats).unwrap();
    let nats = nats.connect_timeout(LEASE).request_timeout(LEASE);
    let (_handle, relay) = Relay::new(url, nats, options).unwrap();
    Box::pin(relay.run()).await;
    panic!("the relay has ended by itself");
}

/// Writes the log that `RUST_LOG` selects to standard error.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Another test of this process may have begun before.
    let _ = log.try_init();
}
