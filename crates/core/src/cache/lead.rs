//! The leader of a load, on whose end other callers wait.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::inner::Inner;
use super::key::CacheKey;
use super::loaded::Loaded;
use super::observer::CacheEvent;
use super::stats::count;
use super::store::{Flight, Outcome, Stored};

/// The obligation to end a flight.
pub(super) struct Lead<K: CacheKey, V: Send + Sync + 'static> {
    pub(super) inner: Arc<Inner<K, V>>,
    pub(super) key: K,
    pub(super) flight: Arc<Flight<V>>,
    ended: bool,
}

impl<K: CacheKey, V: Send + Sync + 'static> Lead<K, V> {
    pub(super) fn new(inner: Arc<Inner<K, V>>, key: K, flight: Arc<Flight<V>>) -> Self {
        Self {
            inner,
            key,
            flight,
            ended: false,
        }
    }

    /// Ends the flight with a value. Returns whether the value was stored.
    pub(super) fn finish(mut self, loaded: Loaded<V>) -> bool {
        // Before `ended` is set: if the weigher panics, the drop abandons the flight.
        let fresh = self.inner.fresh(&self.key, loaded);
        self.ended = true;
        match self.inner.store.finish(&self.key, &self.flight, fresh) {
            Stored::Yes => {
                self.inner.forget_error(&self.key);
                true
            }
            Stored::Evicting => {
                self.inner.forget_error(&self.key);
                self.inner.observe(&CacheEvent::Evicted);
                true
            }
            Stored::Overtaken => {
                count(&self.inner.counters.loads_overtaken);
                false
            }
            Stored::Declined => false,
        }
    }

    pub(super) fn fail(mut self, outcome: Outcome<V>) {
        self.ended = true;
        self.inner.fail(&self.key, &self.flight, outcome);
    }
}

/// The loader was dropped or panicked.
impl<K: CacheKey, V: Send + Sync + 'static> Drop for Lead<K, V> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let store = &self.inner.store;
        store.fail(&self.key, &self.flight, Outcome::Abandoned);
        let panicked = std::thread::panicking();
        let counters = &self.inner.counters;
        let counter = match panicked {
            true => &counters.loads_panicked,
            false => &counters.loads_cancelled,
        };
        counter.fetch_add(1, Relaxed);
        self.inner.observe(&CacheEvent::LoadAbandoned { panicked });
    }
}
