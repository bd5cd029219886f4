//! A cache that may miss changes does not answer, or answers for a stated time only.

use std::sync::Arc;
use std::time::Duration;

use pgherald_core::__private::host::cache::Drive;
use pgherald_core::{
    CacheBuilder, Refresh, Resync, ResyncReason, Signal, SubscriptionOptions, WhenNotLive,
};

use crate::support::{Loads, Rig, User, settle, update, users, users_with};

async fn read(rig: &Rig<i64, u64>, loads: &Loads) -> u64 {
    *rig.cache.get_or_load(7, || loads.load()).await.unwrap()
}

#[tokio::test]
async fn the_cache_answers_only_while_live_and_flushed_for_the_current_session() {
    let mut rig = Rig::new(CacheBuilder::new("users").row_of::<User>());
    let loads = Loads::default();
    assert_eq!(read(&rig, &loads).await, 1);
    assert_eq!(read(&rig, &loads).await, 2);
    rig.reconnect();
    assert!(!rig.cache.is_live(), "the resync waits in the queue");
    assert_eq!(read(&rig, &loads).await, 3);
    rig.pump();
    assert_eq!(read(&rig, &loads).await, 4);
    assert_eq!(read(&rig, &loads).await, 4);
    rig.down();
    assert_eq!(rig.cache.get(&7), None);
    assert_eq!(read(&rig, &loads).await, 5);
    rig.reconnect();
    assert_eq!(read(&rig, &loads).await, 6);
    rig.pump();
    assert_eq!(read(&rig, &loads).await, 7, "what was there before is gone");
    assert_eq!(read(&rig, &loads).await, 7);
    let stats = rig.cache.stats();
    assert_eq!((stats.bypassed_not_driven, stats.bypassed_not_live), (0, 6));
}

#[tokio::test]
async fn a_resync_of_a_former_session_does_not_open_the_cache() {
    let mut rig = users();
    let loads = Loads::default();
    rig.down();
    rig.reconnect();
    // The cache is late: it applies the resync of this session when the next one has begun.
    let late = rig.subscription.try_recv().unwrap();
    rig.down();
    rig.reconnect();
    rig.driver
        .as_mut()
        .unwrap()
        .apply(&late, std::time::Instant::now());
    assert!(!rig.cache.is_live());
    assert_eq!(read(&rig, &loads).await, 1);
    rig.pump();
    assert!(rig.cache.is_live());
}

#[tokio::test]
async fn a_resync_of_one_channel_does_not_open_the_cache() {
    let mut rig = users();
    rig.down();
    let channel = pgherald_core::ChannelName::default();
    let undecodable = Resync::of_channel(ResyncReason::TriggersRestored, channel);
    rig.router.publish(&Signal::Resync(undecodable));
    rig.pump();
    rig.reconnect();
    assert!(
        !rig.cache.is_live(),
        "the resync of the session waits in the queue"
    );
    rig.pump();
    assert!(rig.cache.is_live());
}

#[test]
fn a_source_that_omits_its_resync_does_not_open_an_unflushed_cache() {
    let mut rig = users();
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    rig.down();
    rig.router.publish(&Signal::Live);
    assert_eq!(rig.cache.get(&7), None);
    rig.pump();
    assert!(rig.cache.is_live());
    assert_eq!(rig.cache.get(&7), None, "flushed for a resync in its stead");
}

#[tokio::test]
async fn an_overflow_flushes() {
    let mut rig = users_with(|builder| {
        let options = pgherald_core::SubscriptionOptions::new("").capacity(2);
        builder.subscription(options)
    });
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    for id in [100, 7, 101, 102, 103] {
        rig.say([update(id)]);
    }
    rig.pump();
    assert_eq!(rig.cache.get(&7), None);
    assert!(rig.cache.is_live());
    assert_eq!(rig.cache.stats().flushed_by_resync, 2);
}

