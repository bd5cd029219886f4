//! Stale values are served for a stated time while they are reloaded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use pgherald_core::__private::host::cache::background;
use pgherald_core::{CacheBuilder, Refresh};
use tokio::sync::Semaphore;

use crate::support::{DEADLINE, Rig, User, settle, truncate, update};

const MAX_STALE: Duration = Duration::from_secs(10);

/// The database of the background loads. Each load waits for a permit of the test.
#[derive(Clone)]
struct Backend {
    version: Arc<AtomicU64>,
    go: Arc<Semaphore>,
}

impl Backend {
    fn rig(change: impl FnOnce(Refresh<i64, u64>) -> Refresh<i64, u64>) -> (Self, Rig<i64, u64>) {
        let backend = Self {
            version: Arc::new(AtomicU64::new(1)),
            go: Arc::new(Semaphore::new(0)),
        };
        let source = backend.clone();
        let refresh = Refresh::new(MAX_STALE, move |_| {
            let backend = source.clone();
            async move {
                let version = backend.version.load(SeqCst);
                backend.go.acquire().await?.forget();
                match version {
                    0 => Err("the database is gone".into()),
                    99 => panic!("in the background"),
                    version => Ok(version),
                }
            }
        });
        let builder = CacheBuilder::new("users").row_of::<User>();
        let mut rig = Rig::live(builder.refresh(change(refresh)));
        tokio::spawn(background(rig.driver.as_mut().unwrap()));
        assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
        (backend, rig)
    }
}

async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    // On the real clock, because the test may have paused tokio's.
    assert!(tokio::time::timeout(DEADLINE, waiting).await.is_ok());
}

#[tokio::test]
async fn the_first_read_starts_a_reload_and_returns_the_stale_value() {
    let (backend, mut rig) = Backend::rig(|refresh| refresh);
    rig.apply([update(7)]);
    settle().await;
    // No load has begun yet: it would return version 1.
    backend.version.store(2, SeqCst);
    for _ in 0..5 {
        assert_eq!(rig.cache.get(&7).as_deref(), Some(&1));
    }
    backend.go.add_permits(1);
    until(|| rig.cache.get(&7).as_deref() == Some(&2)).await;
    let stats = rig.cache.stats();
    assert_eq!((stats.loads, stats.stale_revalidating >= 5), (1, true));
}

#[tokio::test]
async fn eager_refresh_reloads_without_a_read() {
    let (backend, mut rig) = Backend::rig(Refresh::eager);
    backend.version.store(2, SeqCst);
    backend.go.add_permits(1);
    rig.apply([update(7), update(8)]);
    until(|| rig.cache.stats().loads == 1).await;
    assert_eq!(rig.cache.stats().stale_revalidating, 0);
    assert_eq!(rig.cache.get(&7).as_deref(), Some(&2));
    assert_eq!(rig.cache.get(&8), None, "nobody had asked for that");
}

#[tokio::test]
async fn a_value_invalidated_during_its_reload_is_loaded_again() {
    let (backend, mut rig) = Backend::rig(Refresh::eager);
    backend.version.store(2, SeqCst);
    rig.apply([update(7)]);
    settle().await;
    backend.version.store(3, SeqCst);
    rig.apply([update(7)]);
    settle().await;
    backend.go.add_permits(2);
    until(|| rig.cache.stats().loads == 2).await;
    assert_eq!(rig.cache.get(&7).as_deref(), Some(&3));
    assert_eq!(rig.cache.stats().loads_overtaken, 1);
}

#[tokio::test]
async fn reloads_requested_while_the_source_was_not_live_are_requested_again() {
    let (backend, mut rig) = Backend::rig(Refresh::eager);
    backend.go.add_permits(1);
    backend.version.store(2, SeqCst);
    rig.apply([update(7)]);
    rig.down();
    settle().await;
    assert_eq!(rig.cache.stats().loads, 0);
    rig.reconnect();
    rig.pump();
    until(|| rig.cache.get(&7).as_deref() == Some(&2)).await;
}

#[tokio::test]
async fn after_an_error_or_a_panic_the_next_read_tries_again() {
    let (backend, mut rig) = Backend::rig(|refresh| refresh);
    backend.go.add_permits(3);
    for (version, done) in [(0, 1), (99, 2), (2, 3)] {
        backend.version.store(version, SeqCst);
        rig.apply([update(7)]);
        assert_eq!(rig.cache.get(&7).as_deref(), Some(&1));
        until(|| {
            let stats = rig.cache.stats();
            stats.load_errors + stats.loads + stats.loads_panicked + stats.loads_cancelled == done
        })
        .await;
    }
    assert_eq!(rig.cache.get(&7).as_deref(), Some(&2));
}

#[tokio::test(start_paused = true)]
async fn stale_values_end_with_the_stated_time() {
    let (_backend, mut rig) = Backend::rig(|refresh| refresh);
    rig.apply([update(7)]);
    tokio::time::advance(MAX_STALE - Duration::from_millis(1)).await;
    // A second invalidation does not extend the time.
    rig.apply([update(7)]);
    assert_eq!(rig.cache.get(&7).as_deref(), Some(&1));
    tokio::time::advance(Duration::from_millis(2)).await;
    assert_eq!(rig.cache.get(&7), None);
}

#[tokio::test]
async fn no_stale_value_is_served_after_an_explicit_invalidation() {
    let (_backend, rig) = Backend::rig(|refresh| refresh);
    assert!(rig.cache.invalidate(&7));
    assert_eq!(rig.cache.get(&7), None);
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    rig.cache.invalidate_all();
    assert_eq!(rig.cache.get(&7), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_flush_stale_values_are_served_until_the_next_flush_at_most() {
    let (_backend, mut rig) = Backend::rig(|refresh| refresh);
    rig.apply([truncate()]);
    tokio::time::advance(MAX_STALE - Duration::from_millis(1)).await;
    assert_eq!(rig.cache.get(&7).as_deref(), Some(&1));
    // After a second flush, the cache no longer knows since when the values are stale.
    rig.apply([truncate()]);
    assert_eq!(rig.cache.get(&7), None);
}
