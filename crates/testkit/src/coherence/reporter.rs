//! What the subject tells the check.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use pgherald_core::{CacheEvent, CacheObserver, Event, Key};

use super::floor::Snapshot;
use super::run::Run;

/// Takes the subject's word for what it has applied. What it reports it must keep to.
///
/// A report comes *after* its effect: reads that begin from then on are judged by it. A report that comes
/// late makes the check weaker, one that comes early makes it wrong.
#[derive(Clone)]
pub struct Reporter {
    run: Arc<Run>,
}

/// The version that an event brings along.
pub(super) fn version_of(event: &Event) -> Option<i64> {
    let columns = event.columns::<HashMap<String, i64>>().ok().flatten();
    columns.and_then(|columns| columns.get("version").copied())
}

impl Reporter {
    pub(super) fn new(run: Arc<Run>) -> Self {
        Self { run }
    }

    /// The event of this version is in force: reads that begin now return it or a newer one.
    pub fn applied(&self, key: i64, version: i64) {
        self.run.floors.raise_event(key, version);
        self.run.tally.applied.add(1);
    }

    /// [`applied`](Self::applied) with what an event tells. One that tells no row counts as a flush.
    pub fn applied_event(&self, event: &Event) {
        let Some(key) = event.key().and_then(i64::from_row_key) else {
            return self.flushed();
        };
        if let Some(version) = version_of(event) {
            self.applied(key, version);
        }
    }

    /// Everything was forgotten: reads that begin now return what was committed before, or newer.
    ///
    /// Which commits came before the effect is known exactly only on the thread of the check, and only if
    /// nothing was awaited between the effect and this call. Elsewhere the flush is merely counted; see
    /// [`flushing`](Self::flushing).
    pub fn flushed(&self) {
        if std::thread::current().id() == self.run.thread {
            self.run.floors.raise_flush(&self.run.floors.acknowledged());
        }
        self.run.tally.flushes.add(1);
    }

    /// Everything is about to be forgotten. Call [`Flushing::flushed`] once that is in force; on any thread.
    pub fn flushing(&self) -> Flushing {
        Flushing {
            acknowledged: self.run.floors.acknowledged(),
            run: Arc::clone(&self.run),
        }
    }
}

/// For caches made with [`CacheBuilder`](pgherald_core::CacheBuilder): reports what they apply and flush.
impl CacheObserver for Reporter {
    fn observe(&self, event: &CacheEvent<'_>) {
        match event {
            CacheEvent::Applied(event) => self.applied_event(event),
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

/// A flush that is not in force yet; see [`Reporter::flushing`]. Dropped, it was none.
#[must_use = "call flushed() once the flush is in force"]
pub struct Flushing {
    run: Arc<Run>,
    acknowledged: Snapshot,
}

impl Flushing {
    /// The flush is in force.
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
