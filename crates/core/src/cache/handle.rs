//! How a cache is read: without a mailbox, from any thread.

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
use crate::error::{Error, Kind, Result};
use crate::gate::Gate;
use crate::name::ChannelName;
use crate::panic::contained;
use crate::sync::now;
use metrics::Histogram;

/// What a cache can be keyed by. Implemented for every type that has the traits it asks for.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a cache",
    label = "needs `Clone + Eq + Hash + Send + Sync + 'static`",
    note = "with `#[cached]`: leave an argument out with `ignore(…)`, if the value does not depend on it; or make a key, `key = <expression>, key_type = <type>`"
)]
pub trait CacheKey: Clone + Eq + Hash + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<K: Clone + Eq + Hash + Send + Sync + 'static> CacheKey for K {}

/// What a cache does while the source is not live, and nobody tells it what becomes outdated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenNotLive {
    /// It does not answer: reads load, and what they load is not stored.
    #[default]
    Bypass,
    /// It answers with values that were valid when the source ceased to be live, or were loaded since, for as long
    /// as that is no more than `max_age` ago.
    ///
    /// So a value is outdated by at most `max_age` and the time it took to notice that the source was not live (for
    /// a connection that is only half open: heartbeat interval and deadline). Once the source is live again,
    /// everything is loaded anew.
    ServeStale {
        /// How long ago.
        max_age: Duration,
    },
}

/// Reads a cache, and changes it by hand. Cheap to clone, and the same cache in every clone.
///
/// A hit takes one lock of one shard for the time of a lookup: it waits for nothing, and awaits nothing.
///
/// When the last handle is dropped, the cache [closes](Self::close). A [cached function](super::CachedFn) keeps its handle.
///
/// What it guarantees is told in the [module's documentation](super).
pub struct CacheHandle<K, V> {
    pub(super) inner: Arc<Inner<K, V>>,
    /// Apart from `inner`, which driver and loads have too.
    readers: Arc<Readers>,
}

/// All handles of a cache together.
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

/// What handles and driver share.
pub(super) struct Inner<K, V> {
    pub(super) name: String,
    pub(super) store: Store<K, V, Tag>,
    /// Errors of loads, if they are kept.
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
    /// Whether an event that names a key would be read as this key; `None` if keys are not read from events.
    pub(super) is_followed: Option<fn(&K) -> bool>,
    pub(super) told_of_unfollowed: AtomicBool,
    /// Why it was closed for good.
    pub(super) refused: OnceLock<Error>,
    /// Where write tokens are announced.
    pub(super) channel: ChannelName,
}

/// How many bytes a value takes.
pub(super) type Weigher<K, V> = Box<dyn Fn(&K, &V) -> u64 + Send + Sync>;

/// Whether a key can be found again. See [`Inner::follows`].
pub(super) fn equals_itself<K: Eq>(key: &K) -> bool {
    key.eq(key)
}

/// Before a value is read that is to be [inserted](CacheHandle::insert).
#[derive(Clone, Copy, Debug)]
pub struct Stamp(Moment);

/// What a reader may do at this moment.
pub(super) enum Admission {
    Read(Accept),
    Bypass(BypassReason),
}

impl<K: CacheKey, V: Send + Sync + 'static> CacheHandle<K, V> {
    /// The only handle, at first.
    pub(super) fn new(inner: Arc<Inner<K, V>>) -> Self {
        let readers = Arc::new(Readers(Arc::clone(&inner.gate)));
        Self { inner, readers }
    }

    /// The value of `key`, if it is in memory and may be served.
    ///
    /// The key may be in a borrowed form, as for a [`HashMap`](std::collections::HashMap): a `&str` where keys are `String`s.
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

    /// A stamp, to be taken before reading from the database what is then [inserted](Self::insert).
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        Stamp(self.inner.store.moment())
    }

    /// Puts in a value that was read after `stamp` was taken: to fill a cache with one query, say.
    ///
    /// Refused, with `false`, if the key may have been invalidated since (told apart by hash, so now and then without
    /// need), or if the cache does not answer at the moment.
    ///
    /// ```
    /// # fn fill(users: &pgherald_core::cache::CacheHandle<i64, String>, all: fn() -> Vec<(i64, String)>) {
    /// let before = users.stamp();
    /// for (id, name) in all() {
    ///     users.insert(&before, id, name);
    /// }
    /// # }
    /// ```
    pub fn insert(&self, stamp: &Stamp, key: K, value: V) -> bool {
        self.insert_with(stamp, key, Loaded::new(value))
    }

    /// As [`insert`](Self::insert), for a value with terms of its own.
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

    /// Invalidates one key: reads that begin from now on load it anew, and join no load that has begun before.
    ///
    /// Returns whether there was a value, or a load of it. With [`Refresh`](super::Refresh), nothing stale is served
    /// after this. The key may be in a borrowed form, as for [`get`](Self::get).
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

    /// Invalidates everything, in no time whatever there is.
    pub fn invalidate_all(&self) {
        self.inner.flush(FlushCause::ByHand);
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.inner.stats()
    }

    /// Its name, as it was given when it was built.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Whether nothing applies events to it any more, and nothing ever will.
    pub(super) fn is_abandoned(&self) -> bool {
        self.inner.gate.is_abandoned()
    }

    /// Whether it answers as if it were the database: the source is live, and whatever was missed before is
    /// accounted for.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.inner.gate.is_open()
    }

    /// Returns why the cache does not answer any more, if an event has shown that its key type does not fit a key column; see
    /// [`CacheBuilder::row_of`](super::CacheBuilder::row_of). The cache stays closed until the program starts it again.
    #[must_use]
    pub fn refused(&self) -> Option<&Error> {
        self.inner.refused.get()
    }

    /// Waits until the cache answers, that is, until [`is_live`](Self::is_live).
    ///
    /// It may cease to be live at any time, so this is for starting up. There is no time limit: use
    /// [`tokio::time::timeout`] where the source may stay away.
    ///
    /// ```
    /// # async fn start(users: &pgherald_core::CacheHandle<i64, String>) -> pgherald_core::Result<()> {
    /// users.live().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the cache was closed or [refused](Self::refused), or its driver was dropped: it will never answer.
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
        Err(Error::new(Kind::ShutDown, message))
    }

    /// Ends the subscription of the cache and frees its values. From now on all its handles read past it.
    ///
    /// Values are freed as soon as the driver, or its actor, gets to run. What callers hold stays theirs. Dropping the last
    /// handle does the same.
    pub fn close(&self) {
        self.inner.gate.abandon();
    }

    /// A token for a writer that wants its own commit to be seen; see [`WriteToken`].
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
    /// The case that matters most, as short as it can be.
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

    /// Asks for a new value in the background. If there are too many such requests, the next reader asks again.
    pub(super) fn ask_to_refresh(&self, key: &K) {
        let asked = match &self.refresh {
            Some(requests) => requests.try_send(key.clone()).is_ok(),
            None => false,
        };
        if !asked {
            self.store.not_revalidating(key);
        }
    }

    /// The rows a key depends on, as far as the index is needed to find them.
    pub(super) fn tags(&self, key: &K) -> Box<[Tag]> {
        let tag = |(number, project): (usize, &Projection<K>)| Tag::new(number, project(key));
        self.projections.iter().enumerate().map(tag).collect()
    }

    /// A value as the store wants it.
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

    /// Whether the key can be found again, and events can name it. Other keys are read past the cache.
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

    /// Drops the error that is kept for a key, if any.
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
            // What was missed may have been missed ever since it closed.
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
