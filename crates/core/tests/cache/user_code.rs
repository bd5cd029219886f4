//! User code that panics or calls back at bad moments.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use pgherald_core::__private::host::cache::background;
use pgherald_core::{Affected, CacheBuilder, CacheStats, CachedFn, Refresh, Windowed};

use crate::support::{DEADLINE, Rig, User, settle, update};

/// Uses the cached function that it belongs to in its destructor.
struct Nosy;

static FUNCTION: CachedFn<i64, u64> = CachedFn::new(|| {
    let nosy = Nosy;
    Ok(CacheBuilder::new("nosy").row_by::<User>(move |key: &i64| {
        let _nosy = &nosy;
        *key
    }))
});

impl Drop for Nosy {
    fn drop(&mut self) {
        let _: CacheStats = FUNCTION.stats();
    }
}

#[test]
fn destructors_within_a_cache_may_use_its_function() {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for _ in 0..2 {
            let (cache, driver) = FUNCTION.build().unwrap();
            FUNCTION.attach(cache).unwrap();
            drop(driver);
        }
        done.send(()).unwrap();
    });
    assert!(wait.recv_timeout(DEADLINE).is_ok(), "it waits for itself");
}

thread_local!(static ARMED: Cell<bool> = const { Cell::new(false) });

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Bomb(i64);

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(!ARMED.replace(false), "destructor");
    }
}

#[test]
fn a_key_may_panic_when_its_driver_is_dropped() {
    let builder = CacheBuilder::<Bomb, u64>::new("bombs")
        .keys_by::<User>(|_| Affected::Keys(vec![Bomb(7)]))
        .strategy(Windowed::events(5).unwrap());
    let mut rig = Rig::live(builder);
    rig.apply([update(7)]);
    let driver = rig.driver.take();
    ARMED.set(true);
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(driver)));
    assert!(dropped.is_ok());
    assert!(!ARMED.get(), "it has panicked");
}

thread_local!(static CLONES: Cell<i64> = const { Cell::new(i64::MAX) });

/// Panics once, when `CLONES` has counted down to 0.
#[derive(PartialEq, Eq, Hash, Debug)]
struct Fragile(i64);

impl Clone for Fragile {
    fn clone(&self) -> Self {
        let left = CLONES.get() - 1;
        CLONES.set(left);
        assert!(left != 0, "clone");
        Self(self.0)
    }
}

#[tokio::test]
async fn no_caller_waits_for_a_load_whose_key_could_not_be_cloned() {
    for nth in 1..=6 {
        let rig = Rig::live(CacheBuilder::<Fragile, u64>::new("fragile").table_of::<User>());
        let cache = rig.cache.clone();
        CLONES.set(nth);
        let many = tokio::spawn(async move {
            let load = async |keys: Vec<Fragile>| {
                let values = keys.into_iter().map(|key| (key, 1));
                Ok::<_, ()>(values.collect::<Vec<_>>())
            };
            cache
                .get_many_or_load([Fragile(1)], load)
                .await
                .map(|found| found.len())
        });
        let _panicked = many.await.is_err();
        CLONES.set(i64::MAX);
        let read = rig.cache.get_or_load(Fragile(1), async || Ok::<_, ()>(2));
        let read = tokio::time::timeout(DEADLINE, read).await;
        assert!(
            read.is_ok(),
            "clone {nth} panicked, and who reads the key waits for ever"
        );
    }
}

#[tokio::test]
async fn a_projection_that_panicked_in_the_background_is_retried() {
    static PANIC: AtomicBool = AtomicBool::new(false);
    let refresh = Refresh::new(Duration::from_secs(1000), |_| async { Ok(2) });
    let builder = CacheBuilder::<i64, u64>::new("p").row_by::<User>(|key: &i64| {
        assert!(!PANIC.load(SeqCst), "projection");
        *key
    });
    let mut rig = Rig::live(builder.refresh(refresh));
    tokio::spawn(background(rig.driver.as_mut().unwrap()));
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    rig.apply([update(7)]);
    PANIC.store(true, SeqCst);
    assert_eq!(rig.cache.get(&7).as_deref(), Some(&1));
    settle().await;
    PANIC.store(false, SeqCst);
    for _ in 0..5 {
        assert!(rig.cache.get(&7).is_some());
        settle().await;
    }
    assert_eq!(
        rig.cache.get(&7).as_deref(),
        Some(&2),
        "nobody sees to it any more"
    );
}
