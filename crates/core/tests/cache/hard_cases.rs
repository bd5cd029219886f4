//! Regression tests of cases that are easy to overlook.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pgherald_core::__private::host::cache::Drive;
use pgherald_core::__private::host::events::{Decoder, Router};
use pgherald_core::cache::FlushCause;
use pgherald_core::{
    Affected, CacheBuilder, CachedFn, Debounced, Decision, Event, Filter, Key, LoadLimit,
    Operation, Refresh, Result, Resync, ResyncReason, Signal, Strategy, SubscriptionOptions,
    TableName, Timed, WhenNotLive, Windowed, WriteToken,
};
use pgherald_core::{CacheEvent, CacheObserver};

use crate::support::{
    DEADLINE, Loads, Order, Rig, User, settle, update, users, users_with, within,
};

fn announced(token: &WriteToken) -> Event {
    let (channel, payload) = token.parameters();
    let mut events = Vec::new();
    Decoder::new()
        .decode(
            channel,
            &payload,
            1,
            std::time::SystemTime::now(),
            &mut events,
        )
        .unwrap();
    events.remove(0)
}

#[tokio::test(start_paused = true)]
async fn short_reconnects_do_not_reset_the_age_of_stale_values() {
    let mut rig = users_with(|b| {
        b.when_not_live(WhenNotLive::ServeStale {
            max_age: Duration::from_secs(60),
        })
    });
    let loads = Loads::default();
    assert_eq!(*rig.cache.get_or_load(7, || loads.load()).await.unwrap(), 1);
    rig.down(); // t = 0
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(50)).await;
        rig.reconnect(); // the driver does not apply the resync
        rig.down();
    }
    tokio::time::advance(Duration::from_secs(50)).await;
    assert_eq!(rig.cache.get(&7), None, "last known valid 550 s ago");
}

/// Simulates another thread that runs right after a flush.
#[derive(Default)]
struct AtFlush {
    hook: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}
impl CacheObserver for AtFlush {
    fn observe(&self, event: &CacheEvent<'_>) {
        if let CacheEvent::Flushed(FlushCause::Resync) = event {
            let hook = self.hook.lock().unwrap().take();
            if let Some(hook) = hook {
                hook();
            }
        }
    }
}

#[tokio::test]
async fn a_token_is_not_reached_by_a_flush_before_its_commit() {
    let observer = Arc::new(AtFlush::default());
    let mut rig = users_with(|builder| builder.observer(observer.clone()));
    let cache = rig.cache.clone();
    let token = rig.cache.write_token();
    *observer.hook.lock().unwrap() = Some(Box::new(move || {
        // A reader loads version 1. Then the writer commits version 2 and waits.
        assert!(cache.insert(&cache.stamp(), 7, 1));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let waiting = std::pin::pin!(token.applied(DEADLINE));
        assert!(waiting.poll(&mut cx).is_pending() || cache.get(&7).is_none());
    }));
    let resync = Resync::new(ResyncReason::Overflow);
    rig.router.publish(&Signal::Resync(resync));
    rig.pump();
    assert!(observer.hook.lock().unwrap().is_none());
}

#[tokio::test]
async fn a_token_that_arrives_while_the_source_is_not_live_flushes() {
    let mut rig = users_with(|b| b.when_not_live(WhenNotLive::ServeStale { max_age: DEADLINE }));
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    rig.down(); // triggers are missing, but the connection works
    let token = rig.cache.write_token();
    let event = announced(&token);
    rig.apply([event]); // the row's own event was never sent
    let done = token.applied(DEADLINE).await;
    assert!(
        done.is_err() || rig.cache.get(&7).is_none(),
        "{done:?} and serves {:?}",
        rig.cache.get(&7)
    );
}

#[tokio::test]
async fn the_largest_time_to_live_does_not_overflow() {
    let rig = users_with(|b| b.ttl(Duration::MAX).ttl_jitter(0.0));
    let cache = rig.cache.clone();
    let gate = Arc::new(tokio::sync::Notify::new());
    let g = gate.clone();
    let lead = tokio::spawn(async move {
        cache
            .get_or_load(7, async || {
                g.notified().await;
                Ok::<_, String>(1)
            })
            .await
    });
    settle().await;
    let cache = rig.cache.clone();
    let join = tokio::spawn(async move {
        cache
            .get_or_load(7, async || Err::<u64, _>("mine".to_owned()))
            .await
    });
    settle().await;
    gate.notify_one();
    let lead = lead.await;
    let join = tokio::time::timeout(Duration::from_secs(2), join).await;
    assert!(
        lead.is_ok() && join.is_ok(),
        "leader: {lead:?}, waiter: {join:?}"
    );
}

