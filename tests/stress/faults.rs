//! What goes wrong during a run.

use std::fmt;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use rustix::process::Signal;

use crate::stage::{Stage, clock, connect_at_last};
use crate::worker::{LEASE, signal};

/// Something that goes wrong. Its name, as `PGHERALD_STRESS_FAULTS` has it, is the variant's in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A consumer stands still, mostly for longer than its lease, and goes on: a process by SIGSTOP and SIGCONT.
    Stop,
    /// A worker is killed by SIGKILL, and another one is started in its place.
    Kill,
    /// All connections are ended by an administrator.
    Terminate,
    /// The outbox is trimmed as far as groups allow.
    Trim,
    /// The server is shut down and started.
    Restart,
    /// The server is killed and started. It forgets commits that were asynchronous.
    Crash,
}

impl Fault {
    const ALL: [Self; 6] = [
        Self::Stop,
        Self::Kill,
        Self::Terminate,
        Self::Trim,
        Self::Restart,
        Self::Crash,
    ];

    /// Panics if there is no such fault.
    pub(crate) fn named(name: &str) -> Self {
        let named = Self::ALL.iter().find(|fault| fault.to_string() == name);
        *named.unwrap_or_else(|| panic!("no fault has the name {name:?}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Terminate => "terminate",
            Self::Trim => "trim",
            Self::Restart => "restart",
            Self::Crash => "crash",
        })
    }
}

/// Deals faults in rounds, each of which has all of its faults in an order by chance.
pub(crate) struct Faults {
    random: Rng,
    all: Vec<Fault>,
    round: Vec<Fault>,
    pause: (u64, u64),
    /// Rounds that were begun.
    pub(crate) rounds: usize,
    pub(crate) journal: Journal,
}

impl Faults {
    /// Faults of rounds with `all`, close together if the run is short.
    pub(crate) fn new(random: Rng, all: Vec<Fault>, is_short: bool) -> Self {
        Self {
            random,
            all,
            round: Vec::new(),
            pause: if is_short { (50, 400) } else { (300, 1_500) },
            rounds: 0,
            journal: Journal::default(),
        }
    }

    /// Whether the first round is over.
    pub(crate) fn has_dealt_all(&self) -> bool {
        self.all.is_empty() || (self.rounds > 0 && self.round.is_empty())
    }

    /// How long to wait until the next fault.
    pub(crate) fn pause(&mut self) -> Duration {
        let (least, most) = self.pause;
        Duration::from_millis(self.random.u64(least..most))
    }

    /// The next fault, if there are any.
    pub(crate) fn deal(&mut self) -> Option<Fault> {
        if self.round.is_empty() {
            self.round.extend_from_slice(&self.all);
            self.random.shuffle(&mut self.round);
            self.rounds += 1;
        }
        self.round.pop()
    }

    /// Which of `count` consumers a fault hits.
    pub(crate) fn victim(&mut self, count: usize) -> usize {
        self.random.usize(..count)
    }

    /// For how long a consumer stands still.
    ///
    /// Mostly a little longer than the lease: the server ends a transaction that is idle for that long, so one that goes on must
    /// be fenced only if others took its slices over and the server has not ended it yet.
    pub(crate) fn standstill(&mut self) -> Duration {
        let lease = LEASE.as_millis() as u64;
        let span = match self.random.u8(..4) {
            0 => 300..3_000,
            _ => lease * 9 / 10..lease * 14 / 10,
        };
        Duration::from_millis(self.random.u64(span))
    }

    /// Brings a fault of the server about, and ends it. Those of consumers are their owners' part.
    pub(crate) async fn inject(&mut self, fault: Fault, stage: &Stage) {
        self.journal.note(fault.to_string());
        match fault {
            Fault::Terminate => {
                stage.server.terminate_backends(None).await.unwrap();
            }
            Fault::Trim => {
                let client = connect_at_last(&stage.url).await;
                client
                    .batch_execute("SELECT copy_and_trim()")
                    .await
                    .unwrap();
            }
            Fault::Restart => stage.server.restart().await.unwrap(),
            Fault::Crash => {
                stop_wal_writer(stage).await;
                let span = self.random.u64(50..400);
                tokio::time::sleep(Duration::from_millis(span)).await;
                stage.server.kill().await.unwrap();
                stage.server.start_again().await.unwrap();
            }
            Fault::Stop | Fault::Kill => unreachable!("a fault of consumers"),
        }
        if matches!(fault, Fault::Restart | Fault::Crash) {
            self.journal.note("the server is back");
        }
    }
}

/// Stops the process that writes the log of asynchronous commits, so that a crash loses some: otherwise it writes each page as
/// soon as it is full.
async fn stop_wal_writer(stage: &Stage) {
    let client = connect_at_last(&stage.url).await;
    let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    for row in client.query(sql, &[]).await.unwrap() {
        signal(row.get::<_, i32>(0), Signal::STOP);
    }
}

/// What was done, and when.
#[derive(Default)]
pub(crate) struct Journal(Vec<(SystemTime, String)>);

impl Journal {
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.0.push((SystemTime::now(), text.into()));
    }

    /// How many faults there were.
    pub(crate) fn count(&self, fault: Fault) -> usize {
        let name = fault.to_string();
        let is_it = |text: &str| text.split(' ').next() == Some(&*name);
        self.0.iter().filter(|(_, text)| is_it(text)).count()
    }

    /// `stop 3, kill 2, …`
    pub(crate) fn counts(&self) -> String {
        let counts = Fault::ALL.map(|fault| format!("{fault} {}", self.count(fault)));
        counts.join(", ")
    }

    /// What was done in the seconds before `time`, and a second after it.
    pub(crate) fn around(&self, time: SystemTime) -> Vec<String> {
        const BEFORE: Duration = Duration::from_secs(8);
        const AFTER: Duration = Duration::from_secs(1);
        let is_near = |at: SystemTime| at + BEFORE >= time && at <= time + AFTER;
        let near = self.0.iter().filter(|(at, _)| is_near(*at));
        near.map(|(at, text)| format!("{} {text}", clock(*at)))
            .collect()
    }
}
