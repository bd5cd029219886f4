//! A relay in a process of its own, which can be suspended and killed.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pgherald_nats::{Relay, RelayOptions};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::LocalSet;

use crate::support::{STREAM, nats};

const ENV: &str = "PGHERALD_TEST_RELAY";

/// How long a relay waits for the answer to a request.
pub(crate) const REQUEST: Duration = Duration::from_millis(800);

/// A relay that is killed when this is dropped.
pub(crate) struct Process {
    arguments: String,
    child: Option<Child>,
}

impl Process {
    /// Starts a relay of a group with a lease in milliseconds.
    pub(crate) fn start(database: &str, servers: &str, lease: Duration) -> Self {
        let arguments = format!("{database} {servers} {}", lease.as_millis());
        let mut process = Self {
            arguments,
            child: None,
        };
        process.spawn();
        process
    }

    fn spawn(&mut self) {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::relay", "--ignored", "--nocapture"])
            .env(ENV, &self.arguments)
            // The process ends with this one: see `end_with_parent`.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), signal).unwrap();
        }
    }

    pub(crate) fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        self.spawn();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program of the process. Passes at once when it is run as a test.
#[test]
#[ignore = "the program of another process"]
fn relay() {
    let Ok(arguments) = std::env::var(ENV) else {
        return;
    };
    end_with_parent();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, serve(&arguments));
}

/// Ends this process when its parent has ended in any way, which closes the other end of the process's input.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

async fn serve(arguments: &str) {
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
