//! Work that is done once a second for a cache: dead values are freed, and counts are reported to the recorder of
//! metrics.
//!
//! Owner: the background task of the driver. It does not keep the cache alive.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::inner::Inner;
use super::key::CacheKey;
use super::store::Walk;
use crate::panic::contained;
use crate::telemetry::CacheMetrics;

const PERIOD: Duration = Duration::from_secs(1);

/// Frees dead values and reports counts. When it is dropped, it reports them for the last time.
pub(super) struct Housekeeping<K: CacheKey, V: Send + Sync + 'static> {
    inner: Weak<Inner<K, V>>,
    metrics: CacheMetrics,
}

impl<K: CacheKey, V: Send + Sync + 'static> Housekeeping<K, V> {
    pub(super) fn new(inner: &Arc<Inner<K, V>>) -> Self {
        Self {
            inner: Arc::downgrade(inner),
            metrics: CacheMetrics::new(&inner.name),
        }
    }

    /// Runs until the cache is gone.
    pub(super) async fn run(mut self) {
        let mut times = tokio::time::interval(PERIOD);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            self.free_dead().await;
            if !self.record() {
                return;
            }
        }
    }

    /// Frees the values that are not served any more (expired, flushed, or stale for too long), and then the errors.
    async fn free_dead(&self) {
        self.free(|inner, walk| inner.store.free_some(walk)).await;
        self.free(|inner, walk| {
            let errors = inner.errors.as_ref();
            errors.is_some_and(|errors| errors.free_some(walk))
        })
        .await;
    }

    /// Calls `free_some` until it has nothing left to free.
    async fn free(&self, free_some: impl Fn(&Inner<K, V>, &mut Walk) -> bool) {
        let mut walk = Walk::default();
        while let Some(inner) = self.inner.upgrade() {
            match contained(|| free_some(&inner, &mut walk)) {
                Ok(true) => {}
                Ok(false) => return,
                Err(message) => {
                    let cache = &inner.name;
                    tracing::error!(cache, message, "code of a cache key panicked");
                }
            }
            drop(inner);
            // Other tasks of the thread run before the next portion.
            tokio::task::yield_now().await;
        }
    }

    /// Reports the counts. Returns whether the cache still exists.
    fn record(&mut self) -> bool {
        let inner = self.inner.upgrade();
        if let Some(inner) = &inner {
            self.metrics.record(&inner.stats());
        }
        inner.is_some()
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> Drop for Housekeeping<K, V> {
    fn drop(&mut self) {
        self.record();
    }
}
