//! `pgherald relay`: what it stores, what it refuses, and what it reports.

mod refusals;
mod secrets;

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt as _;
use pgherald_testkit::nats::NatsServer;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{DEADLINE, Folder, Ran, Running, Scene};

const STREAM: &str = "CHANGES";
const TABLES: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, note text);
    CREATE TABLE users (id bigint PRIMARY KEY);
    CREATE TABLE logins (id bigint PRIMARY KEY)";
/// A killed relay's slices are taken over after its lease of 10 s.
const TAKEN_OVER: Duration = Duration::from_secs(120);

/// A database in which `orders` and `users` are recorded, and `logins` is announced.
async fn scene() -> Scene {
    let scene = Scene::new(TABLES).await;
    for (table, mode) in [
        ("orders", "outbox"),
        ("users", "outbox"),
        ("logins", "notify"),
    ] {
        let install = ["install", table, "--mode", mode, "--commit"];
        scene.fine(&install).await;
    }
    scene
}

async fn jetstream(nats: &NatsServer) -> Context {
    jetstream::new(async_nats::connect(nats.url()).await.unwrap())
}

/// The number of messages in the stream, with announcements.
async fn messages(context: &Context) -> u64 {
    let stream = context.get_stream(STREAM).await;
    stream.map_or(0, |stream| stream.cached_info().state.messages)
}

