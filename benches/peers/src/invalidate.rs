//! Invalidating one row and everything, in a cache of a million entries.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use crate::caches::{self, Bare, ByEvents, Cache, Live, Quick};
use crate::contest::{Bounds, Contestant, median, preemptions, print, time, turns};

const ENTRIES: i64 = 1_000_000;
/// Larger than the number of entries, because parts fill unevenly.
const CAPACITY: usize = 1_200_000;
/// Rows per round.
const ROWS: usize = 4_096;
const ROUNDS: usize = 21;
const FLUSHES: usize = 7;
/// Number of reads before and after a flush, among which the slowest is reported.
const READS: usize = 20_000;

/// Nanoseconds per row for random rows, all of which are cached.
fn rows(cache: &impl Cache) -> f64 {
    // An odd step through all keys is random enough for the memory, and repeats none.
    let start = fastrand::i64(0..ENTRIES);
    let key = |number: i64| (start + number * 611_953) % ENTRIES;
    let keys: Vec<i64> = (0..ROWS as i64).map(key).collect();
    assert!(cache.get(&keys[0]).is_some());
    let elapsed = cache.remove_each(&keys);
    assert!(cache.get(&keys[0]).is_none());
    cache.fill(keys);
    elapsed.as_nanos() as f64 / ROWS as f64
}

pub(crate) fn one_row(bounds: &mut Bounds) {
    let (ours, indexed) = (Live::new(CAPACITY), Live::indexed(CAPACITY));
    let bare = Bare::new(CAPACITY);
    let (moka, quick) = (caches::moka_foldhash(CAPACITY), Quick::new(CAPACITY));
    ours.fill(0..ENTRIES);
    indexed.fill(0..ENTRIES);
    bare.fill(0..ENTRIES);
    moka.fill(0..ENTRIES);
    quick.fill(0..ENTRIES);
    let contestants: [Contestant<'_>; 7] = [
        ("pgherald, `invalidate`", &|| rows(&ours)),
        ("pgherald, an event", &|| rows(&ByEvents(&ours, 1))),
        ("pgherald, one of 512 events", &|| {
            rows(&ByEvents(&ours, 512))
        }),
        ("pgherald, an event, by `row_by`", &|| {
            rows(&ByEvents(&indexed, 1))
        }),
        ("bare `Mutex<LruCache>`, `pop`", &|| rows(&bare)),
        ("moka, foldhash, `invalidate`", &|| rows(&moka)),
        ("quick_cache, `remove`", &|| rows(&quick)),
    ];
    let medians = turns(ROUNDS, &contestants);
    let table = contestants.iter().zip(&medians);
    print(
        "Invalidating one row of 1,000,000",
        ["each"],
        table.map(|((name, _), median)| ((*name).to_owned(), [time(*median)])),
    );
    for ((name, _), each) in contestants.iter().zip(&medians).take(3) {
        bounds.check(
            *each < 1e3,
            format_args!("{name}: {}, less than 1 µs", time(*each)),
        );
    }
}

#[derive(Clone, Copy)]
struct Flushed {
    took: Duration,
    /// The slowest read before the flush, which shows the noise of the machine.
    slowest_before: Duration,
    /// The slowest read from the beginning of the flush on.
    slowest: Duration,
}

/// The slowest of some reads. Reads during which the thread was preempted do not count.
fn slowest(cache: &impl Cache, mut go_on: impl FnMut(usize) -> bool) -> Duration {
    let mut slowest = Duration::ZERO;
    let mut reads = 0;
    let mut random = fastrand::Rng::new();
    let mut preempted = preemptions();
    while go_on(reads) {
        let key = random.i64(0..ENTRIES);
        let began = Instant::now();
        drop(cache.get(&key));
        let took = began.elapsed();
        reads += 1;
        if took > slowest {
            let before = std::mem::replace(&mut preempted, preemptions());
            if preempted == before {
                slowest = took;
            }
        }
    }
    slowest
}

/// Flushes a full cache while another thread reads from it.
fn flush(cache: &impl Cache) -> Flushed {
    const QUIET: u8 = 0;
    const READY: u8 = 1;
    const FLUSHED: u8 = 2;
    cache.fill(0..ENTRIES);
    let state = AtomicU8::new(QUIET);
    let reader = || {
        let slowest_before = slowest(cache, |reads| reads < READS);
        state.store(READY, SeqCst);
        let mut reads_until_flushed = 0;
        let slowest = slowest(cache, |reads| {
            if state.load(SeqCst) != FLUSHED {
                reads_until_flushed = reads;
            }
            reads < reads_until_flushed + READS
        });
        (slowest_before, slowest)
    };
    std::thread::scope(|scope| {
        let reader = scope.spawn(reader);
        while state.load(SeqCst) != READY {
            std::hint::spin_loop();
        }
        let began = Instant::now();
        cache.clear();
        let took = began.elapsed();
        state.store(FLUSHED, SeqCst);
        let (slowest_before, slowest) = reader.join().expect("a reader");
        Flushed {
            took,
            slowest_before,
            slowest,
        }
    })
}

pub(crate) fn everything(bounds: &mut Bounds) {
    let ours = Live::new(CAPACITY);
    let bare = Bare::new(CAPACITY);
    let (moka, quick) = (caches::moka_foldhash(CAPACITY), Quick::new(CAPACITY));
    let contestants: [(&str, &dyn Fn() -> Flushed); 5] = [
        ("pgherald, `invalidate_all`", &|| flush(&ours)),
        ("pgherald, an event, and dropping 20,480 values", &|| {
            flush(&ByEvents(&ours, 1))
        }),
        ("bare `Mutex<LruCache>`, `clear`", &|| flush(&bare)),
        ("moka, foldhash, `invalidate_all`", &|| flush(&moka)),
        ("quick_cache, `clear`", &|| flush(&quick)),
    ];
    let mut all = [const { Vec::new() }; 5];
    for _ in 0..FLUSHES {
        for (flushes, (_, run)) in all.iter_mut().zip(contestants) {
            flushes.push(run());
        }
    }
    let medians = all.map(|flushes: Vec<Flushed>| {
        let middle = |of: fn(&Flushed) -> Duration| {
            let nanos = |flush| of(flush).as_nanos() as f64;
            median(flushes.iter().map(nanos).collect())
        };
        [
            middle(|flush| flush.took),
            middle(|flush| flush.slowest),
            middle(|flush| flush.slowest_before),
        ]
    });
    let table = contestants.iter().zip(&medians);
    print(
        "Flushing 1,000,000 entries while another thread reads",
        ["the flush", "slowest read", "slowest read before"],
        table.map(|((name, _), medians)| ((*name).to_owned(), medians.map(time))),
    );
    for ((name, _), [_, slowest, before]) in contestants.iter().zip(&medians).take(2) {
        bounds.check(
            *slowest < f64::max(1e4, *before),
            format_args!(
                "{name}: the slowest read takes {}, less than 10 µs or than before",
                time(*slowest)
            ),
        );
    }
}
