//! The cost of a cache: a hit, a miss with its load, an invalidation, a batch.
//!
//! `cargo run --release -p pgherald-peers` compares caches with others.

#![allow(clippy::expect_used, reason = "benchmarks may panic")]

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pgherald::__private::host::cache::Drive;
use pgherald::__private::host::events::Router;
use pgherald::{
    CacheBuilder, CacheDriver, CacheHandle, Delivery, Event, Operation, Resync, ResyncReason,
    Signal, Subscription, Table,
};

const KEYS: i64 = 10_000;
/// Twice the number of keys, because the parts of the store fill unevenly.
const CAPACITY: usize = 20_000;
const BATCH: i64 = 100;

struct User;

impl Table for User {
    const NAME: &'static str = "users";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

/// A full cache that is live without a database.
struct Live {
    users: CacheHandle<i64, i64>,
    driver: CacheDriver<i64, i64>,
    _router: Router,
    _subscription: Subscription,
}

impl Live {
    fn new() -> Self {
        let builder = CacheBuilder::new("users").row_of::<User>();
        let (users, mut driver) = builder.capacity(CAPACITY).build().expect("a cache");
        let mut router = Router::new();
        let mut subscription = router
            .subscribe(driver.filter(), driver.subscription())
            .expect("a subscription");
        router.publish(&Signal::Resync(Resync::new(ResyncReason::Started)));
        router.publish(&Signal::Live);
        let started = subscription.try_recv().expect("the resync");
        driver.apply(&started, Instant::now());
        let before = users.stamp();
        for key in 0..KEYS {
            assert!(users.insert(&before, key, key));
        }
        Self {
            users,
            driver,
            _router: router,
            _subscription: subscription,
        }
    }

    fn load(&self, runtime: &tokio::runtime::Runtime, key: i64) {
        let load = self
            .users
            .get_or_load(key, async || Ok::<_, Infallible>(key));
        black_box(runtime.block_on(load).expect("a value"));
    }
}

fn keys() -> impl Iterator<Item = i64> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(move || random.i64(0..KEYS))
}

fn cache(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut live = Live::new();
    let mut group = criterion.benchmark_group("cache");
    group.bench_function("hit", |bencher| {
        let mut keys = keys();
        bencher.iter(|| live.users.get(&keys.next().expect("a key")).expect("a hit"));
    });
    group.bench_function("invalidate, miss and load", |bencher| {
        let mut keys = keys();
        bencher.iter(|| {
            let key = keys.next().expect("a key");
            live.users.invalidate(&key);
            live.load(&runtime, key);
        });
    });
    group.bench_function("an event, miss and load", |bencher| {
        let deliveries: Vec<_> = keys()
            .take(4_096)
            .map(|key| {
                let event = Event::builder("public", "users", Operation::Update).key(key);
                (key, Delivery::new(None, [event.build()]))
            })
            .collect();
        let mut deliveries = deliveries.iter().cycle();
        bencher.iter(|| {
            let (key, delivery) = deliveries.next().expect("an event");
            live.driver.apply(delivery, Instant::now());
            live.load(&runtime, *key);
        });
    });
    group.throughput(Throughput::Elements(BATCH.unsigned_abs()));
    group.bench_function("get_many_or_load, all there", |bencher| {
        bencher.iter(|| {
            let load = async |_| Ok::<_, Infallible>(Vec::new());
            let values = live.users.get_many_or_load(0..BATCH, load);
            black_box(runtime.block_on(values).expect("values").len())
        });
    });
    group.bench_function("invalidate, get_many_or_load of all", |bencher| {
        bencher.iter(|| {
            for key in 0..BATCH {
                live.users.invalidate(&key);
            }
            let load =
                async |keys: Vec<i64>| Ok::<_, Infallible>(keys.into_iter().map(|key| (key, key)));
            let values = live.users.get_many_or_load(0..BATCH, load);
            black_box(runtime.block_on(values).expect("values").len())
        });
    });
    group.finish();
}

criterion_group!(benches, cache);
criterion_main!(benches);
