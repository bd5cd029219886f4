//! A cache with a router whose signals the test publishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use pgherald_core::__private::host::cache::Drive;
use pgherald_core::__private::host::events::Router;
use pgherald_core::cache::CacheKey;
use pgherald_core::{
    CacheBuilder, CacheDriver, CacheHandle, Error, Event, Operation, Resync, ResyncReason, Signal,
    Subscription, Table,
};

/// How long a test waits before it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct User;

impl Table for User {
    const NAME: &'static str = "users";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

pub(crate) struct Order;

impl Table for Order {
    const NAME: &'static str = "orders";
    const KEY: &'static [&'static str] = &["tenant", "id"];
    type Key = (i64, i64);
}

pub(crate) fn update(id: i64) -> Event {
    Event::builder("public", "users", Operation::Update)
        .key(id)
        .build()
}

pub(crate) fn truncate() -> Event {
    Event::builder("public", "users", Operation::Truncate).build()
}

/// A cache with its driver and router, which the test advances step by step.
pub(crate) struct Rig<K: CacheKey, V: Send + Sync + 'static> {
    pub(crate) cache: CacheHandle<K, V>,
    pub(crate) driver: Option<CacheDriver<K, V>>,
    pub(crate) router: Router,
    pub(crate) subscription: Subscription,
}

/// A live cache of users.
pub(crate) fn users() -> Rig<i64, u64> {
    users_with(|builder| builder)
}

pub(crate) fn users_with(
    change: impl FnOnce(CacheBuilder<i64, u64>) -> CacheBuilder<i64, u64>,
) -> Rig<i64, u64> {
    Rig::live(change(CacheBuilder::new("users").row_of::<User>()))
}

impl<K: CacheKey, V: Send + Sync + 'static> Rig<K, V> {
    pub(crate) fn new(builder: CacheBuilder<K, V>) -> Self {
        let (cache, driver) = builder.build().unwrap();
        let mut router = Router::new();
        let subscription = router
            .subscribe(driver.filter(), driver.subscription())
            .unwrap();
        Self {
            cache,
            driver: Some(driver),
            router,
            subscription,
        }
    }

    pub(crate) fn live(builder: CacheBuilder<K, V>) -> Self {
        let mut rig = Self::new(builder);
        rig.reconnect();
        rig.pump();
        assert!(rig.cache.is_live());
        rig
    }

    /// Publishes that the source is live. The cache has not applied it yet.
    pub(crate) fn reconnect(&mut self) {
        let resync = Resync::new(ResyncReason::Reconnected);
        self.router.publish(&Signal::Resync(resync));
        self.router.publish(&Signal::Live);
    }

    /// Publishes that the source has caught up and is live again.
    pub(crate) fn resume(&mut self) {
        self.router.publish(&Signal::Resumed);
        self.router.publish(&Signal::Live);
    }

    pub(crate) fn down(&mut self) {
        let error = Error::disconnected("the connection was lost", "a test said so");
        self.router.publish(&Signal::Down(error));
    }

    /// Publishes events. The cache has not applied them yet.
    pub(crate) fn say(&mut self, events: impl IntoIterator<Item = Event>) {
        self.router
            .publish(&Signal::Events(events.into_iter().collect()));
    }

    /// Applies the deliveries in the queue.
    pub(crate) fn pump(&mut self) {
        self.pump_at(Instant::now());
    }

    pub(crate) fn pump_at(&mut self, now: Instant) {
        while let Some(delivery) = self.subscription.try_recv() {
            self.driver.as_mut().unwrap().apply(&delivery, now);
        }
    }

    /// Publishes events and applies them.
    pub(crate) fn apply(&mut self, events: impl IntoIterator<Item = Event>) {
        self.say(events);
        self.pump();
    }

    /// Wakes the driver if it is due at `now`.
    pub(crate) fn wake(&mut self, now: Instant) {
        let driver = self.driver.as_mut().unwrap();
        if driver.next_wake().is_some_and(|at| at <= now) {
            driver.wake(now);
        }
    }
}

/// A stand-in for a query. It counts its calls, and returns the number of the call.
#[derive(Clone, Default)]
pub(crate) struct Loads(Arc<AtomicU64>);

impl Loads {
    pub(crate) async fn load(&self) -> Result<u64, std::io::Error> {
        Ok(self.0.fetch_add(1, SeqCst) + 1)
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(SeqCst)
    }
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it does not hang")
}

/// Lets every other task run until it waits.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
