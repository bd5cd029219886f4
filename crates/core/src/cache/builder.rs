//! How a cache is described.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;

use super::dependency::{self, Affected, Dependency, Projection};
use super::driver::CacheDriver;
use super::handle::{CacheHandle, CacheKey, Inner, Weigher, WhenNotLive};
use super::kept_errors::KeptErrors;
use super::limit::LoadLimit;
use super::observer::CacheObserver;
use super::refresh::{self, Refresh, Refresher};
use super::stats::Counters;
use super::store::{Store, StoreTerms};
use super::strategy::{Greedy, Strategy};
use crate::error::{Error, Kind, Result};
use crate::event::{Changed, Key, Table};
use crate::gate::Gate;
use crate::name::{ChannelName, TableName};
use crate::router::SubscriptionOptions;
use crate::telemetry::{CACHE_LOAD_SECONDS, histogram};

/// Describes a cache: what it depends on, when events take effect, how large it is.
///
/// ```
/// use pgherald_core::cache::{CacheBuilder, Greedy};
/// use pgherald_core::Table;
///
/// struct User;
/// impl Table for User {
///     const NAME: &'static str = "users";
///     const KEY: &'static [&'static str] = &["id"];
///     type Key = i64;
/// }
///
/// # fn main() -> pgherald_core::Result<()> {
/// let (users, driver) = CacheBuilder::<i64, String>::new("users")
///     .row_of::<User>() // an event for row 7 invalidates key 7
///     .strategy(Greedy::new())
///     .capacity(100_000)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "call build() to get the cache"]
pub struct CacheBuilder<K, V> {
    name: String,
    dependencies: Vec<Dependency<K>>,
    projections: Vec<Projection<K>>,
    is_followed: Option<fn(&K) -> bool>,
    strategy: Box<dyn Strategy>,
    capacity: usize,
    ttl: Option<Duration>,
    jitter: f64,
    when_not_live: WhenNotLive,
    limit: Option<LoadLimit>,
    load_timeout: Option<Duration>,
    errors_for: Option<Duration>,
    weigher: Option<Weigher<K, V>>,
    capacity_bytes: Option<u64>,
    refresh: Option<Refresh<K, V>>,
    observer: Option<Arc<dyn CacheObserver>>,
    subscription: SubscriptionOptions,
    channel: ChannelName,
    /// The first thing that cannot be used.
    error: Option<Error>,
}

