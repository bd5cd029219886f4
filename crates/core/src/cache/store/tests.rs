//! Tests of the store, one operation at a time. `tests/interleavings` tests concurrent ones.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::time::advance;

use super::store::{
    Accept, Begin, Flight, Found, Fresh, Outcome, Stale, Store, StoreOptions, Stored, Walk,
};
use crate::sync::now;

type Numbers = Store<u32, u32, u32>;

const SECOND: Duration = Duration::from_secs(1);

fn options(capacity: usize) -> StoreOptions {
    StoreOptions {
        capacity: NonZeroUsize::new(capacity).unwrap(),
        max_weight: None,
        ttl: None,
        jitter: 0.0,
        keep_stale: None,
    }
}

fn of(capacity: usize) -> Numbers {
    Store::new(options(capacity))
}

fn lead(store: &Numbers, key: u32) -> Arc<Flight<u32>> {
    match store.begin(&key, [key % 2].into(), Accept::Valid) {
        Begin::Lead(flight) => flight,
        other => panic!("{other:?}"),
    }
}

fn load(store: &Numbers, key: u32, value: u32) -> Stored {
    let flight = lead(store, key);
    store.finish(&key, &flight, &Arc::new(value))
}

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Hit(u32),
    /// The flag says whether the reader must request a reload.
    Stale(u32, bool),
    Miss,
}

fn get(store: &Numbers, key: u32) -> Got {
    get_as(store, key, Accept::Valid)
}

fn get_as(store: &Numbers, key: u32, accept: Accept) -> Got {
    match store.get(&key, accept) {
        Found::Hit(value) => Got::Hit(*value),
        Found::Stale(value, revalidate) => Got::Stale(*value, revalidate.is_some()),
        Found::Miss => Got::Miss,
    }
}

fn blind(since: Option<Instant>, max_age: Duration) -> Accept {
    Accept::Blind { since, max_age }
}

#[test]
fn capacities_of_shards_add_up_to_the_capacity() {
    for capacity in [1, 2, 63, 64, 127, 128, 129, 1_000, 4_095, 5_000, 10_001] {
        let capacities = of(capacity).capacities();
        assert_eq!(capacities.iter().sum::<usize>(), capacity);
        assert!(capacities.len().is_power_of_two());
        let (least, most) = (capacities.iter().min(), capacities.iter().max());
        assert!(*most.unwrap() - *least.unwrap() <= 1, "{capacities:?}");
    }
    assert!(of(10_001).shards() >= 8);
    assert_eq!(of(127).shards(), 1, "what is small is kept in one order");
}

#[test]
fn holds_as_much_as_it_may_and_no_more() {
    for capacity in [1, 5, 200, 1_000] {
        let store = of(capacity);
        let mut evictions = 0;
        for key in 0..20 * capacity as u32 {
            match load(&store, key, key) {
                Stored::Yes => {}
                Stored::Evicting => evictions += 1,
                Stored::Overtaken | Stored::Declined => panic!("nothing overtook it"),
            }
            assert!(store.len() <= capacity);
        }
        // With this many keys, every shard is full.
        assert_eq!(store.len(), capacity);
        assert_eq!(evictions, 19 * capacity as u64);
        assert_eq!(store.counts().evictions, evictions);
        store.assert_consistent();
    }
}

#[test]
fn evicts_what_was_read_least_recently_of_a_shard() {
    let store = of(128);
    let mut keys = (0..).filter(|key| store.shard_of(key) == 1);
    let room = store.capacities()[1];
    let held: Vec<u32> = keys.by_ref().take(room).collect();
    for key in &held {
        load(&store, *key, *key);
    }
    // A read and a replacement count as use. `begin` does not.
    assert_eq!(get(&store, held[0]), Got::Hit(held[0]));
    let before = store.moment();
    assert!(store.insert(before, &held[1], &Arc::new(7), [held[1] % 2].into()));
    assert!(matches!(
        store.begin(&held[2], [].into(), Accept::Valid),
        Begin::Found(_)
    ));
    load(&store, keys.next().unwrap(), 0);
    load(&store, keys.next().unwrap(), 0);
    assert_eq!(get(&store, held[0]), Got::Hit(held[0]));
    assert_eq!(get(&store, held[1]), Got::Hit(7));
    assert_eq!(get(&store, held[2]), Got::Miss);
    assert_eq!(get(&store, held[3]), Got::Miss);
    assert_eq!(get(&store, held[4]), Got::Hit(held[4]));
    store.assert_consistent();
}