#[test]
fn the_largest_capacity_allocates_no_memory_in_advance() {
    let rig = users_with(|b| b.capacity(usize::MAX));
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
}

#[test]
fn a_cache_is_subscribed_once() {
    let rig = users();
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    let Rig {
        cache,
        driver,
        mut router,
        subscription,
    } = rig;
    let driver = driver.unwrap();
    drop(subscription);
    assert!(!cache.is_live());
    router.publish(&Signal::Events([update(7)].into()));
    // The cache missed the update of 7, so it must not open again.
    let again = router.subscribe(driver.filter(), driver.subscription());
    assert!(again.unwrap_err().is_config());
    assert_eq!(cache.get(&7), None);
}

#[test]
fn a_forwarded_resync_does_not_begin_a_session() {
    let mut up = Router::new();
    let mut tap = up
        .subscribe(Filter::new(), SubscriptionOptions::new("relay"))
        .unwrap();
    up.publish(&Signal::Resync(Resync::new(ResyncReason::Reconnected)));
    up.publish(&Signal::Live);
    let relayed = tap.try_recv().unwrap().resync().unwrap().clone();
    let mut rig = users();
    rig.router.publish(&Signal::Resync(relayed));
    rig.pump();
    assert!(rig.cache.is_live());
}

#[tokio::test]
async fn a_load_limit_holds_within_loads_without_a_limit() {
    let limit = LoadLimit::new(1);
    let inner = users_with(|b| b.load_limit(&limit));
    let outer = users();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = Vec::new();
    for key in 0..10 {
        let (a, b, now, most) = (
            outer.cache.clone(),
            inner.cache.clone(),
            now.clone(),
            most.clone(),
        );
        tasks.push(tokio::spawn(async move {
            a.get_or_load(key, async || {
                let v = b
                    .get_or_load(key, async || {
                        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        settle().await;
                        now.fetch_sub(1, SeqCst);
                        Ok::<_, String>(1)
                    })
                    .await
                    .unwrap();
                Ok::<_, String>(*v)
            })
            .await
            .unwrap();
        }));
    }
    for t in tasks {
        within(t).await.unwrap();
    }
    assert_eq!(most.load(SeqCst), 1, "loads at a time under a limit of 1");
}

struct NoDeadline;
impl Strategy for NoDeadline {
    fn on_event(&mut self, _: &Event, _: Instant) -> Decision {
        Decision::Hold
    }
    fn deadline(&self) -> Option<Instant> {
        panic!("in the deadline")
    }
    fn on_deadline(&mut self, _: Instant) -> Decision {
        Decision::Apply
    }
}

#[test]
fn a_strategy_whose_deadline_panics_is_replaced() {
    let mut rig = users_with(|b| b.strategy(NoDeadline));
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    rig.apply([update(7)]);
    let later = Instant::now() + Duration::from_secs(3600);
    rig.wake(later);
    assert_eq!(rig.cache.get(&7), None, "flushed");
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
    rig.apply([update(7)]);
    assert_eq!(rig.cache.get(&7), None, "greedy from then on");
}

struct Bomb(&'static AtomicBool);
impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0.load(SeqCst) {
            panic!("in the destructor")
        }
    }
}

#[test]
fn destructors_that_panic_do_not_end_the_process() {
    static ON: AtomicBool = AtomicBool::new(true);
    let mut rig = Rig::live(
        CacheBuilder::<i64, Bomb>::new("bombs")
            .row_of::<User>()
            .capacity(8),
    );
    for id in 0..3 {
        assert!(rig.cache.insert(&rig.cache.stamp(), id, Bomb(&ON)));
    }
    rig.router
        .publish(&Signal::Resync(Resync::new(ResyncReason::Overflow)));
    rig.pump();
    drop(rig.driver.take());
    assert_eq!(rig.cache.stats().entries, 0);
    ON.store(false, SeqCst);
}

#[test]
fn a_stamp_of_another_cache_is_refused() {
    let mut a = users();
    for id in 0..100 {
        a.apply([update(id)]);
    }
    let mut b = users();
    let stamp = a.cache.stamp();
    b.apply([update(7)]);
    assert!(
        !b.cache.insert(&stamp, 7, 1),
        "a stamp of another cache says nothing about this one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_does_not_wait_for_a_bypassed_cache() {
    let mut rig = users();
    let began = tokio::time::Instant::now();
    let waiting = tokio::spawn(rig.cache.write_token().applied(Duration::from_secs(600)));
    settle().await;
    rig.down();
    waiting.await.unwrap().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "waited {:?} for a cache that is bypassed",
        began.elapsed()
    );
}

#[derive(PartialEq, Eq, Hash, Debug)]
struct Frail(i64);
static FRAIL: AtomicBool = AtomicBool::new(false);
impl Clone for Frail {
    fn clone(&self) -> Self {
        assert!(!FRAIL.load(SeqCst), "in clone");
        Self(self.0)
    }
}

