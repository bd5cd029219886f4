//! Keys in borrowed form, and keys that cannot be found again.

use pgherald_core::{CacheBuilder, LoadLimit, TableName};

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
async fn a_key_that_is_not_equal_to_itself_leaves_nothing_behind() {
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
    // Nothing of the others is in the index of rows either.
    rig.apply([crate::support::update(7)]);
    assert_eq!(rig.cache.stats().invalidated_by_event, 1);
}

#[test]
fn a_load_limit_of_0_is_refused() {
    let builder = CacheBuilder::<i64, u64>::new("users").row_of::<User>();
    let error = builder.load_limit(&LoadLimit::new(0)).build().unwrap_err();
    assert!(error.to_string().contains("load limit is 0"), "{error}");
    drop(users());
}
