//! A load in progress, and the callers that wait for it.

use std::any::Any;
use std::sync::atomic::AtomicU64 as Counter;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use tokio::sync::Notify;

use crate::sync::{Arc, OnceLock};

/// Identifies a flight in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FlightId(u64);

/// The end of a load.
#[derive(Debug)]
pub(crate) enum Outcome<V> {
    Loaded(Arc<V>),
    /// With the loader's error, whatever its type.
    Failed(Arc<dyn Any + Send + Sync>),
    /// It exceeded its time limit.
    TimedOut,
    /// Without a result: dropped, panicked, or missing in the result of a batch.
    Abandoned,
}

impl<V> Clone for Outcome<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Loaded(value) => Self::Loaded(Arc::clone(value)),
            Self::Failed(error) => Self::Failed(Arc::clone(error)),
            Self::TimedOut => Self::TimedOut,
            Self::Abandoned => Self::Abandoned,
        }
    }
}

/// One load of one key. It is registered with the store *before* the load begins, so an invalidation during the load
/// finds it.
#[derive(Debug)]
pub(crate) struct Flight<V> {
    pub(super) id: FlightId,
    /// The store's epoch before the load began.
    pub(super) epoch: u64,
    pub(super) began: Instant,
    outcome: OnceLock<Outcome<V>>,
    ended: Notify,
}

impl<V> Flight<V> {
    pub(super) fn new(epoch: u64, began: Instant) -> Self {
        // Not from `sync`: only uniqueness matters here.
        static LAST: Counter = Counter::new(0);
        Self {
            id: FlightId(LAST.fetch_add(1, Relaxed)),
            epoch,
            began,
            outcome: OnceLock::new(),
            ended: Notify::new(),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.outcome.get().is_some()
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    pub(crate) fn id(&self) -> FlightId {
        self.id
    }

    /// Wakes all callers that wait. Only the first outcome is kept: returns false if there was one before.
    pub(super) fn end(&self, outcome: Outcome<V>) -> bool {
        let first = self.outcome.set(outcome).is_ok();
        if first {
            self.ended.notify_waiters();
        }
        first
    }

    /// Waits until the load has ended.
    pub(crate) async fn ended(&self) -> Outcome<V> {
        let mut notified = std::pin::pin!(self.ended.notified());
        loop {
            // Enabled before the check, so that an end after the check wakes this task.
            notified.as_mut().enable();
            if let Some(outcome) = self.outcome.get() {
                return outcome.clone();
            }
            notified.as_mut().await;
            notified.set(self.ended.notified());
        }
    }
}
