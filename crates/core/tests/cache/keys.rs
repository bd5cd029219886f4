//! Keys in borrowed form, and keys that a lookup cannot find.

use pgherald_core::{
    CacheBuilder, Event, KeyColumn, KeyPart, LoadLimit, Operation, Table, TableName,
};

use crate::support::{Loads, Rig, User, users};

#[test]
fn a_key_is_looked_up_in_its_borrowed_form() {
    let table = TableName::new("public", "users").unwrap();
    let rig = Rig::live(CacheBuilder::<String, u64>::new("users").table(table));
    let stamp = rig.cache.stamp();
    assert!(rig.cache.insert(&stamp, "NO".to_owned(), 1));
    assert_eq!(rig.cache.get("NO").as_deref(), Some(&1));
    assert_eq!(rig.cache.get("SE"), None);
    assert!(rig.cache.invalidate("NO"));
    assert_eq!(rig.cache.get(&"NO".to_owned()), None);
    let stats = rig.cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.entries), (1, 2, 0));
}

#[derive(Clone, Debug)]
struct Float(f64);

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Float {}

impl std::hash::Hash for Float {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

#[tokio::test]
async fn a_key_that_is_not_equal_to_itself_leaves_no_entry() {
    let builder = CacheBuilder::<Float, u64>::new("users");
    let mut rig = Rig::live(builder.row_by::<User>(|_| 7));
    let loads = Loads::default();
    for round in 1..=100 {
        let key = Float(f64::NAN);
        let read = rig.cache.get_or_load(key.clone(), || loads.load()).await;
        assert_eq!(*read.unwrap(), round);
        assert!(!rig.cache.insert(&rig.cache.stamp(), key.clone(), 1));
        assert_eq!(rig.cache.get(&key), None);
    }
    let many = rig
        .cache
        .get_many_or_load([Float(f64::NAN), Float(1.0)], async |missing| {
            Ok::<_, ()>(missing.into_iter().map(|key: Float| (key, 1)))
        });
    assert_eq!(many.await.unwrap().len(), 1);
    let stats = rig.cache.stats();
    assert_eq!((stats.entries, stats.loads), (1, 101));
    assert_eq!(stats.bypassed_unmatched_key, 100);
    // The index of rows has no entries of the other keys either.
    rig.apply([crate::support::update(7)]);
    assert_eq!(rig.cache.stats().invalidated_by_event, 1);
}

/// A time in nanoseconds. Its column has microseconds, as in PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Nanos(i64);

impl KeyColumn for Nanos {
    fn to_part(&self) -> KeyPart {
        (self.0 / 1_000).to_part()
    }

    fn from_part(part: &KeyPart) -> Option<Self> {
        i64::from_part(part).map(|micros| Self(micros * 1_000))
    }
}

struct Measured;

impl Table for Measured {
    const NAME: &'static str = "measured";
    const KEY: &'static [&'static str] = &["at"];
    type Key = Nanos;
}

#[tokio::test]
async fn a_key_that_no_event_can_have_bypasses_the_cache() {
    let mut rig = Rig::live(CacheBuilder::<Nanos, u64>::new("measured").row_of::<Measured>());
    let (coarse, fine) = (Nanos(7_000), Nanos(7_001));
    let loads = Loads::default();
    for round in 1..=3 {
        let read = rig.cache.get_or_load(fine.clone(), || loads.load()).await;
        assert_eq!(*read.unwrap(), round, "it is never outdated");
    }
    let read = rig
        .cache
        .get_or_load_detached(fine.clone(), async || Ok::<_, ()>(1));
    assert_eq!(*read.await.unwrap(), 1);
    assert!(!rig.cache.insert(&rig.cache.stamp(), fine.clone(), 1));
    for _ in 0..2 {
        let keys = [coarse.clone(), fine.clone()];
        let many = rig
            .cache
            .get_many_or_load(keys, async |missing: Vec<Nanos>| {
                assert!(missing.contains(&Nanos(7_001)));
                Ok::<_, ()>(missing.into_iter().map(|key| (key, 1)))
            });
        assert_eq!(many.await.unwrap().len(), 2);
    }
    assert_eq!((rig.cache.get(&fine), rig.cache.stats().entries), (None, 1));
    assert_eq!(rig.cache.stats().bypassed_unmatched_key, 6);
    rig.apply([Event::builder("public", "measured", Operation::Update)
        .key(7)
        .build()]);
    assert_eq!(rig.cache.get(&coarse), None);
    // As the key of a row that keys depend on, the time is truncated.
    let builder =
        CacheBuilder::<Nanos, u64>::new("by").row_by::<Measured>(|key: &Nanos| key.clone());
    let mut rig = Rig::live(builder);
    assert!(rig.cache.insert(&rig.cache.stamp(), fine.clone(), 1));
    rig.apply([Event::builder("public", "measured", Operation::Update)
        .key(7)
        .build()]);
    assert_eq!(rig.cache.get(&fine), None);
}

#[test]
fn a_load_limit_of_0_is_refused() {
    let builder = CacheBuilder::<i64, u64>::new("users").row_of::<User>();
    let error = builder.load_limit(&LoadLimit::new(0)).build().unwrap_err();
    assert!(error.to_string().contains("load limit is 0"), "{error}");
    drop(users());
}