#[test]
fn an_overflow_does_not_drop_the_beginning_of_a_session() {
    let options = pgherald_core::SubscriptionOptions::new("").capacity(2);
    let builder = CacheBuilder::<i64, u64>::new("users").row_of::<User>();
    let mut rig = Rig::new(builder.subscription(options));
    rig.reconnect();
    for id in 0..5 {
        rig.say([update(id)]);
    }
    assert!(!rig.cache.is_live());
    rig.pump();
    assert!(rig.cache.is_live());
}

#[tokio::test]
async fn without_a_driver_reads_bypass_the_cache() {
    let mut rig = users();
    let loads = Loads::default();
    assert_eq!(read(&rig, &loads).await, 1);
    drop(rig.driver.take());
    assert_eq!(read(&rig, &loads).await, 2);
    assert_eq!(read(&rig, &loads).await, 3);
}

#[tokio::test]
async fn without_a_subscription_reads_bypass_the_cache() {
    let mut rig = users();
    let loads = Loads::default();
    assert_eq!(read(&rig, &loads).await, 1);
    let id = rig.subscription.id();
    assert!(rig.router.unsubscribe(id));
    assert_eq!(read(&rig, &loads).await, 2);
    let mut rig = users();
    rig.router.close();
    rig.reconnect();
    assert_eq!(read(&rig, &loads).await, 3);
    assert_eq!(read(&rig, &loads).await, 4);
    let rig = users();
    let (cache, subscription) = (rig.cache.clone(), rig.subscription);
    drop(rig.router);
    assert!(!cache.is_live());
    drop(subscription);
}

fn serving_stale() -> Rig<i64, u64> {
    users_with(|builder| {
        builder.when_not_live(WhenNotLive::ServeStale {
            max_age: Duration::from_secs(60),
        })
    })
}

#[tokio::test]
async fn stale_values_are_served_up_to_the_stated_age() {
    let mut rig = serving_stale();
    let loads = Loads::default();
    assert_eq!(read(&rig, &loads).await, 1);
    rig.down();
    assert_eq!(read(&rig, &loads).await, 1);
    assert_eq!(rig.cache.stats().stale_not_live, 1);
    // The same age applies to values that are loaded meanwhile.
    let load = async || Ok::<_, String>(5);
    assert_eq!(*rig.cache.get_or_load(8, load).await.unwrap(), 5);
    assert_eq!(rig.cache.get(&8).as_deref(), Some(&5));
    rig.reconnect();
    assert_eq!(
        read(&rig, &loads).await,
        1,
        "as long as it has not caught up"
    );
    rig.pump();
    assert_eq!(read(&rig, &loads).await, 2);
    assert_eq!(rig.cache.get(&8), None);
}

#[tokio::test(start_paused = true)]
async fn stale_values_end_with_the_stated_age() {
    let mut rig = serving_stale();
    let loads = Loads::default();
    assert_eq!(read(&rig, &loads).await, 1);
    tokio::time::advance(Duration::from_secs(600)).await;
    rig.down();
    tokio::time::advance(Duration::from_secs(59)).await;
    assert_eq!(read(&rig, &loads).await, 1, "valid until it was down");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(read(&rig, &loads).await, 2);
    assert_eq!(read(&rig, &loads).await, 2, "loaded since");
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(read(&rig, &loads).await, 3);
}

#[tokio::test]
async fn nothing_stale_is_served_without_a_driver() {
    let mut rig = serving_stale();
    let loads = Loads::default();
    assert_eq!(read(&rig, &loads).await, 1);
    drop(rig.driver.take());
    assert_eq!(read(&rig, &loads).await, 2);
}