#[tokio::test]
async fn a_key_that_panics_while_it_is_stored_leaves_no_caller_waiting() {
    let rig = Rig::live(
        CacheBuilder::<Frail, u64>::new("frail").table(TableName::new("public", "users").unwrap()),
    );
    let gate = Arc::new(tokio::sync::Notify::new());
    let (g, cache) = (gate.clone(), rig.cache.clone());
    let lead = tokio::spawn(async move {
        cache
            .get_or_load(Frail(7), async || {
                g.notified().await;
                FRAIL.store(true, SeqCst);
                Ok::<_, String>(1)
            })
            .await
    });
    settle().await;
    let cache = rig.cache.clone();
    let join = tokio::spawn(async move {
        cache
            .get_or_load(Frail(7), async || Err::<u64, _>("mine".to_owned()))
            .await
    });
    settle().await;
    gate.notify_one();
    assert!(lead.await.is_err());
    FRAIL.store(false, SeqCst);
    assert!(
        tokio::time::timeout(Duration::from_secs(2), join)
            .await
            .is_ok(),
        "the waiter hangs"
    );
}

#[test]
fn a_key_of_other_columns_flushes() {
    let mut rig = Rig::live(CacheBuilder::<(i64, i64), u64>::new("orders").row_of::<Order>());
    assert!(rig.cache.insert(&rig.cache.stamp(), (1, 2), 1));
    let event = Event::builder("public", "orders", Operation::Update)
        .key((2_i64, 1_i64).to_row_key())
        .key_columns(["id", "tenant"])
        .build();
    rig.apply([event]);
    assert_eq!(rig.cache.get(&(1, 2)), None);
}

#[tokio::test]
async fn a_destructor_that_panics_does_not_end_the_background_loads() {
    static ON: AtomicBool = AtomicBool::new(false);
    let refresh = Refresh::new(DEADLINE, async |_| Ok(Bomb(&ON))).eager();
    let mut rig = Rig::new(
        CacheBuilder::<i64, Bomb>::new("bombs")
            .row_of::<User>()
            .refresh(refresh),
    );
    rig.reconnect();
    let run = tokio::spawn(rig.driver.take().unwrap().run(rig.subscription));
    settle().await;
    assert!(rig.cache.is_live());
    assert!(rig.cache.insert(&rig.cache.stamp(), 7, Bomb(&ON)));
    ON.store(true, SeqCst);
    rig.router.publish(&Signal::Events([update(7)].into()));
    settle().await;
    ON.store(false, SeqCst);
    assert!(
        !run.is_finished() && rig.cache.is_live(),
        "the driver is gone"
    );
}

fn cached() -> Result<CacheBuilder<i64, u64>> {
    Ok(CacheBuilder::new("f").row_of::<User>())
}

