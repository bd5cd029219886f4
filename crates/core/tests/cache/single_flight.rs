//! Concurrent reads of a key share one load, and every reader finishes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::sync::{Notify, oneshot};

use crate::support::{Loads, settle, users, within};

#[tokio::test]
async fn a_thousand_concurrent_misses_share_one_load() {
    let rig = users();
    let loads = Loads::default();
    let go = Arc::new(Notify::new());
    let readers: Vec<_> = (0..1_000)
        .map(|_| {
            let (cache, loads, go) = (rig.cache.clone(), loads.clone(), Arc::clone(&go));
            tokio::spawn(async move {
                let load = async || {
                    go.notified().await;
                    loads.load().await
                };
                *cache.get_or_load(7, load).await.unwrap()
            })
        })
        .collect();
    settle().await;
    go.notify_one();
    for reader in readers {
        assert_eq!(within(reader).await.unwrap(), 1);
    }
    assert_eq!(loads.count(), 1);
    assert_eq!(rig.cache.get(&7).as_deref(), Some(&1));
    assert_eq!(rig.cache.stats().joined, 999);
}

#[tokio::test]
async fn an_error_reaches_all_waiting_callers_and_is_not_stored() {
    let rig = users();
    let (fail, failing) = oneshot::channel::<()>();
    let mut failing = Some(failing);
    let mut readers = Vec::new();
    for _ in 0..10 {
        let cache = rig.cache.clone();
        let failing = failing.take();
        readers.push(tokio::spawn(async move {
            let load = async || match failing {
                Some(failing) => {
                    let _ = failing.await;
                    Err::<u64, String>("no".to_owned())
                }
                None => panic!("only the first loads"),
            };
            cache.get_or_load(7, load).await
        }));
    }
    settle().await;
    fail.send(()).unwrap();
    for reader in readers {
        let error = within(reader).await.unwrap().unwrap_err();
        assert_eq!(error.failure().map(String::as_str), Some("no"));
    }
    assert_eq!(rig.cache.get(&7), None);
    let loads = Loads::default();
    assert_eq!(*rig.cache.get_or_load(7, || loads.load()).await.unwrap(), 1);
    assert_eq!(rig.cache.stats().load_errors, 1);
}

#[tokio::test]
async fn a_caller_with_another_type_of_error_loads_for_itself() {
    let rig = users();
    let (fail, failing) = oneshot::channel::<()>();
    let cache = rig.cache.clone();
    let first = tokio::spawn(async move {
        let load = async || {
            let _ = failing.await;
            Err::<u64, String>("no".to_owned())
        };
        cache.get_or_load(7, load).await
    });
    settle().await;
    let cache = rig.cache.clone();
    let second = tokio::spawn(async move { cache.get_or_load(7, async || Ok::<u64, u8>(5)).await });
    settle().await;
    fail.send(()).unwrap();
    assert!(within(first).await.unwrap().is_err());
    assert_eq!(*within(second).await.unwrap().unwrap(), 5);
}

#[tokio::test]
async fn a_waiting_caller_takes_over_a_cancelled_load() {
    let rig = users();
    let loads = Loads::default();
    let cache = rig.cache.clone();
    let leader = tokio::spawn(async move {
        cache
            .get_or_load(7, async || {
                std::future::pending::<()>().await;
                Ok::<u64, std::io::Error>(0)
            })
            .await
    });
    settle().await;
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let (cache, loads) = (rig.cache.clone(), loads.clone());
            tokio::spawn(async move { *cache.get_or_load(7, || loads.load()).await.unwrap() })
        })
        .collect();
    settle().await;
    leader.abort();
    for waiter in waiters {
        assert_eq!(within(waiter).await.unwrap(), 1);
    }
    assert_eq!(loads.count(), 1);
    assert_eq!(rig.cache.stats().loads_cancelled, 1);
}

#[tokio::test]
async fn a_waiting_caller_takes_over_a_load_that_panics() {
    let rig = users();
    let loads = Loads::default();
    let go = Arc::new(Notify::new());
    let (cache, signal) = (rig.cache.clone(), Arc::clone(&go));
    let leader = tokio::spawn(async move {
        let load = async || -> Result<u64, std::io::Error> {
            signal.notified().await;
            panic!("in the loader")
        };
        cache.get_or_load(7, load).await
    });
    settle().await;
    let (cache, waiting) = (rig.cache.clone(), loads.clone());
    let waiter =
        tokio::spawn(async move { *cache.get_or_load(7, || waiting.load()).await.unwrap() });
    settle().await;
    go.notify_one();
    assert!(within(leader).await.is_err());
    assert_eq!(within(waiter).await.unwrap(), 1);
    assert_eq!(rig.cache.stats().loads_panicked, 1);
}

