//! The checker finds no violation in a sound cache.

use std::time::Duration;

use actix::{Actor, Context, Handler};
use pgherald::{Events, Subscribe};
use pgherald_testkit::coherence::{
    CoherenceContext, Loader, NotLive, ReadFailure, Reading, Reporter, Subject,
};

use crate::naive::{Flaw, Naive};
use crate::settings::{assert_coherent, check, prolonged};

/// Caches nothing.
#[derive(Clone)]
struct NoCache;

impl Subject for NoCache {
    async fn read(&self, key: i64, loader: Loader) -> Result<Reading, ReadFailure> {
        let version = loader.load(key).await?;
        Ok(Reading {
            version,
            from_memory: false,
        })
    }
}

struct Applier {
    reporter: Reporter,
}

impl Actor for Applier {
    type Context = Context<Self>;
}

impl Handler<Events> for Applier {
    type Result = ();

    fn handle(&mut self, events: Events, _: &mut Self::Context) {
        if events.resync().is_some() {
            self.reporter.flushed();
        }
        for event in events.events().iter() {
            self.reporter.applied_event(event);
        }
    }
}

#[actix::test]
async fn a_cache_that_keeps_nothing_is_coherent() {
    let report = prolonged(check())
        .reopening()
        .run(async |context: CoherenceContext| {
            let reporter = context.reporter();
            let applier = Applier { reporter }.start().recipient();
            let subscribe = Subscribe::to("none", context.filter(), applier)
                .options(context.subscription("none"));
            context.herald().subscribe(subscribe).await?;
            Ok::<_, pgherald::Error>(NoCache)
        })
        .await
        .unwrap();
    assert_coherent(&report);
    assert_eq!(report.hits, 0, "{report}");
}

#[actix::test]
async fn a_cache_that_counts_epochs_is_coherent() {
    let report = prolonged(check())
        .run(async |context| Naive::start(&context, Flaw::None).await)
        .await
        .unwrap();
    assert_coherent(&report);
    assert!(report.hits > 0 && report.comparisons > 0, "{report}");
    assert!(report.confirmed_writes > 0, "{report}");
}

#[actix::test]
async fn a_cache_that_serves_for_a_limited_time_without_a_source_is_coherent() {
    let max_age = Duration::from_millis(100);
    let report = prolonged(check())
        .when_not_live(NotLive::ServeStale { max_age })
        .run(async |context| Naive::serving_stale(&context, max_age, Flaw::None).await)
        .await
        .unwrap();
    assert_coherent(&report);
}
