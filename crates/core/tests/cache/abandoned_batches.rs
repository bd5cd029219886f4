//! Reads of many keys: if a caller gives up or a load hangs, the other callers still get their values.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use pgherald_core::{CacheHandle, LoadError};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::abandoned_loads::{LIMIT, begin, hang, limited};
use crate::support::{Loads, settle, update, users, within};

/// Pairs every key with `value`, the number of the load.
fn rows(keys: Vec<i64>, value: u64) -> Vec<(i64, u64)> {
    keys.into_iter().map(|key| (key, value)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_detached_load_of_many_keys_outlives_callers_with_shorter_deadlines() {
    let rig = users();
    let loads = Loads::default();
    let mut answers = 0;
    for _ in 0..114 {
        let load = |keys: Vec<i64>| {
            let loads = loads.clone();
            async move {
                sleep(Duration::from_millis(500)).await;
                loads.load().await.map(|value| rows(keys, value))
            }
        };
        let read = rig.cache.get_many_or_load_detached([7, 8], load);
        if let Ok(found) = timeout(Duration::from_millis(200), read).await {
            assert_eq!(found.unwrap().len(), 2);
            answers += 1;
        }
    }
    assert_eq!((loads.count(), answers), (1, 112));
    assert_eq!(rig.cache.stats().loads_cancelled, 0);
}

#[tokio::test]
async fn a_detached_load_of_many_keys_continues_for_the_callers_of_each_key() {
    let mut rig = users();
    let go = Arc::new(Notify::new());
    let load = |keys: Vec<i64>| {
        let go = Arc::clone(&go);
        async move {
            go.notified().await;
            Ok::<_, Infallible>(rows(keys, 1))
        }
    };
    let mut first = Box::pin(rig.cache.get_many_or_load_detached([7, 8, 9], load));
    begin(&mut first).await;
    let waits = {
        let cache = rig.cache.clone();
        let load = async || panic!("the other load goes on");
        tokio::spawn(async move { cache.get_or_load::<Infallible, _, _>(7, load).await })
    };
    settle().await;
    drop(first);
    // Only key 8 is overtaken.
    rig.apply([update(8)]);
    go.notify_one();
    assert_eq!(*within(waits).await.unwrap().unwrap(), 1);
    let held = [7, 8, 9].map(|key| rig.cache.get(&key).is_some());
    assert_eq!(held, [true, false, true]);
    assert_eq!(rig.cache.stats().loads, 1);
}

#[tokio::test]
async fn a_detached_load_of_many_keys_that_panics_leaves_each_key_to_its_caller() {
    let rig = users();
    let go = Arc::new(Notify::new());
    let (cache, signal) = (rig.cache.clone(), Arc::clone(&go));
    let first = tokio::spawn(async move {
        let load = |_| {
            let signal = Arc::clone(&signal);
            async move {
                signal.notified().await;
                panic!("in the loader")
            }
        };
        cache
            .get_many_or_load_detached::<Infallible, _, _, Vec<(i64, u64)>>([7, 8], load)
            .await
    });
    settle().await;
    let single = |key| {
        let cache = rig.cache.clone();
        tokio::spawn(async move {
            cache
                .get_or_load(key, async || Ok::<_, Infallible>(5))
                .await
        })
    };
    let (second, third) = (single(7), single(8));
    settle().await;
    go.notify_one();
    assert!(within(first).await.unwrap_err().is_panic());
    assert_eq!(*within(second).await.unwrap().unwrap(), 5);
    assert_eq!(*within(third).await.unwrap().unwrap(), 5);
    assert_eq!(rig.cache.stats().loads_panicked, 2);
}

#[tokio::test]
async fn a_detached_load_of_many_keys_that_waits_for_itself_is_refused() {
    let rig = users();
    let cache = rig.cache.clone();
    let load = move |keys: Vec<i64>| {
        let cache = cache.clone();
        async move {
            let again = async |_: Vec<i64>| Ok::<_, Infallible>(Vec::new());
            match cache.get_many_or_load([8, 9], again).await {
                Err(LoadError::Recursive) => Ok::<_, Infallible>(rows(keys, 2)),
                other => panic!("{other:?}"),
            }
        }
    };
    let found = within(rig.cache.get_many_or_load_detached([7, 8], load)).await;
    assert_eq!(*found.unwrap()[&8], 2);
}

#[test]
fn a_detached_load_of_many_keys_ends_with_its_runtime() {
    let rig = users();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    };
    let (gone, other) = (runtime().unwrap(), runtime().unwrap());
    let load = async |keys: Vec<i64>| hang().await.map(|value| rows(keys, value));
    // The load and its caller run on different runtimes.
    let mut read = Box::pin(rig.cache.get_many_or_load_detached([7, 8], load));
    gone.block_on(begin(&mut read));
    drop(gone);
    assert!(matches!(
        other.block_on(within(read)),
        Err(LoadError::Cancelled)
    ));
    assert_eq!(rig.cache.stats().loads_cancelled, 2);
}

#[tokio::test]
async fn a_caller_of_many_keys_that_gives_up_leaves_each_key_to_a_waiting_caller() {
    let rig = users();
    let loads = Loads::default();
    let load = async |keys: Vec<i64>| hang().await.map(|value| rows(keys, value));
    let mut first = Box::pin(rig.cache.get_many_or_load([7, 8], load));
    begin(&mut first).await;
    let waiting = |cache: &CacheHandle<i64, u64>| {
        let (cache, loads) = (cache.clone(), loads.clone());
        tokio::spawn(async move {
            let load = async |keys: Vec<i64>| loads.load().await.map(|value| rows(keys, value));
            cache.get_many_or_load([7, 8], load).await
        })
    };
    let waiting: Vec<_> = (0..10).map(|_| waiting(&rig.cache)).collect();
    settle().await;
    drop(first);
    for waits in waiting {
        assert_eq!(within(waits).await.unwrap().unwrap().len(), 2);
    }
    assert_eq!(loads.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_of_many_keys_that_hangs_ends_at_the_time_limit_for_all_callers() {
    let mut rig = limited();
    let many = async |rig: &crate::support::Rig<i64, u64>, detached: bool| {
        let load = |keys: Vec<i64>| async move { hang().await.map(|value| rows(keys, value)) };
        let cache = &rig.cache;
        let joined = cache.get_or_load(8, hang);
        let read = async {
            match detached {
                true => cache.get_many_or_load_detached([7, 8], load).await,
                false => cache.get_many_or_load([7, 8], load).await,
            }
        };
        let (read, joined) = within(async { tokio::join!(read, joined) }).await;
        assert!(matches!(read, Err(LoadError::TimedOut(LIMIT))));
        assert!(matches!(joined, Err(LoadError::TimedOut(LIMIT))));
    };
    many(&rig, false).await;
    let stats = rig.cache.stats();
    assert_eq!((stats.load_errors, stats.loads_timed_out), (1, 2));
    many(&rig, true).await;
    let stats = rig.cache.stats();
    assert_eq!((stats.load_errors, stats.loads_timed_out), (2, 4));
    // Reads past the cache join no load.
    rig.down();
    many(&rig, false).await;
    let stats = rig.cache.stats();
    assert_eq!((stats.load_errors, stats.loads_timed_out), (4, 7));
}

#[tokio::test(start_paused = true)]
async fn a_read_of_many_keys_waits_for_a_load_that_is_not_polled_at_most_for_the_time_limit() {
    let rig = limited();
    let mut not_polled = Box::pin(rig.cache.get_or_load(8, hang));
    begin(&mut not_polled).await;
    let load = async |keys: Vec<i64>| Ok::<_, Infallible>(rows(keys, 1));
    let read = within(rig.cache.get_many_or_load([7, 8], load)).await;
    assert!(matches!(read, Err(LoadError::TimedOut(LIMIT))));
    assert_eq!(rig.cache.get(&7).as_deref(), Some(&1), "it was loaded");
    let again = rig.cache.get_many_or_load([7, 8], load).await;
    assert_eq!(again.unwrap().len(), 2);
}
