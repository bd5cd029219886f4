//! The state of a cache that its handles, its driver and its loads share.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::Histogram;
use tokio::sync::mpsc;

use super::dependency::{Projection, Tag};
use super::kept_errors::KeptErrors;
use super::key::{CacheKey, equals_itself};
use super::limit::LoadLimit;
use super::loaded::Loaded;
use super::observer::{
    BypassReason, CacheEvent, CacheObserver, FlushCause, InvalidationCause, StaleReason,
};
use super::stats::{CacheStats, Counters};
use super::store::{Accept, Found, Fresh, Store};
use super::write_token::Marks;
use crate::error::Error;
use crate::gate::Gate;
use crate::name::ChannelName;
use crate::panic::contained;
use crate::sync::now;

/// What a cache does while the source is not live, so that no events invalidate its values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenNotLive {
    /// Bypasses the cache: reads load, and their values are not stored.
    #[default]
    Bypass,
    /// Serves values that were valid when the source ceased to be live, or that were loaded since, for at most
    /// `max_age` after that time.
    ///
    /// So a value is outdated by at most `max_age` plus the time until the listener noticed that the source was not
    /// live (for a half-open connection: heartbeat interval and deadline). When the source is live again, a resync
    /// flushes the cache, unless the source has caught up on the missed events.
    ServeStale {
        /// The maximum time since the source ceased to be live, or since the load began if that is later.
        max_age: Duration,
    },
}

/// The state that handles, driver and loads share.
pub(super) struct Inner<K, V> {
    pub(super) name: String,
    pub(super) store: Store<K, V, Tag>,
    /// Errors of loads, if the cache keeps them.
    pub(super) errors: Option<KeptErrors<K>>,
    pub(super) gate: Arc<Gate>,
    pub(super) projections: Box<[Projection<K>]>,
    pub(super) when_not_live: WhenNotLive,
    pub(super) capacity: usize,
    pub(super) limit: Option<LoadLimit>,
    pub(super) load_timeout: Option<Duration>,
    pub(super) weigher: Option<Weigher<K, V>>,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) refresh: Option<mpsc::Sender<K>>,
    pub(super) counters: Counters,
    pub(super) load_seconds: Histogram,
    pub(super) observer: Option<Arc<dyn CacheObserver>>,
    pub(super) marks: Arc<Marks>,
    /// Returns whether an event about the key's row is read as this key. `None` if keys are not read from events.
    pub(super) is_followed: Option<fn(&K) -> bool>,
    pub(super) warned_of_unfollowed: AtomicBool,
    /// Why the cache was closed permanently, if it was.
    pub(super) refused: OnceLock<Error>,
    /// The channel on which write tokens are announced.
    pub(super) channel: ChannelName,
}

/// Returns the size of a value in bytes.
pub(super) type Weigher<K, V> = Box<dyn Fn(&K, &V) -> u64 + Send + Sync>;

/// Whether a read may use the cache now.
pub(super) enum Admission {
    Read(Accept),
    Bypass(BypassReason),
}

