//! The handle, which reads a cache from any thread without a mailbox.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;

use super::dependency::{Projection, Tag};
use super::kept_errors::KeptErrors;
use super::limit::LoadLimit;
use super::loaded::Loaded;
use super::observer::{
    BypassReason, CacheEvent, CacheObserver, FlushCause, InvalidationCause, StaleReason,
};
use super::stats::{CacheStats, Counters};
use super::store::{Accept, Found, Fresh, Moment, Stale, Store};
use super::write_token::{self, Marks, WriteToken};
use crate::error::{Error, ErrorKind, Result};
use crate::gate::Gate;
use crate::name::ChannelName;
use crate::panic::contained;
use crate::sync::now;
use metrics::Histogram;

/// A type that can be the key of a cache. Implemented for every type with the required traits.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a cache",
    label = "needs `Clone + Eq + Hash + Send + Sync + 'static`",
    note = "with `#[cached]`: leave an argument out with `ignore(…)`, if the value does not depend on it; or make a key, `key = <expression>, key_type = <type>`"
)]
pub trait CacheKey: Clone + Eq + Hash + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<K: Clone + Eq + Hash + Send + Sync + 'static> CacheKey for K {}

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

/// Reads a cache, and invalidates or inserts values. Clones are cheap and share the cache.
///
/// A hit takes the lock of one shard for one lookup, and awaits nothing.
///
/// When the last handle is dropped, the cache [closes](Self::close). A [cached function](crate::CachedFn) keeps its
/// handle.
///
/// The [module's documentation](super) lists the guarantees.
pub struct CacheHandle<K, V> {
    pub(super) inner: Arc<Inner<K, V>>,
    /// Separate from `inner`, which the driver and loads share: only handles count as readers.
    readers: Arc<Readers>,
}

/// Shared by all handles of a cache. Its drop, with the last handle, closes the cache.
struct Readers(Arc<Gate>);

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl<K, V> Clone for CacheHandle<K, V> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            readers: Arc::clone(&self.readers),
        }
    }
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
    pub(super) told_of_unfollowed: AtomicBool,
    /// Why the cache was closed permanently, if it was.
    pub(super) refused: OnceLock<Error>,
    /// The channel on which write tokens are announced.
    pub(super) channel: ChannelName,
}

/// Returns the size of a value in bytes.
pub(super) type Weigher<K, V> = Box<dyn Fn(&K, &V) -> u64 + Send + Sync>;

/// Returns whether a map can find the key again. See [`Inner::follows`].
pub(super) fn equals_itself<K: Eq>(key: &K) -> bool {
    key.eq(key)
}

/// A moment before a value is read that is then [inserted](CacheHandle::insert).
#[derive(Clone, Copy, Debug)]
pub struct Stamp(Moment);

/// Whether a read may use the cache now.
pub(super) enum Admission {
    Read(Accept),
    Bypass(BypassReason),
}

