//! The signals of a source on a scripted relay.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use pgherald::{Error, ErrorKind, Operation, Signal, Source, TableName};
use pgherald_nats::{NatsConfig, NatsSource};
use pgherald_testkit::FaultProxy;
use pgherald_testkit::nats::{NatsCluster, NatsServer};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fake::{FakeRelay, PATIENT, STREAM, source};
use crate::support::{DEADLINE, soon};

pub(crate) async fn word(source: &mut NatsSource) -> String {
    match soon(source.next()).await {
        Signal::Live => "live".to_owned(),
        Signal::Events(events) => {
            let key = |event: &pgherald::Event| event.key().map(|key| format!("#{key}"));
            let keys: Vec<_> = events.iter().filter_map(key).collect();
            keys.join(",")
        }
        Signal::Resync(resync) => resync.to_string(),
        Signal::Resumed => "resumed".to_owned(),
        Signal::Down(error) => format!("{:?}", error.kind()),
    }
}

/// Returns the next `count` signals, as words.
pub(crate) async fn signals(source: &mut NatsSource, count: usize) -> String {
    let mut words = Vec::new();
    for _ in 0..count {
        words.push(word(source).await);
    }
    words.join(" ")
}

pub(crate) async fn down(source: &mut NatsSource) -> Error {
    match soon(source.next()).await {
        Signal::Down(error) => error,
        other => panic!("{other:?}"),
    }
}

/// Sends the idle heartbeat of a consumer that has delivered this number of messages. The client library cannot send one.
async fn idle_heartbeat(server: &NatsServer, inbox: &str, delivered: u64, position: u64) {
    let mut stream = TcpStream::connect((server.host(), server.port()))
        .await
        .unwrap();
    let headers = format!(
        "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: {delivered}\r\nNats-Last-Stream: {position}\r\n\r\n"
    );
    let length = headers.len();
    let request = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nHPUB {inbox} {length} {length}\r\n{headers}\r\nPING\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"PONG\r\n") {
        answer.push(soon(stream.read_u8()).await.unwrap());
    }
}

/// Polls the source while heartbeats are sent, until it is live.
pub(crate) async fn live(source: &mut NatsSource, relay: &FakeRelay) -> String {
    live_with(source, relay, "live").await
}

/// Like [`live`], or until the source emits the signal `end`.
pub(crate) async fn live_with(source: &mut NatsSource, relay: &FakeRelay, end: &str) -> String {
    let words = async {
        let mut words = Vec::new();
        while words
            .last()
            .is_none_or(|last| last != "live" && last != end)
        {
            words.push(word(source).await);
        }
        words.join(" ")
    };
    relay.beating(words).await
}

