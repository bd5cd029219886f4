//! Invalid settings return an error that names them. Events that the cache cannot interpret invalidate more, never less.

use std::time::Duration;

use pgherald_core::{
    Affected, CacheBuilder, Error, Event, Key, LoadLimit, Operation, Overflow, Refresh,
    SubscriptionOptions, Table, WhenNotLive,
};

use crate::support::{Order, Rig, User, update, users};

fn refused<K: pgherald_core::cache::CacheKey>(builder: CacheBuilder<K, u64>) -> Error {
    let error = builder.build().map(drop).unwrap_err();
    assert!(error.is_config(), "{error}");
    error
}

#[test]
fn errors_name_the_invalid_setting() {
    let users = || CacheBuilder::<i64, u64>::new("users").row_of::<User>();
    let cases = [
        (users().capacity(0), "capacity is 0"),
        (users().ttl(Duration::ZERO), "time to live is 0"),
        (users().ttl_jitter(1.5), "jitter"),
        (users().ttl_jitter(f64::NAN), "jitter"),
        (
            users().refresh(Refresh::new(Duration::ZERO, async |_| Ok(1))),
            "stale values for 0",
        ),
        (
            users().when_not_live(WhenNotLive::ServeStale {
                max_age: Duration::ZERO,
            }),
            "max_age of ServeStale is 0",
        ),
        (
            users().load_limit(&LoadLimit::new(0)),
            "load limit is 0 loads",
        ),
        (CacheBuilder::new("users"), "depends on no table"),
        (
            users().subscription(SubscriptionOptions::new("").overflow(Overflow::CoalesceByKey)),
            "coalesces",
        ),
    ];
    for (builder, what) in cases {
        let error = refused(builder).to_string();
        assert!(
            error.contains("\"users\"") && error.contains(what),
            "{error}"
        );
    }
}

#[test]
fn errors_name_the_invalid_table() {
    struct Nameless;
    impl Table for Nameless {
        const NAME: &'static str = "";
        const KEY: &'static [&'static str] = &["id"];
        type Key = i64;
    }
    let builder = CacheBuilder::<i64, u64>::new("users");
    refused(builder.row_of::<Nameless>());
}

/// Applies `event` to a filled cache, and checks that it flushes the cache.
fn flushes<K: pgherald_core::cache::CacheKey>(
    builder: CacheBuilder<K, u64>,
    key: &K,
    event: &Event,
) {
    let mut rig = Rig::live(builder);
    assert!(rig.cache.insert(&rig.cache.stamp(), key.clone(), 1));
    rig.apply([event.clone(), event.clone()]);
    assert_eq!(rig.cache.get(key), None);
    assert_eq!(rig.cache.stats().flushed_by_mismatch, 2);
    assert!(rig.cache.is_live());
}

#[test]
fn a_row_key_of_another_type_flushes() {
    let event = || Event::builder("public", "users", Operation::Update);
    let users = CacheBuilder::new("users");
    flushes(users.row_of::<User>(), &7, &event().key("seven").build());
    let names = CacheBuilder::new("names");
    let names = names.row_by::<User>(|(user, _): &(i64, i64)| *user);
    flushes(names, &(7, 7), &event().key("7").build());
    let names = CacheBuilder::new("names");
    let composite = (7_i64, 7_i64).to_row_key();
    flushes(names.row_of::<User>(), &7, &event().key(composite).build());
    let orders = CacheBuilder::<i64, u64>::new("orders");
    let orders = orders.keys_by::<Order>(|change| Affected::Keys(vec![change.key.0]));
    let order = Event::builder("public", "orders", Operation::Update);
    flushes(orders, &7, &order.key(7).build());
}

#[test]
fn a_panic_while_keys_are_determined_flushes() {
    let builder = CacheBuilder::<i64, u64>::new("users");
    let builder = builder.keys_by::<User>(|_| panic!("in the mapping"));
    flushes(builder, &7, &update(7));
}

#[test]
fn a_key_that_panics_flushes() {
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Odd(i64);
    impl std::hash::Hash for Odd {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            assert!(self.0 >= 0, "in the hash");
            self.0.hash(state);
        }
    }
    let builder = CacheBuilder::<Odd, u64>::new("odd");
    let builder = builder.keys_by::<User>(|change| Affected::Keys(vec![Odd(change.key)]));
    let mut rig = Rig::live(builder);
    assert!(rig.cache.insert(&rig.cache.stamp(), Odd(7), 1));
    rig.apply([update(-1)]);
    assert_eq!(rig.cache.get(&Odd(7)), None);
    assert!(rig.cache.insert(&rig.cache.stamp(), Odd(7), 1));
    rig.apply([update(7)]);
    assert_eq!(rig.cache.get(&Odd(7)), None);
}

#[test]
fn the_cache_survives_a_value_whose_destructor_panics() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in the destructor")
        }
    }
    let mut rig = Rig::live(CacheBuilder::<i64, Bomb>::new("bombs").row_of::<User>());
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, Bomb));
    rig.apply([update(7)]);
    assert!(rig.cache.get(&7).is_none());
    assert!(rig.cache.is_live());
}

#[tokio::test]
async fn a_capacity_of_one_works() {
    let rig = crate::support::users_with(|builder| builder.capacity(1));
    for id in 0..10 {
        assert!(rig.cache.insert(&rig.cache.stamp(), id, 1));
    }
    assert_eq!(rig.cache.get(&9).as_deref(), Some(&1));
    assert_eq!(rig.cache.stats().entries, 1);
    drop(users());
}
