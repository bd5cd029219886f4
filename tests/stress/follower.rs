//! Follows a source as a cache does: it knows the events since it last read the database, and when it did so.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use pgherald_core::{OutboxSource, Signal, Source};

use crate::handlers::Job;
use crate::stage::{AGAIN, connect_at_last};

/// What a follower knows.
#[derive(Default)]
pub(crate) struct Known {
    /// Numbers of the writes that arrived as events.
    pub(crate) seen: HashSet<i64>,
    /// The snapshots in which the database was read after a `Resync`, with the start time of the server.
    pub(crate) reads: Vec<(SystemTime, String)>,
    /// The last version of each row since the last `Resync`.
    versions: HashMap<i32, i64>,
    pub(crate) is_live: bool,
    /// Whether `Live` is allowed: a `Resync` or `Resumed` has followed the last `Down`.
    may_be_live: bool,
    pub(crate) events: u64,
    pub(crate) resumptions: u64,
    /// Signals that break the contract of sources.
    pub(crate) broken: Vec<String>,
}

/// Follows a source until it is dropped.
pub(crate) struct Follower {
    pub(crate) known: Arc<Mutex<Known>>,
    standstill: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Follower {
    pub(crate) fn start(url: &str, source: OutboxSource) -> Self {
        let known = Arc::<Mutex<Known>>::default();
        let standstill = Arc::<AtomicU64>::default();
        let task = tokio::spawn(follow(
            url.to_owned(),
            source,
            Arc::clone(&known),
            Arc::clone(&standstill),
        ));
        Self {
            known,
            standstill,
            task,
        }
    }

    /// Waits until the source is live, at most for `limit`, because a fault may have to end first.
    pub(crate) async fn live(&self, limit: Duration) {
        let is_live = async {
            while !self.known.lock().unwrap().is_live {
                tokio::time::sleep(AGAIN).await;
            }
        };
        let _ = tokio::time::timeout(limit, is_live).await;
    }

    /// Suspends polling for `span`.
    pub(crate) fn stop(&self, span: Duration) {
        let millis = span.as_millis().try_into().unwrap();
        self.standstill.store(millis, Relaxed);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    url: String,
    mut source: OutboxSource,
    known: Arc<Mutex<Known>>,
    standstill: Arc<AtomicU64>,
) {
    loop {
        let millis = standstill.swap(0, Relaxed);
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        // The timeout lets a suspension begin although no signal arrives.
        let Ok(signal) = tokio::time::timeout(AGAIN, source.next()).await else {
            continue;
        };
        if let Signal::Resync(_) = &signal {
            // The read has to happen before later signals are taken.
            let read = read(&url).await;
            let mut known = known.lock().unwrap();
            known.reads.push(read);
            known.versions.clear();
        }
        known.lock().unwrap().take(&signal);
    }
}

/// The current snapshot. Reading all rows would give the same information at a higher cost.
async fn read(url: &str) -> (SystemTime, String) {
    loop {
        let client = connect_at_last(url).await;
        let sql = "SELECT pg_postmaster_start_time(), pg_current_snapshot()::text";
        if let Ok(row) = client.query_one(sql, &[]).await {
            return (row.get(0), row.get(1));
        }
    }
}

impl Known {
    fn take(&mut self, signal: &Signal) {
        match signal {
            Signal::Live => {
                if !self.is_live && !self.may_be_live {
                    self.broken
                        .push("Live came without Resync or Resumed".to_owned());
                }
                self.is_live = true;
            }
            Signal::Down(_) => (self.is_live, self.may_be_live) = (false, false),
            Signal::Resync(_) => self.may_be_live = true,
            Signal::Resumed => {
                self.may_be_live = true;
                self.resumptions += 1;
            }
            Signal::Events(events) => {
                for event in events.iter() {
                    let Job { n, id, version } = Job::of(event);
                    self.seen.insert(n);
                    self.events += 1;
                    if let Some(last) = self.versions.insert(id, version)
                        && version <= last
                    {
                        self.broken.push(format!(
                            "row {id}: version {version} came after {last}, write {n}"
                        ));
                    }
                }
            }
        }
    }
}
