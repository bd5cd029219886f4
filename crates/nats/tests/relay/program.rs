//! The program of a relay's process.

use std::time::Duration;

use pgherald_nats::{Relay, RelayOptions};

use crate::process::{self, Process};
use crate::support::{STREAM, nats};

/// How long a relay waits for the response to a request.
pub(crate) const REQUEST: Duration = Duration::from_millis(800);

/// Starts a relay of the group `fleet` with this lease.
pub(crate) fn start(database: &str, servers: &str, lease: Duration) -> Process {
    let arguments = format!("{database} {servers} {}", lease.as_millis());
    Process::start("program::relay", &arguments)
}

#[test]
#[ignore = "the program of another process"]
fn relay() {
    process::run(serve);
}

async fn serve(arguments: String) {
    let mut words = arguments.split(' ');
    let mut word = || words.next().unwrap();
    let (database, servers, lease) = (word().parse().unwrap(), word(), word().parse().unwrap());
    let options = RelayOptions::new("fleet", STREAM)
        .lease(Duration::from_millis(lease))
        .from_beginning()
        .slices(8);
    let nats = nats(servers).only_these_servers().request_timeout(REQUEST);
    let (_handle, relay) = Relay::new(database, nats, options).unwrap();
    relay.run().await;
}