impl<K: CacheKey, V: Send + Sync + 'static> CacheHandle<K, V> {
    /// Creates the first handle.
    pub(super) fn new(inner: Arc<Inner<K, V>>) -> Self {
        let readers = Arc::new(Readers(Arc::clone(&inner.gate)));
        Self { inner, readers }
    }

    /// Returns the value of `key`, if it is in memory and may be served.
    ///
    /// The key may be in a borrowed form, as for a [`HashMap`](std::collections::HashMap): a `&str` where keys are
    /// `String`s.
    ///
    /// ```
    /// # fn look(countries: &pgherald_core::CacheHandle<String, u32>) {
    /// let population = countries.get("NO");
    /// # }
    /// ```
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = &*self.inner;
        if let Some(value) = inner.hit(key) {
            return Some(value);
        }
        match inner.admit() {
            Admission::Read(accept) => inner.look(key, accept),
            Admission::Bypass(reason) => {
                inner.bypassed(reason);
                None
            }
        }
    }

    /// Returns a stamp. Take it before you read a value from the database, then [insert](Self::insert) the value with
    /// it.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp(self.inner.store.moment())
    }

    /// Inserts a value that was read after `stamp` was taken: for example, to fill a cache with one query.
    ///
    /// Returns `false` and inserts nothing if the key may have been invalidated since, or if the cache does not answer
    /// at the moment. Invalidations are tracked by hash, so a collision may refuse a value without need.
    ///
    /// ```
    /// # fn fill(users: &pgherald_core::CacheHandle<i64, String>, all: fn() -> Vec<(i64, String)>) {
    /// let before = users.stamp();
    /// for (id, name) in all() {
    ///     users.insert(&before, id, name);
    /// }
    /// # }
    /// ```
    pub fn insert(&self, stamp: &Stamp, key: K, value: V) -> bool {
        self.insert_with(stamp, key, Loaded::new(value))
    }

    /// As [`insert`](Self::insert), for a value with options of its own.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a key is given as one is stored"
    )]
    pub fn insert_with(&self, stamp: &Stamp, key: K, value: Loaded<V>) -> bool {
        let inner = &*self.inner;
        if !inner.follows(&key) {
            return false;
        }
        let (tags, fresh) = (inner.tags(&key), inner.fresh(&key, value));
        let inserted = inner.gate.is_open() && inner.store.insert(stamp.0, &key, fresh, tags);
        if inserted {
            inner.forget_error(&key);
        }
        inserted
    }

    /// Invalidates one key. Reads that begin from now on reload it, and join no load that began before.
    ///
    /// Returns whether there was a value, or a load of it. With [`Refresh`](crate::Refresh), the old value is not
    /// served either. The key may be in a borrowed form, as for [`get`](Self::get).
    pub fn invalidate<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = &*self.inner;
        let found = inner.store.invalidate(key, Stale::Drop);
        inner.forget_error(key);
        inner.invalidated(InvalidationCause::ByHand, u64::from(found));
        found
    }

    /// Invalidates everything. The cost does not depend on the number of values.
    pub fn invalidate_all(&self) {
        self.inner.flush(FlushCause::ByHand);
    }

    /// Returns the counts of the cache since it was built.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.inner.stats()
    }

    /// Returns the name that the cache was built with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Whether no driver applies events to the cache any more. This is permanent.
    pub(super) fn is_abandoned(&self) -> bool {
        self.inner.gate.is_abandoned()
    }

    /// Returns whether cached values may be served as current: the source is live, and the cache was flushed for the
    /// changes that it may have missed, or has applied them.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.inner.gate.is_open()
    }

    /// Returns why the cache was closed permanently, if an event has shown that its key type does not fit a key column;
    /// see [`CacheBuilder::row_of`](crate::CacheBuilder::row_of). The cache stays closed until the program
    /// starts it again.
    #[must_use]
    pub fn refused(&self) -> Option<&Error> {
        self.inner.refused.get()
    }

    /// Waits until the cache answers, that is, until [`is_live`](Self::is_live).
    ///
    /// Use it at startup: the cache may cease to be live at any time afterwards. There is no time limit. Use
    /// [`tokio::time::timeout`] if the source may stay unavailable.
    ///
    /// ```
    /// # async fn start(users: &pgherald_core::CacheHandle<i64, String>) -> pgherald_core::Result<()> {
    /// users.live().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the cache was closed or [refused](Self::refused), or its driver was dropped: the cache will never answer.
    pub async fn live(&self) -> Result<()> {
        let inner = &*self.inner;
        if inner.gate.opened().await {
            return Ok(());
        }
        if let Some(error) = self.refused() {
            return Err(error.clone());
        }
        let message = format!(
            "cache {:?} was closed, or its driver has stopped",
            inner.name
        );
        Err(Error::new(ErrorKind::ShutDown, message))
    }

    /// Ends the subscription of the cache and frees its values. From now on, reads by all its handles bypass it.
    ///
    /// The values are freed as soon as the driver, or its actor, runs. Values that callers hold stay valid. Dropping
    /// the last handle has the same effect.
    pub fn close(&self) {
        self.inner.gate.abandon();
    }

    /// Returns a token that lets a writer wait until the cache has applied its commit; see [`WriteToken`].
    pub fn write_token(&self) -> WriteToken {
        let inner = &self.inner;
        let cache = Box::new(self.clone());
        WriteToken::new(&inner.marks, inner.channel.clone(), cache)
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> write_token::Cache for CacheHandle<K, V> {
    fn flush(&self) {
        self.inner.flush(FlushCause::ByHand);
    }

    fn is_open(&self) -> bool {
        self.inner.gate.is_open()
    }

    fn is_bypassed(&self) -> bool {
        matches!(self.inner.admit(), Admission::Bypass(_))
    }
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
        let asked = match &self.refresh {
            Some(requests) => requests.try_send(key.clone()).is_ok(),
            None => false,
        };
        if !asked {
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
        if !is_followed && !self.told_of_unfollowed.swap(true, Relaxed) {
            tracing::warn!(
                cache = self.name,
                "a key is read past the cache, because no event could name it: an event would be read as another key, as with \
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

impl<K, V> fmt::Debug for CacheHandle<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHandle")
            .field("name", &self.inner.name)
            .field("gate", &self.inner.gate)
            .finish_non_exhaustive()
    }
}
