//! The coherence of pgherald's own cache.
//!
//! `PGHERALD_SEED`, `PGHERALD_FAULTS`, `PGHERALD_READS` and `PGHERALD_SECONDS` repeat and prolong a run.

use std::time::Duration;

use pgherald::{CacheBuilder, Debounced, Strategy, Timed, WhenNotLive, Windowed};
use pgherald_testkit::coherence::{CoherenceCheck, NotLive, Row};

use crate::cached::{Cached, by_row};
use crate::settings::{assert_coherent, check, prolonged};

/// Runs checks until one in which the cache's queue overflowed. Each of them must be coherent. A check may end without an
/// overflow, because other faults may end the connection before a flood arrives.
async fn assert_coherent_with_losses(check: impl Fn() -> CoherenceCheck) {
    for _ in 0..5 {
        let report = prolonged(check().handlers())
            .run(async |context| Cached::start(context, by_row(), |row, _| row).await)
            .await
            .unwrap();
        assert_coherent(&report);
        assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
        if report.lost > 0 {
            return;
        }
    }
    panic!("no queue overflowed");
}

#[actix::test]
async fn a_cache_by_row_is_coherent() {
    assert_coherent_with_losses(|| check().reopening().handlers()).await;
}

#[actix::test]
async fn a_cache_in_outbox_mode_is_coherent() {
    assert_coherent_with_losses(|| check().outbox().handlers()).await;
}

#[actix::test]
async fn a_cache_that_evicts_is_coherent() {
    let builder = by_row().capacity(16);
    let report = prolonged(check().handlers())
        .reopening()
        .run(async |context| Cached::start(context, builder, |row, _| row).await)
        .await
        .unwrap();
    assert_coherent(&report);
    assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
}

#[actix::test]
async fn a_cache_that_serves_stale_values_is_coherent() {
    let max_age = Duration::from_millis(100);
    let builder = by_row().when_not_live(WhenNotLive::ServeStale { max_age });
    let report = prolonged(check().handlers())
        .when_not_live(NotLive::ServeStale { max_age })
        .run(async |context| Cached::start(context, builder, |row, _| row).await)
        .await
        .unwrap();
    assert_coherent(&report);
    assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
}

#[actix::test]
async fn a_cache_whose_keys_depend_on_rows_is_coherent() {
    let builder = CacheBuilder::new("by_projection").row_by::<Row>(|key: &(i64, u8)| key.0);
    let report = prolonged(check().handlers())
        .reopening()
        .run(async |context| Cached::start(context, builder, |row, copy| (row, copy)).await)
        .await
        .unwrap();
    assert_coherent(&report);
    assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
}

#[actix::test]
async fn a_reader_that_waits_for_its_write_token_reads_the_write() {
    let report = prolonged(check().handlers())
        .reopening()
        .run(async |context| {
            let cached = Cached::start(context, by_row(), |row, _| row).await?;
            Ok::<_, pgherald::Error>(cached.confirming())
        })
        .await
        .unwrap();
    assert_coherent(&report);
    assert!(report.confirmed_writes > 0, "{report}");
}

async fn assert_coherent_with(strategy: impl Strategy) {
    let builder = by_row().strategy(strategy);
    let report = prolonged(check().outbox().handlers())
        .run(async |context| Cached::start(context, builder, |row, _| row).await)
        .await
        .unwrap();
    assert_coherent(&report);
    assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
}

#[actix::test]
async fn a_cache_whose_strategy_holds_events_is_coherent() {
    let period = Duration::from_millis(20);
    assert_coherent_with(Windowed::period(period).unwrap()).await;
    assert_coherent_with(Debounced::new(period, period * 3).unwrap()).await;
    assert_coherent_with(Timed::at_most_every(period).unwrap()).await;
    assert_coherent_with(Timed::every(period).unwrap()).await;
}
