//! The faults of a run.

use std::fmt;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use rustix::process::Signal;

use crate::stage::{Stage, clock, connect_at_last};
use crate::worker::{LEASE, signal};

/// A fault. `PGHERALD_STRESS_FAULTS` uses the variant's name in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A consumer is suspended, mostly for longer than its lease: a process by SIGSTOP and SIGCONT.
    Stop,
    /// A worker is killed by SIGKILL, and another one is started.
    Kill,
    /// All connections are terminated by an administrator.
    Terminate,
    /// The outbox is trimmed as far as groups allow.
    Trim,
    /// The server is shut down and started.
    Restart,
    /// The server is killed and started again. It forgets asynchronous commits.
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

    /// Returns the fault with this name. Panics if there is none.
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

/// Draws faults in rounds. Each round has all its faults, in random order.
pub(crate) struct Faults {
    random: Rng,
    all: Vec<Fault>,
    round: Vec<Fault>,
    pause: (u64, u64),
    /// Number of rounds that have begun.
    pub(crate) rounds: usize,
    pub(crate) journal: Journal,
}

impl Faults {
    /// Draws rounds of the faults `all`. In a short run the faults follow each other closely.
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

    /// Whether the first round is complete.
    pub(crate) fn has_dealt_all(&self) -> bool {
        self.all.is_empty() || (self.rounds > 0 && self.round.is_empty())
    }

    /// Time until the next fault.
    pub(crate) fn pause(&mut self) -> Duration {
        let (least, most) = self.pause;
        Duration::from_millis(self.random.u64(least..most))
    }

    /// The next fault, or `None` if the run has none.
    pub(crate) fn deal(&mut self) -> Option<Fault> {
        if self.round.is_empty() {
            self.round.extend_from_slice(&self.all);
            self.random.shuffle(&mut self.round);
            self.rounds += 1;
        }
        self.round.pop()
    }

    /// The index of the consumer, out of `count`, that a fault hits.
    pub(crate) fn victim(&mut self, count: usize) -> usize {
        self.random.usize(..count)
    }

    /// How long a consumer is suspended.
    ///
    /// Mostly a little longer than the lease. The server ends a transaction that is idle for that long, so a resumed consumer
    /// has to be fenced only if others own its slices and the server has not yet ended its transaction.
    pub(crate) fn standstill(&mut self) -> Duration {
        let lease = LEASE.as_millis() as u64;
        let span = match self.random.u8(..4) {
            0 => 300..3_000,
            _ => lease * 9 / 10..lease * 14 / 10,
        };
        Duration::from_millis(self.random.u64(span))
    }

    /// Causes a fault of the server and ends it. The owners of consumers cause the faults of consumers.
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

/// Suspends the process that writes the log of asynchronous commits, so that a crash loses some. Otherwise the process writes
/// each page as soon as it is full.
async fn stop_wal_writer(stage: &Stage) {
    let client = connect_at_last(&stage.url).await;
    let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    for row in client.query(sql, &[]).await.unwrap() {
        signal(row.get::<_, i32>(0), Signal::STOP);
    }
}

/// A log of faults with their times.
#[derive(Default)]
pub(crate) struct Journal(Vec<(SystemTime, String)>);

impl Journal {
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.0.push((SystemTime::now(), text.into()));
    }

    /// How often a fault happened.
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

    /// The entries from 8 seconds before `time` to 1 second after it.
    pub(crate) fn around(&self, time: SystemTime) -> Vec<String> {
        const BEFORE: Duration = Duration::from_secs(8);
        const AFTER: Duration = Duration::from_secs(1);
        let is_near = |at: SystemTime| at + BEFORE >= time && at <= time + AFTER;
        let near = self.0.iter().filter(|(at, _)| is_near(*at));
        near.map(|(at, text)| format!("{} {text}", clock(*at)))
            .collect()
    }
}
