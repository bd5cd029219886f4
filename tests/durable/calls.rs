//! Any role may notify consumers and sources: what that costs the server is bounded.

use std::time::{Duration, Instant};

use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{OutboxSource, Signal, Source, TableName};
use pgherald_testkit::Postgres;

use crate::meter::Meter;
use crate::support::{Log, Scene, all_well, drained, local, report, shown, terms};

/// For how long a stranger calls, as often as it can.
const CALLS: Duration = Duration::from_secs(3);

/// Requests that a consumer made while it was called, and how many would be fair.
async fn requests_while_called(payload: &str, per_second: f64) -> (u64, u64) {
    let server = Postgres::shared().await.unwrap();
    let scene = Scene::new().await;
    let meter = Meter::start(server).await;
    let log = Log::default();
    let handle = scene.start_at(&meter.url(&scene.url), terms("g"), &log, all_well());
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
    let fair = began.elapsed().as_secs_f64() * per_second;
    println!("{payload:?}: {made} requests, {fair} are fair");
    // It still hears what it should.
    scene.run("INSERT INTO jobs VALUES (2, 1)").await;
    log.has(2).await;
    scene.group("g").pause().await.unwrap();
    scene.run("INSERT INTO jobs VALUES (3, 1)").await;
    scene.group("g").resume().await.unwrap();
    log.has(3).await;
    drained(&handle).await;
    (made, fair as u64)
}

#[tokio::test]
async fn control_calls_of_strangers_cause_few_looks() {
    local(async {
        // Four looks a second of some seven statements, and the polls that follow each.
        let (made, fair) = requests_while_called("control g", 4.0 * 25.0).await;
        assert!(made < fair + 150, "{made} requests, {fair} are fair");
    })
    .await;
}

#[tokio::test]
async fn wake_ups_with_nothing_to_read_cause_no_more_than_the_busy_poll() {
    local(async {
        // A poll every 5 ms, of three statements.
        let (made, fair) = requests_while_called("", 200.0 * 3.0).await;
        assert!(
            made < fair * 5 / 4 + 150,
            "{made} requests, {fair} are fair"
        );
    })
    .await;
}

#[tokio::test]
async fn wake_ups_of_strangers_cause_a_source_few_more_looks_than_the_busy_poll() {
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
    // A look every 5 ms, and one every 25 ms at once, of three statements.
    let fair = (began.elapsed().as_secs_f64() * (200.0 + 40.0) * 3.0) as u64;
    println!("{made} requests, {fair} are fair");
    assert!(made < fair + 150, "{made} requests, {fair} are fair");
    scene.run("INSERT INTO jobs VALUES (2, 1)").await;
    assert_eq!(shown(&seen.recv().await.unwrap()), "2=1");
    reading.abort();
}

#[tokio::test]
async fn calls_to_other_groups_cause_nothing() {
    local(async {
        let (made, fair) = requests_while_called("control h", 15.0).await;
        assert!(made < fair + 150, "{made} requests, {fair} are fair");
    })
    .await;
}
