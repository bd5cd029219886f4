//! The statistics of a cache, and its observer.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgherald_core::__private::host::cache::Drive;
use pgherald_core::{CacheEvent, CacheObserver, Windowed};

use crate::support::{Loads, truncate, update, users, users_with};

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl CacheObserver for Log {
    fn observe(&self, event: &CacheEvent<'_>) {
        let text = match event {
            CacheEvent::Loaded { stored, .. } => format!("Loaded stored={stored}"),
            CacheEvent::Applied(event) => format!("Applied {event}"),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(text);
    }
}

#[tokio::test]
async fn the_observer_receives_events_in_order_and_the_statistics_agree() {
    let log = Arc::new(Log::default());
    let mut rig = users_with(|builder| builder.capacity(1).observer(Arc::clone(&log)));
    let loads = Loads::default();
    log.0.lock().unwrap().clear();
    rig.cache.get_or_load(7, || loads.load()).await.unwrap();
    rig.cache.get_or_load(7, || loads.load()).await.unwrap();
    rig.cache.get_or_load(8, || loads.load()).await.unwrap();
    rig.apply([update(8), truncate()]);
    rig.cache.invalidate(&8);
    rig.down();
    assert_eq!(rig.cache.get(&8), None);
    let observed = std::mem::take(&mut *log.0.lock().unwrap());
    let expected = [
        "Miss",
        "Loaded stored=true",
        "Hit",
        "Miss",
        "Evicted",
        "Loaded stored=true",
        "Invalidated { cause: Event, keys: 1 }",
        "Applied update public.users 8",
        "Flushed(Event)",
        "Applied truncate public.users",
        "Invalidated { cause: ByHand, keys: 0 }",
        "Bypassed(NotLive)",
    ];
    assert_eq!(observed, expected);
    let stats = rig.cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.loads), (1, 2, 2));
    assert_eq!((stats.evictions, stats.entries, stats.capacity), (1, 0, 1));
    assert_eq!((stats.invalidated_by_event, stats.flushed_by_event), (1, 1));
    assert!(stats.load_time > Duration::ZERO);
}

#[test]
fn held_events_are_observed_when_they_are_released() {
    let log = Arc::new(Log::default());
    let period = Duration::from_millis(10);
    let mut rig = users_with(|builder| {
        let strategy = Windowed::period(period).unwrap();
        builder.strategy(strategy).observer(Arc::clone(&log))
    });
    for events in [vec![update(7)], vec![update(7), update(8)]] {
        let count = events.len();
        rig.apply(events);
        log.0.lock().unwrap().clear();
        let at = rig.driver.as_ref().unwrap().next_wake().unwrap();
        rig.wake(at);
        let seen = std::mem::take(&mut *log.0.lock().unwrap());
        let released = format!("Released {{ events: {count} }}");
        assert_eq!(seen.last(), Some(&released), "{seen:?}");
    }
}

#[test]
fn a_panicking_observer_changes_nothing() {
    struct Faulty;
    impl CacheObserver for Faulty {
        fn observe(&self, _: &CacheEvent<'_>) {
            panic!("in the observer")
        }
    }
    let mut rig = users_with(|builder| builder.observer(Arc::new(Faulty)));
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    assert_eq!(rig.cache.get(&7).as_deref(), Some(&1));
    rig.apply([update(7)]);
    assert_eq!(rig.cache.get(&7), None);
    assert!(rig.cache.is_live());
}

#[tokio::test]
async fn a_batch_without_values_is_not_stored() {
    #[derive(Default)]
    struct Seen(AtomicU64);
    impl CacheObserver for Seen {
        fn observe(&self, event: &CacheEvent<'_>) {
            if let CacheEvent::Loaded { stored: true, .. } = event {
                self.0.fetch_add(1, SeqCst);
            }
        }
    }
    let seen = Arc::new(Seen::default());
    let rig = users_with(|b| b.observer(seen.clone()));
    let found = rig
        .cache
        .get_many_or_load([1, 2], async |_| Ok::<_, ()>(Vec::new()))
        .await
        .unwrap();
    assert!(found.is_empty());
    assert_eq!((seen.0.load(SeqCst), rig.cache.stats().loads), (0, 1));
}

#[test]
fn invalidate_returns_whether_there_was_a_value() {
    let rig = users();
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    rig.cache.invalidate_all();
    assert!(!rig.cache.invalidate(&7), "it was flushed before");
}
