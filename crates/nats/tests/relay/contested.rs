//! Two groups under one prefix, slices that cannot be stored, and sources that read them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use pgherald_core::{Filter, Signal, Source as _};
use pgherald_nats::NatsSource;
use pgherald_nats::contract::{Prefix, headers};
use pgherald_testkit::nats::NatsServer;

use crate::support::{LIMIT, STREAM, Scene, events, local, options, resyncs};

const LAG: Duration = Duration::from_secs(2);

/// Reads the stream with a source from now on. Returns whether the source is live.
fn follow(scene: &Scene) -> Rc<Cell<bool>> {
    let source = NatsSource::builder(scene.nats(), STREAM).max_lag(LAG);
    let mut source = source.build().unwrap();
    let is_live = Rc::new(Cell::new(false));
    let seen = Rc::clone(&is_live);
    tokio::task::spawn_local(async move {
        loop {
            match source.next().await {
                Signal::Live => seen.set(true),
                Signal::Down(_) => seen.set(false),
                _ => {}
            }
        }
    });
    is_live
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let started = tokio::time::Instant::now();
    while !is() {
        assert!(started.elapsed() < LIMIT, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn source_is_not_live_while_a_second_group_blocks_the_first_one() {
    local(async {
        let scene = Scene::new().await;
        let first = scene.relay(options("first"));
        scene.write(1..=100).await;
        scene.until_relayed().await;
        let is_live = follow(&scene);
        until("live", || is_live.get()).await;
        // The second group stores other tables in the same slices.
        let others = Filter::new().table("public", "others");
        let _second = scene.relay(options("second").filter(others));
        scene
            .until("the second group's announcements", |stored| {
                resyncs(stored, "other_group").len() == 4
            })
            .await;
        scene.write(1..=100).await;
        first
            .until_degraded("two groups cannot store under one prefix")
            .await;
        tokio::time::sleep(LAG * 3).await;
        let stored = events(&scene.stored().await).len();
        assert!(
            !is_live.get(),
            "live with {stored} of 200 events, the last of them committed {LAG:?} * 3 ago"
        );
    })
    .await;
}

#[tokio::test]
async fn error_of_one_slice_is_reported_while_other_slices_are_stored() {
    local(async {
        let scene = Scene::new().await;
        let relay = scene.relay(options("fleet"));
        scene.write(1..=100).await;
        let stored = scene.until_relayed().await;
        let others = stored.iter().filter(|one| one.slice != 0).count() as u64;
        // Another group stores in one slice.
        let tip = stored.iter().rfind(|one| one.slice == 0).unwrap();
        // If the database knew no message of the slice, the relay would announce a resync, and continue.
        let known =
            "SELECT split_part(stored, ' ', 2) FROM pgherald.consumer_cursor WHERE slice = 0";
        scene.until_text(known, &tip.sequence.to_string()).await;
        let mut foreign = tip.headers.clone();
        for name in ["Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"] {
            foreign = without(&foreign, name);
        }
        foreign.insert(headers::GROUP, "other");
        let payload = r#"{"type":"resync","reasons":["trimmed"],"lost":0,"scope":{}}"#;
        let context = scene.jetstream().await;
        let control = Prefix::default().control(0);
        let stored = context.publish_with_headers(control, foreign, payload.into());
        stored.await.unwrap().await.unwrap();
        scene.write(1..=100).await;
        relay
            .until_degraded("two groups cannot store under one prefix")
            .await;
        let mut unnamed = 0;
        for _ in 0..20 {
            let before = relay.handle.report().events;
            scene.write(1..=100).await;
            let silent = Cell::new(false);
            relay
                .until("the events of the other slices", |handle| {
                    let report = handle.report();
                    silent.set(silent.get() || report.consumer.destination_error.is_none());
                    report.events >= before + others
                })
                .await;
            unnamed += u32::from(silent.get());
        }
        assert_eq!(unnamed, 0, "of 20 times");
    })
    .await;
}

#[tokio::test]
async fn relay_without_permission_to_store_is_not_live_between_attempts() {
    local(async {
        let users = r#"
            authorization { users = [
                { user: relay, password: p, permissions: { publish: { deny: ["pg.>"] } } }
                { user: admin, password: p }
            ] }
            no_auth_user: admin
        "#;
        let nats = NatsServer::builder().config(users).start().await.unwrap();
        let scene = Scene::with(nats).await;
        let relay = scene.relay_at(scene.nats().user("relay", "p"), options("fleet"));
        relay
            .until("slices", |handle| {
                handle.report().consumer.slices == 4 && handle.health().borrow().is_live()
            })
            .await;
        scene.write(1..=100).await;
        relay.until_degraded("has not acknowledged a batch").await;
        let first = relay.handle.report().unknown;
        let silent = Cell::new(0);
        relay
            .until("more attempts", |handle| {
                let (health, report) = (handle.health(), handle.report());
                let is_named = report.consumer.destination_error.is_some();
                silent.set(silent.get() + u32::from(!is_named || health.borrow().is_live()));
                report.unknown >= first + 12
            })
            .await;
        assert_eq!(silent.get(), 0, "looks, 5 ms apart");
    })
    .await;
}

/// The client library retries for ever, with the credentials of its first connection.
#[tokio::test]
async fn relay_reports_credentials_that_are_refused_when_it_reconnects() {
    local(async {
        let users = r#"
            authorization { users = [ { user: relay, password: before }, { user: admin, password: p } ] }
            no_auth_user: admin
        "#;
        let nats = NatsServer::builder().config(users).start().await.unwrap();
        let scene = Scene::with(nats).await;
        let relay = scene.relay_at(scene.nats().user("relay", "before"), options("fleet"));
        scene.write(1..=100).await;
        scene.until_relayed().await;
        let config = scene.nats.log_file().with_file_name("nats.conf");
        let before = std::fs::read_to_string(&config).unwrap();
        scene.nats.stop().await.unwrap();
        std::fs::write(&config, before.replace("password: before", "password: after")).unwrap();
        scene.nats.start_again().await.unwrap();
        scene.write(1..=100).await;
        relay.until_degraded("refused the credentials").await;
        scene.nats.stop().await.unwrap();
        std::fs::write(&config, before).unwrap();
        scene.nats.start_again().await.unwrap();
        scene.until_relayed().await;
    })
    .await;
}

fn without(headers: &async_nats::HeaderMap, left_out: &str) -> async_nats::HeaderMap {
    let mut kept = async_nats::HeaderMap::new();
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        if name != left_out && !name.starts_with("Nats-Expected") {
            for value in values {
                kept.append(name, value.clone());
            }
        }
    }
    kept
}
