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
    is_zero: bool,
}

impl LoadLimit {
    /// At most so many loads at a time. A cache with a limit of 0 is refused when it is built.
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

    /// Waits for a place. It is never closed, so there always is one in the end.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).acquire_owned().await.ok()
    }
}
