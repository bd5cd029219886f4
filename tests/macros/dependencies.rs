//! Events invalidate the keys of `row_of`, `row_by`, `keys_by` and `table_of`.

use pgherald::{Affected, Event, Key, Operation, cached};

use crate::support::{Calls, Order, User, start};

static CALLS: Calls = Calls::new();

#[cached(row_of = User)]
async fn by_row(id: i64) -> usize {
    let _ = id;
    CALLS.count()
}

#[cached(row_by(User, |key: &(i64, String)| key.0))]
async fn by_projection(id: i64, lang: &str) -> usize {
    let _ = (id, lang);
    CALLS.count()
}

#[cached(keys_by(Order, |change| Affected::Keys(vec![change.key.0.clone()])), table_of = User)]
async fn by_event(shop: &str) -> usize {
    let _ = shop;
    CALLS.count()
}

fn user(id: i64) -> Event {
    let event = Event::builder("public", "users", Operation::Update);
    event.key(id).build()
}

#[tokio::test]
async fn a_row_invalidates_its_key() {
    let mut live = start(by_row::cache());
    let (seven, eight) = (by_row(7).await, by_row(8).await);
    live.apply(user(7));
    assert_ne!(by_row(7).await, seven);
    assert_eq!(by_row(8).await, eight);
}

#[tokio::test]
async fn a_row_invalidates_the_keys_of_its_projection() {
    let mut live = start(by_projection::cache());
    let (seven, eight) = (by_projection(7, "en").await, by_projection(8, "en").await);
    live.apply(user(7));
    assert_ne!(by_projection(7, "en").await, seven);
    assert_eq!(by_projection(8, "en").await, eight);
}

#[tokio::test]
async fn keys_by_invalidates_the_returned_keys_or_all() {
    let mut live = start(by_event::cache());
    let (here, there) = (by_event("here").await, by_event("there").await);
    let order = Event::builder("shop", "orders", Operation::Insert);
    let key = ("here".to_owned(), 1_i32).to_row_key();
    live.apply(order.key(key).build());
    assert_ne!(by_event("here").await, here);
    assert_eq!(by_event("there").await, there);
    live.apply(user(1));
    assert_ne!(by_event("there").await, there);
}

#[tokio::test]
async fn a_cache_without_a_driver_calls_the_function() {
    #[cached(row_of = User)]
    async fn counted(id: i64) -> usize {
        let _ = id;
        CALLS.count()
    }
    let live = start(counted::cache());
    assert_eq!(counted(7).await, counted(7).await);
    drop(live);
    assert_ne!(counted(7).await, counted(7).await);
    // Once started again, it is cached again.
    let _live = start(counted::cache());
    assert_eq!(counted(7).await, counted(7).await);
}
