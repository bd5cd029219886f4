//! Number of allocations per event.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "benchmarks may panic"
)]

mod support;

use std::hint::black_box;
use std::time::SystemTime;

use pgherald::__private::host::events::{Decoder, Router};
use pgherald::{Event, Filter, Signal, SubscriptionOptions};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const EVENTS: usize = 100_000;
const BATCH: usize = 512;

fn per_event(work: impl FnOnce()) -> f64 {
    let before = dhat::HeapStats::get().total_blocks;
    work();
    (dhat::HeapStats::get().total_blocks - before) as f64 / EVENTS as f64
}

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let payloads: Vec<String> = (0..EVENTS).map(support::payload).collect();

    let bare = per_event(|| {
        for payload in &payloads {
            black_box(serde_json::from_str::<support::Bare>(payload).expect("an event"));
        }
    });
    let mut decoder = Decoder::new();
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
    let decoding = per_event(|| {
        for payload in &payloads {
            let now = SystemTime::UNIX_EPOCH;
            decoder
                .decode("pgherald", payload, 42, now, &mut events)
                .expect("an event");
        }
    });
    let mut router = Router::new();
    let mut subscriptions: Vec<_> = (0..16)
        .map(|_| {
            router
                .subscribe(Filter::new(), SubscriptionOptions::new("s"))
                .expect("one")
        })
        .collect();
    let dispatching = per_event(|| {
        for batch in events.chunks(BATCH) {
            router.publish(&Signal::Events(batch.into()));
            for subscription in &mut subscriptions {
                black_box(subscription.try_recv());
            }
        }
    });
    println!("allocations per event:");
    println!("{bare:5.2}  decoding with serde into owned strings");
    println!("{decoding:5.2}  decoding");
    println!("{dispatching:5.2}  routing to 16 subscriptions, in batches of {BATCH}");
}
