//! Errors of loads that are kept for a short time.

use std::sync::Arc;
use std::time::Duration;

use pgherald_core::__private::host::cache::background;
use pgherald_core::{CacheBuilder, LoadError};
use tokio::time::advance;

use crate::support::{Loads, Order, Rig, User, truncate, update, users, users_with};

const TIME: Duration = Duration::from_secs(5);

fn keeping() -> Rig<i64, u64> {
    users_with(|builder| builder.errors_for(TIME))
}

/// A load that fails with the number of the call.
async fn fail(loads: &Loads) -> Result<u64, u64> {
    Err(loads.load().await.unwrap())
}

/// Reads by a loader that fails. Returns its error.
async fn read(rig: &Rig<i64, u64>, key: i64, loads: &Loads) -> u64 {
    let read = rig.cache.get_or_load(key, || fail(loads)).await;
    *read.unwrap_err().failure().unwrap()
}

#[tokio::test]
async fn without_the_option_each_read_loads() {
    let (rig, loads) = (users(), Loads::default());
    assert_eq!(
        (read(&rig, 7, &loads).await, read(&rig, 7, &loads).await),
        (1, 2)
    );
    let stats = rig.cache.stats();
    assert_eq!(
        (stats.load_errors, stats.errors, stats.errors_served),
        (2, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_is_kept_for_its_time_and_no_longer() {
    let (rig, loads) = (keeping(), Loads::default());
    let slow = rig.cache.get_or_load(7, async || {
        // The load takes longer than the error is kept.
        tokio::time::sleep(3 * TIME).await;
        fail(&loads).await
    });
    assert_eq!(slow.await.unwrap_err().failure(), Some(&1));
    advance(TIME - Duration::from_millis(1)).await;
    assert_eq!(read(&rig, 7, &loads).await, 1);
    let stats = rig.cache.stats();
    assert_eq!((stats.errors, stats.errors_served), (1, 1));
    // Errors are counted apart from values and loads.
    assert_eq!(
        (stats.entries, stats.hits, stats.loads, stats.load_errors),
        (0, 0, 0, 1)
    );
    // Reads do not extend the time.
    advance(Duration::from_millis(1)).await;
    assert_eq!(read(&rig, 7, &loads).await, 2);
    assert_eq!(read(&rig, 8, &loads).await, 3, "keys are kept apart");
}

#[tokio::test]
async fn an_event_drops_the_error_of_its_key() {
    let (mut rig, loads) = (keeping(), Loads::default());
    read(&rig, 7, &loads).await;
    read(&rig, 8, &loads).await;
    rig.apply([update(7)]);
    assert_eq!(read(&rig, 7, &loads).await, 3);
    assert_eq!(read(&rig, 8, &loads).await, 2, "another key");
    rig.apply([truncate()]);
    assert_eq!(read(&rig, 8, &loads).await, 4);
    assert!(!rig.cache.invalidate(&8), "there is no value");
    assert_eq!(read(&rig, 8, &loads).await, 5);
    rig.cache.invalidate_all();
    assert_eq!(read(&rig, 8, &loads).await, 6);
    rig.reconnect();
    rig.pump();
    assert_eq!(read(&rig, 8, &loads).await, 7);
}

#[tokio::test]
async fn an_event_of_a_row_that_the_key_depends_on_drops_the_error() {
    let builder = CacheBuilder::<(i64, i64), u64>::new("orders")
        .row_of::<Order>()
        .row_by::<User>(|(_, user)| *user)
        .errors_for(TIME);
    let (mut rig, loads) = (Rig::live(builder), Loads::default());
    for expected in [1, 2] {
        for _ in 0..2 {
            let read = rig.cache.get_or_load((1, 7), || fail(&loads)).await;
            assert_eq!(read.unwrap_err().failure(), Some(&expected));
        }
        rig.apply([update(8)]);
        assert_eq!(rig.cache.stats().errors, 1);
        rig.apply([update(7)]);
        assert_eq!(rig.cache.stats().errors, 0);
    }
}

#[tokio::test]
async fn an_error_of_an_overtaken_load_is_not_kept() {
    let (mut rig, loads) = (keeping(), Loads::default());
    let cache = rig.cache.clone();
    let read = cache.get_or_load(7, async || {
        rig.apply([update(7)]);
        fail(&loads).await
    });
    assert_eq!(read.await.unwrap_err().failure(), Some(&1));
    assert_eq!(self::read(&rig, 7, &loads).await, 2);
}

#[tokio::test]
async fn a_value_replaces_an_error() {
    let (rig, loads) = (keeping(), Loads::default());
    read(&rig, 7, &loads).await;
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 70));
    assert_eq!(rig.cache.stats().errors, 0);
    let read = rig.cache.get_or_load(7, || fail(&loads)).await;
    assert_eq!(*read.unwrap(), 70);
}

#[tokio::test]
async fn a_cache_that_is_not_live_neither_keeps_nor_returns_errors() {
    let (mut rig, loads) = (keeping(), Loads::default());
    read(&rig, 7, &loads).await;
    rig.down();
    assert_eq!(
        (read(&rig, 7, &loads).await, read(&rig, 7, &loads).await),
        (2, 3)
    );
    rig.resume();
    rig.pump();
    // The cache missed no events.
    assert_eq!(read(&rig, 7, &loads).await, 1);
}

#[tokio::test]
async fn callers_share_a_kept_error_unless_their_error_type_differs() {
    let (rig, loads) = (keeping(), Loads::default());
    let first = rig.cache.get_or_load(7, || fail(&loads)).await.unwrap_err();
    let second = rig.cache.get_or_load(7, || fail(&loads)).await.unwrap_err();
    let (LoadError::Failed(first), LoadError::Failed(second)) = (first, second) else {
        panic!("another error");
    };
    assert!(Arc::ptr_eq(&first, &second));
    let other = rig.cache.get_or_load(7, async || Err("another type"));
    assert_eq!(other.await.unwrap_err().failure(), Some(&"another type"));
    // A detached read receives the error too. A batch does not.
    let detached = rig
        .cache
        .get_or_load_detached(7, async || Err("not called"));
    assert_eq!(detached.await.unwrap_err().failure(), Some(&"another type"));
    let many = rig
        .cache
        .get_many_or_load([7], async |_| Ok::<_, u64>([(7, 70)]));
    assert_eq!(*many.await.unwrap()[&7], 70);
}

#[tokio::test(start_paused = true)]
async fn errors_are_freed_after_their_time_and_with_the_cache() {
    let (mut rig, loads) = (keeping(), Loads::default());
    let mut driver = rig.driver.take().unwrap();
    let background = tokio::spawn(background(&mut driver));
    for key in 0..100 {
        read(&rig, key, &loads).await;
    }
    let kept = Arc::new(());
    let read = rig
        .cache
        .get_or_load(100, async || Err(Arc::clone(&kept)))
        .await;
    drop(read);
    assert_eq!(
        (rig.cache.stats().errors, Arc::strong_count(&kept)),
        (101, 2)
    );
    tokio::time::sleep(TIME + Duration::from_secs(2)).await;
    assert_eq!((rig.cache.stats().errors, Arc::strong_count(&kept)), (0, 1));
    background.abort();

    let read = rig
        .cache
        .get_or_load(100, async || Err(Arc::clone(&kept)))
        .await;
    drop((read, driver));
    assert_eq!(Arc::strong_count(&kept), 1);
}

#[test]
fn a_time_of_0_is_refused() {
    let builder = CacheBuilder::<i64, u64>::new("users").row_of::<User>();
    let error = builder.errors_for(Duration::ZERO).build().unwrap_err();
    assert!(error.to_string().contains("errors_for is 0"), "{error}");
}
