//! The contestants behind one trait: `i64 -> Arc<Row>`.

use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pgherald_core::__private::host::cache::Drive;
use pgherald_core::__private::host::events::Router;
use pgherald_core::{
    CacheBuilder, CacheDriver, CacheHandle, Delivery, Event, Operation, Resync, ResyncReason,
    Signal, Subscription, Table,
};

/// The cached value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) id: i64,
    _columns: [u64; 4],
}

impl Row {
    pub(crate) fn new(id: i64) -> Self {
        Self {
            id,
            _columns: [7; 4],
        }
    }
}

impl Table for Row {
    const NAME: &'static str = "rows";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

pub(crate) trait Cache: Sync {
    fn get(&self, key: &i64) -> Option<Arc<Row>>;
    fn put(&self, key: i64);
    fn remove(&self, key: &i64);
    fn clear(&self);

    /// Runs deferred work, so that it does not count towards the next measurement.
    fn settle(&self) {}

    /// Removes keys one by one. Returns the duration.
    fn remove_each(&self, keys: &[i64]) -> Duration {
        let began = Instant::now();
        for key in keys {
            self.remove(key);
        }
        began.elapsed()
    }

    fn fill(&self, keys: impl IntoIterator<Item = i64>) {
        for key in keys {
            self.put(key);
        }
        self.settle();
    }
}

/// A pgherald cache that is live without a database.
pub(crate) struct Live {
    pub(crate) handle: CacheHandle<i64, Row>,
    driver: Mutex<CacheDriver<i64, Row>>,
    _router: Router,
    _subscription: Subscription,
}

impl Live {
    pub(crate) fn new(capacity: usize) -> Self {
        Self::of(CacheBuilder::new("rows").row_of::<Row>(), capacity)
    }

    /// A cache whose keys are found by the rows that they depend on.
    pub(crate) fn indexed(capacity: usize) -> Self {
        Self::of(
            CacheBuilder::new("rows").row_by::<Row>(|key| *key),
            capacity,
        )
    }

    fn of(builder: CacheBuilder<i64, Row>, capacity: usize) -> Self {
        let (handle, mut driver) = builder.capacity(capacity).build().expect("a cache");
        let mut router = Router::new();
        let mut subscription = router
            .subscribe(driver.filter(), driver.subscription())
            .expect("a subscription");
        router.publish(&Signal::Resync(Resync::new(ResyncReason::Started)));
        router.publish(&Signal::Live);
        let started = subscription.try_recv().expect("the resync");
        driver.apply(&started, Instant::now());
        assert!(handle.is_live());
        Self {
            handle,
            driver: Mutex::new(driver),
            _router: router,
            _subscription: subscription,
        }
    }
}

impl Cache for Live {
    #[inline]
    fn get(&self, key: &i64) -> Option<Arc<Row>> {
        self.handle.get(key)
    }

    fn put(&self, key: i64) {
        let stamp = self.handle.stamp();
        assert!(self.handle.insert(&stamp, key, Row::new(key)));
    }

    fn remove(&self, key: &i64) {
        self.handle.invalidate(key);
    }

    fn clear(&self) {
        self.handle.invalidate_all();
    }
}

/// A cache that is invalidated by events, with this many per delivery.
pub(crate) struct ByEvents<'a>(pub(crate) &'a Live, pub(crate) usize);

/// How often the driver is woken during the measurement. Each time it drops a portion of dead values.
const WAKES: usize = 20;

impl Cache for ByEvents<'_> {
    #[inline]
    fn get(&self, key: &i64) -> Option<Arc<Row>> {
        self.0.get(key)
    }

    fn put(&self, key: i64) {
        self.0.put(key);
    }

    fn remove(&self, key: &i64) {
        self.remove_each(&[*key]);
    }

    fn remove_each(&self, keys: &[i64]) -> Duration {
        let event = |key: &i64| {
            Event::builder("public", "rows", Operation::Update)
                .key(*key)
                .build()
        };
        let deliveries: Vec<_> = keys
            .chunks(self.1)
            .map(|keys| Delivery::new(None, keys.iter().map(event).collect::<Vec<_>>()))
            .collect();
        let mut driver = self.0.driver.lock();
        let began = Instant::now();
        for delivery in &deliveries {
            driver.apply(delivery, Instant::now());
        }
        began.elapsed()
    }

    /// Applies an event about the whole table, and wakes the driver some times.
    fn clear(&self) {
        let truncate = Event::builder("public", "rows", Operation::Truncate).build();
        let mut driver = self.0.driver.lock();
        driver.apply(&Delivery::new(None, [truncate]), Instant::now());
        for _ in 0..WAKES {
            driver.wake(Instant::now());
        }
    }
}

/// The obvious implementation without a library.
pub(crate) struct Bare(Mutex<lru::LruCache<i64, Arc<Row>>>);

impl Bare {
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = NonZeroUsize::new(capacity).expect("not 0");
        Self(Mutex::new(lru::LruCache::new(capacity)))
    }
}

impl Cache for Bare {
    #[inline]
    fn get(&self, key: &i64) -> Option<Arc<Row>> {
        self.0.lock().get(key).cloned()
    }

    fn put(&self, key: i64) {
        self.0.lock().put(key, Arc::new(Row::new(key)));
    }

    fn remove(&self, key: &i64) {
        self.0.lock().pop(key);
    }

    fn clear(&self) {
        self.0.lock().clear();
    }
}

impl<S: BuildHasher + Clone + Send + Sync + 'static> Cache for moka::sync::Cache<i64, Arc<Row>, S> {
    #[inline]
    fn get(&self, key: &i64) -> Option<Arc<Row>> {
        self.get(key)
    }

    fn put(&self, key: i64) {
        self.insert(key, Arc::new(Row::new(key)));
    }

    fn remove(&self, key: &i64) {
        self.invalidate(key);
    }

    fn clear(&self) {
        self.invalidate_all();
    }

    fn settle(&self) {
        self.run_pending_tasks();
    }
}

pub(crate) fn moka(capacity: usize) -> moka::sync::Cache<i64, Arc<Row>> {
    moka::sync::Cache::new(capacity as u64)
}

/// With the hash function of the other contestants. The default, which is that of std, is slower.
pub(crate) fn moka_foldhash(
    capacity: usize,
) -> moka::sync::Cache<i64, Arc<Row>, foldhash::fast::RandomState> {
    moka::sync::Cache::builder()
        .max_capacity(capacity as u64)
        .build_with_hasher(foldhash::fast::RandomState::default())
}

pub(crate) type Quick = quick_cache::sync::Cache<i64, Arc<Row>>;

impl Cache for Quick {
    #[inline]
    fn get(&self, key: &i64) -> Option<Arc<Row>> {
        self.get(key)
    }

    fn put(&self, key: i64) {
        self.insert(key, Arc::new(Row::new(key)));
    }

    fn remove(&self, key: &i64) {
        self.remove(key);
    }

    fn clear(&self) {
        self.clear();
    }
}
