//! Routing: one event, and subscriptions or caches that it does not concern.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use pgherald::__private::host::events::Router;
use pgherald::{
    CacheBuilder, Event, Filter, Operation, Signal, Subscription, SubscriptionOptions, TableName,
};

use crate::support::median;
use crate::{Asked, print};

const ROUNDS: usize = 2_000;

pub(crate) fn measure(asked: &Asked) {
    let by_table = |number: usize| Filter::new().table("public", format!("t{number}"));
    let orders = || Filter::new().table("public", "t0");
    let by_key = |number: usize| orders().key(&(number as i64));
    let by_operation = |number: usize| match number {
        0 => orders(),
        _ => orders().operations(Operation::Delete),
    };
    let sizes = asked.sizes(&[1, 100, 10_000], &[1, 100, 10_000, 100_000]);
    let curves: [(&str, &dyn Fn(usize) -> Filter); 3] = [
        ("routing, subscriptions by table", &by_table),
        ("routing, subscriptions by key", &by_key),
        ("routing, subscriptions by operation", &by_operation),
    ];
    for (name, filter) in curves {
        if asked.wants(name) {
            let costs: Vec<f64> = sizes
                .iter()
                .map(|size| subscriptions(*size, filter))
                .collect();
            print(name, "ns", sizes, &costs);
        }
    }
    let name = "routing, caches";
    if asked.wants(name) {
        let sizes = &[1, 100, 1_000];
        let costs: Vec<f64> = sizes.iter().map(|size| caches(*size)).collect();
        print(name, "ns", sizes, &costs);
    }
}

fn event() -> Signal {
    let event = Event::builder("public", "t0", Operation::Update)
        .key(0)
        .build();
    Signal::Events([event].into())
}

/// The nanoseconds of one event that one of these subscriptions receives.
fn subscriptions(count: usize, filter: &dyn Fn(usize) -> Filter) -> f64 {
    let mut router = Router::new();
    let options = || SubscriptionOptions::new("s");
    let mut all: Vec<Subscription> = (0..count)
        .map(|number| router.subscribe(filter(number), options()).unwrap())
        .collect();
    rounds(&mut router, &mut all[0])
}

fn caches(count: usize) -> f64 {
    let mut router = Router::new();
    let mut all = Vec::new();
    for number in 0..count {
        let (handle, driver) = CacheBuilder::<i64, Arc<str>>::new(format!("c{number}"))
            .table(TableName::new("public", format!("other{number}")).unwrap())
            .build()
            .unwrap();
        let subscription = router
            .subscribe(driver.filter(), driver.subscription())
            .unwrap();
        all.push((handle, driver, subscription));
    }
    let filter = Filter::new().table("public", "t0");
    let mut receiver = router
        .subscribe(filter, SubscriptionOptions::new("s"))
        .unwrap();
    rounds(&mut router, &mut receiver)
}

fn rounds(router: &mut Router, receiver: &mut Subscription) -> f64 {
    let signal = event();
    let mut round = || {
        let began = Instant::now();
        for _ in 0..ROUNDS / 10 {
            router.publish(&signal);
            black_box(receiver.try_recv());
        }
        began.elapsed().as_secs_f64() * 1e9 / (ROUNDS / 10) as f64
    };
    median((0..11).map(|_| round()).collect())
}
