//! A load that an invalidation has overtaken: its value is not stored, and later reads do not join it.

use std::sync::Arc;

use pgherald_core::{CacheBuilder, CacheHandle, Event};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{Loads, Rig, User, settle, truncate, update, users, within};

/// Starts a load that returns `value` once the test signals it.
fn slow_load<K: pgherald_core::cache::CacheKey>(
    cache: &CacheHandle<K, u64>,
    key: K,
    value: u64,
) -> (oneshot::Sender<()>, JoinHandle<u64>) {
    let (go, opened) = oneshot::channel();
    let cache = cache.clone();
    let load = async move || {
        let _ = opened.await;
        Ok::<u64, String>(value)
    };
    let read = async move { *cache.get_or_load(key, load).await.unwrap() };
    (go, tokio::spawn(read))
}

/// Begins a load, invalidates, and checks that the old value reaches only its own caller.
async fn is_overtaken(rig: &mut Rig<i64, u64>, invalidate: impl FnOnce(&mut Rig<i64, u64>)) {
    let (go, old) = slow_load(&rig.cache, 7, 1);
    settle().await;
    invalidate(rig);
    // A read that begins now must not join.
    let fresh = rig.cache.get_or_load(7, async || Ok::<u64, String>(2));
    assert_eq!(*within(fresh).await.unwrap(), 2);
    go.send(()).unwrap();
    // A read that began before may return the old value.
    assert_eq!(within(old).await.unwrap(), 1);
    assert_eq!(rig.cache.get(&7).as_deref(), Some(&2));
    assert_eq!(rig.cache.stats().loads_overtaken, 1);
}

#[tokio::test]
async fn an_event_of_the_row_overtakes_a_load() {
    is_overtaken(&mut users(), |rig| rig.apply([update(7)])).await;
}

#[tokio::test]
async fn an_event_about_the_table_overtakes_a_load() {
    is_overtaken(&mut users(), |rig| rig.apply([truncate()])).await;
}

#[tokio::test]
async fn a_reconnect_overtakes_a_load() {
    is_overtaken(&mut users(), |rig| {
        rig.down();
        rig.reconnect();
        rig.pump();
    })
    .await;
}

#[tokio::test]
async fn an_explicit_invalidation_overtakes_a_load() {
    is_overtaken(&mut users(), |rig| assert!(rig.cache.invalidate(&7))).await;
    is_overtaken(&mut users(), |rig| rig.cache.invalidate_all()).await;
}

#[tokio::test]
async fn an_event_of_another_row_does_not_overtake_a_load() {
    let mut rig = users();
    let (go, read) = slow_load(&rig.cache, 7, 1);
    settle().await;
    rig.apply((0..5_000).filter(|id| *id != 7).map(update));
    go.send(()).unwrap();
    assert_eq!(within(read).await.unwrap(), 1);
    assert_eq!(rig.cache.get(&7).as_deref(), Some(&1));
}

#[tokio::test]
async fn an_event_of_a_row_that_the_key_depends_on_overtakes_a_load() {
    let builder = CacheBuilder::<(i64, &str), u64>::new("names").row_by::<User>(|(user, _)| *user);
    let mut rig = Rig::live(builder);
    let (go, old) = slow_load(&rig.cache, (7, "en"), 1);
    let (go_other, other) = slow_load(&rig.cache, (8, "en"), 1);
    settle().await;
    rig.apply([update(7)]);
    go.send(()).unwrap();
    go_other.send(()).unwrap();
    assert_eq!(within(old).await.unwrap(), 1);
    assert_eq!(within(other).await.unwrap(), 1);
    assert_eq!(rig.cache.get(&(7, "en")), None);
    assert_eq!(rig.cache.get(&(8, "en")).as_deref(), Some(&1));
}

#[tokio::test]
async fn an_event_overtakes_only_its_key_of_a_batch() {
    let mut rig = users();
    let (go, opened) = oneshot::channel::<()>();
    let opened = Arc::new(tokio::sync::Mutex::new(Some(opened)));
    let cache = rig.cache.clone();
    let read = tokio::spawn(async move {
        let load = async |missing: Vec<i64>| {
            let opened = opened.lock().await.take();
            let _ = opened.unwrap().await;
            Ok::<_, String>(missing.into_iter().map(|key| (key, 1)))
        };
        cache.get_many_or_load([7, 8], load).await.unwrap().len()
    });
    settle().await;
    rig.apply([update(7)]);
    go.send(()).unwrap();
    assert_eq!(within(read).await.unwrap(), 2);
    assert_eq!(rig.cache.get(&7), None);
    assert_eq!(rig.cache.get(&8).as_deref(), Some(&1));
}

#[test]
fn a_value_read_before_an_invalidation_is_not_inserted() {
    let mut rig = users();
    let before = rig.cache.stamp();
    assert!(rig.cache.insert(&before, 7, 1));
    rig.apply([update(7)]);
    assert!(!rig.cache.insert(&before, 7, 1));
    assert_eq!(rig.cache.get(&7), None);
    let later = rig.cache.stamp();
    assert!(rig.cache.insert(&later, 7, 2));
    rig.cache.invalidate_all();
    assert!(!rig.cache.insert(&later, 8, 2));
    assert!(!rig.cache.insert(&before, 8, 2));
    rig.down();
    assert!(
        !rig.cache.insert(&rig.cache.stamp(), 8, 2),
        "nobody would invalidate it"
    );
}

#[test]
fn a_value_read_before_its_rows_event_is_not_inserted() {
    let builder = CacheBuilder::<(i64, i64), u64>::new("names").row_by::<User>(|(user, _)| *user);
    let mut rig = Rig::live(builder);
    let before = rig.cache.stamp();
    // No reader has used this key yet, so the cache knows only that the row changed.
    rig.apply([update(7)]);
    assert!(!rig.cache.insert(&before, (7, 1), 1));
    assert!(rig.cache.insert(&rig.cache.stamp(), (7, 1), 1));
}

#[tokio::test]
async fn an_absence_is_cached_and_ends_with_the_insert() {
    let builder = CacheBuilder::<i64, Option<u64>>::new("users").row_of::<User>();
    let mut rig = Rig::live(builder);
    let loads = Loads::default();
    for _ in 0..3 {
        let absent = rig
            .cache
            .get_or_load(7, async || loads.load().await.map(|_| None));
        assert_eq!(*absent.await.unwrap(), None);
    }
    assert_eq!(loads.count(), 1);
    let insert = Event::builder("public", "users", pgherald_core::Operation::Insert);
    rig.apply([insert.key(7).build()]);
    assert_eq!(rig.cache.get(&7), None);
}