#[tokio::test(start_paused = true)]
async fn refresh_does_not_serve_values_from_before_an_outage() {
    let refresh = Refresh::new(Duration::from_secs(2), |_| async { Ok(2) });
    let mut rig = users_with(|b| b.refresh(refresh));
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    rig.down();
    // The row changes, and an hour passes. Reads bypass the cache and see the change.
    tokio::time::advance(Duration::from_secs(3600)).await;
    let read = rig.cache.get_or_load(7, async || Ok::<_, ()>(2)).await;
    assert_eq!(*read.unwrap(), 2);
    rig.reconnect();
    rig.pump();
    assert!(rig.cache.is_live());
    let read = rig.cache.get_or_load(7, async || Ok::<_, ()>(2)).await;
    assert_eq!(
        *read.unwrap(),
        2,
        "an hour old, and older than what was read before"
    );
}

/// As above, with `ServeStale`.
#[tokio::test(start_paused = true)]
async fn refresh_does_not_outlast_max_age() {
    let refresh = Refresh::new(Duration::from_secs(2), |_| async { Ok(2) });
    let max_age = Duration::from_secs(1);
    let mut rig = users_with(|b| {
        b.refresh(refresh)
            .when_not_live(WhenNotLive::ServeStale { max_age })
    });
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    rig.down();
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(rig.cache.get(&7), None, "too old to be served");
    rig.reconnect();
    rig.pump();
    assert_ne!(
        rig.cache.get(&7).as_deref(),
        Some(&1),
        "it has not become younger"
    );
}

#[tokio::test(start_paused = true)]
async fn a_blind_cache_does_not_join_a_load_that_is_too_old() {
    let max_age = Duration::from_secs(1);
    let mut rig = users_with(|b| b.when_not_live(WhenNotLive::ServeStale { max_age }));
    rig.down();
    let cache = rig.cache.clone();
    // Reads version 1, and returns it after a minute.
    let slow = tokio::spawn(async move {
        cache
            .get_or_load(7, async || {
                let read = 1;
                tokio::time::sleep(Duration::from_secs(60)).await;
                Ok::<_, ()>(read)
            })
            .await
            .unwrap()
    });
    settle().await;
    tokio::time::advance(Duration::from_secs(59)).await;
    // Version 2 was committed long ago, and this read begins now.
    let read = rig
        .cache
        .get_or_load(7, async || Ok::<_, ()>(2))
        .await
        .unwrap();
    assert_eq!(*read, 2, "59 s old where 1 s is allowed");
    drop(slow);
    let _ = &mut rig;
}

#[tokio::test]
async fn a_cache_that_lost_events_does_not_answer() {
    use pgherald_core::SubscriptionOptions;
    let options = SubscriptionOptions::new("x").capacity(2).max_batch(1);
    let mut rig = users_with(|b| b.subscription(options));
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    for id in 1..=7 {
        rig.say([update(id)]);
    }
    assert!(rig.subscription.stats().lost > 0);
    assert_eq!(
        rig.cache.get(&7),
        None,
        "events were lost, nothing was flushed, and it answers"
    );
}

#[tokio::test]
async fn reads_before_the_source_is_live_do_not_count_as_reads_without_a_driver() {
    let rig = Rig::new(CacheBuilder::<i64, u64>::new("users").row_of::<User>());
    assert_eq!(rig.cache.get(&7), None);
    let stats = rig.cache.stats();
    assert_eq!((stats.bypassed_not_live, stats.bypassed_not_driven), (1, 0));
}

#[tokio::test]
async fn values_are_freed_when_the_driver_is_dropped() {
    let mut rig = users();
    let value = rig
        .cache
        .get_or_load(7, async || Ok::<_, ()>(1))
        .await
        .unwrap();
    rig.driver = None;
    for _ in 0..3 {
        assert_eq!(rig.cache.get(&7), None);
    }
    assert_eq!(
        Arc::strong_count(&value),
        1,
        "kept for as long as there is a handle"
    );
}

