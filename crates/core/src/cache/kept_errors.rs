//! Errors of loads, kept for a short time so that a key whose load fails is not loaded by each caller.
//!
//! The errors are in a store of their own, so hits do not look at them, and they take no room from values. The driver
//! invalidates both stores. An error is inserted with a stamp from before its load, so an error whose load began before
//! an invalidation is not kept.

use std::any::Any;
use std::borrow::Borrow;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::dependency::Tag;
use super::key::CacheKey;
use super::stats::count;
use super::store::{Fresh, Moment, Stale, Store, StoreOptions, Walk};
use crate::sync::now;

/// The loader's error, of any type.
type AnyError = Arc<dyn Any + Send + Sync>;

pub(super) struct KeptErrors<K> {
    store: Store<K, AnyError, Tag>,
    time: Duration,
    served: AtomicU64,
}

/// The stamp of a load whose error may be kept.
#[derive(Clone, Copy)]
pub(super) struct BeforeLoad {
    moment: Moment,
    at: Instant,
}

impl<K: CacheKey> KeptErrors<K> {
    /// Keeps at most `capacity` errors, each for `time` from the end of its load.
    pub(super) fn new(time: Duration, capacity: NonZeroUsize) -> Self {
        let options = StoreOptions {
            capacity,
            max_weight: None,
            ttl: Some(time),
            jitter: 0.0,
            keep_stale: None,
        };
        Self {
            store: Store::new(options),
            time,
            served: AtomicU64::new(0),
        }
    }

    pub(super) fn before_load(&self) -> BeforeLoad {
        let moment = self.store.moment();
        BeforeLoad { moment, at: now() }
    }

    /// Keeps the error of a load, unless the key may have been invalidated since.
    pub(super) fn keep<E: Send + Sync + 'static>(
        &self,
        before: BeforeLoad,
        key: &K,
        error: &Arc<E>,
        tags: Box<[Tag]>,
    ) {
        let error: AnyError = Arc::clone(error) as _;
        // The store counts the time to live from before the load, which may have taken longer than the error is kept.
        let took = now().saturating_duration_since(before.at);
        let ttl = took.saturating_add(self.time);
        let fresh = Fresh {
            ttl: Some(ttl),
            ..Fresh::from(&Arc::new(error))
        };
        self.store.insert(before.moment, key, fresh, tags);
    }

    /// Returns the kept error of a key. None if there is none, or one of another type.
    pub(super) fn get<E: Send + Sync + 'static>(&self, key: &K) -> Option<Arc<E>> {
        let error = self.store.hit(key)?;
        let error = Arc::clone(&*error).downcast().ok()?;
        count(&self.served);
        Some(error)
    }

    pub(super) fn invalidate<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.store.invalidate(key, Stale::Drop);
    }

    pub(super) fn invalidate_tag(&self, tag: &Tag) {
        self.store.invalidate_tag(tag);
    }

    /// Invalidates all errors. They are freed later, with the expired ones.
    pub(super) fn flush(&self) {
        self.store.flush(None);
    }

    /// Invalidates all errors and drops them.
    pub(super) fn clear(&self) {
        self.store.clear();
    }

    /// Drops a portion of the expired errors; see [`Store::free_some`].
    pub(super) fn free_some(&self, walk: &mut Walk) -> bool {
        self.store.free_some(walk)
    }

    /// Returns how many errors are kept, and how often one was returned.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.store.counts().entries, self.served.load(Relaxed))
    }
}
