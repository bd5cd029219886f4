//! Checks how soon a cache stops answering after a fault of its source.

use std::time::{Duration, Instant};

use pgherald::{CacheHandle, Error, Filter, SubscriptionOptions};

use crate::faults::MAX_LAG;
use crate::herald::{Scene, is_live};
use crate::support::{DEADLINE, soon};

/// Fills the cache with row 1.
async fn fill(bodies: &CacheHandle<i64, String>) {
    let load = async || Ok::<_, Error>("old".to_owned());
    soon(async {
        while bodies.get(&1).is_none() {
            bodies.get_or_load(1, load).await.unwrap();
        }
    })
    .await;
}

/// Waits until the cache no longer answers from memory. Fails if that takes longer than `MAX_LAG` and a second.
async fn is_emptied_in_time(bodies: &CacheHandle<i64, String>, fault: &str) {
    let began = Instant::now();
    soon(async {
        while bodies.get(&1).is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let elapsed = began.elapsed();
    println!("{fault}: {elapsed:?} of {MAX_LAG:?}");
    // The thread of the source may have to wait for a processor.
    let limit = MAX_LAG + Duration::from_secs(1);
    assert!(elapsed < limit, "{fault}: {elapsed:?}");
}

/// The last heartbeat is older than the fault, so the cache stops within `MAX_LAG`. The further second is for a busy machine.
#[actix::test]
async fn caches_stop_answering_within_max_lag_after_their_relay_is_stopped() {
    let scene = Scene::new().await;
    let bodies = scene.cache().await;
    // Otherwise the event of the row may empty the cache instead of the fault.
    let options = SubscriptionOptions::new("notes");
    let notes = scene.herald.open(Filter::new(), options).await;
    let mut notes = notes.unwrap();
    scene.sql("INSERT INTO notes VALUES (1, 'old')").await;
    soon(async { while notes.recv().await.unwrap().events().is_empty() {} }).await;
    for fault in ["suspend_relay", "kill_relay", "pause_nats"] {
        fill(&bodies).await;
        scene.remote.inject(fault).await;
        is_emptied_in_time(&bodies, fault).await;
        assert!(!bodies.is_live());
        scene.remote.repair().await;
        is_live(&bodies).await;
    }
    scene.herald.shutdown(DEADLINE).await.unwrap();
}

#[actix::test]
async fn changes_after_the_stream_was_created_again_are_not_missed_for_longer_than_max_lag() {
    let scene = Scene::new().await;
    let bodies = scene.cache().await;
    for id in 0..3 {
        // Greater sequences than those of the next stream.
        for _ in 0..20 {
            scene
                .sql(&format!("INSERT INTO notes VALUES (1, '{id}') ON CONFLICT (id) DO UPDATE SET body = '{id}'"))
                .await;
        }
        fill(&bodies).await;
        scene.remote.inject("recreate_stream").await;
        scene.sql("UPDATE notes SET body = 'new'").await;
        is_emptied_in_time(&bodies, "recreate_stream").await;
        is_live(&bodies).await;
    }
    scene.herald.shutdown(DEADLINE).await.unwrap();
}
