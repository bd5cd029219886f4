//! Dead values are freed without being read, and the values stay within the capacity in bytes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use pgherald_core::{CacheBuilder, CacheHandle, CacheStats, Loaded, Refresh};
use tokio::sync::Notify;
use tokio::time::{advance, sleep};

use crate::support::{Rig, User, within};

type Values = CacheBuilder<i64, Arc<u64>>;

const COUNT: i64 = 1_000;

/// A live cache whose driver runs.
fn running<V: Send + Sync + 'static>(builder: CacheBuilder<i64, V>) -> CacheHandle<i64, V> {
    let Rig {
        cache,
        driver,
        router,
        subscription,
    } = Rig::live(builder);
    let run = driver.unwrap().run(subscription);
    tokio::spawn(async move {
        run.await;
        drop(router);
    });
    cache
}

/// Fills a live cache whose driver runs. Returns weak references that show whether the values are alive.
fn filled(change: impl FnOnce(Values) -> Values) -> (CacheHandle<i64, Arc<u64>>, Vec<Weak<u64>>) {
    let cache = running(change(CacheBuilder::new("users").row_of::<User>()));
    let stamp = cache.stamp();
    let fill = |key| {
        let value = Arc::new(0);
        let alive = Arc::downgrade(&value);
        assert!(cache.insert(&stamp, key, value));
        alive
    };
    let alive = (0..COUNT).map(fill).collect();
    (cache, alive)
}

/// Waits until the values are freed, for some seconds at most on tokio's clock.
async fn freed(cache: &CacheHandle<i64, Arc<u64>>, alive: &[Weak<u64>]) -> CacheStats {
    let waiting = async {
        while alive.iter().any(|value| value.upgrade().is_some()) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(5), waiting).await;
    assert!(waited.is_ok(), "{:?}", cache.stats());
    cache.stats()
}

#[tokio::test(start_paused = true)]
async fn values_are_freed_after_invalidate_all() {
    let (cache, alive) = filled(|builder| builder);
    cache.invalidate_all();
    let stats = freed(&cache, &alive).await;
    assert_eq!((stats.freed, stats.entries), (COUNT as u64, 0));
    assert_eq!(stats.expirations, 0);
}

/// Wakes a task when it is dropped.
struct Bell(Arc<Notify>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test(start_paused = true)]
async fn other_tasks_of_the_thread_run_while_many_values_are_freed() {
    let bell = Arc::new(Notify::new());
    let cache = running(CacheBuilder::new("users").row_of::<User>());
    for key in 0..COUNT {
        assert!(cache.insert(&cache.stamp(), key, Bell(Arc::clone(&bell))));
    }
    cache.invalidate_all();
    within(bell.notified()).await;
    assert!(cache.stats().entries > 0, "all were freed at once");
}

#[tokio::test(start_paused = true)]
async fn only_values_past_their_time_to_live_are_freed() {
    let ttl = Duration::from_secs(60);
    let (cache, alive) = filled(|builder| builder.ttl(ttl));
    advance(ttl / 2).await;
    let late = cache.stamp();
    assert!(cache.insert(&late, -1, Arc::new(1)));
    advance(ttl / 2).await;
    let stats = freed(&cache, &alive).await;
    assert_eq!(
        (stats.freed, stats.expirations),
        (COUNT as u64, COUNT as u64)
    );
    assert!(cache.get(&-1).is_some());
}

#[tokio::test(start_paused = true)]
async fn values_are_freed_once_too_stale_to_be_served() {
    let stale = Duration::from_secs(60);
    let refresh = || Refresh::new(stale, |_| async { Err("not read, not loaded".into()) });
    for all in [false, true] {
        let (cache, alive) = filled(|builder| builder.ttl(stale).refresh(refresh()));
        match all {
            false => advance(stale).await,
            true => cache.invalidate_all(),
        }
        sleep(Duration::from_secs(5)).await;
        let left = alive.iter().filter(|value| value.upgrade().is_some());
        assert_eq!(left.count() as i64, if all { 0 } else { COUNT });
        sleep(stale).await;
        assert_eq!(freed(&cache, &alive).await.freed, COUNT as u64);
    }
}

#[tokio::test]
async fn the_capacity_in_bytes_holds_for_few_large_values_in_many_parts() {
    let builder = CacheBuilder::<i64, Vec<u8>>::new("users").row_of::<User>();
    let builder = builder
        .capacity(100_000)
        .weigher(|_, value| value.len() as u64);
    let rig = Rig::live(builder.capacity_bytes(10 << 20));
    for key in 0..100 {
        let load = async || Ok::<_, ()>(vec![0; 1 << 20]);
        assert_eq!(
            rig.cache.get_or_load(key, load).await.unwrap().len(),
            1 << 20
        );
        assert!(rig.cache.get(&key).is_some(), "the newest one stays");
    }
    let stats = rig.cache.stats();
    assert_eq!((stats.bytes, stats.capacity_bytes), (10 << 20, 10 << 20));
    assert_eq!((stats.entries, stats.evictions), (10, 90));
    // A value that is larger than the capacity is returned to its caller, and evicts nothing.
    let load = async || Ok::<_, ()>(vec![0; 11 << 20]);
    assert_eq!(
        rig.cache.get_or_load(-1, load).await.unwrap().len(),
        11 << 20
    );
    assert!(!rig.cache.insert(&rig.cache.stamp(), -2, vec![0; 11 << 20]));
    assert_eq!(rig.cache.stats().entries, 10);
    assert_eq!(rig.cache.stats().loads_overtaken, 0);
    for key in 0..100 {
        rig.cache.invalidate(&key);
    }
    assert_eq!(rig.cache.stats().bytes, 0);
}

#[test]
fn a_weigher_and_a_capacity_in_bytes_go_together() {
    let builder = || CacheBuilder::<i64, String>::new("users").row_of::<User>();
    for refused in [
        builder().weigher(|_, _| 1),
        builder().capacity_bytes(1),
        builder().weigher(|_, _| 1).capacity_bytes(0),
    ] {
        let error = refused.build().unwrap_err();
        assert!(error.to_string().contains("capacity_bytes"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_may_have_its_own_time_to_live_or_not_be_stored() {
    let rig = crate::support::users_with(|builder| builder.ttl(Duration::from_secs(60)));
    let read = async |key, loaded: Loaded<u64>| {
        let load = async || Ok::<_, ()>(loaded);
        *within(rig.cache.get_or_load_with(key, load)).await.unwrap()
    };
    read(1, Loaded::new(1).ttl(Duration::from_secs(1))).await;
    read(2, Loaded::new(2).ttl(Duration::from_secs(100))).await;
    read(3, Loaded::new(3)).await;
    assert_eq!(read(4, Loaded::new(4).unstored()).await, 4);
    assert_eq!(read(5, Loaded::new(5).ttl(Duration::ZERO)).await, 5);
    let held = || (1..=5).filter(|key| rig.cache.get(key).is_some());
    assert!(held().eq([1, 2, 3]));
    advance(Duration::from_secs(1)).await;
    assert!(held().eq([2, 3]));
    advance(Duration::from_secs(60)).await;
    assert!(held().eq([2]));
    let stamp = rig.cache.stamp();
    assert!(!rig.cache.insert_with(&stamp, 6, Loaded::new(6).unstored()));
    assert_eq!(rig.cache.stats().loads_overtaken, 0);
}