#[test]
fn a_function_keeps_its_cache_until_another_is_attached() {
    static F: CachedFn<i64, u64> = CachedFn::new(cached);
    let mut router = Router::new();
    let (first, mut driver) = F.build().unwrap();
    let mut sub = router
        .subscribe(driver.filter(), driver.subscription())
        .unwrap();
    F.attach(first.clone()).unwrap();
    router.publish(&Signal::Live);
    while let Some(d) = sub.try_recv() {
        driver.apply(&d, Instant::now());
    }
    assert!(first.is_live() && F.handle().unwrap().is_live());
    drop(F.build().unwrap());
    assert!(
        F.handle().unwrap().is_live(),
        "the first one still runs, and nobody uses it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_running_driver_keeps_the_deadlines_of_strategies() {
    for strategy in 0..3 {
        let quiet = Duration::from_millis(50);
        let mut rig = users_with(|b| match strategy {
            0 => b.strategy(Debounced::new(quiet, 4 * quiet).unwrap()),
            1 => b.strategy(Windowed::period(quiet).unwrap()),
            _ => b.strategy(Timed::every(quiet).unwrap()),
        });
        let run = tokio::spawn(rig.driver.take().unwrap().run(rig.subscription));
        settle().await;
        for _ in 0..20 {
            assert!(rig.cache.insert(&rig.cache.stamp(), 7, 1));
            rig.router.publish(&Signal::Events([update(7)].into()));
            tokio::time::sleep(Duration::from_millis(53)).await;
            assert_eq!(rig.cache.get(&7), None, "strategy {strategy}");
        }
        run.abort();
    }
}

#[tokio::test]
async fn no_reader_hangs_while_many_readers_start_and_cancel() {
    let limit = LoadLimit::new(2);
    let mut rig = users_with(|b| b.load_limit(&limit).capacity(8));
    let mut threads = Vec::new();
    for part in 0..2u64 {
        let cache = rig.cache.clone();
        threads.push(std::thread::spawn(move || {
            let rt = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            rt.block_on(async move {
                let mut set = Vec::new();
                for n in (part * 100)..(part * 100 + 100) {
                    let cache = cache.clone();
                    set.push(tokio::spawn(async move {
                        let mut rng = fastrand_like(n);
                        for _ in 0..60 {
                            let key = (rng() % 12) as i64;
                            let (fate, nested, r2) = (rng() % 6, rng() % 3, (rng() % 12) as i64);
                            let c = cache.clone();
                            let work = async {
                                match fate {
                                    0 => {
                                        let _ = c
                                            .get_many_or_load(key..key + 4, async |m: Vec<i64>| {
                                                tokio::task::yield_now().await;
                                                if nested == 0 {
                                                    let _ = c
                                                        .get_or_load(r2, async || {
                                                            Ok::<_, String>(1)
                                                        })
                                                        .await;
                                                }
                                                Ok::<_, String>(
                                                    m.into_iter()
                                                        .skip(1)
                                                        .map(|k| (k, 1))
                                                        .collect::<Vec<_>>(),
                                                )
                                            })
                                            .await;
                                    }
                                    1 => {
                                        let _ = c
                                            .get_or_load(key, async || {
                                                tokio::time::sleep(Duration::from_micros(300))
                                                    .await;
                                                Err::<u64, _>(7u8)
                                            })
                                            .await;
                                    }
                                    _ => {
                                        let _ = c
                                            .get_or_load(key, async || {
                                                tokio::task::yield_now().await;
                                                if nested == 0 {
                                                    let _ = c
                                                        .get_or_load(r2, async || {
                                                            tokio::task::yield_now().await;
                                                            Ok::<_, String>(1)
                                                        })
                                                        .await;
                                                }
                                                if nested == 1 {
                                                    let _ = tokio::join!(
                                                        c.get_or_load(
                                                            r2,
                                                            async || Ok::<_, String>(1)
                                                        ),
                                                        c.get_many_or_load(
                                                            [r2 + 1, r2 + 2],
                                                            async |m: Vec<i64>| {
                                                                tokio::task::yield_now().await;
                                                                Ok::<_, String>(
                                                                    m.into_iter()
                                                                        .map(|k| (k, 1))
                                                                        .collect::<Vec<_>>(),
                                                                )
                                                            }
                                                        )
                                                    );
                                                }
                                                Ok::<_, String>(1)
                                            })
                                            .await;
                                    }
                                }
                            };
                            if rng().is_multiple_of(4) {
                                let _ =
                                    tokio::time::timeout(Duration::from_micros(rng() % 500), work)
                                        .await;
                            } else {
                                work.await;
                            }
                        }
                    }));
                }
                for t in set {
                    tokio::time::timeout(DEADLINE, t)
                        .await
                        .expect("hangs")
                        .unwrap();
                }
            });
        }));
    }
    let mut n = 0;
    while !threads.iter().all(|t| t.is_finished()) {
        n += 1;
        if n % 50 == 0 {
            rig.down();
            rig.reconnect();
            rig.pump();
        }
        rig.apply([update(n % 12)]);
        std::thread::yield_now();
    }
    for t in threads {
        t.join().unwrap();
    }
}
fn fastrand_like(seed: u64) -> impl FnMut() -> u64 {
    let mut s = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        s
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct KeyBomb(i64);
static KEYBOMB: AtomicBool = AtomicBool::new(false);
impl Drop for KeyBomb {
    fn drop(&mut self) {
        if KEYBOMB.swap(false, SeqCst) {
            panic!("key dropped")
        }
    }
}
#[test]
fn a_panic_in_the_resync_of_a_session_does_not_keep_the_cache_closed() {
    let mut rig = Rig::live(
        CacheBuilder::<KeyBomb, u64>::new("k")
            .keys_by::<User>(|c| Affected::Keys(vec![KeyBomb(c.key)]))
            .strategy(Windowed::events(5).unwrap()),
    );
    rig.apply([update(7)]); // held
    rig.down();
    rig.reconnect();
    KEYBOMB.store(true, SeqCst);
    rig.pump();
    assert!(
        rig.cache.is_live(),
        "flushed, live, and closed until the next outage"
    );
}
#[tokio::test(start_paused = true)]
async fn the_time_to_live_of_an_inserted_value_begins_with_the_stamp() {
    let rig = users_with(|b| b.ttl(Duration::from_secs(10)));
    let stamp = rig.cache.stamp();
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(
        !rig.cache.insert(&stamp, 7, 1) || rig.cache.get(&7).is_none(),
        "read 60 s ago, ttl 10 s"
    );
}