#[tokio::test]
async fn events_of_a_live_source_arrive_in_their_order() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    relay.insert(1).await;
    let mut source = source(&server.url()).max_lag(PATIENT).build().unwrap();
    // The resync covers the event that was stored before.
    assert_eq!(live(&mut source, &relay).await, "started live");
    for key in 2..5 {
        relay.insert(key).await;
        assert_eq!(word(&mut source).await, format!("#{key}"));
    }
    relay.resync(0, r#""trimmed","restored""#).await;
    relay.resync(1, r#""trimmed""#).await;
    relay.insert(5).await;
    let mut words = signals(&mut source, 2).await;
    while !words.contains("#5") {
        words = format!("{words} {}", word(&mut source).await);
    }
    assert!(words.starts_with("trimmed+restored "), "{words}");
    assert!(!words.contains("Timeout"), "{words}");
}

#[tokio::test]
async fn a_source_is_live_when_all_slices_are_and_it_has_received_what_they_have_stored() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let mut source = source(&server.url()).max_lag(PATIENT).build().unwrap();
    let opened = async {
        // Heartbeats of one slice, and heartbeats of the other with a sequence that no message has yet.
        loop {
            relay.beat_of(0, 0, Duration::ZERO).await;
            relay.beat_of(1, 1, Duration::ZERO).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = opened => unreachable!(),
        signal = source.next() => panic!("{signal:?}"),
        () = tokio::time::sleep(Duration::from_millis(500)) => {}
    }
    // The message that the second heartbeat is about.
    relay.insert(7).await;
    assert_eq!(signals(&mut source, 3).await, "started #7 reconnected");
    assert_eq!(word(&mut source).await, "live");
}

#[tokio::test]
async fn server_filters_events_and_positions_advance_past_excluded_ones() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let table = TableName::new("public", "a.b").unwrap();
    let mut source = source(&server.url())
        .tables([table])
        .operations([Operation::Insert, Operation::Delete])
        .max_lag(PATIENT)
        .build()
        .unwrap();
    live(&mut source, &relay).await;
    relay.event("a.b", Operation::Update, 1).await;
    relay.event("a", Operation::Insert, 2).await;
    relay.event("a.b", Operation::Insert, 3).await;
    relay.event("a.b", Operation::Delete, 4).await;
    relay.event("t", Operation::Insert, 5).await;
    let mut words = word(&mut source).await;
    if words == "#3" {
        words = format!("{words},{}", word(&mut source).await);
    }
    assert_eq!(words, "#3,#4");
    relay.resync(1, "").await;
    assert_eq!(word(&mut source).await, "trimmed");
    // Live again although the last messages of the stream were never delivered.
    let proxy_free = relay.insert(6).await;
    assert!(proxy_free > 0);
    server.restart().await.unwrap();
    assert!(
        live(&mut source, &relay)
            .await
            .ends_with("reconnected live")
    );
}

#[tokio::test]
async fn a_source_is_down_within_max_lag_after_the_last_heartbeat() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let max_lag = Duration::from_secs(1);
    let mut source = source(&server.url()).max_lag(max_lag).build().unwrap();
    let error = down(&mut source).await;
    assert!(error.to_string().contains("pg-heartbeat.*"), "{error}");
    assert_eq!(live(&mut source, &relay).await, "started live");
    let began = tokio::time::Instant::now();
    let error = down(&mut source).await;
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("2 of 2 slices"), "{error}");
    assert!(
        began.elapsed() < max_lag + DEADLINE / 4,
        "{:?}",
        began.elapsed()
    );
    // Heartbeats of a relay that lags by `max_lag` do not count.
    for slice in 0..2 {
        relay.beat_of(slice, 0, max_lag).await;
    }
    let next = tokio::time::timeout(Duration::from_millis(300), source.next()).await;
    assert!(next.is_err(), "{next:?}");
    relay.insert(3).await;
    assert_eq!(word(&mut source).await, "#3");
    assert_eq!(live(&mut source, &relay).await, "reconnected live");
}

#[tokio::test]
async fn unreadable_messages_become_resyncs_in_their_place() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let mut source = source(&server.url()).max_lag(PATIENT).build().unwrap();
    live(&mut source, &relay).await;
    for (subject, payload, expected) in [
        ("pg.1.public.t.insert", "junk", "undecodable"),
        (
            "pg.1.public.t.insert",
            r#"{"type":"event","event":{"operation":"upsert"}}"#,
            "undecodable",
        ),
        ("pg.1.public.t.insert", r#"{"type":"event"}"#, "undecodable"),
        ("pg.1.public.t", r#"{"type":"live"}"#, "undecodable"),
        ("pg.1.$control", "[]", "undecodable"),
    ] {
        relay.store(subject, payload).await;
        assert_eq!(word(&mut source).await, expected, "{subject} {payload}");
    }
    // An unknown type of message, and a heartbeat that fails to parse.
    relay.store("pg.1.$control", r#"{"type":"news"}"#).await;
    relay
        .context
        .client()
        .publish("pg-heartbeat.0", "junk".into())
        .await
        .unwrap();
    relay.insert(1).await;
    assert_eq!(word(&mut source).await, "#1");
}

#[tokio::test]
async fn a_stream_that_was_created_again_is_a_resync() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let mut source = source(&server.url())
        .max_lag(Duration::from_millis(500))
        .build()
        .unwrap();
    live(&mut source, &relay).await;
    relay.insert(1).await;
    relay.recreate_stream().await;
    relay.insert(2).await;
    let mut words = String::new();
    while !words.contains("Disconnected") {
        words = format!("{words} {}", word(&mut source).await);
    }
    let words = format!("{words} {}", live(&mut source, &relay).await);
    assert!(
        !words.contains("#2") && words.ends_with("reconnected live"),
        "{words}"
    );
    relay.insert(3).await;
    assert_eq!(word(&mut source).await, "#3");
}

#[tokio::test]
async fn messages_that_were_purged_before_they_were_read_are_a_resync() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let mut source = source(&server.url()).max_lag(PATIENT).build().unwrap();
    live(&mut source, &relay).await;
    relay.insert(1).await;
    relay.insert(2).await;
    let stream = relay.context.get_stream(STREAM).await.unwrap();
    stream.purge().await.unwrap();
    let mut words = String::new();
    while !words.contains("trimmed") {
        words = format!("{words} {}", word(&mut source).await);
    }
    relay.insert(3).await;
    assert_eq!(word(&mut source).await, "#3");
}

