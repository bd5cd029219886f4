//! The builder of caches.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;

use super::dependency::{self, Affected, Dependency, Projection};
use super::driver::CacheDriver;
use super::handle::CacheHandle;
use super::inner::{Inner, Weigher, WhenNotLive};
use super::kept_errors::KeptErrors;
use super::key::CacheKey;
use super::limit::LoadLimit;
use super::observer::CacheObserver;
use super::refresh::{self, Refresh, Refresher};
use super::stats::Counters;
use super::store::{Store, StoreOptions};
use super::strategy::{Greedy, Strategy};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Changed, Key, Table};
use crate::gate::Gate;
use crate::name::{ChannelName, TableName};
use crate::router::SubscriptionOptions;
use crate::telemetry::{CACHE_LOAD_SECONDS, histogram};

/// Builds a cache: its dependencies, strategy, capacity and times.
///
/// ```
/// use pgherald_core::{CacheBuilder, Greedy};
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
    /// The first error of a setter, which `build` returns.
    error: Option<Error>,
}

impl<K: 'static, V> CacheBuilder<K, V> {
    /// Returns a builder for a cache of 10,000 values without a time to live, which applies every event at once. At
    /// least one dependency must be added.
    ///
    /// The name appears in logs and metrics. It need not be unique.
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

    /// Makes each key depend on the row of `T` with the same key. An event about the whole table concerns all keys.
    ///
    /// If a value of the key's column type can be spelled in several ways (a `uuid`, a date), the key type must read
    /// all spellings as one key: [`Key`] lists the types that do. With another key type, such as `String`,
    /// [`check_keys`](CacheDriver::check_keys) returns an error, and the first event of the table closes the cache
    /// permanently and logs an error. Reads then bypass the cache, and [`CacheHandle::refused`] returns the reason.
    ///
    /// A key of the right type may have a value that no event has: for example a time with nanoseconds, because
    /// PostgreSQL stores microseconds. Reads of such a key always bypass the cache. The first one logs a warning, and
    /// [`CacheStats::bypassed_unmatched_key`](crate::CacheStats::bypassed_unmatched_key) counts them. Truncate times to
    /// microseconds.
    pub fn row_of<T>(mut self) -> Self
    where
        T: Table<Key = K>,
        K: Key + PartialEq,
    {
        self.is_followed = Some(dependency::is_followed::<K>);
        self.depends(Dependency::own::<T>())
    }

    /// Makes each key depend on the row of `T` whose key `row` returns: for example, key `(7, "en")` on user 7. Call it
    /// again for further tables, or for further rows of the same table.
    ///
    /// `row` must always return the same row for the same key. The rules of [`row_of`](Self::row_of) for key types
    /// apply to `T::Key`.
    pub fn row_by<T: Table>(mut self, row: impl Fn(&K) -> T::Key + Send + Sync + 'static) -> Self {
        let number = self.projections.len();
        self.projections
            .push(Arc::new(move |key| row(key).to_row_key()));
        self.depends(Dependency::row::<T>(number))
    }

    /// Makes events of `T` concern the keys that `keys` returns for them.
    ///
    /// The rules of [`row_of`](Self::row_of) for key types apply to `T::Key`. They also apply to keys that `keys` reads
    /// from columns, but these are not checked: a column of type `uuid` read into a `String` has the text of the event.
    ///
    /// For an UPDATE, [columns](crate::Event::columns) has the new values only. If the column that determines the keys
    /// can change, the key of the old value must be invalidated too: return [`Affected::Everything`]. If `keys` panics,
    /// the event counts as concerning everything.
    ///
    /// ```
    /// # use pgherald_core::{Affected, CacheBuilder};
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

    /// Makes all keys depend on the whole table: every event of it concerns all of them.
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

    /// Sets when events take effect. Default: [`Greedy`], at once.
    pub fn strategy(mut self, strategy: impl Strategy) -> Self {
        self.strategy = Box::new(strategy);
        self
    }

    /// Sets the maximum number of values. Beyond it, a value that was not used recently is evicted. Default: 10,000.
    ///
    /// Values are spread over up to 128 shards per core, at most 512, of at least 64 values each. Each shard has its
    /// own share of the capacity and its own order of use, so a full shard evicts a value while others have room.
    /// Eviction is by least recent use, but the order of the more recently used half is not exact.
    pub fn capacity(mut self, values: usize) -> Self {
        self.capacity = values;
        self
    }

    /// Sets the function that returns the size of a value in bytes, for [`capacity_bytes`](Self::capacity_bytes).
    /// `weigh` is called once for each value that is loaded or inserted, and should be quick. If it panics, so does the
    /// load.
    ///
    /// ```
    /// use pgherald_core::CacheBuilder;
    ///
    /// let pages = CacheBuilder::<i64, String>::new("pages")
    ///     .weigher(|_, page| page.capacity() as u64)
    ///     .capacity_bytes(64 << 20);
    /// ```
    pub fn weigher(mut self, weigh: impl Fn(&K, &V) -> u64 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigh));
        self
    }

    /// Sets the maximum size of all values together, in bytes as returned by the [`weigher`](Self::weigher). It applies
    /// in addition to [`capacity`](Self::capacity). Default: no limit.
    ///
    /// A value that exceeds the limit by itself is returned to its callers but not stored. While several values are
    /// stored concurrently, the sum may exceed the limit by their sizes.
    pub fn capacity_bytes(mut self, bytes: u64) -> Self {
        self.capacity_bytes = Some(bytes);
        self
    }

    /// Sets how long a value may be served, from the beginning of its load, or from its stamp. Default: until it is
    /// invalidated or evicted. With [`refresh`](Self::refresh), an expired value may be served for a further
    /// `max_stale` while it is reloaded.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the share of the time to live, from 0 to 1, by which it is shortened at random, so that values that were
    /// loaded together do not expire together. Default: 0.1.
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Sets what the cache does while the source is not live. Default: [`WhenNotLive::Bypass`].
    pub fn when_not_live(mut self, policy: WhenNotLive) -> Self {
        self.when_not_live = policy;
        self
    }

    /// Limits concurrent loads, together with all other caches that share the limit. Default: no limit.
    pub fn load_limit(mut self, limit: &LoadLimit) -> Self {
        self.limit = Some(limit.clone());
        self
    }

    /// Sets the maximum duration of a load, including its wait for a permit of the [`load_limit`](Self::load_limit).
    /// Default: no limit.
    ///
    /// At the limit the load ends, and all callers that wait for it get
    /// [`LoadError::TimedOut`](crate::LoadError::TimedOut). The next read begins a new load. The limit also applies to
    /// loads in the background, and to a load whose caller keeps its future without polling it. A [cached
    /// function](crate::CachedFn) has no such error: at the limit, its body continues, or runs, for this caller alone.
    ///
    /// The limit needs the timer of a tokio runtime. It does not apply to loads outside of a runtime.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pgherald_core::CacheBuilder;
    ///
    /// let users = CacheBuilder::<i64, String>::new("users").load_timeout(Duration::from_secs(5));
    /// ```
    pub fn load_timeout(mut self, limit: Duration) -> Self {
        self.load_timeout = Some(limit);
        self
    }

    /// Keeps the error of a load for this long, from the end of the load, and returns it to the callers of the key
    /// instead of loading again. Default: errors are not kept.
    ///
    /// Use it for keys that are read often and whose load always fails, or fails slowly. Set it to seconds: the cache
    /// does not notice the end of a cause that no event announces, such as a refused connection, before the time is
    /// over.
    ///
    /// - An event that invalidates the key drops its error, as does [`invalidate`](CacheHandle::invalidate). An error
    ///   whose load began before an invalidation is not kept.
    /// - Only errors returned by the loader are kept: not [`TimedOut`](crate::LoadError::TimedOut), not a panic, and
    ///   not an error of a batch ([`get_many_or_load`](CacheHandle::get_many_or_load)) or of a
    ///   [refresh](Self::refresh).
    /// - Errors do not count towards [`capacity`](Self::capacity); up to as many errors are kept besides the values.
    ///   Callers share an error, so it need not be `Clone`. A caller with another error type calls its own loader.
    /// - While the source is not live, errors are neither kept nor returned.
    /// - [`CacheStats::errors_served`](crate::CacheStats::errors_served) and [`errors`](crate::CacheStats::errors)
    ///   count them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pgherald_core::CacheBuilder;
    ///
    /// let users = CacheBuilder::<i64, String>::new("users").errors_for(Duration::from_secs(5));
    /// ```
    pub fn errors_for(mut self, time: Duration) -> Self {
        self.errors_for = Some(time);
        self
    }

    /// Serves invalidated values for a limited time while they are reloaded in the background. Default: off.
    pub fn refresh(mut self, refresh: Refresh<K, V>) -> Self {
        self.refresh = Some(refresh);
        self
    }

    /// Sets the observer, which receives every [`CacheEvent`](crate::CacheEvent).
    pub fn observer(mut self, observer: Arc<impl CacheObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Sets the options of the queue between listener and cache. The cache's name replaces theirs.
    pub fn subscription(mut self, options: SubscriptionOptions) -> Self {
        self.subscription = options.name(self.name.clone());
        self
    }

    /// Sets the channel on which [write tokens](crate::WriteToken) are announced. The listener must listen to it.
    /// Default: [`ChannelName::DEFAULT`].
    pub fn write_token_channel(mut self, channel: ChannelName) -> Self {
        self.channel = channel;
        self
    }
}

