//! Events over WebSocket and as Server-Sent Events.

use std::time::{Duration, SystemTime};

use pgherald_core::__private::host::events::Decoder;
use pgherald_core::{Operation, RowKey};
use pgherald_distributor::Limits;
use pgherald_testkit::Postgres;

use crate::support::{Scene, Socket};

const START: [&str; 3] = [
    r#"{"type":"hello","version":1,"heartbeat_ms":5000,"resumable":false}"#,
    r#"{"type":"resync","reasons":["started"],"lost":0,"scope":{}}"#,
    r#"{"type":"live"}"#,
];

/// The payload in a message of type `event`.
pub(crate) fn payload(message: &str) -> &str {
    let payload = message.strip_prefix(r#"{"type":"event","event":"#);
    payload
        .and_then(|rest| rest.strip_suffix('}'))
        .expect(message)
}

/// The number in the key of an event.
pub(crate) fn number(message: &str) -> i64 {
    let mut events = Vec::new();
    Decoder::new()
        .decode(
            "pgherald",
            payload(message),
            0,
            SystemTime::now(),
            &mut events,
        )
        .unwrap();
    events[0].key().unwrap().to_string().parse().unwrap()
}

#[actix_web::test]
async fn both_kinds_of_streams_have_the_same_messages() {
    let scene = Scene::new(Limits::default()).await;
    let mut ws = scene.ws("/v1/ws").await;
    let mut sse = scene.sse("/v1/events").await;
    for expected in START {
        assert_eq!(ws.message().await, expected);
        assert_eq!(sse.message().await, expected);
    }
    scene.insert(7, "a", "it's \"€\"\n").await;
    scene.sql("UPDATE users SET note = NULL").await;
    scene.sql("TRUNCATE users").await;
    let mut decoded = Vec::new();
    for _ in 0..3 {
        let message = ws.message().await;
        assert_eq!(sse.message().await, message);
        let now = SystemTime::now();
        Decoder::new()
            .decode("pgherald", payload(&message), 0, now, &mut decoded)
            .unwrap();
    }
    let [insert, update, truncate] = &decoded[..] else {
        panic!("{decoded:?}");
    };
    assert_eq!(insert.to_string(), "insert public.users 7");
    assert_eq!(insert.key(), Some(&RowKey::from(7)));
    assert_eq!(
        insert.columns_json().as_deref(),
        Some(r#"{"tenant":"a","note":"it's \"€\"\n"}"#)
    );
    assert_eq!(update.operation(), Operation::Update);
    assert_eq!(
        (truncate.operation(), truncate.key()),
        (Operation::Truncate, None)
    );
    scene.end().await;
}

#[actix_web::test]
async fn a_restart_of_the_database_shows_as_down_then_resync_then_live() {
    let server = Postgres::start().await.unwrap();
    let scene = Scene::on(server.url(), Limits::default()).await;
    let mut ws = scene.ws("/v1/ws").await;
    let mut sse = scene.sse("/v1/events").await;
    ws.live().await;
    while sse.message().await != START[2] {}
    server.stop().await.unwrap();
    let down = r#"{"type":"down","reason":"disconnected"}"#;
    assert_eq!(ws.message().await, down);
    // A client that connects now learns that the database is lost.
    let mut late = scene.ws("/v1/ws").await;
    assert_eq!(late.message().await, START[0]);
    assert_eq!(late.message().await, down);
    server.start_again().await.unwrap();
    let reconnected = r#"{"type":"resync","reasons":["reconnected"],"lost":0,"scope":{}}"#;
    for socket in [&mut ws, &mut late] {
        assert_eq!(socket.message().await, reconnected);
        assert_eq!(socket.message().await, START[2]);
    }
    for expected in [down, reconnected, START[2]] {
        assert_eq!(sse.message().await, expected);
    }
    let config: pgherald_core::ConnectConfig = scene.database.parse().unwrap();
    let client = config.client().await.unwrap();
    client
        .batch_execute("INSERT INTO users VALUES (1)")
        .await
        .unwrap();
    let event = ws.message().await;
    assert_eq!(number(&event), 1);
    assert_eq!(late.message().await, event);
    assert_eq!(sse.message().await, event);
    scene.end().await;
}

#[actix_web::test]
async fn missing_triggers_show_as_down_and_their_repair_as_resync() {
    let scene = Scene::new(Limits::default()).await;
    let mut ws = scene.ws("/v1/ws").await;
    ws.live().await;
    scene.sql("ALTER TABLE users DISABLE TRIGGER ALL").await;
    let resync = r#"{"type":"resync","reasons":["triggers_restored"],"lost":0,"scope":{}}"#;
    // The source announces with a resync that other triggers are installed, at the same time as that changes are lost.
    let mut resyncs = 0;
    loop {
        match ws.message().await {
            message if message == resync => resyncs += 1,
            message => break assert_eq!(message, r#"{"type":"down","reason":"triggers"}"#),
        }
    }
    scene.sql("ALTER TABLE users ENABLE TRIGGER ALL").await;
    loop {
        match ws.message().await {
            message if message == resync => resyncs += 1,
            message => break assert_eq!(message, START[2]),
        }
    }
    assert!(resyncs >= 1, "{resyncs}");
    scene.end().await;
}

#[actix_web::test]
async fn a_payload_that_is_no_event_is_a_resync_of_its_channel() {
    let scene = Scene::new(Limits::default()).await;
    let mut ws = scene.ws("/v1/ws").await;
    ws.live().await;
    scene.notify("pgherald", "no event").await;
    let resync =
        r#"{"type":"resync","reasons":["undecodable"],"lost":0,"scope":{"channel":"pgherald"}}"#;
    assert_eq!(ws.message().await, resync);
    scene.insert(1, "a", "").await;
    assert_eq!(number(&ws.message().await), 1);
    scene.end().await;
}

#[actix_web::test]
async fn heartbeats_arrive_while_nothing_happens_and_while_much_does() {
    let limits = Limits {
        heartbeat: Duration::from_millis(50),
        ..Limits::default()
    };
    let scene = Scene::new(limits).await;
    let mut ws = scene.ws("/v1/ws").await;
    let heartbeat = async |ws: &mut Socket| {
        while !ws
            .next()
            .await
            .unwrap()
            .starts_with(r#"{"type":"heartbeat","at":"20"#)
        {}
    };
    for _ in 0..3 {
        heartbeat(&mut ws).await;
    }
    let writes = async {
        for id in 0..2_000 {
            scene.insert(id, "a", "").await;
        }
    };
    let reads = async {
        for _ in 0..3 {
            heartbeat(&mut ws).await;
        }
    };
    tokio::join!(writes, reads);
    scene.end().await;
}
