//! A limit on concurrent loads.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limits concurrent loads, for one cache or, as a clone, for several. After a flush, many reads miss at once, and the
/// limit protects the database.
///
/// A load that waits for a permit counts as in progress: other callers join it. Loads that a permitted loader makes
/// through caches need no further permit, of this limit or another. If it waits for another caller's load, it gives its
/// permit up for good. So loads never wait for each other's permits. This does not apply to tasks that a loader spawns
/// and waits for: their loads need permits of their own.
///
/// A permit is held while the load's future exists. A future that is kept without being polled blocks other loads.
///
/// ```
/// use pgherald_core::{CacheBuilder, LoadLimit};
///
/// let limit = LoadLimit::new(16);
/// let users = CacheBuilder::<i64, String>::new("users").load_limit(&limit);
/// let orders = CacheBuilder::<i64, String>::new("orders").load_limit(&limit);
/// ```
#[derive(Clone, Debug)]
pub struct LoadLimit {
    permits: Arc<Semaphore>,
    is_zero: bool,
}

impl LoadLimit {
    /// Returns a limit of `loads` concurrent loads. Building a cache with a limit of 0 returns an error.
    #[must_use]
    pub fn new(loads: usize) -> Self {
        let permits = loads.min(Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(permits)),
            is_zero: loads == 0,
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.is_zero
    }

    /// Waits for a permit. The semaphore is never closed, so the result is never none.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }
}
