//! Loaders that read caches.

use std::sync::Arc;

use pgherald_core::{CacheHandle, LoadError, LoadLimit};
use tokio::sync::Barrier;

use crate::support::{settle, users, users_with, within};

type Loaded = Result<Arc<u64>, LoadError<String>>;

fn failed(error: LoadError<String>) -> String {
    match error {
        LoadError::Recursive => "recursive".to_owned(),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn a_loader_that_reads_its_own_key_is_refused() {
    let rig = users();
    let cache = rig.cache.clone();
    let load = async || {
        let inner: Loaded = cache.get_or_load(7, async || Ok(1)).await;
        inner.map(|value| *value).map_err(failed)
    };
    let error = within(rig.cache.get_or_load(7, load)).await.unwrap_err();
    assert_eq!(error.failure().map(String::as_str), Some("recursive"));
    // Also in a batch.
    let load = async |_| {
        let inner = cache.get_many_or_load([6, 7], async |_| Ok::<_, String>([(6, 1)]));
        inner.await.map(|_| [(7, 1)]).map_err(failed)
    };
    let error = within(rig.cache.get_many_or_load([7], load))
        .await
        .unwrap_err();
    assert_eq!(error.failure().map(String::as_str), Some("recursive"));
    // Nothing remains of the refused loads.
    assert_eq!(
        *rig.cache
            .get_or_load(7, async || Ok::<_, String>(3))
            .await
            .unwrap(),
        3
    );
}

#[tokio::test]
async fn a_loader_may_read_other_keys() {
    let rig = users();
    let cache = rig.cache.clone();
    let load = async || {
        let other: Loaded = cache.get_or_load(8, async || Ok(1)).await;
        other.map(|value| *value + 1).map_err(failed)
    };
    assert_eq!(*within(rig.cache.get_or_load(7, load)).await.unwrap(), 2);
    assert_eq!(rig.cache.get(&8).as_deref(), Some(&1));
}

/// Runs two tasks, each of which loads its key and reads the other's key in that load.
async fn crossing(first: &CacheHandle<i64, u64>, second: &CacheHandle<i64, u64>) -> [Loaded; 2] {
    let both = Arc::new(Barrier::new(2));
    let task = |own: &CacheHandle<i64, u64>, key: i64, other: &CacheHandle<i64, u64>, wanted| {
        let (own, other, both) = (own.clone(), other.clone(), Arc::clone(&both));
        tokio::spawn(async move {
            let load = async || {
                both.wait().await;
                let inner: Loaded = other.get_or_load(wanted, async || Ok(1)).await;
                inner.map(|value| *value).map_err(failed)
            };
            own.get_or_load(key, load).await
        })
    };
    let tasks = [task(first, 1, second, 2), task(second, 2, first, 1)];
    let [a, b] = tasks.map(within);
    let (a, b) = tokio::join!(a, b);
    [a.unwrap(), b.unwrap()]
}

#[tokio::test]
async fn two_loads_that_need_each_other_do_not_deadlock() {
    let (one, other) = (users(), users());
    for (first, second) in [(&one, &one), (&one, &other)] {
        let results = crossing(&first.cache, &second.cache).await;
        // The second of the two reads is refused. The first load then receives that error.
        for result in results {
            let error = result.unwrap_err();
            assert!(error.failure().is_some_and(|text| !text.is_empty()));
        }
    }
}

#[tokio::test]
async fn a_load_limit_of_one_does_not_block_loads_that_need_each_other() {
    let limit = LoadLimit::new(1);
    let rig = users_with(|builder| builder.load_limit(&limit));
    let cache = rig.cache.clone();
    // Nested: the inner load uses the place of the outer load.
    let nested = async || {
        let other: Loaded = cache.get_or_load(8, async || Ok(1)).await;
        other.map(|value| *value).map_err(failed)
    };
    assert_eq!(*within(rig.cache.get_or_load(7, nested)).await.unwrap(), 1);
    // Waiting: the load that has the place waits for a load that waits for a place.
    let (first, second) = (rig.cache.clone(), rig.cache.clone());
    let holder = tokio::spawn(async move {
        let cache = first.clone();
        let load = async || {
            // Let the other task register its load and wait for a place.
            settle().await;
            let other: Loaded = cache.get_or_load(2, async || Ok(0)).await;
            other.map(|value| *value).map_err(failed)
        };
        first.get_or_load(1, load).await
    });
    let waiter =
        tokio::spawn(async move { second.get_or_load(2, async || Ok::<_, String>(5)).await });
    assert_eq!(*within(holder).await.unwrap().unwrap(), 5);
    assert_eq!(*within(waiter).await.unwrap().unwrap(), 5);
}
