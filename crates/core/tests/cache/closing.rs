//! Dropping or closing a cache ends its subscription and its driver, and frees its values.

use std::sync::{Arc, Weak};

use pgherald_core::__private::host::events::Router;
use pgherald_core::{CacheBuilder, LoadError};

use crate::support::{Rig, User, settle, users, within};

#[tokio::test]
async fn dropping_the_last_handle_ends_the_driver_and_frees_the_values() {
    let Rig {
        cache,
        driver,
        router,
        subscription,
    } = Rig::live(CacheBuilder::<i64, Arc<u64>>::new("users").row_of::<User>());
    let value = Arc::new(7);
    let freed: Weak<u64> = Arc::downgrade(&value);
    assert!(cache.insert(&cache.stamp(), 7, value));
    let running = tokio::spawn(driver.unwrap().run(subscription));
    let other = cache.clone();
    drop(cache);
    settle().await;
    assert!(other.get(&7).is_some(), "a handle is left");
    drop(other);
    within(running).await.unwrap();
    assert!(freed.upgrade().is_none());
    drop(router);
}

#[tokio::test]
async fn reads_of_all_handles_bypass_a_closed_cache() {
    let Rig {
        cache,
        driver,
        mut router,
        mut subscription,
    } = users();
    let other = cache.clone();
    assert!(cache.insert(&cache.stamp(), 7, 1));
    cache.close();
    assert!(within(subscription.recv()).await.is_none());
    assert!(subscription.is_closed());
    within(driver.unwrap().run(subscription)).await;
    assert_eq!(other.get(&7), None);
    assert_eq!(other.stats().entries, 0);
    let load = async || Err::<u64, _>("from the database");
    let read = other.get_or_load(7, load).await;
    assert!(matches!(read, Err(LoadError::Failed(_))));
    assert_eq!(other.stats().bypassed_not_driven, 2);
    // The router still serves other subscriptions.
    router.close();
}

#[tokio::test]
async fn live_waits_until_the_cache_answers_or_loses_its_driver() {
    let mut rig = Rig::new(CacheBuilder::<i64, u64>::new("users").row_of::<User>());
    let waiting = |rig: &Rig<i64, u64>| {
        let cache = rig.cache.clone();
        tokio::spawn(async move { cache.live().await })
    };
    let first = waiting(&rig);
    settle().await;
    rig.reconnect();
    settle().await;
    assert!(!first.is_finished(), "the resync waits in the queue");
    rig.pump();
    within(first).await.unwrap().unwrap();
    within(rig.cache.live()).await.unwrap();
    rig.down();
    let second = waiting(&rig);
    settle().await;
    assert!(!second.is_finished());
    drop(rig.driver.take());
    let error = within(second).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("\"users\""), "{error}");
}

#[test]
fn a_closed_cache_cannot_be_subscribed() {
    let builder = CacheBuilder::<i64, u64>::new("users").row_of::<User>();
    let (cache, driver) = builder.build().unwrap();
    cache.close();
    let subscribed = Router::new().subscribe(driver.filter(), driver.subscription());
    let error = subscribed.unwrap_err();
    assert!(error.to_string().contains("was closed"), "{error}");
}
