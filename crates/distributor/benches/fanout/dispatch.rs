//! What an event costs among many subscriptions that it does not concern.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgherald_core::__private::host::events::{Attaches, Router, ToPayload, attached};
use pgherald_core::{Event, Filter, Operation, Overflow, RowKey, Signal, SubscriptionOptions};

/// Events for each size.
const EVENTS: i64 = 20_000;

const SIZES: [i64; 3] = [100, 10_000, 100_000];

/// Publishes events for one subscription each, and encodes them as the distributor does. Next to a map of queues, which shows what the
/// memory of the machine adds.
pub(crate) fn run() {
    print(
        "subscriptions by key",
        SIZES.map(|count| routed(count, true)),
    );
    print(
        "subscriptions by column",
        SIZES.map(|count| routed(count, false)),
    );
    print("queues in a bare map", SIZES.map(bare));
}

fn print(what: &str, costs: [f64; 3]) {
    let [few, many, most] = costs;
    println!(
        "an event among 100 / 10,000 / 100,000 {what}: {few:.2} / {many:.2} / {most:.2} us, {:.2} times",
        most / few
    );
}

/// Microseconds per event.
fn routed(count: i64, of_key: bool) -> f64 {
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
    median(count, |place, signal| {
        router.publish(signal);
        let delivery = subscriptions[place].try_recv().unwrap();
        encode(&delivery.events()[0])
    })
}

/// As [`routed`], with a map of keys to queues, each in memory of its own.
fn bare(count: i64) -> f64 {
    type Queue = Arc<Mutex<VecDeque<Signal>>>;
    let queues: Vec<Queue> = (0..count)
        .map(|_| Arc::new(Mutex::new(VecDeque::with_capacity(4))))
        .collect();
    let of_keys: HashMap<RowKey, Queue> =
        (0..count).map(RowKey::from).zip(queues.clone()).collect();
    median(count, |place, signal| {
        let Signal::Events(events) = signal else {
            return 0;
        };
        let queue = &of_keys[events[0].key().unwrap()];
        queue.lock().unwrap().push_back(signal.clone());
        match queues[place].lock().unwrap().pop_front() {
            Some(Signal::Events(events)) => encode(&events[0]),
            _ => 0,
        }
    })
}

fn encode(event: &Event) -> usize {
    attached(event, || event.to_payload_of(None).unwrap()).len()
}

/// The median of several runs, in microseconds per event. `deliver` has the number of the subscription that receives the event.
fn median(count: i64, mut deliver: impl FnMut(usize, &Signal) -> usize) -> f64 {
    let mut runs: Vec<Duration> = (0..5).map(|_| once(count, &mut deliver)).collect();
    runs.sort_unstable();
    runs[2].as_secs_f64() * 1e6 / EVENTS as f64
}

fn once(count: i64, deliver: &mut impl FnMut(usize, &Signal) -> usize) -> Duration {
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
    let bytes: usize = events
        .iter()
        .map(|(place, signal)| deliver(*place, signal))
        .sum();
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