impl<K: CacheKey, V: Send + Sync + 'static> Inner<K, V> {
    /// The fast path of a hit. Keep it short.
    #[inline]
    pub(super) fn hit<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if !self.gate.is_open() {
            return None;
        }
        let value = self.store.hit(key)?;
        self.observe(&CacheEvent::Hit);
        Some(value)
    }

    pub(super) fn admit(&self) -> Admission {
        if self.gate.is_open() {
            return Admission::Read(Accept::Valid);
        }
        match self.when_not_live {
            _ if !self.gate.is_driven() => Admission::Bypass(BypassReason::NotDriven),
            WhenNotLive::Bypass => Admission::Bypass(BypassReason::NotLive),
            WhenNotLive::ServeStale { max_age } => Admission::Read(Accept::Blind {
                since: self.gate.closed_at(),
                max_age,
            }),
        }
    }

    pub(super) fn look<Q>(&self, key: &Q, accept: Accept) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        match self.store.get(key, accept) {
            Found::Hit(value) => {
                self.observe(&CacheEvent::Hit);
                Some(value)
            }
            Found::Stale(value, revalidate) => {
                if let Some(key) = &revalidate {
                    self.ask_to_refresh(key);
                }
                let reason = match accept {
                    Accept::Valid => StaleReason::Revalidating,
                    Accept::Blind { .. } => StaleReason::NotLive,
                };
                self.observe(&CacheEvent::ServedStale(reason));
                Some(value)
            }
            Found::Miss => {
                self.observe(&CacheEvent::Miss);
                None
            }
        }
    }

    /// Requests a reload in the background. If the queue is full, the next reader requests it again.
    pub(super) fn ask_to_refresh(&self, key: &K) {
        let is_requested = match &self.refresh {
            Some(requests) => requests.try_send(key.clone()).is_ok(),
            None => false,
        };
        if !is_requested {
            self.store.not_revalidating(key);
        }
    }

    /// The rows that the key depends on and that only the index maps back to the key.
    pub(super) fn tags(&self, key: &K) -> Box<[Tag]> {
        let tag = |(number, project): (usize, &Projection<K>)| Tag::new(number, project(key));
        self.projections.iter().enumerate().map(tag).collect()
    }

    /// Returns a loaded value in the store's form.
    pub(super) fn fresh(&self, key: &K, loaded: Loaded<V>) -> Fresh<V> {
        let Loaded { value, ttl, stored } = loaded;
        let weigh = |weigher: &Weigher<K, V>| weigher(key, &value);
        Fresh {
            weight: self.weigher.as_ref().map_or(0, weigh),
            stored: stored && ttl.is_none_or(|ttl| !ttl.is_zero()),
            value,
            ttl,
        }
    }

    /// Whether maps can find the key again and events can name it. Reads of other keys bypass the cache.
    pub(super) fn follows(&self, key: &K) -> bool {
        if !equals_itself(key) {
            return false;
        }
        let is_followed = self.is_followed.is_none_or(|is_followed| is_followed(key));
        if !is_followed && !self.warned_of_unfollowed.swap(true, Relaxed) {
            tracing::warn!(
                cache = self.name,
                "a read bypasses the cache, because no event could name its key: an event would be read as another key, as with \
                 a time that is finer than microseconds; further ones are only counted"
            );
        }
        is_followed
    }

    /// Drops the kept error of a key, if any.
    pub(super) fn forget_error<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(errors) = &self.errors {
            errors.invalidate(key);
        }
    }

    pub(super) fn flush(&self, cause: FlushCause) {
        self.store.flush(match cause {
            FlushCause::ByHand => None,
            // Any event since the gate closed may have been missed.
            _ if !self.gate.is_open() => Some(self.gate.closed_at().unwrap_or_else(now)),
            _ => Some(now()),
        });
        if let Some(errors) = &self.errors {
            errors.flush();
        }
        self.counters.flushed(cause);
        self.observe(&CacheEvent::Flushed(cause));
    }

    pub(super) fn invalidated(&self, cause: InvalidationCause, keys: u64) {
        self.counters.invalidated(cause, keys);
        self.observe(&CacheEvent::Invalidated { cause, keys });
    }

    pub(super) fn bypassed(&self, reason: BypassReason) {
        self.counters.bypassed(reason);
        self.observe(&CacheEvent::Bypassed(reason));
    }

    pub(super) fn stats(&self) -> CacheStats {
        let store = &self.store;
        let errors = self.errors.as_ref().map(KeptErrors::counts);
        let (errors, errors_served) = errors.unwrap_or_default();
        CacheStats {
            errors,
            errors_served,
            capacity: self.capacity as u64,
            bytes: store.weight(),
            capacity_bytes: self.capacity_bytes.unwrap_or(0),
            ..self.counters.stats(store.counts())
        }
    }

    #[inline]
    pub(super) fn observe(&self, event: &CacheEvent<'_>) {
        if let Some(observer) = &self.observer
            && let Err(message) = contained(|| observer.observe(event))
        {
            tracing::error!(cache = self.name, message, "cache observer panicked");
        }
    }
}
