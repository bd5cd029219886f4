//! Tables, a call counter, and a helper that starts caches.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use pgherald::__private::host::cache::Drive;
use pgherald::__private::host::events::Router;
use pgherald::cache::CacheKey;
use pgherald::{
    CacheDriver, CachedFn, Error, Event, Resync, ResyncReason, Signal, Subscription, Table,
};

#[derive(Clone, Debug, PartialEq, Table)]
#[table(name = "users", key = "id")]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) email: String,
}

impl User {
    pub(crate) fn new(id: i64) -> Self {
        Self {
            id,
            email: format!("{id}@example.org"),
        }
    }
}

#[derive(Table)]
#[table(name = "shop.orders", key = ["shop", "number"])]
#[expect(dead_code, reason = "only the types matter")]
pub(crate) struct Order {
    shop: String,
    number: i32,
}

/// The error of a load.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused(pub(crate) String);

/// Counts calls of a body.
#[derive(Default)]
pub(crate) struct Calls(AtomicUsize);

impl Calls {
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// Counts a call. Returns its number, from 1.
    pub(crate) fn count(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn so_far(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Keeps a cache live.
pub(crate) struct Live<K: CacheKey, V: Send + Sync + 'static> {
    driver: CacheDriver<K, V>,
    router: Router,
    subscription: Subscription,
}

impl<K: CacheKey, V: Send + Sync + 'static> Live<K, V> {
    /// Publishes an event, and applies it.
    pub(crate) fn apply(&mut self, event: Event) {
        self.router.publish(&Signal::Events([event].into()));
        self.pump();
    }

    /// Ends the source's session. The source stays down.
    pub(crate) fn lose_connection(&mut self) {
        self.router.publish(&Signal::Down(Error::shut_down()));
        self.pump();
    }

    fn pump(&mut self) {
        while let Some(delivery) = self.subscription.try_recv() {
            self.driver.apply(&delivery, Instant::now());
        }
    }
}

/// Makes the cache live until the returned value is dropped.
pub(crate) fn start<K, V>(cached: &'static CachedFn<K, V>) -> Live<K, V>
where
    K: CacheKey,
    V: Send + Sync + 'static,
{
    let (cache, driver) = cached.build().unwrap();
    let mut router = Router::new();
    let subscription = router
        .subscribe(driver.filter(), driver.subscription())
        .unwrap();
    let mut live = Live {
        driver,
        router,
        subscription,
    };
    let resync = Resync::new(ResyncReason::Started);
    live.router.publish(&Signal::Resync(resync));
    live.router.publish(&Signal::Live);
    live.pump();
    assert!(cache.is_live());
    cached.attach(cache).unwrap();
    live
}
