//! Any role can notify consumers and sources. The load that this causes on the server is bounded.

use std::time::{Duration, Instant};

use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{OutboxSource, Signal, Source, TableName};
use pgherald_testkit::Postgres;

use crate::meter::Meter;
use crate::support::{Log, Scene, all_well, drained, local, options, report, shown};

/// How long an unrelated role sends notifications, as fast as it can.
const CALLS: Duration = Duration::from_secs(3);

/// The number of requests that a consumer makes meanwhile, and the allowed number.
async fn requests_while_notified(payload: &str, per_second: f64) -> (u64, u64) {
    let server = Postgres::shared().await.unwrap();
    let scene = Scene::new().await;
    let meter = Meter::start(server).await;
    let log = Log::default();
    let handle = scene.start_at(&meter.url(&scene.url), options("g"), &log, all_well());
    scene.run("INSERT INTO jobs VALUES (1, 1)").await;
    log.has(1).await;
    report(&handle, "its slices", |report| report.slices == 8).await;
    let (before, began) = (meter.requests(), Instant::now());
    while began.elapsed() < CALLS {
        scene
            .run(&format!("NOTIFY pgherald_outbox, '{payload}'"))
            .await;
    }
    let made = meter.requests() - before;
    let allowed = began.elapsed().as_secs_f64() * per_second;
    println!("{payload:?}: {made} requests, {allowed} are allowed");
    // The consumer still receives events and control messages.
    scene.run("INSERT INTO jobs VALUES (2, 1)").await;
    log.has(2).await;
    scene.group("g").pause().await.unwrap();
    scene.run("INSERT INTO jobs VALUES (3, 1)").await;
    scene.group("g").resume().await.unwrap();
    log.has(3).await;
    drained(&handle).await;
    (made, allowed as u64)
}

#[tokio::test]
async fn forged_control_notifications_cause_a_bounded_number_of_requests() {
    local(async {
        // Four ticks per second with about seven statements each, and the polls that follow each.
        let (made, allowed) = requests_while_notified("control g", 4.0 * 25.0).await;
        assert!(
            made < allowed + 150,
            "{made} requests, {allowed} are allowed"
        );
    })
    .await;
}

#[tokio::test]
async fn forged_wake_ups_cause_a_consumer_no_more_requests_than_the_busy_poll() {
    local(async {
        // A poll every 5 ms with three statements.
        let (made, allowed) = requests_while_notified("", 200.0 * 3.0).await;
        assert!(
            made < allowed * 5 / 4 + 150,
            "{made} requests, {allowed} are allowed"
        );
    })
    .await;
}

#[tokio::test]
async fn forged_wake_ups_cause_a_source_few_more_requests_than_the_busy_poll() {
    let server = Postgres::shared().await.unwrap();
    let scene = Scene::new().await;
    let meter = Meter::start(server).await;
    let jobs = TriggerSpec::new(TableName::new("public", "jobs").unwrap());
    let config = meter.url(&scene.url).parse().unwrap();
    let source = OutboxSource::builder(config).watch(jobs.every_column().outbox());
    let mut source = source.build().unwrap();
    while !matches!(source.next().await, Signal::Live) {}
    let (events, mut seen) = tokio::sync::mpsc::channel(8);
    let reading = tokio::spawn(async move {
        loop {
            if let Signal::Events(batch) = source.next().await {
                for event in &*batch {
                    events.send(event.clone()).await.unwrap();
                }
            }
        }
    });
    scene.run("INSERT INTO jobs VALUES (1, 1)").await;
    seen.recv().await.unwrap();
    let (before, began) = (meter.requests(), Instant::now());
    while began.elapsed() < CALLS {
        scene.run("NOTIFY pgherald_outbox").await;
    }
    let made = meter.requests() - before;
    // A poll every 5 ms and an immediate one every 25 ms, with three statements each.
    let allowed = (began.elapsed().as_secs_f64() * (200.0 + 40.0) * 3.0) as u64;
    println!("{made} requests, {allowed} are allowed");
    assert!(
        made < allowed + 150,
        "{made} requests, {allowed} are allowed"
    );
    scene.run("INSERT INTO jobs VALUES (2, 1)").await;
    assert_eq!(shown(&seen.recv().await.unwrap()), "2=1");
    reading.abort();
}

#[tokio::test]
async fn control_notifications_of_other_groups_cause_no_requests() {
    local(async {
        let (made, allowed) = requests_while_notified("control h", 15.0).await;
        assert!(
            made < allowed + 150,
            "{made} requests, {allowed} are allowed"
        );
    })
    .await;
}