#[test]
fn what_overtakes_a_load_and_what_does_not() {
    let store = of(8);
    let overtaken = |by: &dyn Fn()| {
        let flight = lead(&store, 1);
        by();
        let stored = store.finish(&1, &flight, &Arc::new(1));
        store.invalidate(&1, Stale::Keep);
        stored
    };
    assert_eq!(overtaken(&|| ()), Stored::Yes);
    assert_eq!(
        overtaken(&|| assert!(store.invalidate(&1, Stale::Keep))),
        Stored::Overtaken
    );
    assert_eq!(
        overtaken(&|| assert_eq!(store.invalidate_tag(&1), [1])),
        Stored::Overtaken
    );
    assert_eq!(overtaken(&|| store.flush(Some(now()))), Stored::Overtaken);
    // Invalidations of other keys do not matter.
    assert_eq!(
        overtaken(&|| assert!(!store.invalidate(&3, Stale::Keep))),
        Stored::Yes
    );
    assert_eq!(
        overtaken(&|| assert!(store.invalidate_tag(&0).is_empty())),
        Stored::Yes
    );
    assert_eq!((store.len(), store.in_flight()), (0, 0));
    store.assert_consistent();
}

#[test]
fn what_an_insert_is_refused_for() {
    let store = of(8);
    let insert = |by: &dyn Fn()| {
        let before = store.moment();
        by();
        store.insert(before, &1, &Arc::new(1), [1].into())
    };
    assert!(insert(&|| ()));
    assert!(
        !insert(&|| _ = store.invalidate(&1, Stale::Keep)),
        "nothing was there, but it may be old"
    );
    assert!(!insert(&|| _ = store.invalidate_tag(&1)));
    assert!(!insert(&|| store.flush(Some(now()))));
    assert_eq!(store.len(), 0, "and what was there is gone");
    assert!(insert(&|| ()), "that was before");
    store.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn values_expire() {
    let store = Numbers::new(StoreOptions {
        ttl: Some(10 * SECOND),
        ..options(8)
    });
    let flight = lead(&store, 1);
    advance(2 * SECOND).await;
    store.finish(&1, &flight, &Arc::new(1));
    advance(7 * SECOND).await;
    assert_eq!(get(&store, 1), Got::Hit(1));
    // The time to live counts from the beginning of the load.
    advance(SECOND).await;
    assert!(matches!(
        store.begin(&1, [1].into(), Accept::Valid),
        Begin::Lead(_)
    ));
    assert_eq!(get(&store, 1), Got::Miss);
    assert_eq!((store.len(), store.counts().expirations), (0, 1));
    // The key is in flight, so it stays in the index.
    store.assert_consistent();
    assert_eq!(get(&store, 1), Got::Miss);
    assert_eq!(store.counts().expirations, 1, "once");
}

#[tokio::test(start_paused = true)]
async fn expiry_is_spread_by_the_jitter_and_never_later() {
    let store = Numbers::new(StoreOptions {
        ttl: Some(100 * SECOND),
        jitter: 0.5,
        ..options(1_000)
    });
    (0..500).for_each(|key| _ = load(&store, key, key));
    let valid = || {
        (0..500)
            .filter(|key| get(&store, *key) != Got::Miss)
            .count()
    };
    advance(50 * SECOND - SECOND / 10).await;
    assert_eq!(valid(), 500);
    advance(25 * SECOND).await;
    let half = valid();
    assert!((150..350).contains(&half), "{half} of 500");
    advance(25 * SECOND + SECOND / 5).await;
    assert_eq!(valid(), 0);
    assert_eq!(store.counts().expirations, 500);
}

#[tokio::test(start_paused = true)]
async fn blind_reads_are_limited_from_when_it_became_blind() {
    let store = of(8);
    load(&store, 1, 1);
    advance(100 * SECOND).await;
    let since = Some(now());
    advance(9 * SECOND).await;
    // The value was valid at `since`, whatever its age.
    assert_eq!(
        get_as(&store, 1, blind(since, 10 * SECOND)),
        Got::Stale(1, false)
    );
    assert_eq!(get_as(&store, 1, blind(None, 10 * SECOND)), Got::Miss);
    advance(SECOND).await;
    assert_eq!(get_as(&store, 1, blind(since, 10 * SECOND)), Got::Miss);
    assert_eq!(store.len(), 1, "it is not for such a reader to throw away");
    let forever = blind(since, Duration::MAX);
    assert_eq!(get_as(&store, 1, forever), Got::Stale(1, false));
    let counts = store.counts();
    assert_eq!((counts.blind_hits, counts.misses, counts.hits), (2, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_loaded_while_blind_is_limited_from_its_load() {
    let store = of(8);
    let since = Some(now());
    load(&store, 1, 1);
    advance(11 * SECOND).await;
    let accept = blind(since, 10 * SECOND);
    assert_eq!(get_as(&store, 1, accept), Got::Miss);
    let Begin::Lead(flight) = store.begin(&1, [1].into(), accept) else {
        panic!("there is nothing good enough");
    };
    assert!(matches!(
        store.begin(&1, [1].into(), accept),
        Begin::Join(_)
    ));
    store.finish(&1, &flight, &Arc::new(2));
    advance(9 * SECOND).await;
    assert_eq!(get_as(&store, 1, accept), Got::Stale(2, false));
    assert!(matches!(
        store.begin(&1, [1].into(), accept),
        Begin::Found(_)
    ));
    advance(SECOND).await;
    assert_eq!(get_as(&store, 1, accept), Got::Miss);
}

#[tokio::test(start_paused = true)]
async fn blind_reads_do_not_see_what_is_not_valid() {
    let store = Numbers::new(StoreOptions {
        ttl: Some(10 * SECOND),
        keep_stale: Some(100 * SECOND),
        ..options(8)
    });
    let forever = blind(None, Duration::MAX);
    (1..=3).for_each(|key| _ = load(&store, key, key));
    store.invalidate(&1, Stale::Keep);
    assert_eq!(get_as(&store, 1, forever), Got::Miss, "invalidated");
    assert_eq!(get_as(&store, 2, forever), Got::Stale(2, false));
    advance(10 * SECOND).await;
    assert_eq!(get_as(&store, 2, forever), Got::Miss, "expired");
    load(&store, 3, 4);
    store.flush(Some(now()));
    assert_eq!(get_as(&store, 3, forever), Got::Miss, "flushed");
}

fn keeping(ttl: Option<Duration>) -> Numbers {
    Store::new(StoreOptions {
        ttl,
        keep_stale: Some(10 * SECOND),
        ..options(8)
    })
}

#[tokio::test(start_paused = true)]
async fn what_is_invalidated_is_served_for_a_while() {
    let store = keeping(None);
    load(&store, 1, 1);
    assert!(store.invalidate(&1, Stale::Keep));
    advance(9 * SECOND).await;
    assert_eq!(get(&store, 1), Got::Stale(1, true));
    assert_eq!(get(&store, 1), Got::Stale(1, false), "one sees to it");
    // A second invalidation does not prolong the value, but the load in progress may have read too early.
    assert!(store.invalidate(&1, Stale::Keep));
    assert_eq!(get(&store, 1), Got::Stale(1, true));
    advance(SECOND).await;
    assert_eq!(get(&store, 1), Got::Miss);
    assert_eq!(store.len(), 0);
    let counts = store.counts();
    assert_eq!(
        (counts.stale_hits, counts.misses, counts.expirations),
        (3, 1, 0)
    );
    store.assert_consistent();
}

#[tokio::test(start_paused = true)]
async fn a_new_value_takes_the_place_of_the_stale_one() {
    let store = keeping(None);
    load(&store, 1, 1);
    assert!(!store.revalidate(&1), "it is valid");
    store.invalidate(&1, Stale::Keep);
    assert!(store.revalidate(&1));
    assert!(!store.revalidate(&1), "it is being revalidated");
    assert_eq!(get(&store, 1), Got::Stale(1, false));
    let flight = lead(&store, 1);
    store.fail(&1, &flight, Outcome::Abandoned);
    assert_eq!(get(&store, 1), Got::Stale(1, true), "nothing came of that");
    store.not_revalidating(&1);
    assert_eq!(get(&store, 1), Got::Stale(1, true));
    assert_eq!(load(&store, 1, 2), Stored::Yes);
    assert_eq!(get(&store, 1), Got::Hit(2));
    assert!(!store.revalidate(&2), "there is none");
}

#[tokio::test(start_paused = true)]
async fn what_is_flushed_is_served_for_a_while_unless_it_was_flushed_before() {
    let store = keeping(None);
    (1..=3).for_each(|key| _ = load(&store, key, key));
    store.flush(Some(now()));
    advance(9 * SECOND).await;
    assert_eq!(get(&store, 1), Got::Stale(1, true));
    advance(SECOND).await;
    assert_eq!(get(&store, 1), Got::Miss);
    // The time of the first flush is unknown now. That of the second would be too late.
    store.flush(Some(now()));
    assert_eq!(get(&store, 2), Got::Miss);
    assert_eq!(store.len(), 1);
}

/// The first cause of invalidity counts. Later causes do not prolong the entry.
#[tokio::test(start_paused = true)]
async fn later_causes_do_not_prolong_what_is_stale() {
    type Cause = fn(&Numbers);
    let nothing: Cause = |_| ();
    let invalidate: Cause = |store| _ = store.invalidate(&1, Stale::Keep);
    let flush: Cause = |store| store.flush(Some(now()));
    for (name, first, then, until) in [
        ("invalidated, flushed", invalidate, flush, 25),
        ("flushed, invalidated", flush, invalidate, 25),
        ("invalidated, expired", invalidate, nothing, 25),
        ("expired, flushed", nothing, flush, 30),
        ("expired, invalidated", nothing, invalidate, 30),
    ] {
        let store = keeping(Some(20 * SECOND));
        load(&store, 1, 1);
        advance(15 * SECOND).await;
        first(&store);
        advance((until - 1 - 15) * SECOND).await;
        then(&store);
        assert_eq!(get(&store, 1), Got::Stale(1, true), "{name}");
        advance(SECOND).await;
        assert_eq!(get(&store, 1), Got::Miss, "{name}");
    }
}

/// Expires everything, as the driver does. Returns the number of portions.
fn expire(store: &Numbers) -> usize {
    let (mut walk, mut portions) = (Walk::default(), 0);
    while store.free_some(&mut walk) {
        portions += 1;
        store.assert_consistent();
    }
    portions
}

#[test]
fn what_a_flush_left_is_dropped_and_nothing_else() {
    let store = of(200);
    (0..150).for_each(|key| _ = load(&store, key, key));
    assert!(!store.take_due(), "all is valid");
    store.flush(Some(now()));
    (0..20).for_each(|key| _ = load(&store, key, 1_000));
    let flight = lead(&store, 149);
    assert!(expire(&store) > 0);
    assert_eq!(store.len(), 20);
    assert!((0..20).all(|key| get(&store, key) == Got::Hit(1_000)));
    // Keys in flight are still found by their tags.
    assert!(store.invalidate_tag(&1).contains(&149));
    assert_eq!(store.finish(&149, &flight, &Arc::new(0)), Stored::Overtaken);
    assert!(!store.expire(store.shards()), "there is no such shard");
    store.assert_consistent();
}

#[test]
fn set_of_keys_shrinks_after_most_were_removed() {
    let store = of(50_000);
    for key in 0..10_000 {
        assert!(store.insert(store.moment(), &key, &Arc::new(key), [7].into()));
    }
    assert!(store.indexed_capacity(&7) >= 10_000);
    for key in 1..10_000 {
        assert!(store.invalidate(&key, Stale::Keep));
    }
    let capacity = store.indexed_capacity(&7);
    assert!((1..64).contains(&capacity), "{capacity}");
    assert_eq!(store.invalidate_tag(&7), [0]);
    assert_eq!(store.indexed_capacity(&7), 0);
    store.assert_consistent();
}

#[test]
fn a_large_flush_is_dropped_in_portions() {
    for capacity in [127, 500_000] {
        let store = of(capacity);
        let keys = 120 * store.shards();
        (0..keys as u32).for_each(|key| _ = load(&store, key, key));
        store.flush(None);
        assert!(store.take_due());
        let mut left = store.len();
        for shard in 0..store.shards() {
            while store.expire(shard) {
                assert!(left - store.len() <= 64);
                left = store.len();
            }
        }
        assert_eq!(left, 0);
        assert_eq!(store.counts().freed, keys as u64);
    }
}

/// Ways for an entry to die. Each must make the store due, and not earlier than that.
#[tokio::test(start_paused = true)]
async fn dead_entries_are_due_and_nothing_else_is() {
    let ttl = 10 * SECOND;
    let with = |ttl, keep_stale| {
        let (ttl, options) = (ttl, options(1_000));
        Store::new(StoreOptions {
            ttl,
            keep_stale,
            ..options
        })
    };
    type End<'a> = &'a dyn Fn(&Numbers);
    let flush: End<'_> = &|store| store.flush(Some(now()));
    let by_hand: End<'_> = &|store| store.flush(None);
    let event: End<'_> = &|store| (0..200).for_each(|key| _ = store.invalidate(&key, Stale::Keep));
    let nothing: End<'_> = &|_| ();
    for (name, store, end, dies) in [
        ("flushed", with(None, None), flush, 0),
        ("flushed by hand, stale", with(None, Some(ttl)), by_hand, 0),
        ("flushed, stale", with(None, Some(ttl)), flush, 10),
        ("invalidated, stale", with(None, Some(ttl)), event, 10),
        ("expired", with(Some(ttl), None), nothing, 10),
        ("expired, stale", with(Some(ttl), Some(ttl)), nothing, 20),
    ] {
        (0..200).for_each(|key| _ = load(&store, key, key));
        assert!(!store.take_due(), "{name}");
        end(&store);
        if dies > 0 {
            expire(&store);
            assert_eq!(store.len(), 200, "{name}");
            advance((dies - 1) * SECOND).await;
            assert!(!store.take_due(), "{name}");
            advance(SECOND).await;
        }
        assert!(expire(&store) > 0, "{name}");
        assert_eq!(store.len(), 0, "{name}");
        advance(100 * ttl).await;
        expire(&store);
        assert!(!store.take_due(), "{name}: idle");
    }
}

#[tokio::test(start_paused = true)]
async fn entries_that_may_still_be_served_are_kept() {
    let store = keeping(None);
    load(&store, 1, 1);
    store.flush(Some(now()));
    load(&store, 2, 2);
    assert_eq!(expire(&store), 0);
    assert_eq!(store.len(), 2);
    store.flush(Some(now()));
    expire(&store);
    assert_eq!(store.len(), 1, "the one of two flushes ago is gone");
    assert_eq!(get(&store, 2), Got::Stale(2, true));
}

/// A long-lived entry must not hide the entries behind it, nor make each portion walk past it again.
#[tokio::test(start_paused = true)]
async fn entries_expire_behind_one_that_lives() {
    let store = of(64);
    load(&store, 0, 0);
    for key in 1..50 {
        let flight = lead(&store, key);
        let value = Arc::new(key);
        let fresh = Fresh {
            ttl: Some(SECOND),
            ..Fresh::from(&value)
        };
        assert_eq!(store.finish(&key, &flight, fresh), Stored::Yes);
    }
    advance(SECOND).await;
    expire(&store);
    assert_eq!((store.len(), get(&store, 0)), (1, Got::Hit(0)));
}

#[tokio::test]
async fn those_who_wait_are_told_and_errors_are_not_kept() {
    let store = of(8);
    let flight = lead(&store, 1);
    let Begin::Join(joined) = store.begin(&1, [1].into(), Accept::Valid) else {
        panic!("a load is under way");
    };
    assert_eq!(joined.id(), flight.id());
    store.fail(&1, &flight, Outcome::Failed(Arc::new("no such table")));
    let Outcome::Failed(error) = joined.ended().await else {
        panic!("it failed");
    };
    assert_eq!(*error.downcast::<&str>().unwrap(), "no such table");
    assert_ne!(lead(&store, 1).id(), flight.id());
    assert_eq!(get(&store, 1), Got::Miss);
}

#[test]
fn counts_reads_by_what_they_got() {
    let store = of(8);
    assert_eq!(get(&store, 1), Got::Miss);
    load(&store, 1, 1);
    assert_eq!(get(&store, 1), Got::Hit(1));
    assert_eq!(get(&store, 1), Got::Hit(1));
    store.flush(Some(now()));
    assert_eq!(get(&store, 1), Got::Miss);
    let counts = store.counts();
    assert_eq!((counts.hits, counts.misses), (2, 2));
    assert_eq!((counts.stale_hits, counts.blind_hits), (0, 0));
    assert_eq!((counts.evictions, counts.expirations), (0, 0));
}

/// A value whose destructor uses its store.
type NosyStore = Store<u32, Nosy, u32>;

struct Nosy {
    store: Weak<NosyStore>,
    drops: Arc<AtomicUsize>,
}

impl Drop for Nosy {
    fn drop(&mut self) {
        if let Some(store) = self.store.upgrade() {
            // Takes every lock. A held lock would deadlock.
            store.counts();
            store.flush(Some(now()));
            store.invalidate_tag(&0);
        }
        self.drops.fetch_add(1, SeqCst);
    }
}

fn nosy(store: Weak<NosyStore>, drops: &Arc<AtomicUsize>) -> Arc<Nosy> {
    let drops = Arc::clone(drops);
    Arc::new(Nosy { store, drops })
}

fn put(store: &Arc<NosyStore>, key: u32, drops: &Arc<AtomicUsize>) -> Stored {
    let value = nosy(Arc::downgrade(store), drops);
    match store.begin(&key, [key].into(), Accept::Valid) {
        Begin::Lead(flight) => store.finish(&key, &flight, &value),
        _ => panic!("it was not there"),
    }
}

#[test]
fn values_are_dropped_outside_of_the_locks() {
    let drops = Arc::new(AtomicUsize::new(0));
    let dropped = |case: &str, act: &dyn Fn(&Arc<NosyStore>)| {
        let store = Arc::new(Store::new(options(2)));
        for key in 0..2 {
            put(&store, key, &drops);
        }
        assert_eq!(drops.load(SeqCst), 0);
        act(&store);
        assert!(drops.load(SeqCst) >= 1, "{case}");
        drop(store);
        drops.store(0, SeqCst);
    };
    dropped("invalidated", &|store| {
        _ = store.invalidate(&1, Stale::Keep);
    });
    dropped("invalidated by tag", &|store| _ = store.invalidate_tag(&1));
    dropped("evicted", &|store| _ = put(store, 2, &drops));
    dropped("expired", &|store| {
        store.flush(Some(now()));
        store.expire(0);
    });
    dropped("read when dead", &|store| {
        store.flush(Some(now()));
        store.get(&1, Accept::Valid);
    });
    dropped("replaced", &|store| {
        store.flush(Some(now()));
        assert_eq!(put(store, 1, &drops), Stored::Yes);
    });
    dropped("replaced by an insert", &|store| {
        let value = nosy(Weak::new(), &drops);
        assert!(store.insert(store.moment(), &1, &value, [1].into()));
    });
    dropped("evicted by an insert", &|store| {
        let value = nosy(Weak::new(), &drops);
        assert!(store.insert(store.moment(), &5, &value, [5].into()));
    });
}
