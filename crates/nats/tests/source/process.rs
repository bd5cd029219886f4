//! A relay in a process of its own, which can be suspended and killed.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pgherald::__private::host::trigger::from_manifest;
use pgherald::ConnectConfig;
use pgherald::trigger::{TriggerSpec, to_manifest};
use pgherald_nats::{NatsConfig, Relay, RelayOptions};
use rustix::process::{Pid, Signal, kill_process};

use crate::fake::STREAM;

/// A relay that has been killed is replaced after this time.
const LEASE: Duration = Duration::from_millis(600);
const HEARTBEAT: Duration = Duration::from_millis(100);

const ENV: &str = "PGHERALD_TEST_RELAY";

/// A relay of one table. Its process is killed when this is dropped.
#[derive(Default)]
pub(crate) struct Process {
    arguments: String,
    child: Option<Child>,
}

impl Process {
    /// Starts the process. It relays the table of `spec` in the database at `url`, whose triggers are installed, over a number of
    /// slices.
    pub(crate) fn start(&mut self, url: &str, nats: &str, slices: u16, spec: &TriggerSpec) {
        let manifest = to_manifest(std::slice::from_ref(spec)).unwrap();
        self.arguments = format!("{nats} {slices} {url} {manifest}");
        self.spawn();
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

    /// Sends a signal, if the process runs.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            kill_process(Pid::from_child(child), signal).unwrap();
        }
    }

    /// Kills the process, suspended or not.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Resumes the process, or starts it again if it was killed.
    pub(crate) fn run_again(&mut self) {
        match self.child {
            Some(_) => self.signal(Signal::CONT),
            None => self.spawn(),
        }
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
    log();
    let mut words = arguments.splitn(4, ' ');
    let mut word = || words.next().unwrap();
    let (nats, slices, url) = (word(), word().parse().unwrap(), word().parse().unwrap());
    let [spec] = &from_manifest(word()).unwrap()[..] else {
        panic!("one table");
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(serve(nats, slices, url, spec.clone()));
}

/// Runs the relay that the program of the process is.
async fn serve(nats: &str, slices: u16, config: ConnectConfig, spec: TriggerSpec) {
    let options = RelayOptions::new("relay", STREAM)
        .requires([spec])
        .slices(slices)
        .lease(LEASE)
        .heartbeat(HEARTBEAT);
    let nats = NatsConfig::new(nats).unwrap();
    let nats = nats.connect_timeout(LEASE).request_timeout(LEASE);
    let (_handle, relay) = Relay::new(config, nats, options).unwrap();
    let running = Box::pin(relay.run());
    tokio::task::LocalSet::new().run_until(running).await;
}

/// Logs what `RUST_LOG` says.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Another test of this process may have begun before.
    let _ = log.try_init();
}

/// Ends this process when its parent has ended in any way, which closes the other end of the process's input.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}
