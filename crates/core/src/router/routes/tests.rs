use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::Routes;
use crate::event::Event;
use crate::filter::Filter;
use crate::operation::{Operation, OperationSet};
use crate::router::SubscriptionOptions;
use crate::router::order::Order;
use crate::router::queue::{Queue, SubscriptionId};
use crate::router::route::Route;

fn insert(routes: &mut Routes, id: u64, filter: Filter) {
    let options = SubscriptionOptions::new("test");
    let abandoned = Arc::clone(routes.abandoned());
    let order = Arc::new(Order::new());
    let queue = Queue::new(SubscriptionId(id), options, order, abandoned);
    routes.insert(Route {
        filter,
        queue: Arc::new(queue),
        begun: true,
    });
}

/// What each route receives of a batch.
fn received(routes: &mut Routes, batch: &Arc<[Event]>) -> Vec<(u64, Vec<String>)> {
    let mut received = Vec::new();
    routes.distribute(batch, |route, events| {
        let events = events.iter().map(|event| format!("{event:?}")).collect();
        received.push((route.queue.id().0, events));
    });
    received.sort();
    received
}

const TABLES: [&str; 3] = ["a", "b", "c"];
const SCHEMAS: [&str; 2] = ["public", "app"];
const COLUMNS: [&str; 2] = ["x", "y"];

