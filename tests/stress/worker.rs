//! Workers that run in processes of their own, which can be suspended, resumed and killed.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgherald_core::group::{Connections, Consumer};
use pgherald_core::{Backoff, ConnectConfig, DurableOptions, RetryPolicy};
use rustix::process::{Pid, Signal, kill_process};

use crate::faults::Journal;
use crate::handlers::{Effects, InBatches, InTransaction, NoEffect, Plain};
use crate::process::{self, Process};

/// The group of all workers.
pub(crate) const GROUP: &str = "workers";
pub(crate) const SLICES: i32 = 8;
/// Another group, whose consumers share their connections with those of the first one in every second worker.
const NEIGHBOUR: &str = "neighbours";
/// Shorter than most suspensions.
pub(crate) const LEASE: Duration = Duration::from_millis(800);

/// How a worker handles events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Transactional,
    Plain,
    Batch,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::Plain => "plain",
            Self::Batch => "batch",
        }
    }
}

/// Processes that share a group. They are killed when this is dropped.
pub(crate) struct Workers {
    url: String,
    kind: Kind,
    logs: PathBuf,
    all: Vec<Worker>,
    started: usize,
}

struct Worker {
    name: String,
    process: Process,
    /// When a suspended worker is resumed.
    until: Option<Instant>,
}

impl Workers {
    /// Starts `count` workers, which log to files in `logs`.
    pub(crate) fn start(url: &str, kind: Kind, count: usize, logs: &Path) -> Self {
        let mut workers = Self {
            url: url.to_owned(),
            kind,
            logs: logs.to_owned(),
            all: Vec::new(),
            started: 0,
        };
        for place in 0..count {
            let worker = workers.spawn(place);
            workers.all.push(worker);
        }
        workers
    }

    fn spawn(&mut self, place: usize) -> Worker {
        let name = format!("{place}.{}", self.started);
        self.started += 1;
        let log = self.logs.join(format!("worker-{place}.log"));
        let log: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let arguments = format!("{} {name} {}", self.kind.name(), self.url);
        let mut command = Process::command("worker::worker", &arguments);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Worker {
            name,
            process: Process::spawn(command),
            until: None,
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// Suspends the worker for `span`, as if its machine stood still.
    pub(crate) fn stop(&mut self, place: usize, span: Duration, journal: &mut Journal) {
        let worker = &mut self.all[place];
        worker.process.suspend();
        worker.until = Some(Instant::now() + span);
        journal.note(format!("stop {} for {span:?}", worker.name));
    }

    /// Kills the worker, suspended or not, and starts another one.
    pub(crate) fn kill(&mut self, place: usize, journal: &mut Journal) {
        let next = self.spawn(place);
        let text = format!("kill {}, start {}", self.all[place].name, next.name);
        // Dropping a worker kills it.
        self.all[place] = next;
        journal.note(text);
    }

    /// Resumes the workers whose suspension is over, or all suspended ones.
    pub(crate) fn go_on(&mut self, all: bool, journal: &mut Journal) {
        for worker in &mut self.all {
            let is_due = |until: &mut Instant| all || *until <= Instant::now();
            if worker.until.take_if(is_due).is_some() {
                worker.process.resume();
                journal.note(format!("continue {}", worker.name));
            }
        }
    }

    /// Describes a worker that has ended by itself, which none should.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.all.iter_mut().find_map(|worker| {
            let status = worker.process.ended()?;
            Some(format!("worker {} ended: {status}", worker.name))
        })
    }
}

/// Sends a signal to a running process.
pub(crate) fn signal(process: i32, signal: Signal) {
    kill_process(Pid::from_raw(process).unwrap(), signal).unwrap();
}

#[test]
#[ignore = "the program of another process"]
fn worker() {
    process::run(work);
}

async fn work(arguments: String) {
    let mut words = arguments.splitn(3, ' ');
    let mut word = || words.next().unwrap();
    let (kind, name, url) = (word(), word(), word());
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "pgherald_core=debug".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .init();
    tracing::info!(worker = name, "started");
    let options = DurableOptions::new(GROUP)
        .from_beginning()
        .slices(SLICES as u16)
        .lease(LEASE)
        .timeout(Duration::from_secs(5))
        .max_batch(50)
        // No dead letters, because the server may be down for long.
        .retry(RetryPolicy::new(
            1_000_000,
            Backoff::new(Duration::from_millis(5), Duration::from_millis(50)),
        ));
    let effects = Effects::new(url, name);
    let config: ConnectConfig = url.parse().unwrap();
    let runs = name.split_once('.').unwrap().1.parse::<usize>().unwrap();
    let (options, neighbour) = match runs % 2 {
        0 => {
            let connections = Connections::new(config.clone());
            let neighbour = DurableOptions::new(NEIGHBOUR).lease(LEASE);
            let neighbour = neighbour.connections(connections.clone());
            let neighbour = Consumer::batches(config.clone(), neighbour, || NoEffect).unwrap();
            (options.connections(connections), Some(neighbour))
        }
        _ => (options, None),
    };
    let (_handle, consumer) = match kind {
        "transactional" => {
            Consumer::transactional(config, options, move || InTransaction(effects.clone()))
        }
        "plain" => Consumer::new(config, options, move || Plain(effects.clone())),
        _ => Consumer::batches(config, options, move || InBatches(effects.clone())),
    }
    .unwrap();
    let neighbour = async {
        if let Some((_handle, neighbour)) = neighbour {
            neighbour.run().await;
        }
    };
    tokio::join!(consumer.run(), neighbour);
}
