//! The subject's reports to the check.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pgherald_core::{CacheEvent, CacheObserver, Event, Key};

use super::floor::Snapshot;
use super::run::Run;

/// How long a cache pauses in a flood: longer than the source waits until a queue has room.
const PAUSE: Duration = Duration::from_millis(300);

/// Receives the subject's reports of applied events and flushes.
///
/// Report an event *after* it was applied: reads that begin after the report are checked against it. A late report makes
/// the check weaker. An early report causes false violations.
#[derive(Clone)]
pub struct Reporter {
    run: Arc<Run>,
}

/// Returns the version in the event's columns.
pub(super) fn version_of(event: &Event) -> Option<i64> {
    let columns = event.columns::<HashMap<String, i64>>().ok().flatten();
    columns.and_then(|columns| columns.get("version").copied())
}

impl Reporter {
    pub(super) fn new(run: Arc<Run>) -> Self {
        Self { run }
    }

    /// Reports that the event of this version was applied: reads that begin from now on return it or a newer one.
    pub fn applied(&self, key: i64, version: i64) {
        self.run.floors.raise_event(key, version);
        self.run.tally.applied.add(1);
    }

    /// Reports that an event was applied, see [`applied`](Self::applied). An event without a key counts as a flush.
    pub fn applied_event(&self, event: &Event) {
        let Some(key) = event.key().and_then(i64::from_row_key) else {
            return self.flushed();
        };
        if let Some(version) = version_of(event) {
            self.applied(key, version);
        }
    }

    /// Reports a flush: reads that begin from now on return the versions that were committed before it, or newer ones.
    ///
    /// Call this on the thread of the check, without an await between the flush and this call: only then is it known which
    /// commits came before the flush. On other threads, this only counts the flush; use [`flushing`](Self::flushing) there.
    pub fn flushed(&self) {
        if std::thread::current().id() == self.run.thread {
            self.run.floors.raise_flush(&self.run.floors.acknowledged());
        }
        self.run.tally.flushes.add(1);
    }

    /// Reports that a flush is about to begin. Call [`Flushing::flushed`] after it. Works on any thread.
    pub fn flushing(&self) -> Flushing {
        Flushing {
            acknowledged: self.run.floors.acknowledged(),
            run: Arc::clone(&self.run),
        }
    }
}

/// Reports the events that a cache made with [`CacheBuilder`](pgherald_core::CacheBuilder) applies and holds back, and its
/// flushes. The first event of a flood blocks the cache's thread for a moment, so that its queue overflows.
impl CacheObserver for Reporter {
    fn observe(&self, event: &CacheEvent<'_>) {
        match event {
            CacheEvent::Applied(event) => {
                self.applied_event(event);
                if self.run.take_flooded() {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "the cache's thread is meant to block"
                    )]
                    std::thread::sleep(PAUSE);
                }
            }
            CacheEvent::Held(event) => {
                let key = event.key().and_then(i64::from_row_key);
                if let (Some(key), Some(version)) = (key, version_of(event)) {
                    self.run.floors.hold(key, version);
                }
            }
            CacheEvent::Released { events } => {
                self.run.floors.release();
                self.run.tally.applied.add(*events);
            }
            CacheEvent::Flushed(_) => self.flushed(),
            _ => {}
        }
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// A flush that has not taken effect yet; see [`Reporter::flushing`]. If this is dropped, the flush does not count.
#[must_use = "call flushed() after the flush"]
pub struct Flushing {
    run: Arc<Run>,
    acknowledged: Snapshot,
}

impl Flushing {
    /// Reports that the flush has taken effect.
    pub fn flushed(self) {
        self.run.floors.raise_flush(&self.acknowledged);
        self.run.tally.flushes.add(1);
    }
}

impl fmt::Debug for Flushing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flushing")
    }
}
