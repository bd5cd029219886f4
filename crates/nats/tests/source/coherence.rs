//! The coherence of caches behind a relay.
//!
//! `PGHERALD_SEED`, `PGHERALD_FAULTS`, `PGHERALD_READS` and `PGHERALD_SECONDS` repeat and prolong a run.

use pgherald_testkit::coherence::CoherenceCheck;

use crate::cache_check;
use crate::faults::{FAULTS, LOSSES, MAX_LAG};
use crate::settings::{assert_coherent, check, sized};

fn check_of_a_relay() -> CoherenceCheck {
    sized(check(), 16)
        .outbox()
        // Slices are independent of each other.
        .max_lag(MAX_LAG)
        // Subscribers of a `NatsSource` read the database again after each fault, so this exception of a direct source does not
        // apply.
        .reopening()
}

#[actix::test]
async fn a_cache_behind_a_relay_is_coherent() {
    let faults = [&FAULTS[..], &LOSSES].concat();
    assert_coherent(&cache_check::run(check_of_a_relay(), &faults).await);
}

/// Runs a check with this fault only.
async fn assert_coherent_despite(fault: &'static str) {
    let report = cache_check::run(check_of_a_relay().kinds([]), &[fault]).await;
    println!("{report}");
    assert!(report.is_coherent() && report.fault_count() > 0, "{report}");
}

/// After faults of the relay, queues overflow, and the flush that follows hides the effects of a lost connection. So this test has
/// no other faults.
#[actix::test]
async fn a_cache_that_loses_its_connection_to_nats_is_coherent() {
    assert_coherent_despite("refuse_client").await;
}

/// The events are lost together with the consumer whose deliveries would have shown the loss.
#[actix::test]
async fn a_cache_whose_stream_is_created_again_is_coherent() {
    assert_coherent_despite("recreate_stream").await;
}