prop_compose! {
    fn event()(
        table in 0..3_usize,
        schema in 0..2_usize,
        operation in 0..4_usize,
        key in option::weighted(0.8, 0..4_i64),
        columns in vec(option::of(0..3_i64), 2),
        old in option::of(vec(option::of(0..3_i64), 2)),
    ) -> Event {
        let json = |values: &[Option<i64>]| {
            let members = values.iter().zip(COLUMNS).filter_map(|(value, name)| {
                // A number, a string, null, or absent.
                Some(match (*value)? {
                    0 => format!("\"{name}\":null"),
                    1 => format!("\"{name}\":\"1\""),
                    value => format!("\"{name}\":{value}"),
                })
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        };
        let mut event = Event::builder(SCHEMAS[schema], TABLES[table], Operation::ALL[operation]);
        if let Some(key) = key {
            event = event.key(key);
        }
        event = event.columns_json(json(&columns));
        if let Some(old) = old {
            event = event.old_columns_json(json(&old));
        }
        event.build()
    }
}

prop_compose! {
    fn part()(
        tables in vec((option::of(0..2_usize), 0..3_usize), 0..3),
        operations in option::of(vec(0..4_usize, 1..3)),
        keys in vec(0..4_i64, 0..3),
        columns in vec((0..2_usize, 0..3_i64), 0..3),
        odd in any::<bool>(),
    ) -> Filter {
        let mut filter = Filter::new();
        for (schema, table) in tables {
            filter = match schema {
                Some(schema) => filter.table(SCHEMAS[schema], TABLES[table]),
                None => filter.table_in_any_schema(TABLES[table]),
            };
        }
        for operation in operations.into_iter().flatten() {
            filter = filter.operations(Operation::ALL[operation]);
        }
        for key in &keys {
            filter = filter.key(key);
        }
        for (column, value) in columns {
            filter = filter.column(COLUMNS[column], &value);
        }
        if odd {
            filter = filter.matching(|event| event.operation() != Operation::Delete);
        }
        filter
    }
}

prop_compose! {
    fn filter()(parts in vec(part(), 1..3)) -> Filter {
        let mut parts = parts.into_iter();
        let first = parts.next().unwrap_or_default();
        parts.fold(first, Filter::and)
    }
}

proptest! {
    #[test]
    fn each_route_receives_what_its_filter_matches(
        filters in vec(filter(), 0..8),
        batches in vec(vec(event(), 1..20), 1..3),
        removed in vec(0..8_u64, 0..4),
    ) {
        let mut routes = Routes::default();
        for (id, filter) in (0..).zip(&filters) {
            insert(&mut routes, id, filter.clone());
        }
        for id in &removed {
            let route = routes.remove(SubscriptionId(*id));
            prop_assert!(route.is_none_or(|route| route.queue.id().0 == *id));
        }
        for batch in batches {
            let batch: Arc<[Event]> = batch.into();
            let mut expected = Vec::new();
            for (id, filter) in (0..).zip(&filters).filter(|(id, _)| !removed.contains(id)) {
                let matching = batch.iter().filter(|event| filter.matches(event));
                let events: Vec<_> = matching.map(|event| format!("{event:?}")).collect();
                if !events.is_empty() {
                    expected.push((id, events));
                }
            }
            prop_assert_eq!(received(&mut routes, &batch), expected);
        }
    }

    #[test]
    fn removed_routes_leave_nothing_behind(filters in vec(filter(), 0..20)) {
        let mut routes = Routes::default();
        for (id, filter) in (0..).zip(&filters) {
            insert(&mut routes, id, filter.clone());
        }
        for (id, _) in (0..).zip(&filters) {
            prop_assert!(routes.remove(SubscriptionId(id)).is_some());
        }
        prop_assert!(routes.is_empty() && routes.tables.is_empty() && routes.any_table.is_empty());
        prop_assert!(routes.routes.capacity() + routes.tables.capacity() < 8);
    }
}

/// Returns how many of 1,000 routes with these filters evaluate their filter for one event.
fn evaluated(filter: impl Fn(i64) -> Filter, event: Event) -> usize {
    let mut routes = Routes::default();
    for number in 0..1_000_i64 {
        insert(&mut routes, number.unsigned_abs(), filter(number));
    }
    routes.distribute(&[event].into(), |_, _| {})
}

fn orders() -> Filter {
    Filter::new().table("public", "orders")
}

fn order(key: i64) -> Event {
    Event::builder("public", "orders", Operation::Update)
        .key(key)
        .columns_json(r#"{"tenant":7}"#)
        .build()
}

#[test]
fn routes_that_an_event_does_not_concern_are_not_evaluated() {
    let by_table = |number| Filter::new().table("public", format!("t{number}"));
    assert_eq!(evaluated(by_table, order(1)), 0);
    let by_key = |number| orders().key(&number);
    assert_eq!(evaluated(by_key, order(1)), 1);
    let by_key_and_more = |number| Filter::new().and(by_key(number)).matching(|_| true);
    assert_eq!(evaluated(by_key_and_more, order(1)), 1);
    let by_column = |number| orders().column("tenant", &number);
    assert_eq!(evaluated(by_column, order(1)), 1);
    let by_operation = |_| orders().operations(Operation::Delete);
    assert_eq!(evaluated(by_operation, order(1)), 0);
    let nothing = |_| by_operation(0).and(Filter::new().operations(Operation::Update));
    assert_eq!(evaluated(nothing, order(1)), 0);
}

#[test]
fn an_event_without_the_information_concerns_all() {
    let whole = || Event::builder("public", "orders", Operation::Truncate).build();
    assert_eq!(evaluated(|number| orders().key(&number), whole()), 1_000);
    assert_eq!(
        evaluated(|number| orders().column("tenant", &number), whole()),
        1_000
    );
    let all = |_| orders().operations(OperationSet::ALL);
    assert_eq!(evaluated(all, order(1)), 1_000);
}

#[test]
fn dropped_subscriptions_are_swept() {
    for dropped in [1, 40] {
        let mut routes = Routes::default();
        for number in 0..60 {
            insert(&mut routes, number, orders().key(&number.cast_signed()));
        }
        let of_dropped = routes
            .iter()
            .filter(|route| route.queue.id().0 < dropped)
            .map(|route| Arc::clone(&route.queue));
        for queue in of_dropped.collect::<Vec<_>>() {
            queue.abandon();
        }
        routes.sweep();
        assert_eq!(routes.iter().count() as u64, 60 - dropped);
        let batch: Arc<[Event]> = (0..60).map(order).collect();
        assert_eq!(received(&mut routes, &batch).len() as u64, 60 - dropped);
    }
}
