//! Keeps the order "caches first": an event reaches a handler only after the caches that depend on it have applied it.
//!
//! The router numbers everything it publishes. Each cache has a *mark*: the number of the oldest event or resync that it has
//! not applied. The subscription of a handler delivers an item only when all marks are above the item's number.
//!
//! A stuck cache delays no handler for longer than [`LIMIT`]. The cache is then closed until it has applied everything
//! published up to that moment, and has no mark until then. Its readers go to the database meanwhile, so a handler still
//! reads nothing older than its event.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// The maximum time that a handler waits for a cache.
pub(super) const LIMIT: Duration = Duration::from_millis(100);

/// The numbers of what is published, and the marks of the caches.
#[derive(Debug)]
pub(super) struct Order {
    last_number: AtomicU64,
    /// The mark of each cache that has one, with the number of caches that share it.
    marks: Mutex<BTreeMap<u64, usize>>,
    /// The lowest mark; `u64::MAX` without any. A copy for readers without the lock.
    lowest: AtomicU64,
    rises: Notify,
}

impl Order {
    pub(super) fn new() -> Self {
        Self {
            last_number: AtomicU64::new(0),
            marks: Mutex::default(),
            lowest: AtomicU64::new(u64::MAX),
            rises: Notify::new(),
        }
    }

    /// Returns a number greater than all previous ones.
    pub(super) fn next_number(&self) -> u64 {
        self.last_number.fetch_add(1, Relaxed) + 1
    }

    /// Returns the greatest number so far.
    pub(super) fn last_number(&self) -> u64 {
        self.last_number.load(Relaxed)
    }

    /// Returns the lowest mark. Every cache has applied all lower numbers.
    pub(super) fn lowest(&self) -> u64 {
        self.lowest.load(Acquire)
    }

    /// Replaces the mark of one cache.
    pub(super) fn change_mark(&self, before: Option<u64>, after: Option<u64>) {
        if before == after {
            return;
        }
        let rises = {
            // Ignore a poisoned lock: the map holds only numbers, and is consistent.
            let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(mark) = after {
                *marks.entry(mark).or_default() += 1;
            }
            if let Some(mark) = before
                && let Some(count) = marks.get_mut(&mark)
            {
                *count -= 1;
                if *count == 0 {
                    marks.remove(&mark);
                }
            }
            let lowest = marks.keys().next().copied().unwrap_or(u64::MAX);
            lowest > self.lowest.swap(lowest, Release)
        };
        if rises {
            self.rises.notify_waiters();
        }
    }

    /// Waits until all caches have applied this number.
    pub(super) async fn applied(&self, number: u64) {
        loop {
            let mut rises = std::pin::pin!(self.rises.notified());
            // From here on, no rise is missed.
            rises.as_mut().enable();
            if self.lowest() > number {
                return;
            }
            rises.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Order;

    #[test]
    fn lowest_mark_is_of_the_slowest_cache() {
        let order = Order::new();
        assert_eq!(order.lowest(), u64::MAX);
        order.change_mark(None, Some(3));
        order.change_mark(None, Some(3));
        order.change_mark(None, Some(5));
        order.change_mark(Some(3), Some(7));
        assert_eq!(order.lowest(), 3);
        order.change_mark(Some(3), None);
        assert_eq!(order.lowest(), 5);
        order.change_mark(Some(5), None);
        order.change_mark(Some(7), None);
        assert_eq!(order.lowest(), u64::MAX);
    }

    #[tokio::test]
    async fn waiters_wake_when_the_last_cache_has_applied_their_number() {
        let order = Order::new();
        order.change_mark(None, Some(3));
        let mut waits = std::pin::pin!(order.applied(3));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        order.applied(2).await;
        order.change_mark(Some(3), Some(4));
        waits.await;
    }
}
