//! A distributor in a process of its own, which can be suspended, terminated and killed.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use actix_web::{App, HttpServer};
use pgherald::__private::host::trigger::from_manifest;
use pgherald::trigger::{TriggerSpec, to_manifest};
use pgherald::{ConnectConfig, Herald};
use pgherald_core::Backoff;
use pgherald_distributor::{Distributor, Limits};
use rustix::process::{Pid, Signal, kill_process};

const ENV: &str = "PGHERALD_TEST_DISTRIBUTOR";

/// The heartbeat of the distributor. Its clients notice a suspended process within three of them.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// A distributor of one table. Its process is killed when this is dropped.
pub(crate) struct Process {
    port: u16,
    arguments: String,
    child: Option<Child>,
}

impl Process {
    /// A distributor that is not started yet, on a port that was free.
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            port: listener.local_addr().unwrap().port(),
            arguments: String::new(),
            child: None,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts the process. It reads the table of `spec` in the database at `url`, whose triggers are installed.
    pub(crate) fn start(&mut self, url: &str, spec: &TriggerSpec) {
        let manifest = to_manifest(std::slice::from_ref(spec)).unwrap();
        self.arguments = format!("{} {url} {manifest}", self.port);
        self.spawn();
    }

    fn spawn(&mut self) {
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "process::distributor",
                "--ignored",
                "--nocapture",
            ])
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

    /// Asks the process to shut down.
    pub(crate) fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Resumes the process, or starts it again if it was killed or has ended.
    pub(crate) fn run_again(&mut self) {
        if self.has_ended() {
            self.child = None;
        }
        match self.child {
            Some(_) => self.signal(Signal::CONT),
            None => self.spawn(),
        }
    }

    /// Returns whether the process has ended, or does not run.
    pub(crate) fn has_ended(&mut self) -> bool {
        let status = self.child.as_mut().map(|child| child.try_wait().unwrap());
        !matches!(status, Some(None))
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
fn distributor() {
    let Ok(arguments) = std::env::var(ENV) else {
        return;
    };
    end_with_parent();
    actix::System::new().block_on(serve(&arguments));
}

/// Ends this process when its parent has ended in any way, which closes the other end of the process's input.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
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
