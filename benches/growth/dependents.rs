//! Caches: keys that depend on one row.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use pgherald::__private::host::cache::Drive;
use pgherald::__private::host::events::Router;
use pgherald::{CacheBuilder, Delivery, Event, Operation, Resync, ResyncReason, Signal, Table};

use crate::cost::time_of_client;
use crate::{Asked, print};

struct Owner;

impl Table for Owner {
    const NAME: &'static str = "owners";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

pub(crate) fn measure(asked: &Asked) {
    let (all, emptied) = (
        "caches, dependents of one row",
        "caches, a row that once had dependents",
    );
    let bare = "dependents, as keys of a bare hash map";
    if ![all, emptied, bare].iter().any(|name| asked.wants(name)) {
        return;
    }
    let sizes = asked.sizes(&[1_000, 100_000], &[1_000, 100_000, 1_000_000]);
    let (mut costs, mut costs_after, mut costs_bare) = (Vec::new(), Vec::new(), Vec::new());
    for size in sizes {
        let (cost, after) = invalidated(i64::try_from(*size).unwrap());
        costs.push(cost);
        costs_after.push(after);
        costs_bare.push(removed(i64::try_from(*size).unwrap()));
    }
    print(all, "ns per dependent", sizes, &costs);
    print(emptied, "µs per event", sizes, &costs_after);
    print(bare, "ns per key", sizes, &costs_bare);
}

/// The nanoseconds for each of `count` keys that an event concerns, and the microseconds of a later event that concerns one.
fn invalidated(count: i64) -> (f64, f64) {
    let capacity = usize::try_from(count * 2).unwrap();
    let builder = CacheBuilder::<i64, i64>::new("c").row_by::<Owner>(|_| 0);
    let (cache, mut driver) = builder.capacity(capacity).build().unwrap();
    let mut router = Router::new();
    let mut subscription = router
        .subscribe(driver.filter(), driver.subscription())
        .unwrap();
    router.publish(&Signal::Resync(Resync::new(ResyncReason::Started)));
    router.publish(&Signal::Live);
    driver.apply(&subscription.try_recv().unwrap(), Instant::now());
    let event = Event::builder("public", "owners", Operation::Update).key(0);
    let delivery = Delivery::new(None, [event.build()]);
    let rounds = 3;
    let mut took = f64::INFINITY;
    for _ in 0..rounds {
        let stamp = cache.stamp();
        for key in 0..count {
            assert!(cache.insert(&stamp, key, key));
        }
        let before = time_of_client();
        driver.apply(&delivery, Instant::now());
        took = took.min(time_of_client().saturating_sub(before).as_secs_f64());
        assert!(cache.get(&0).is_none());
    }
    let mut took_after = f64::INFINITY;
    for _ in 0..rounds {
        let stamp = cache.stamp();
        for key in 0..count {
            assert!(cache.insert(&stamp, key, key));
        }
        (1..count).for_each(|key| _ = cache.invalidate(&key));
        let before = time_of_client();
        driver.apply(&delivery, Instant::now());
        took_after = took_after.min(time_of_client().saturating_sub(before).as_secs_f64());
    }
    (took * 1e9 / count as f64, took_after * 1e6)
}

/// The nanoseconds for each of `count` keys that are removed from a map, in the order of a set of them.
fn removed(count: i64) -> f64 {
    let keys: HashSet<i64> = (0..count).collect();
    let mut took = f64::INFINITY;
    for _ in 0..3 {
        let mut map: HashMap<i64, i64> = (0..count).map(|key| (key, key)).collect();
        let before = time_of_client();
        for key in &keys {
            assert_eq!(map.remove(key), Some(*key));
        }
        took = took.min(time_of_client().saturating_sub(before).as_secs_f64());
    }
    took * 1e9 / count as f64
}
