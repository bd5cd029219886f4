//! If a caller gives up or a load hangs, the other callers still get their value.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pgherald_core::__private::host::cache::background;
use pgherald_core::{CacheBuilder, LoadError, LoadLimit, Refresh};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Loads, Rig, User, settle, update, users, users_with, within};

pub(crate) const LIMIT: Duration = Duration::from_secs(5);

pub(crate) fn limited() -> Rig<i64, u64> {
    users_with(|builder| builder.load_timeout(LIMIT))
}

pub(crate) async fn hang() -> Result<u64, Infallible> {
    std::future::pending().await
}

/// Polls `future` once.
pub(crate) async fn begin<F: Future + Unpin>(future: &mut F) {
    poll_fn(|context| {
        assert!(std::pin::Pin::new(&mut *future).poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_detached_load_outlives_callers_with_shorter_deadlines() {
    let rig = users();
    let loads = Loads::default();
    let mut values = Vec::new();
    for _ in 0..114 {
        let loads = loads.clone();
        let load = move || async move {
            sleep(Duration::from_millis(500)).await;
            loads.load().await
        };
        let read = rig.cache.get_or_load_detached(7, load);
        if let Ok(value) = timeout(Duration::from_millis(200), read).await {
            values.push(*value.unwrap());
        }
    }
    assert_eq!((loads.count(), values.len()), (1, 112));
    assert_eq!(rig.cache.stats().loads_cancelled, 0);
    assert!(values.iter().all(|value| *value == 1));
}

#[tokio::test]
async fn an_invalidation_overtakes_a_detached_load_without_callers() {
    let mut rig = users();
    let go = Arc::new(Notify::new());
    let signal = Arc::clone(&go);
    let load = move || async move {
        signal.notified().await;
        Ok::<_, Infallible>(1)
    };
    let mut read = Box::pin(rig.cache.get_or_load_detached(7, load));
    begin(&mut read).await;
    drop(read);
    rig.apply([update(7)]);
    go.notify_one();
    within(async {
        while rig.cache.stats().loads_overtaken == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(rig.cache.get(&7), None);
}

#[tokio::test]
async fn a_waiting_caller_takes_over_a_detached_load_that_panics() {
    let rig = users();
    let go = Arc::new(Notify::new());
    let (cache, signal) = (rig.cache.clone(), Arc::clone(&go));
    let first = tokio::spawn(async move {
        let load = move || async move {
            signal.notified().await;
            panic!("in the loader")
        };
        cache
            .get_or_load_detached::<Infallible, _, _>(7, load)
            .await
    });
    settle().await;
    let cache = rig.cache.clone();
    let second =
        tokio::spawn(async move { cache.get_or_load(7, async || Ok::<_, Infallible>(5)).await });
    settle().await;
    go.notify_one();
    assert!(within(first).await.unwrap_err().is_panic());
    assert_eq!(*within(second).await.unwrap().unwrap(), 5);
    assert_eq!(rig.cache.stats().loads_panicked, 1);
}

#[tokio::test]
async fn detached_loads_that_wait_for_each_other_are_refused() {
    let rig = users();
    let cache = rig.cache.clone();
    let load = move || async move {
        let inner = cache.clone();
        let again = move || async move {
            let own = inner.get_or_load(7, async || Ok::<_, Infallible>(1)).await;
            match own {
                Err(LoadError::Recursive) => Ok::<_, Infallible>(2),
                other => panic!("{other:?}"),
            }
        };
        let other = cache.get_or_load_detached(8, again).await;
        Ok::<_, Infallible>(*other.unwrap())
    };
    let read = within(rig.cache.get_or_load_detached(7, load)).await;
    assert_eq!(*read.unwrap(), 2);
}

#[test]
fn a_detached_load_ends_with_its_runtime() {
    let rig = users();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    };
    let (cache, gone) = (rig.cache.clone(), runtime().unwrap());
    gone.spawn(async move { cache.get_or_load_detached(7, hang).await });
    gone.block_on(settle());
    let cache = rig.cache.clone();
    let read = std::thread::spawn(move || {
        let load = async || Ok::<_, Infallible>(5);
        *runtime()
            .unwrap()
            .block_on(cache.get_or_load(7, load))
            .unwrap()
    });
    while rig.cache.stats().joined == 0 {
        std::thread::yield_now();
    }
    drop(gone);
    assert_eq!(read.join().unwrap(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_hangs_ends_at_the_time_limit_for_all_callers() {
    let rig = limited();
    let loads = Loads::default();
    let joined = rig.cache.get_or_load(7, async || match loads.load().await {
        Ok(_) => Err::<u64, _>("only the first loads"),
        Err(_) => unreachable!(),
    });
    let led = rig
        .cache
        .get_or_load(7, async || std::future::pending().await);
    let (led, joined) = within(async { tokio::join!(led, joined) }).await;
    assert!(matches!(
        led,
        Err::<_, LoadError<&str>>(LoadError::TimedOut(LIMIT))
    ));
    assert!(matches!(joined, Err(LoadError::TimedOut(LIMIT))));
    let stats = rig.cache.stats();
    assert_eq!(
        (loads.count(), stats.load_errors, stats.loads_timed_out),
        (0, 1, 1)
    );
    let detached = within(rig.cache.get_or_load_detached(7, hang)).await;
    assert!(matches!(detached, Err(LoadError::TimedOut(LIMIT))));
    let now = rig.cache.get_or_load(7, || loads.load()).await;
    assert_eq!(*now.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_whose_future_is_not_polled_delays_callers_at_most_for_the_time_limit() {
    let rig = limited();
    let load = async || Ok::<_, Infallible>(1);
    let never_polled = rig.cache.get_or_load(8, load);
    assert_eq!(*within(rig.cache.get_or_load(8, load)).await.unwrap(), 1);
    drop(never_polled);

    let go = Notify::new();
    let mut polled_once = pin!(rig.cache.get_or_load(7, async || {
        go.notified().await;
        Ok::<_, Infallible>(1)
    }));
    begin(&mut polled_once).await;
    let load = async || Ok::<_, Infallible>(2);
    let waits = within(rig.cache.get_or_load(7, load)).await;
    assert!(matches!(waits, Err(LoadError::TimedOut(LIMIT))));
    let anew = rig.cache.get_or_load(7, load).await;
    assert_eq!(*anew.unwrap(), 2);
    // The first load ends late, and does not replace the newer value.
    go.notify_one();
    let _ = polled_once.await;
    assert_eq!(rig.cache.get(&7).as_deref(), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_joins_late_waits_until_the_time_limit_of_the_load() {
    let rig = limited();
    let began = Instant::now();
    let mut not_polled = Box::pin(rig.cache.get_or_load(7, hang));
    begin(&mut not_polled).await;
    sleep(LIMIT / 2).await;
    let waits = within(rig.cache.get_or_load(7, hang)).await;
    assert!(matches!(waits, Err(LoadError::TimedOut(LIMIT))));
    assert!(began.elapsed() < LIMIT + LIMIT / 4, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_hangs_ends_at_the_time_limit() {
    let refresh = Refresh::new(Duration::from_secs(60), |key: i64| async move {
        match key {
            // These loads hang. They are as many as may run at a time.
            0..8 => std::future::pending().await,
            key => Ok(key.unsigned_abs() + 100),
        }
    });
    let builder = CacheBuilder::new("users").row_of::<User>();
    let mut rig = Rig::live(builder.refresh(refresh.eager()).load_timeout(LIMIT));
    tokio::spawn(background(rig.driver.as_mut().unwrap()));
    let stamp = rig.cache.stamp();
    for key in 0..9 {
        rig.cache.insert(&stamp, key, 1);
    }
    rig.apply((0..9).map(update));
    within(async {
        while rig.cache.get(&8).as_deref() != Some(&108) {
            sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert_eq!(rig.cache.stats().loads_timed_out, 8);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_place_counts_towards_the_time_limit() {
    let limit = LoadLimit::new(1);
    let rig = users_with(|builder| builder.load_limit(&limit).load_timeout(LIMIT));
    let other = users_with(|builder| builder.load_limit(&limit));
    let mut holds = Box::pin(other.cache.get_or_load(1, hang));
    begin(&mut holds).await;
    let waits = rig.cache.get_or_load(7, async || Ok::<_, Infallible>(1));
    let waits = within(waits).await;
    assert!(matches!(waits, Err(LoadError::TimedOut(LIMIT))));
}

#[test]
fn a_time_limit_of_0_is_refused() {
    let builder = CacheBuilder::<i64, u64>::new("users").row_of::<User>();
    let error = builder.load_timeout(Duration::ZERO).build().unwrap_err();
    assert!(error.to_string().contains("load_timeout is 0"), "{error}");
}
