//! How many loads may run at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit on concurrent loads, for one cache or, cloned, for several: after a flush everybody misses at once, and
/// the database should not have to bear it all.
///
/// A load that waits for its turn counts as under way: others join it. What the loader of one that has a place loads
/// through a cache takes no further place, of this limit or another one; and when it waits for somebody else's load,
/// it gives its place away for good. So loads never wait for each other's places. That does not hold for tasks that a
/// loader spawns and waits for: what they load through a cache needs places of their own.
///
/// A place is held for as long as the load's future lives: one that is kept without being polled holds up all the others.
///
/// ```
/// use pgherald_core::cache::{CacheBuilder, LoadLimit};
///
/// let limit = LoadLimit::new(16);
/// let users = CacheBuilder::<i64, String>::new("users").load_limit(&limit);
/// let orders = CacheBuilder::<i64, String>::new("orders").load_limit(&limit);
/// ```
#[derive(Clone, Debug)]
pub struct LoadLimit {
    permits: Arc<Semaphore>,
}

impl LoadLimit {
    /// At most so many loads at a time (0 counts as 1).
    #[must_use]
    pub fn new(loads: usize) -> Self {
        let loads = loads.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            permits: Arc::new(Semaphore::new(loads)),
        }
    }

    /// Waits for a place. It is never closed, so there always is one in the end.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }
}
