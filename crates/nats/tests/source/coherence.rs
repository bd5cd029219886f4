//! The coherence of caches behind a relay.
//!
//! `PGHERALD_SEED`, `PGHERALD_FAULTS`, `PGHERALD_READS` and `PGHERALD_SECONDS` repeat and prolong a run.

use std::convert::Infallible;
use std::time::Duration;

use pgherald::ListenerActor;

use crate::cached::{Cached, by_row};
use crate::faults::{FAULTS, Remote};
use crate::settings::{assert_coherent, check, number};

#[actix::test]
async fn a_cache_behind_a_relay_is_coherent() {
    let remote = Remote::new().await;
    let (starting, injecting) = (remote.clone(), remote);
    let report = check()
        .outbox()
        // A source reads the database again after each fault, so it has not this exception of a direct source.
        .reopening()
        .handlers()
        .faults(number("PGHERALD_FAULTS").unwrap_or(14))
        .reads(number("PGHERALD_READS").unwrap_or(10_000))
        .duration(Duration::from_secs(number("PGHERALD_SECONDS").unwrap_or(0)))
        .listener_at(move |url, spec| {
            starting.start_relay(url, 4, &spec);
            Ok(ListenerActor::new(starting.source().factory()?))
        })
        .custom_faults(FAULTS, move |fault| {
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
    assert_coherent(&report);
    assert!(report.hits > 0 && report.handler_reads > 0, "{report}");
}