#[tokio::test]
async fn unchanged_values_are_kept_if_the_source_caught_up() {
    let mut rig = users();
    for key in [1, 7] {
        assert!(rig.cache.insert(&rig.cache.stamp(), key, 1));
    }
    rig.down();
    assert_eq!(rig.cache.get(&1), None);
    rig.say([update(7)]);
    rig.resume();
    assert!(!rig.cache.is_live(), "row 7 waits in the queue");
    // The events before the announcement do not open the cache.
    let events = rig.subscription.try_recv().unwrap();
    assert!(events.resync().is_none() && events.events().len() == 1);
    let now = std::time::Instant::now();
    rig.driver.as_mut().unwrap().apply(&events, now);
    assert!(!rig.cache.is_live());
    let resumed = rig.subscription.try_recv().unwrap();
    assert!(resumed.resync().is_none() && resumed.events().is_empty());
    rig.driver.as_mut().unwrap().apply(&resumed, now);
    assert!(rig.cache.is_live());
    assert_eq!(rig.cache.get(&1).as_deref(), Some(&1));
    assert_eq!(rig.cache.get(&7), None);
    let stats = rig.subscription.stats();
    assert_eq!(
        (stats.resyncs, stats.resync_queued),
        (1, false),
        "the start"
    );
}

#[tokio::test]
async fn the_cache_is_flushed_if_the_queue_overflows_while_the_source_catches_up() {
    let options = SubscriptionOptions::new("short").capacity(2);
    let mut rig = users_with(|builder| builder.subscription(options));
    assert!(rig.cache.insert(&rig.cache.stamp(), 1, 1));
    rig.down();
    for key in 7..12 {
        rig.say([update(key)]);
    }
    rig.resume();
    // The queue overflows again, while the announcement is in it.
    for key in 7..12 {
        rig.say([update(key)]);
    }
    assert!(!rig.cache.is_live());
    rig.pump();
    assert!(rig.cache.is_live());
    assert_eq!(rig.cache.get(&1), None);
}

#[tokio::test]
async fn a_new_cache_begins_with_a_resync_if_the_source_caught_up() {
    let mut rig = Rig::new(CacheBuilder::new("users").row_of::<User>());
    let loads = Loads::default();
    rig.say([update(7)]);
    rig.resume();
    assert!(!rig.cache.is_live());
    rig.pump();
    assert!(rig.cache.is_live());
    assert_eq!(read(&rig, &loads).await, 1);
    assert_eq!(rig.subscription.stats().resyncs, 1);
}

#[tokio::test]
async fn a_resync_while_catching_up_flushes_and_later_events_are_awaited() {
    let mut rig = users();
    assert!(rig.cache.insert(&rig.cache.stamp(), 1, 1));
    rig.down();
    let trimmed = Resync::new(ResyncReason::Trimmed);
    rig.router.publish(&Signal::Resync(trimmed));
    rig.say([update(7)]);
    rig.resume();
    let first = rig.subscription.try_recv().unwrap();
    assert_eq!(first.resync().unwrap().to_string(), "trimmed");
    let now = std::time::Instant::now();
    rig.driver.as_mut().unwrap().apply(&first, now);
    assert!(!rig.cache.is_live(), "there is more to come");
    rig.pump();
    assert!(rig.cache.is_live());
    assert_eq!(rig.cache.get(&1), None);
}

#[tokio::test]
async fn resumed_is_ignored_while_the_source_is_live() {
    let mut rig = users();
    assert!(rig.cache.insert(&rig.cache.stamp(), 1, 1));
    rig.router.publish(&Signal::Resumed);
    assert!(rig.cache.is_live() && rig.subscription.try_recv().is_none());
    // After another `Down`, the source has to emit `Resumed` again. Without it, the cache is flushed.
    rig.down();
    rig.router.publish(&Signal::Resumed);
    rig.down();
    rig.router.publish(&Signal::Live);
    rig.pump();
    assert!(rig.cache.is_live());
    assert_eq!(rig.cache.get(&1), None);
}
