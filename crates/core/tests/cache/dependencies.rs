//! The keys that an event invalidates.

use pgherald_core::{Affected, CacheBuilder, Event, Key, Operation, RowKey, Table, TableName};

use crate::support::{Order, Rig, User, truncate, update, users};

fn fill<K: pgherald_core::cache::CacheKey>(rig: &Rig<K, u64>, keys: impl IntoIterator<Item = K>) {
    for key in keys {
        assert!(rig.cache.insert(&rig.cache.stamp(), key, 1));
    }
}

fn left<K: pgherald_core::cache::CacheKey>(rig: &Rig<K, u64>, keys: &[K]) -> Vec<K> {
    let is_there = |key: &&K| rig.cache.get(key).is_some();
    keys.iter().filter(is_there).cloned().collect()
}

#[test]
fn an_event_for_a_row_invalidates_only_values_that_depend_on_it() {
    let mut rig = users();
    let keys: Vec<i64> = (0..1_000).collect();
    fill(&rig, keys.clone());
    rig.apply([update(7)]);
    let others: Vec<i64> = keys.iter().copied().filter(|key| *key != 7).collect();
    assert_eq!(left(&rig, &keys), others);
}

#[test]
fn an_event_about_the_table_invalidates_everything() {
    let mut rig = users();
    fill(&rig, [1, 2]);
    rig.apply([truncate()]);
    assert_eq!(left(&rig, &[1, 2]), [0; 0]);
    assert_eq!(rig.cache.stats().flushed_by_event, 1);
}

#[test]
fn a_composite_key_is_compared_as_a_whole() {
    let mut rig = Rig::live(CacheBuilder::<(i64, i64), u64>::new("orders").row_of::<Order>());
    let keys = [(1, 7), (2, 7), (1, 8)];
    fill(&rig, keys);
    let event = Event::builder("public", "orders", Operation::Delete);
    rig.apply([event.key((1_i64, 7_i64).to_row_key()).build()]);
    assert_eq!(left(&rig, &keys), [(2, 7), (1, 8)]);
}

#[test]
fn an_event_for_a_row_invalidates_all_keys_that_depend_on_it() {
    let builder = CacheBuilder::<(i64, &str), u64>::new("names").row_by::<User>(|(user, _)| *user);
    let mut rig = Rig::live(builder);
    let keys = [(7, "en"), (7, "de"), (8, "en")];
    fill(&rig, keys);
    rig.apply([update(7)]);
    assert_eq!(left(&rig, &keys), [(8, "en")]);
    // And again, after they were stored again.
    fill(&rig, [(7, "de")]);
    rig.apply([update(7)]);
    assert_eq!(left(&rig, &keys), [(8, "en")]);
    rig.apply([truncate()]);
    assert_eq!(left(&rig, &keys), [(0, ""); 0]);
}

#[test]
fn a_key_can_depend_on_rows_of_several_tables() {
    // The orders of a tenant as seen by a user.
    let builder = CacheBuilder::<(i64, (i64, i64)), u64>::new("views")
        .row_by::<User>(|(user, _)| *user)
        .row_by::<Order>(|(_, order)| *order)
        .table(TableName::new("public", "prices").unwrap());
    let mut rig = Rig::live(builder);
    let keys = [(1, (1, 1)), (1, (1, 2)), (2, (1, 1))];
    fill(&rig, keys);
    rig.apply([update(2)]);
    assert_eq!(left(&rig, &keys), [(1, (1, 1)), (1, (1, 2))]);
    let order = Event::builder("public", "orders", Operation::Update);
    rig.apply([order.key((1_i64, 2_i64).to_row_key()).build()]);
    assert_eq!(left(&rig, &keys), [(1, (1, 1))]);
    let prices = Event::builder("public", "prices", Operation::Update);
    rig.apply([prices.key(1).build()]);
    assert_eq!(left(&rig, &keys), [(0, (0, 0)); 0]);
}

#[test]
fn keys_can_be_determined_from_the_event() {
    let builder = CacheBuilder::<i64, u64>::new("orders_of_tenant").keys_by::<Order>(|change| {
        match change.key {
            (0, _) => Affected::Everything,
            (tenant, id) if id > 0 => Affected::Keys(vec![tenant]),
            _ => Affected::Keys(Vec::new()),
        }
    });
    let mut rig = Rig::live(builder);
    let keys = [1, 2];
    fill(&rig, keys);
    let order = |tenant: i64, id: i64| {
        let event = Event::builder("public", "orders", Operation::Update);
        event.key((tenant, id).to_row_key()).build()
    };
    rig.apply([order(1, -1)]);
    assert_eq!(left(&rig, &keys), [1, 2]);
    rig.apply([order(1, 5)]);
    assert_eq!(left(&rig, &keys), [2]);
    rig.apply([order(0, 5)]);
    assert_eq!(left(&rig, &keys), [0; 0]);
}

#[test]
fn an_event_without_a_schema_invalidates() {
    let mut rig = users();
    fill(&rig, [7]);
    let mut decoder = pgherald_core::__private::host::events::Decoder::new();
    let mut events = Vec::new();
    // The payload of PGCacheWatch's triggers.
    let payload = r#"{"operation":"update","table":"users","sent_at":"2026-01-02T03:04:05+00:00"}"#;
    let now = std::time::SystemTime::now();
    decoder.decode("ch", payload, 1, now, &mut events).unwrap();
    rig.apply(events);
    assert_eq!(left(&rig, &[7]), [0; 0]);
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct UserId(i64);

impl Key for UserId {
    fn to_row_key(&self) -> RowKey {
        self.0.to_row_key()
    }

    fn from_row_key(key: &RowKey) -> Option<Self> {
        i64::from_row_key(key).map(UserId)
    }
}

struct Member;

impl Table for Member {
    const NAME: &'static str = "users";
    const KEY: &'static [&'static str] = &["id"];
    type Key = UserId;
}

#[test]
fn a_users_key_type_works_with_row_of_and_row_by() {
    let mut rig = Rig::live(CacheBuilder::<UserId, u64>::new("members").row_of::<Member>());
    fill(&rig, [UserId(7), UserId(8)]);
    rig.apply([update(7)]);
    assert_eq!(left(&rig, &[UserId(7), UserId(8)]), [UserId(8)]);
    let builder =
        CacheBuilder::<u8, u64>::new("members").row_by::<Member>(|key| UserId(i64::from(*key)));
    let mut rig = Rig::live(builder);
    fill(&rig, [7, 8]);
    rig.apply([update(7)]);
    assert_eq!(left(&rig, &[7, 8]), [8]);
}
