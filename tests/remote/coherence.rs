//! The coherence of caches on machines without access to the database.
//!
//! `PGHERALD_SEED`, `PGHERALD_FAULTS`, `PGHERALD_READS` and `PGHERALD_SECONDS` repeat and prolong a run.

use std::convert::Infallible;
use std::time::Duration;

use pgherald::ListenerActor;
use pgherald_testkit::coherence::CoherenceCheck;

use crate::cached::{Cached, by_row};
use crate::faults::{FAULTS, Remote};
use crate::settings::{assert_coherent, check, number};

async fn assert_coherent_behind_a_distributor(check: CoherenceCheck) {
    let remote = Remote::new().await;
    let (starting, injecting) = (remote.clone(), remote);
    let report = check
        .handlers()
        .faults(number("PGHERALD_FAULTS").unwrap_or(20))
        .reads(number("PGHERALD_READS").unwrap_or(10_000))
        .duration(Duration::from_secs(number("PGHERALD_SECONDS").unwrap_or(0)))
        .listener_at(move |url, spec| {
            let source = starting.start(url, &spec);
            Ok(ListenerActor::new(source.factory()?))
        })
        .custom_faults(FAULTS, move |fault| {
            let remote = injecting.clone();
            async move {
                match fault {
                    Some(fault) => remote.inject(fault),
                    None => remote.repair().await,
                }
                Ok::<(), Infallible>(())
            }
        })
        .run(async |context| Cached::start(context, by_row(), |row, _| row).await)
        .await
        .unwrap();
    assert_coherent(&report);
    assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
}

#[actix::test]
async fn a_cache_behind_a_distributor_is_coherent() {
    assert_coherent_behind_a_distributor(check().reopening()).await;
}

#[actix::test]
async fn a_cache_behind_a_distributor_of_the_outbox_is_coherent() {
    assert_coherent_behind_a_distributor(check().outbox()).await;
}