impl<K: CacheKey, V: Send + Sync + 'static> CacheBuilder<K, V> {
    /// Returns the cache's handle, and the driver that applies events to it. Reads bypass the cache until the driver
    /// runs and the source is live.
    ///
    /// # Errors
    /// If a capacity, the time to live, the load timeout, the time for errors, the time for stale values or the load
    /// limit is 0; only one of weigher and capacity in bytes is set; the jitter is not between 0 and 1; the
    /// subscription coalesces or is invalid; a table name is invalid in PostgreSQL; or the cache depends on no table.
    pub fn build(self) -> Result<(CacheHandle<K, V>, CacheDriver<K, V>)> {
        let options = self.checked()?;
        let gate = Arc::new(Gate::new());
        let subscription = self.subscription.gate(Arc::clone(&gate)).checked()?;
        let (requests, receiver) = match self.refresh {
            Some(_) => Some(mpsc::channel(refresh::MAX_REQUESTS)).unzip(),
            None => (None, None),
        };
        let inner = Arc::new(Inner {
            load_seconds: histogram(CACHE_LOAD_SECONDS, &[("cache", &self.name)]),
            name: self.name,
            errors: self
                .errors_for
                .map(|time| KeptErrors::new(time, options.capacity)),
            store: Store::new(options),
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
            warned_of_unfollowed: AtomicBool::new(false),
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

    fn checked(&self) -> Result<StoreOptions> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let name = &self.name;
        let refuse = |what: &str| {
            Err(Error::new(
                ErrorKind::Config,
                format!("cache {name:?}: {what}"),
            ))
        };
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
        Ok(StoreOptions {
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
