//! Caches whose handles are dropped leave nothing behind. In a process of its own, because it measures memory.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may stop at once"
)]

use std::sync::{Arc, Weak};
use std::time::Duration;

use dhat::HeapStats;
use pgherald::{CacheBuilder, Herald, ListenerActor, Table};
use pgherald_testkit::fake_source;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const DEADLINE: Duration = Duration::from_secs(30);
const CACHES: usize = 1_000;
const VALUES: i64 = 10;
const SIZE: usize = 1_024;
/// What the heap may have grown by: queues of the runtime keep the length that they once had.
const MAX_BYTES: usize = 64 * 1_024;
const MAX_BLOCKS: usize = 10;

struct User;

impl Table for User {
    const NAME: &'static str = "users";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

type Value = Arc<[u8]>;

/// Makes caches, fills them, and drops their handles. Returns the live heap from before that.
async fn come_and_go(herald: &Herald, caches: usize) -> HeapStats {
    let mut handles = Vec::new();
    let mut values: Vec<Weak<[u8]>> = Vec::new();
    for number in 0..caches {
        let cache = CacheBuilder::<i64, Value>::new(format!("users {}", number % 10));
        let cache = cache.row_of::<User>().capacity(100);
        let cache = herald.start_cache(cache).await.unwrap();
        cache.live().await.unwrap();
        for key in 0..VALUES {
            let value: Value = vec![0; SIZE].into();
            values.push(Arc::downgrade(&value));
            assert!(cache.insert(&cache.stamp(), key, value));
        }
        handles.push(cache);
    }
    let held = HeapStats::get();
    drop(handles);
    until("the values are gone", async || {
        values.iter().all(|value| value.strong_count() == 0)
    })
    .await;
    until("the subscriptions are gone", async || {
        herald.status().await.unwrap().subscriptions.is_empty()
    })
    .await;
    held
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(waited.is_ok(), "{what}: {:?}", HeapStats::get());
}

#[actix::test]
async fn memory_after_a_thousand_caches_is_as_before_them() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let (source, feed) = fake_source();
    let herald = Herald::start_on_current_arbiter(ListenerActor::new(source))
        .await
        .unwrap();
    feed.live().await;
    herald.live().await.unwrap();
    // What exists once, and grows once, is there before.
    come_and_go(&herald, CACHES / 10).await;

    let before = HeapStats::get();
    let held = come_and_go(&herald, CACHES).await;
    let held = held.curr_bytes - before.curr_bytes;
    println!("{held} bytes while {CACHES} caches existed; before them: {before:?}");
    assert!(held > CACHES * VALUES as usize * SIZE, "they were filled");
    until("memory is as before", async || {
        let now = HeapStats::get();
        now.curr_bytes <= before.curr_bytes + MAX_BYTES
            && now.curr_blocks <= before.curr_blocks + MAX_BLOCKS
    })
    .await;
}