impl<K: 'static, V> CacheBuilder<K, V> {
    /// A cache of 10,000 values without a time to live, that applies every event at once. It needs something to
    /// depend on.
    ///
    /// The name stands in logs and metrics; it need not be unique.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            subscription: SubscriptionOptions::new(name.clone()),
            name,
            dependencies: Vec::new(),
            projections: Vec::new(),
            is_followed: None,
            strategy: Box::new(Greedy::new()),
            capacity: 10_000,
            ttl: None,
            jitter: 0.1,
            when_not_live: WhenNotLive::default(),
            limit: None,
            load_timeout: None,
            errors_for: None,
            weigher: None,
            capacity_bytes: None,
            refresh: None,
            observer: None,
            channel: ChannelName::default(),
            error: None,
        }
    }

    /// Each key depends on the row of `T` of the same key. An event about the whole table concerns all keys.
    ///
    /// If the key's column has a type whose values have several texts (a `uuid`, a date), the key type must read all of them as
    /// one key: [`Key`] lists the types that do. With another key type, `String` say, the cache is refused:
    /// [`check_keys`](CacheDriver::check_keys) returns an error, and the first event of the table closes the cache for good, with
    /// an error in the log. Reads then go past it, and [`CacheHandle::refused`] tells why.
    ///
    /// A key of the right type may have a value that no event has: a time with nanoseconds, where PostgreSQL has microseconds.
    /// Such a key is read past the cache each time, which a warning reports once and
    /// [`CacheStats::bypassed_unmatched_key`](super::CacheStats::bypassed_unmatched_key) counts. Cut times off at microseconds.
    pub fn row_of<T>(mut self) -> Self
    where
        T: Table<Key = K>,
        K: Key + PartialEq,
    {
        self.is_followed = Some(dependency::is_followed::<K>);
        self.depends(Dependency::own::<T>())
    }

    /// Each key depends on the row of `T` that `row` names: `(7, "en")` on user 7, say. May be called several times, for
    /// several tables or several rows of one.
    ///
    /// `row` must always name the same row for the same key. What [`row_of`](Self::row_of) says of key types holds for `T::Key` as
    /// well.
    pub fn row_by<T: Table>(mut self, row: impl Fn(&K) -> T::Key + Send + Sync + 'static) -> Self {
        let number = self.projections.len();
        self.projections
            .push(Arc::new(move |key| row(key).to_row_key()));
        self.depends(Dependency::row::<T>(number))
    }

    /// Events of `T` concern the keys that `keys` finds out from them.
    ///
    /// What [`row_of`](Self::row_of) says of key types holds for `T::Key`. It also holds for keys that `keys` takes from columns, but
    /// nothing checks these: a column of type `uuid` read into a `String` has the text of the event.
    ///
    /// Of an UPDATE, [columns](crate::Event::columns) are the new values: where the column by which keys are found can
    /// change, the key of the old value has to be invalidated too, and only
    /// [`Affected::Everything`] does that. If `keys` panics, it counts as everything.
    ///
    /// ```
    /// # use pgherald_core::cache::{Affected, CacheBuilder};
    /// # use pgherald_core::{Operation, Table};
    /// # struct Order;
    /// # impl Table for Order {
    /// #     const NAME: &'static str = "orders";
    /// #     const KEY: &'static [&'static str] = &["id"];
    /// #     type Key = i64;
    /// # }
    /// #[derive(serde::Deserialize)]
    /// struct Columns {
    ///     customer: i64,
    /// }
    ///
    /// // The orders of a customer; the trigger sends the column `customer`, which never changes.
    /// let orders = CacheBuilder::<i64, Vec<String>>::new("orders").keys_by::<Order>(|change| {
    ///     match change.event.columns::<Columns>() {
    ///         Ok(Some(columns)) => Affected::Keys(vec![columns.customer]),
    ///         _ => Affected::Everything,
    ///     }
    /// });
    /// ```
    pub fn keys_by<T: Table>(
        self,
        keys: impl Fn(&Changed<T>) -> Affected<K> + Send + 'static,
    ) -> Self {
        let mapping = move |event: &_| dependency::mapped::<T, K>(event, &keys);
        self.depends(Dependency::keys::<T>(Box::new(mapping)))
    }

    /// All keys depend on the whole table: every event of it concerns all of them.
    pub fn table_of<T: Table>(self) -> Self {
        self.depends(TableName::new(T::SCHEMA, T::NAME).map(Dependency::table))
    }

    /// As [`table_of`](Self::table_of), for a table by name.
    pub fn table(self, table: TableName) -> Self {
        self.depends(Ok(Dependency::table(table)))
    }

    fn depends(mut self, dependency: Result<Dependency<K>>) -> Self {
        match dependency {
            Ok(dependency) => self.dependencies.push(dependency),
            Err(error) => drop(self.error.get_or_insert(error)),
        }
        self
    }

    /// When events take effect. Default: [`Greedy`], at once.
    pub fn strategy(mut self, strategy: impl Strategy) -> Self {
        self.strategy = Box::new(strategy);
        self
    }

    /// How many values there may be at most; beyond, one goes that was not used for long.
    ///
    /// Values are spread over up to 128 parts for each core (512 at most), each of at least 64, with its own share of the room and its
    /// own order of use: a full part lets a value go while there is room in others. The order is that of least recent
    /// use, but among the half used last, where it is not kept exactly.
    pub fn capacity(mut self, values: usize) -> Self {
        self.capacity = values;
        self
    }

    /// Sets how many bytes a value takes, for [`capacity_bytes`](Self::capacity_bytes). `weigh` is called once for each value that
    /// is loaded or inserted; it should be quick. If it panics, so does the load.
    ///
    /// ```
    /// use pgherald_core::cache::CacheBuilder;
    ///
    /// let pages = CacheBuilder::<i64, String>::new("pages")
    ///     .weigher(|_, page| page.capacity() as u64)
    ///     .capacity_bytes(64 << 20);
    /// ```
    pub fn weigher(mut self, weigh: impl Fn(&K, &V) -> u64 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigh));
        self
    }

    /// How many bytes all values may take together, as the [`weigher`](Self::weigher) says, besides the
    /// [`capacity`](Self::capacity) in values. Default: no limit.
    ///
    /// A value that takes more by itself is given to its callers and not stored. While several values are stored at the same
    /// time, the sum may be above the limit by these values.
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.capacity_bytes = Some(bytes);
        self
    }

    /// How long after its load began, or its stamp was taken, a value may be served. Default: for ever, until something
    /// happens to it. With [`refresh`](Self::refresh), it may be served that much longer while it is loaded anew.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The share of the time to live, from 0 to 1, by which it is shortened at random, so that what was loaded together
    /// is not loaded together again. Default: 0.1.
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// What it does while the source is not live. Default: [`WhenNotLive::Bypass`].
    pub fn when_not_live(mut self, policy: WhenNotLive) -> Self {
        self.when_not_live = policy;
        self
    }

    /// Limits how many loads run at a time, together with all other caches that have the same limit. Default: no limit.
    pub fn load_limit(mut self, limit: &LoadLimit) -> Self {
        self.limit = Some(limit.clone());
        self
    }

    /// How long a load may take, its wait for a place under the [`load_limit`](Self::load_limit) included. Default: no limit.
    ///
    /// At the limit the load ends, and every caller that waits for it gets
    /// [`LoadError::TimedOut`](super::LoadError::TimedOut); the next read begins a new load. This is so for loads in the
    /// background as well, and for a load whose caller keeps its future without polling it. A
    /// [cached function](super::CachedFn) has no such error: at the limit, its body goes on, or runs, for this caller alone.
    ///
    /// The limit needs the timer of a tokio runtime: loads outside of a runtime have none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pgherald_core::cache::CacheBuilder;
    ///
    /// let users = CacheBuilder::<i64, String>::new("users").load_timeout(Duration::from_secs(5));
    /// ```
    pub fn load_timeout(mut self, limit: Duration) -> Self {
        self.load_timeout = Some(limit);
        self
    }

    /// Keeps the error of a load for this long, counted from the end of the load, and returns it to the callers of the key instead of
    /// loading again. Default: errors are not kept.
    ///
    /// This is for keys that are asked for often and whose load fails each time, or takes long to fail. The time should be short:
    /// a cause that no event announces, such as a connection that was refused, is noticed only when the time is over. Set it to seconds.
    ///
    /// - An event that invalidates the key drops its error, as does [`invalidate`](CacheHandle::invalidate). An error whose load began
    ///   before an invalidation is not kept.
    /// - Only errors that the loader returned are kept: no [`TimedOut`](super::LoadError::TimedOut), no panic, and no error of a batch
    ///   ([`get_many_or_load`](CacheHandle::get_many_or_load)) or of a [refresh](Self::refresh).
    /// - Errors take no room from values: there may be as many as [`capacity`](Self::capacity) says. Callers share an error as they share that
    ///   of a load that they waited for, so it need not be `Clone`. A caller with another error type loads.
    /// - While the source is not live, errors are neither kept nor returned.
    /// - [`CacheStats::errors_served`](super::CacheStats::errors_served) and [`errors`](super::CacheStats::errors) count them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pgherald_core::cache::CacheBuilder;
    ///
    /// let users = CacheBuilder::<i64, String>::new("users").errors_for(Duration::from_secs(5));
    /// ```
    pub fn errors_for(mut self, time: Duration) -> Self {
        self.errors_for = Some(time);
        self
    }

    /// Serves what was invalidated a little longer, while it is loaded anew in the background. Default: it does not.
    pub fn refresh(mut self, refresh: Refresh<K, V>) -> Self {
        self.refresh = Some(refresh);
        self
    }

    /// Tells somebody what happens.
    pub fn observer(mut self, observer: Arc<impl CacheObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The queue between listener and cache. Its name gives way to the cache's.
    pub fn subscription(mut self, options: SubscriptionOptions) -> Self {
        self.subscription = options.name(self.name.clone());
        self
    }

    /// The channel on which [write tokens](super::WriteToken) are announced: one that the listener listens to. Default:
    /// [`ChannelName::DEFAULT`].
    pub fn write_token_channel(mut self, channel: ChannelName) -> Self {
        self.channel = channel;
        self
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> CacheBuilder<K, V> {
    /// The cache, and what applies events to it. Until that is run, and the source is live, reads go past the cache.
    ///
    /// # Errors
    /// If a capacity, the time to live, the load timeout, the time for errors or the load limit is 0, there is a weigher without capacity in bytes or
    /// the reverse, the jitter is not between 0 and 1, a time for stale values is 0, the
    /// subscription coalesces or cannot be used, a table cannot be one in PostgreSQL, or the cache does not depend on any.
    pub fn build(self) -> Result<(CacheHandle<K, V>, CacheDriver<K, V>)> {
        let terms = self.checked()?;
        let gate = Arc::new(Gate::new());
        let subscription = self.subscription.gate(Arc::clone(&gate)).checked()?;
        let (requests, receiver) = match self.refresh {
            Some(_) => Some(mpsc::channel(refresh::MOST_REQUESTS)).unzip(),
            None => (None, None),
        };
        let inner = Arc::new(Inner {
            load_seconds: histogram(CACHE_LOAD_SECONDS, &[("cache", &self.name)]),
            name: self.name,
            errors: self
                .errors_for
                .map(|time| KeptErrors::new(time, terms.capacity)),
            store: Store::new(terms),
            gate,
            projections: self.projections.into(),
            when_not_live: self.when_not_live,
            capacity: self.capacity,
            limit: self.limit,
            load_timeout: self.load_timeout,
            weigher: self.weigher,
            capacity_bytes: self.capacity_bytes,
            refresh: requests,
            counters: Counters::default(),
            observer: self.observer,
            marks: Arc::default(),
            is_followed: self.is_followed,
            told_of_unfollowed: AtomicBool::new(false),
            refused: OnceLock::new(),
            channel: self.channel,
        });
        let handle = CacheHandle::new(Arc::clone(&inner));
        let mut driver = CacheDriver::new(
            Arc::clone(&inner),
            self.dependencies,
            self.strategy,
            subscription,
        );
        if let (Some(requests), Some(refresh)) = (receiver, self.refresh) {
            driver.eager = refresh.eager;
            driver.refresher = Some(Refresher {
                inner,
                requests,
                load: refresh.load,
            });
        }
        Ok((handle, driver))
    }

    fn checked(&self) -> Result<StoreTerms> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let name = &self.name;
        let refuse = |what: &str| Err(Error::new(Kind::Config, format!("cache {name:?}: {what}")));
        let Some(capacity) = NonZeroUsize::new(self.capacity) else {
            return refuse("capacity is 0, it must be at least 1");
        };
        if self.dependencies.is_empty() {
            return refuse(
                "it depends on no table, so nothing would ever invalidate it; \
                 name one with row_of, row_by, keys_by, table_of or table",
            );
        }
        if self.ttl.is_some_and(|ttl| ttl.is_zero()) {
            return refuse("the time to live is 0, it must be longer");
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return refuse(&format!(
                "the jitter of the time to live is {}, it must lie between 0 and 1",
                self.jitter
            ));
        }
        if self.capacity_bytes == Some(0) {
            return refuse("capacity_bytes is 0, it must be at least 1");
        }
        if self.weigher.is_some() != self.capacity_bytes.is_some() {
            return refuse("weigher and capacity_bytes go together: set both, or none");
        }
        if self.limit.as_ref().is_some_and(LoadLimit::is_zero) {
            return refuse("its load limit is 0 loads at a time, it must be at least 1");
        }
        if self.load_timeout.is_some_and(|limit| limit.is_zero()) {
            return refuse("load_timeout is 0, it must be longer");
        }
        if self.errors_for.is_some_and(|time| time.is_zero()) {
            return refuse("errors_for is 0, it must be longer");
        }
        let keep_stale = self.refresh.as_ref().map(|refresh| refresh.max_stale);
        if keep_stale.is_some_and(|keep| keep.is_zero()) {
            return refuse("refresh keeps stale values for 0, it must be longer");
        }
        if matches!(self.when_not_live, WhenNotLive::ServeStale { max_age } if max_age.is_zero()) {
            return refuse(
                "max_age of ServeStale is 0, it must be longer; WhenNotLive::Bypass serves nothing stale",
            );
        }
        Ok(StoreTerms {
            capacity,
            max_weight: self.capacity_bytes,
            ttl: self.ttl,
            jitter: self.jitter,
            keep_stale,
        })
    }
}

impl<K, V> fmt::Debug for CacheBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("name", &self.name)
            .field("dependencies", &self.dependencies)
            .field("capacity", &self.capacity)
            .field("ttl", &self.ttl)
            .field("when_not_live", &self.when_not_live)
            .field("refresh", &self.refresh)
            .finish_non_exhaustive()
    }
}
