//! What an event costs among many subscriptions that it does not concern.

use std::time::Duration;

use pgherald_core::__private::host::events::{Attaches, Router, ToPayload, attached};
use pgherald_core::{
    Event, Filter, Operation, Overflow, Signal, Subscription, SubscriptionOptions,
};

/// Events for each size.
const EVENTS: i64 = 20_000;

/// Publishes events for one subscription each, and encodes them as the distributor does.
pub(crate) fn run() {
    for (name, of_key) in [("key", true), ("column", false)] {
        let costs = [100, 10_000, 100_000].map(|count| cost(count, of_key));
        println!(
            "an event among 100 / 10,000 / 100,000 subscriptions by {name}: {:.2} / {:.2} / {:.2} us, {:.2} times",
            costs[0],
            costs[1],
            costs[2],
            costs[2] / costs[0]
        );
    }
}

/// The median of several runs, in microseconds per event.
fn cost(count: i64, of_key: bool) -> f64 {
    let mut router = Router::new();
    let mut subscriptions = Vec::new();
    for number in 0..count {
        let filter = Filter::new().table("public", "items");
        let filter = match of_key {
            true => filter.key(&number),
            false => filter.column("shop", &number),
        };
        let options = SubscriptionOptions::new("distributor")
            .overflow(Overflow::DropOldest)
            .attaching();
        subscriptions.push(router.subscribe(filter, options).unwrap());
    }
    router.publish(&Signal::Live);
    for subscription in &mut subscriptions {
        while subscription.try_recv().is_some() {}
    }
    let mut runs: Vec<Duration> = (0..5)
        .map(|_| once(&mut router, &mut subscriptions))
        .collect();
    runs.sort_unstable();
    runs[2].as_secs_f64() * 1e6 / EVENTS as f64
}

fn once(router: &mut Router, subscriptions: &mut [Subscription]) -> Duration {
    let count = i64::try_from(subscriptions.len()).unwrap();
    let events: Vec<(usize, Signal)> = (0..EVENTS)
        .map(|number| {
            // Far apart, so that no two neighbours share a line of a processor's cache.
            let key = number * 7_919 % count;
            let event = Event::builder("public", "items", Operation::Update)
                .key(key)
                .columns_json(format!(r#"{{"shop":{key}}}"#))
                .build();
            let place = usize::try_from(key).unwrap();
            (place, Signal::Events([event].into()))
        })
        .collect();
    let begun = processor_time();
    let mut bytes = 0;
    for (place, signal) in &events {
        router.publish(signal);
        let delivery = subscriptions[*place].try_recv().unwrap();
        bytes += attached(&delivery.events()[0], || {
            delivery.events()[0].to_payload_of(None).unwrap()
        })
        .len();
    }
    let took = processor_time() - begun;
    assert!(bytes > 0);
    took
}

/// The processor time of this thread.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.cast_unsigned(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}