#[tokio::test]
async fn a_lost_connection_is_down_at_once_and_a_resync_follows() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let proxy = FaultProxy::start((server.host(), server.port()))
        .await
        .unwrap();
    let url = proxy.url(&server.url());
    let mut source = source(&url).max_lag(PATIENT).build().unwrap();
    live(&mut source, &relay).await;
    proxy.cut();
    assert_eq!(down(&mut source).await.kind(), ErrorKind::Disconnected);
    relay.insert(1).await;
    assert_eq!(live(&mut source, &relay).await, "reconnected live");
    // Events after a gap, but before the source is live.
    proxy.cut();
    down(&mut source).await;
    let storing = async {
        loop {
            relay.insert(2).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let words = tokio::select! {
        () = storing => unreachable!(),
        words = signals(&mut source, 2) => words,
    };
    assert!(words.starts_with("reconnected #2"), "{words}");
    let words = live(&mut source, &relay).await;
    assert!(words.ends_with("reconnected live"), "{words}");
}

#[tokio::test]
async fn a_jump_in_the_deliveries_ends_the_session_and_a_resync_follows() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let mut source = source(&server.url()).max_lag(PATIENT).build().unwrap();
    live(&mut source, &relay).await;
    relay.insert(1).await;
    assert_eq!(word(&mut source).await, "#1");
    let stream = relay.context.get_stream(STREAM).await.unwrap();
    let consumer = stream.consumers().try_next().await.unwrap().unwrap();
    let inbox = consumer.config.deliver_subject.unwrap();
    // An event arrives together with the loss, and comes first.
    relay.insert(2).await;
    idle_heartbeat(&server, &inbox, 9, 9).await;
    assert_eq!(word(&mut source).await, "#2");
    let error = down(&mut source).await;
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert!(error.to_string().contains("7 messages"), "{error}");
    assert_eq!(live(&mut source, &relay).await, "reconnected live");
}

/// This happens when the only server of a stream in memory restarts while the source is connected to another server.
#[tokio::test]
async fn a_consumer_that_goes_back_in_the_stream_ends_the_session() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    for key in 1..=9 {
        relay.insert(key).await;
    }
    let mut source = source(&server.url()).max_lag(PATIENT).build().unwrap();
    live(&mut source, &relay).await;
    let stream = relay.context.get_stream(STREAM).await.unwrap();
    let consumer = stream.consumers().try_next().await.unwrap().unwrap();
    let inbox = consumer.config.deliver_subject.unwrap();
    // The new consumer has delivered no message either, but it begins at an earlier position.
    idle_heartbeat(&server, &inbox, 0, 3).await;
    let error = down(&mut source).await;
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
    assert_eq!(live(&mut source, &relay).await, "reconnected live");
}

