//! The cost of an event at each step: decoding, filtering and queueing, handing over.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "benchmarks may panic"
)]

mod support;

use std::hint::black_box;
use std::time::SystemTime;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pgherald::__private::host::events::{Decoder, Router};
use pgherald::{Filter, Signal, SubscriptionOptions};
use support::{Bare, BareBorrowed};

const BATCH: usize = 512;

fn decode(criterion: &mut Criterion) {
    let payloads: Vec<String> = (0..BATCH).map(support::payload).collect();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("pgherald", |bencher| {
        let mut decoder = Decoder::new();
        let mut events = Vec::with_capacity(BATCH);
        let now = SystemTime::now();
        bencher.iter(|| {
            events.clear();
            for payload in &payloads {
                decoder
                    .decode("pgherald", payload, 42, now, &mut events)
                    .expect("an event");
            }
            black_box(events.len())
        });
    });
    group.bench_function("serde, owned strings", |bencher| {
        bencher.iter(|| {
            for payload in &payloads {
                black_box(serde_json::from_str::<Bare>(payload).expect("an event"));
            }
        });
    });
    group.bench_function("serde, borrowed strings", |bencher| {
        bencher.iter(|| {
            for payload in &payloads {
                black_box(serde_json::from_str::<BareBorrowed<'_>>(payload).expect("an event"));
            }
        });
    });
    group.finish();
}

fn events() -> Signal {
    let mut events = Vec::new();
    let mut decoder = Decoder::new();
    for key in 0..BATCH {
        let payload = support::payload(key);
        let now = SystemTime::now();
        decoder
            .decode("pgherald", &payload, 42, now, &mut events)
            .expect("an event");
    }
    Signal::Events(events.into())
}

fn dispatch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dispatch");
    let all = || Filter::new().table("public", "users");
    let some = || all().key(&7_i64).key(&400_i64);
    let none = || Filter::new().table("public", "orders");
    let filters: [(&str, &dyn Fn() -> Filter); 3] = [
        ("all match", &all),
        ("2 of 512 match", &some),
        ("none match", &none),
    ];
    for (name, filter) in filters {
        for subscribers in [1, 16] {
            group.throughput(Throughput::Elements((BATCH * subscribers) as u64));
            group.bench_function(BenchmarkId::new(name, subscribers), |bencher| {
                let mut router = Router::new();
                let mut subscriptions: Vec<_> = (0..subscribers)
                    .map(|_| router.subscribe(filter(), SubscriptionOptions::new("s")))
                    .collect::<Result<_, _>>()
                    .expect("subscriptions");
                let signal = events();
                bencher.iter_batched(
                    || (),
                    |()| {
                        router.publish(&signal);
                        for subscription in &mut subscriptions {
                            black_box(subscription.try_recv());
                        }
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, decode, dispatch);
criterion_main!(benches);