#[tokio::test]
async fn a_read_of_many_keys_loads_the_missing_ones_at_once() {
    let rig = users();
    rig.cache
        .get_or_load(1, async || Ok::<_, String>(10))
        .await
        .unwrap();
    let mut asked = Vec::new();
    let found = rig
        .cache
        .get_many_or_load([1, 2, 3, 2, 4], |missing| {
            asked.push(missing.clone());
            async move {
                // There is no row 4, and the caller did not request 99.
                let rows = missing.into_iter().filter(|key| *key != 4);
                Ok::<_, String>(rows.map(|key| (key, 10 * key as u64)).chain([(99, 1)]))
            }
        })
        .await
        .unwrap();
    let mut missing = asked.concat();
    missing.sort_unstable();
    assert_eq!((asked.len(), missing), (1, vec![2, 3, 4]));
    let mut values: Vec<_> = found.iter().map(|(key, value)| (*key, **value)).collect();
    values.sort_unstable();
    assert_eq!(values, [(1, 10), (2, 20), (3, 30)]);
    assert_eq!(rig.cache.get(&3).as_deref(), Some(&30));
    assert_eq!(rig.cache.get(&4), None);
    assert_eq!(rig.cache.get(&99), None);
}

#[tokio::test]
async fn two_overlapping_batches_do_not_deadlock() {
    let rig = users();
    let batch = |keys: [i64; 2]| {
        let cache = rig.cache.clone();
        tokio::spawn(async move {
            let load = async |missing: Vec<i64>| {
                settle().await;
                Ok::<_, String>(missing.into_iter().map(|key| (key, 1)))
            };
            cache.get_many_or_load(keys, load).await.unwrap().len()
        })
    };
    let (first, second) = (batch([1, 2]), batch([2, 1]));
    assert_eq!(within(first).await.unwrap(), 2);
    assert_eq!(within(second).await.unwrap(), 2);
}

#[tokio::test]
async fn a_waiting_caller_loads_a_key_that_a_batch_does_not_return() {
    let rig = users();
    let go = Arc::new(Notify::new());
    let (cache, signal) = (rig.cache.clone(), Arc::clone(&go));
    let batch = tokio::spawn(async move {
        let load = async |_| {
            signal.notified().await;
            Ok::<_, String>([(1, 1)])
        };
        cache.get_many_or_load([1, 2], load).await.unwrap().len()
    });
    settle().await;
    let cache = rig.cache.clone();
    let single = tokio::spawn(async move {
        *cache
            .get_or_load(2, async || Ok::<_, String>(5))
            .await
            .unwrap()
    });
    settle().await;
    go.notify_one();
    assert_eq!(within(batch).await.unwrap(), 1);
    assert_eq!(within(single).await.unwrap(), 5);
}

#[tokio::test]
async fn loads_take_turns_under_a_limit() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    let limit = pgherald_core::LoadLimit::new(3);
    let rig = crate::support::users_with(|builder| builder.load_limit(&limit));
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let readers: Vec<_> = (0..50)
        .map(|key| {
            let cache = rig.cache.clone();
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            tokio::spawn(async move {
                let load = async || {
                    most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                    settle().await;
                    running.fetch_sub(1, SeqCst);
                    Ok::<u64, String>(1)
                };
                cache.get_or_load(key, load).await.unwrap();
            })
        })
        .collect();
    for reader in readers {
        within(reader).await.unwrap();
    }
    assert_eq!(most.load(SeqCst), 3);
}

#[tokio::test]
async fn get_many_returns_only_requested_keys_past_the_cache_too() {
    let mut rig = users();
    let load = async |asked: Vec<i64>| {
        Ok::<_, ()>(
            asked
                .into_iter()
                .chain([99])
                .map(|key| (key, 1_u64))
                .collect::<Vec<_>>(),
        )
    };
    let through = rig.cache.get_many_or_load([1, 1, 2], load).await.unwrap();
    rig.down();
    let asked_for = AtomicU64::new(0);
    let past = rig
        .cache
        .get_many_or_load([1, 1, 2], async |asked: Vec<i64>| {
            asked_for.store(asked.len() as u64, SeqCst);
            load(asked).await
        });
    let past = past.await.unwrap();
    assert_eq!(through.len(), 2);
    assert_eq!((past.len(), asked_for.load(SeqCst)), (2, 2));
}

#[tokio::test]
async fn a_task_that_only_reads_hits_lets_the_cache_apply_events() {
    let mut rig = users();
    let version = Arc::new(AtomicU64::new(1));
    let read = async |cache: &pgherald_core::CacheHandle<i64, u64>| {
        let load = async || Ok::<_, ()>(version.load(SeqCst));
        *cache.get_or_load(7, load).await.unwrap()
    };
    assert_eq!(read(&rig.cache).await, 1);
    let cache = rig.cache.clone();
    version.store(2, SeqCst);
    rig.say([crate::support::update(7)]);
    // The driver runs on the same thread, so it runs only if the reader yields.
    let applying = tokio::spawn(async move {
        rig.pump();
        rig
    });
    // A reader that does not yield would also starve a timeout.
    let mut reads = 0;
    while read(&cache).await != 2 {
        reads += 1;
        assert!(reads < 100_000, "the event was never applied");
    }
    drop(applying.await.unwrap());
    let expires = async {
        for _ in 0..100_000_000 {
            assert_eq!(read(&cache).await, 2);
        }
    };
    let ends = tokio::time::timeout(std::time::Duration::from_millis(1), expires);
    assert!(ends.await.is_err());
}
