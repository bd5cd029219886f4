//! The coherence of caches behind a relay.
//!
//! `PGHERALD_SEED`, `PGHERALD_FAULTS`, `PGHERALD_READS` and `PGHERALD_SECONDS` repeat and prolong a run.

use std::convert::Infallible;
use std::time::Duration;

use pgherald::ListenerActor;
use pgherald_testkit::coherence::{CoherenceCheck, CoherenceReport};

use crate::cached::{Cached, by_row};
use crate::faults::{FAULTS, LOSSES, MAX_LAG, Remote};
use crate::settings::{assert_coherent, check, number};

async fn run(check: CoherenceCheck, faults: &[&'static str]) -> CoherenceReport {
    let remote = Remote::new().await;
    let (starting, injecting) = (remote.clone(), remote);
    let report = check
        .outbox()
        // Slices are independent of each other.
        .max_lag(MAX_LAG)
        // A source reads the database again after each fault, so it has not this exception of a direct source.
        .reopening()
        .handlers()
        .faults(number("PGHERALD_FAULTS").unwrap_or(16))
        .reads(number("PGHERALD_READS").unwrap_or(10_000))
        .duration(Duration::from_secs(number("PGHERALD_SECONDS").unwrap_or(0)))
        .listener_at(move |url, spec| {
            starting.start_relay(url, 4, &spec);
            Ok(ListenerActor::new(starting.source().factory()?))
        })
        .custom_faults(faults.iter().copied(), move |fault| {
            let remote = injecting.clone();
            async move {
                match fault {
                    Some(fault) => remote.inject(fault).await,
                    None => remote.repair().await,
                }
                Ok::<(), Infallible>(())
            }
        })
        .run(async |context| Cached::start(context, by_row(), |row, _| row).await)
        .await
        .unwrap();
    assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
    report
}

#[actix::test]
async fn a_cache_behind_a_relay_is_coherent() {
    let faults = [&FAULTS[..], &LOSSES].concat();
    assert_coherent(&run(check(), &faults).await);
}

/// Faults of the relay make queues overflow afterwards, and the flush that follows hides what a lost connection leaves behind.
#[actix::test]
async fn a_cache_that_loses_its_connection_to_nats_is_coherent() {
    let check = check().kinds([]);
    let report = run(check, &["refuse_client"]).await;
    println!("{report}");
    assert!(report.is_coherent() && report.fault_count() > 0, "{report}");
}

/// Its events are lost together with the consumer that would have shown it.
#[actix::test]
async fn a_cache_whose_stream_is_created_again_is_coherent() {
    let check = check().kinds([]);
    let report = run(check, &["recreate_stream"]).await;
    println!("{report}");
    assert!(report.is_coherent() && report.fault_count() > 0, "{report}");
}
