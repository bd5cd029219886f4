//! Hits on one thread and on two.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use crate::caches::{self, Bare, Cache, Live, Quick};
use crate::contest::{Bounds, Contestant, nanos, preemptions, print, ratio, turns, undisturbed};

const KEYS: i64 = 10_000;
/// Twice the number of keys, because the parts of a cache fill unevenly.
const CAPACITY: usize = 20_000;
/// Per round. Few enough for a round to fit into a time slice of the scheduler.
const READS: usize = 1 << 14;
const ROUNDS: usize = 301;

struct All {
    ours: Live,
    bare: Bare,
    moka: moka::sync::Cache<i64, std::sync::Arc<caches::Row>>,
    moka_foldhash: moka::sync::Cache<i64, std::sync::Arc<caches::Row>, foldhash::fast::RandomState>,
    quick: Quick,
}

impl All {
    fn filled() -> Self {
        let all = Self {
            ours: Live::new(CAPACITY),
            bare: Bare::new(CAPACITY),
            moka: caches::moka(CAPACITY),
            moka_foldhash: caches::moka_foldhash(CAPACITY),
            quick: Quick::new(CAPACITY),
        };
        all.ours.fill(0..KEYS);
        all.bare.fill(0..KEYS);
        all.moka.fill(0..KEYS);
        all.moka_foldhash.fill(0..KEYS);
        all.quick.fill(0..KEYS);
        all
    }
}

pub(crate) const NAMES: [&str; 5] = [
    "pgherald",
    "bare `Mutex<LruCache>`",
    "moka",
    "moka, foldhash",
    "quick_cache",
];

fn random_keys() -> Vec<i64> {
    (0..READS).map(|_| fastrand::i64(0..KEYS)).collect()
}

/// Nanoseconds per read, with warm processor caches.
fn read(cache: &impl Cache, keys: &[i64]) -> f64 {
    read_all(cache, keys);
    let began = Instant::now();
    read_all(cache, keys);
    began.elapsed().as_nanos() as f64 / READS as f64
}

fn read_all(cache: &impl Cache, keys: &[i64]) {
    let mut sum = 0_i64;
    for _ in 0..READS / keys.len() {
        for key in keys {
            let row = cache.get(black_box(key));
            sum = sum.wrapping_add(row.expect("a hit").id);
        }
    }
    black_box(sum);
}

pub(crate) fn one_thread(bounds: &mut Bounds) {
    let all = All::filled();
    let random = random_keys();
    let measure = |keys: &[i64]| {
        let contestants: [Contestant<'_>; 5] = [
            (NAMES[0], &|| read(&all.ours, keys)),
            (NAMES[1], &|| read(&all.bare, keys)),
            (NAMES[2], &|| read(&all.moka, keys)),
            (NAMES[3], &|| read(&all.moka_foldhash, keys)),
            (NAMES[4], &|| read(&all.quick, keys)),
        ];
        turns(ROUNDS, &contestants)
    };
    let same = measure(&[7; 64]);
    let random = measure(&random);
    let rows = (0..NAMES.len()).map(|number| {
        let cells = [
            nanos(same[number]),
            ratio(same[number], same[1]),
            nanos(random[number]),
            ratio(random[number], random[1]),
        ];
        (NAMES[number].to_owned(), cells)
    });
    let columns = ["same key", "of bare", "random keys", "of bare"];
    print("A hit on one thread, 10,000 entries", columns, rows);
    for (keys, times) in [("same key", same), ("random keys", random)] {
        let of_bare = times[0] / times[1];
        bounds.check(
            of_bare <= 1.5,
            format_args!("{keys}: {of_bare:.2} of the bare mutex, at most 1.5"),
        );
        let of_moka = times[0] / times[2].min(times[3]);
        bounds.check(
            of_moka < 1.0,
            format_args!("{keys}: {of_moka:.2} of the faster moka, less than 1"),
        );
    }
}

/// Nanoseconds per read over all threads, where each thread reads from its own entry of `caches`.
fn read_together<C: Cache>(caches: &[&C], keys: &[Vec<i64>]) -> f64 {
    undisturbed(|| {
        let ready = AtomicUsize::new(0);
        let all_ready = |times: usize| {
            ready.fetch_add(1, SeqCst);
            while ready.load(SeqCst) < times * caches.len() {
                spin_loop();
            }
        };
        let reader = |cache: &C, keys: &[i64]| {
            all_ready(1);
            read_all(cache, keys);
            let before = preemptions();
            all_ready(2);
            let began = Instant::now();
            read_all(cache, keys);
            let ended = Instant::now();
            (began, ended, preemptions() != before)
        };
        let readers: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = caches
                .iter()
                .zip(keys)
                .map(|(cache, keys)| scope.spawn(|| reader(cache, keys)))
                .collect();
            let join = |thread: ScopedJoinHandle<'_, _>| thread.join().expect("a reader");
            threads.into_iter().map(join).collect()
        });
        let began = readers.iter().map(|(began, ..)| *began).min();
        let ended = readers.iter().map(|(_, ended, _)| *ended).max();
        let elapsed = ended.zip(began).map(|(ended, began)| ended - began);
        let reads = (caches.len() * READS) as f64;
        let each = elapsed.unwrap_or_default().as_nanos() as f64 / reads;
        (each, readers.iter().any(|(.., disturbed)| *disturbed))
    })
}

pub(crate) fn two_threads(bounds: &mut Bounds) {
    let all = All::filled();
    let other = Bare::new(CAPACITY);
    other.fill(0..KEYS);
    let keys = [random_keys(), random_keys()];
    let contestants: [Contestant<'_>; 12] = [
        ("", &|| read_together(&[&all.ours], &keys)),
        ("", &|| read_together(&[&all.bare], &keys)),
        ("", &|| read_together(&[&all.moka], &keys)),
        ("", &|| read_together(&[&all.moka_foldhash], &keys)),
        ("", &|| read_together(&[&all.quick], &keys)),
        ("", &|| read_together(&[&other], &keys)),
        ("", &|| read_together(&[&all.ours; 2], &keys)),
        ("", &|| read_together(&[&all.bare; 2], &keys)),
        ("", &|| read_together(&[&all.moka; 2], &keys)),
        ("", &|| read_together(&[&all.moka_foldhash; 2], &keys)),
        ("", &|| read_together(&[&all.quick; 2], &keys)),
        ("", &|| read_together(&[&all.bare, &other], &keys)),
    ];
    let medians = turns(ROUNDS, &contestants);
    let (one, two) = medians.split_at(6);
    let millions = |nanos: f64| format!("{:.1} M/s", 1e3 / nanos);
    let names = NAMES.into_iter().chain(["two bare ones, one for each"]);
    let rows = names.zip(one.iter().zip(two)).map(|(name, (one, two))| {
        let cells = [millions(*one), millions(*two), ratio(*one, *two)];
        (name.to_owned(), cells)
    });
    let columns = ["1 thread", "2 threads", "scaling"];
    print("Hits of random keys on two threads", columns, rows);
    let scaling = one[0] / two[0];
    bounds.check(
        scaling >= 1.6,
        format_args!("two threads read {scaling:.2} times as much as one, at least 1.6"),
    );
}