/// The subjects and event ids of the stream, without announcements.
async fn stored(context: &Context) -> Vec<(String, i64)> {
    let Ok(stream) = context.get_stream(STREAM).await else {
        return Vec::new();
    };
    let messages = stream.cached_info().state.messages;
    if messages == 0 {
        return Vec::new();
    }
    let config = pull::OrderedConfig {
        deliver_policy: DeliverPolicy::All,
        ..pull::OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let name = consumer.cached_info().name.clone();
    let found = consumer.messages().await.unwrap();
    let mut found = found.take(usize::try_from(messages).unwrap());
    let mut stored = Vec::new();
    while let Some(message) = found.next().await {
        let message = message.unwrap();
        let id = message.headers.as_ref();
        let id = id.and_then(|headers| headers.get("Pgherald-Event"));
        if let Some(id) = id {
            let id = id.as_str().parse().unwrap();
            stored.push((message.subject.to_string(), id));
        }
    }
    drop(found);
    // A server has a limit of consumers.
    let _ = stream.delete_consumer(&name).await;
    stored
}

/// Waits until the stream has as many events.
async fn until_stored(context: &Context, count: usize, log: &str) -> Vec<(String, i64)> {
    let begun = Instant::now();
    loop {
        let messages = messages(context).await;
        // Read the events only if there may be enough: counting messages is far less work for the server.
        if messages >= count as u64 {
            let found = stored(context).await;
            if found.len() >= count {
                return found;
            }
        }
        assert!(
            begun.elapsed() < TAKEN_OVER,
            "{messages} messages, {count} events expected: {}",
            std::fs::read_to_string(log).unwrap_or_default()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn insert(scene: &Scene, table: &str, ids: std::ops::RangeInclusive<i32>) {
    let (first, last) = (ids.start(), ids.end());
    let sql =
        format!("INSERT INTO {table} (id) SELECT i FROM generate_series({first}, {last}) AS i");
    scene.run(&sql).await;
}

/// Starts a relay with its log in a file, and waits until it runs.
async fn relay(scene: &Scene, nats: &NatsServer, log: &str, more: &[&str]) -> Running {
    let url = nats.url();
    let arguments = ["relay", &url, "--stream", STREAM, "--create"];
    let mut running = Running::logged(scene, log, &[&arguments, more].concat());
    running
        .line(|line| line.starts_with("relaying ") || line.starts_with('{'))
        .await;
    running
}

async fn metrics(port: u16) -> String {
    let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else {
        return String::new();
    };
    let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// Waits until the metrics have these lines.
async fn until_measured(port: u16, lines: &[&str]) {
    let begun = Instant::now();
    loop {
        let found = metrics(port).await;
        let missing = lines.iter().find(|line| !found.contains(**line));
        let Some(missing) = missing else {
            return;
        };
        assert!(begun.elapsed() < DEADLINE, "{missing} is not in {found}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn relay_stores_the_recorded_tables_and_drains_on_sigterm() {
    let (scene, nats) = (scene().await, NatsServer::start().await.unwrap());
    let folder = Folder::new("relay");
    let log = folder.path("log");
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let more = ["--metrics", &address, "--slices", "4", "--max-age", "1h"];
    let mut running = relay(&scene, &nats, &log, &more).await;
    insert(&scene, "orders", 1..=100).await;
    insert(&scene, "users", 1..=10).await;
    insert(&scene, "logins", 1..=10).await;
    let context = jetstream(&nats).await;
    let found = until_stored(&context, 110, &log).await;
    let of = |table: &str| {
        let table = format!(".public.{table}.insert");
        let found = found
            .iter()
            .filter(|(subject, _)| subject.ends_with(&table));
        found.count()
    };
    assert_eq!((of("orders"), of("users"), of("logins")), (100, 10, 0));
    let mut stream = context.get_stream(STREAM).await.unwrap();
    let config = stream.info().await.unwrap().config.clone();
    assert_eq!(config.max_age, Duration::from_secs(3_600));
    assert!(config.allow_atomic_publish, "{config:?}");

    until_measured(
        port,
        &[
            r#"pgherald_relay_events_total{group="relay-CHANGES"} 110"#,
            r#"pgherald_relay_batches_total{group="relay-CHANGES",result="stored"}"#,
            r#"pgherald_relay_resyncs_total{group="relay-CHANGES",reason="started"}"#,
            r#"pgherald_relay_lag_seconds{group="relay-CHANGES"}"#,
            r#"pgherald_relay_stream_usage_ratio{group="relay-CHANGES",discard="old"} 0"#,
            r#"pgherald_group_lag_events{group="relay-CHANGES"}"#,
            "pgherald_outbox_bytes",
            "# HELP pgherald_relay_batches_total",
        ],
    )
    .await;
    let status = scene.fine(&["status"]).await;
    for part in ["Relays", "stream CHANGES of NATS, prefix pg"] {
        assert!(status.contains(part), "{part}: {status}");
    }
    let group = &scene.json(&["group", "show", "relay-CHANGES"]).await[0];
    assert_eq!(group["slices"], 4, "{group}");
    let destination = "stream CHANGES of NATS, prefix pg";
    assert_eq!(group["destination"], destination, "{group}");
    assert!(group["destination_error"].is_null(), "{group}");
    let doctor = scene.pgherald(&["doctor"]).await;
    let relays = "relay-CHANGES (1 consumer, relays to stream CHANGES of NATS, prefix pg)";
    assert!(doctor.stdout.contains(relays), "{doctor:?}");

    running.signal(Signal::TERM);
    assert_eq!(running.code().await, 0);
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("the relay has ended events=110"), "{log}");
    // Its lease was given back: another relay need not wait for it.
    let nodes = "SELECT count(*)::text FROM pgherald.consumer_node";
    assert_eq!(scene.value(nodes).await, "0");
}

#[tokio::test]
async fn relay_that_is_killed_and_started_again_stores_nothing_twice() {
    let (scene, nats) = (scene().await, NatsServer::start().await.unwrap());
    let folder = Folder::new("killed");
    let log = folder.path("log");
    let context = jetstream(&nats).await;
    for round in 0..3 {
        let running = relay(&scene, &nats, &log, &["--tables", "public.o*"]).await;
        let before = stored(&context).await.len();
        for part in 0..20 {
            let first = round * 2_000 + part * 100 + 1;
            insert(&scene, "orders", first..=first + 99).await;
        }
        // Killed while it stores what was written.
        until_stored(&context, before + 1, &log).await;
        running.signal(Signal::KILL);
    }
    let _running = relay(&scene, &nats, &log, &["--tables", "public.o*"]).await;
    let found = until_stored(&context, 6_000, &log).await;
    let mut ids: Vec<_> = found.iter().map(|(_, id)| *id).collect();
    ids.sort_unstable();
    let sql = "SELECT id FROM pgherald.outbox ORDER BY id";
    let rows = scene.client.query(sql, &[]).await.unwrap();
    let recorded: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert!(ids == recorded, "{} {}", ids.len(), recorded.len());
}

#[tokio::test]
async fn dry_run_shows_what_the_relay_would_do_and_writes_nothing() {
    let (scene, nats) = (scene().await, NatsServer::start().await.unwrap());
    let url = nats.url();
    let dry = ["relay", &url, "--stream", STREAM, "--create", "--dry-run"];
    let rows = "SELECT concat_ws(' ', (SELECT count(*) FROM pgherald.consumer_group),
        (SELECT count(*) FROM pgherald.consumer_node), (SELECT count(*) FROM pgherald.consumer_requirement),
        (SELECT count(*) FROM pgherald.parked_event), (SELECT count(*) FROM pgherald.outbox))";
    let (before, dump) = (scene.value(rows).await, scene.dump().await);
    let shown = scene.fine(&dry).await;
    for part in [
        "Tables: public.orders, public.users",
        "Group relay-CHANGES: would be created",
        "Stream CHANGES: would be created at nats://127.0.0.1:",
        "subjects pg.>, 1 replica, messages of any age",
        "Nothing was changed. Leave --dry-run out to relay.",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let plan = &scene.json(&dry).await[0];
    assert_eq!(plan["creates_stream"], true, "{plan}");
    assert_eq!(plan["creates_group"], true, "{plan}");
    assert_eq!(
        (scene.value(rows).await, scene.dump().await),
        (before, dump)
    );
    let context = jetstream(&nats).await;
    assert!(context.stream_names().next().await.is_none());

    let folder = Folder::new("dry");
    let mut running = relay(&scene, &nats, &folder.path("log"), &[]).await;
    insert(&scene, "users", 1..=10).await;
    until_stored(&context, 10, &folder.path("log")).await;
    running.signal(Signal::TERM);
    assert_eq!(running.code().await, 0);
    insert(&scene, "users", 11..=17).await;
    let shown = scene.fine(&dry).await;
    for part in [
        "Group relay-CHANGES: exists, 7 events behind",
        "Stream CHANGES: exists at nats://127.0.0.1:",
        ", with 1",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(stored(&context).await.len(), 10);
}

/// Waits until `doctor` reports a text. The relay stores its state with the next renewal of its lease.
async fn until_doctor_reports(scene: &Scene, text: &str) -> Ran {
    let begun = Instant::now();
    loop {
        let doctor = scene.pgherald(&["doctor"]).await;
        if doctor.stdout.contains(text) {
            return doctor;
        }
        assert!(begun.elapsed() < TAKEN_OVER, "{doctor:?}");
    }
}

#[tokio::test]
async fn stream_that_is_nearly_full_or_full_is_reported() {
    let (scene, nats) = (scene().await, NatsServer::start().await.unwrap());
    let context = jetstream(&nats).await;
    let config = Config {
        name: STREAM.to_owned(),
        subjects: vec!["pg.>".to_owned()],
        max_messages: 100,
        discard: DiscardPolicy::New,
        allow_atomic_publish: true,
        ..Config::default()
    };
    context.create_stream(config).await.unwrap();
    let folder = Folder::new("full");
    let log = folder.path("log");
    let _running = relay(&scene, &nats, &log, &["--slices", "1"]).await;
    // With the announcement of the start, 85 messages.
    insert(&scene, "users", 1..=84).await;
    until_stored(&context, 84, &log).await;
    let url = nats.url();
    let dry = ["relay", &url, "--stream", STREAM, "--dry-run"];
    let shown = scene.fine(&dry).await;
    assert!(shown.contains("at most 100 messages"), "{shown}");
    let nearly = "stream CHANGES of NATS, prefix pg has 85 % of its limits in use, and refuses events when it is full";
    assert!(shown.contains(&format!("Warning: {nearly}")), "{shown}");
    until_doctor_reports(&scene, nearly).await;
    let status = scene.fine(&["status"]).await;
    for part in ["destination nearly full", "85 %"] {
        assert!(status.contains(part), "{part}: {status}");
    }

    insert(&scene, "users", 101..=150).await;
    let doctor = until_doctor_reports(&scene, "nothing is stored in stream CHANGES").await;
    assert_eq!(doctor.code, 1, "{doctor:?}");
    for part in ["is full", "--dry-run verifies server and stream"] {
        assert!(doctor.stdout.contains(part), "{part}: {doctor:?}");
    }
    let status = scene.fine(&["status"]).await;
    assert!(status.contains("stores nothing"), "{status}");
    assert!(status.contains("is full"), "{status}");
    // The relay itself warned before.
    let logged = std::fs::read_to_string(&log).unwrap();
    assert!(logged.contains("WARN"), "{logged}");
}