#[tokio::test]
async fn a_source_is_live_again_after_each_server_of_a_cluster_was_killed() {
    let cluster = NatsCluster::start().await.unwrap();
    let relay = FakeRelay::on_cluster(&cluster).await;
    let mut source = source(&cluster.urls().join(","))
        .max_lag(Duration::from_secs(2))
        .build()
        .unwrap();
    live(&mut source, &relay).await;
    for node in cluster.nodes() {
        node.kill().await.unwrap();
        cluster.wait_until_healthy().await.unwrap();
        // Whether the source has noticed depends on where its connection and its consumer were.
        relay.insert(1).await;
        let words = live_with(&mut source, &relay, "#1").await;
        assert!(
            words.contains("#1") || words.contains("reconnected"),
            "{words}"
        );
        node.start_again().await.unwrap();
        cluster.wait_until_healthy().await.unwrap();
    }
}

#[tokio::test]
async fn refusals_of_the_server_have_a_cause_and_a_hint() {
    let server = NatsServer::builder()
        .token("hunter2")
        .start()
        .await
        .unwrap();
    let plain = format!("nats://{}:{}", server.host(), server.port());
    let error = down(&mut source(&plain).build().unwrap()).await;
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    let mut source = source(&server.url()).build().unwrap();
    let error = down(&mut source).await;
    assert!(error.to_string().contains("the stream EVENTS"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"));

    let config = NatsConfig::new(&server.url()).unwrap();
    let client = config.connect().await.unwrap();
    let context = async_nats::jetstream::new(client);
    crate::fake::create_stream(&context, &"other".parse().unwrap()).await;
    let error = down(&mut source).await;
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    assert!(error.to_string().contains("pg.>, but other.>"), "{error}");

    let server = NatsServer::builder()
        .without_jetstream()
        .start()
        .await
        .unwrap();
    let mut source = NatsSource::builder(NatsConfig::new(&server.url()).unwrap(), STREAM)
        .build()
        .unwrap();
    let error = down(&mut source).await;
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
}

#[tokio::test]
async fn a_source_without_permission_names_it() {
    let users = r#"authorization { users: [
        { user: relay, password: r },
        { user: cache, password: c, permissions: { subscribe: { deny: ["pg-heartbeat.*"] } } },
    ] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let url = |user: &str| format!("nats://{user}@{}:{}", server.host(), server.port());
    let config = NatsConfig::new(&url("relay:r")).unwrap();
    let context = async_nats::jetstream::new(config.connect().await.unwrap());
    crate::fake::create_stream(&context, &"pg".parse().unwrap()).await;
    let mut source = source(&url("cache:c"))
        .max_lag(Duration::from_secs(1))
        .build()
        .unwrap();
    let error = down(&mut source).await.to_string();
    assert!(
        error.contains("pg-heartbeat.*") && error.to_lowercase().contains("permissions"),
        "{error}"
    );
}

#[test]
fn a_source_may_be_dropped_where_no_runtime_runs() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (server, open) = runtime.block_on(async {
        let server = NatsServer::start().await.unwrap();
        let relay = FakeRelay::new(&server).await;
        let mut source = source(&server.url()).max_lag(PATIENT).build().unwrap();
        live(&mut source, &relay).await;
        (server, source)
    });
    let opening = runtime.block_on(async {
        let mut opening = source(&server.url()).max_lag(PATIENT).build().unwrap();
        // No heartbeat arrives, so this waits.
        let next = tokio::time::timeout(Duration::from_millis(300), opening.next());
        assert!(next.await.is_err());
        opening
    });
    drop(open);
    drop(runtime);
    drop(opening);
}

#[tokio::test]
async fn a_source_tries_each_server_before_it_is_down() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    // The library begins with any of them.
    let max_lag = Duration::from_secs(8);
    for _ in 0..6 {
        let servers = format!("nats://127.0.0.1:1,nats://127.0.0.1:2,{}", server.url());
        let mut source = source(&servers).max_lag(max_lag).build().unwrap();
        assert_eq!(live(&mut source, &relay).await, "started live");
    }
}
