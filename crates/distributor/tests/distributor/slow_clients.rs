//! Clients that do not read.

use std::time::Duration;

use pgherald_distributor::{Limits, WhenSlow};

use crate::streams::number;
use crate::support::{Scene, Socket};

/// Enough rows of 7 kB to fill the buffers of a connection and of the client.
const ROWS: i64 = 3_000;
const BUFFER: usize = 64;

pub(crate) async fn insert_many(scene: &Scene) {
    let note = "x".repeat(7_000);
    for id in 1..=ROWS {
        scene.insert(id, "a", &note).await;
    }
}

/// Reads up to the last row. Returns how many events were received, and how many were reported as missed.
async fn read(socket: &mut Socket) -> (i64, i64) {
    let (mut received, mut missed, mut last) = (0, 0, 0);
    while last < ROWS {
        let message = socket.message().await;
        if let Some(rest) = message.strip_prefix(r#"{"type":"lagged","missed":"#) {
            missed += rest.trim_end_matches('}').parse::<i64>().unwrap();
            continue;
        }
        let number = number(&message);
        assert!(number > last, "{number} after {last}");
        assert_eq!(number, received + missed + 1, "a gap that was not reported");
        (received, last) = (received + 1, number);
    }
    (received, missed)
}

#[actix_web::test]
async fn a_stalled_client_learns_how_much_it_missed_and_another_one_misses_nothing() {
    let limits = Limits {
        buffer: BUFFER,
        ..Limits::default()
    };
    let scene = Scene::new(limits).await;
    let mut stalled = scene.ws("/v1/ws").await;
    let mut fast = scene.ws("/v1/ws").await;
    stalled.live().await;
    fast.live().await;
    let ((), fast) = tokio::join!(insert_many(&scene), read(&mut fast));
    assert_eq!(fast, (ROWS, 0));
    let (received, missed) = read(&mut stalled).await;
    assert_eq!(received + missed, ROWS);
    assert!(missed > 0, "{received} received");
    scene.end().await;
}

#[actix_web::test]
async fn a_slow_client_is_disconnected_if_so_configured() {
    let limits = Limits {
        buffer: BUFFER,
        when_slow: WhenSlow::Disconnect,
        ..Limits::default()
    };
    let scene = Scene::new(limits).await;
    let mut stalled = scene.ws("/v1/ws").await;
    stalled.live().await;
    insert_many(&scene).await;
    let mut last = String::new();
    let code = loop {
        match stalled.next().await {
            Ok(text) => last = text,
            Err(code) => break code,
        }
    };
    assert_eq!(code, 4408);
    assert_eq!(last, r#"{"type":"closing","reason":"lagged","retry_ms":0}"#);
    scene.end().await;
}

#[actix_web::test]
async fn a_client_that_never_reads_is_given_up() {
    let limits = Limits {
        buffer: BUFFER,
        write: Duration::from_millis(100),
        ..Limits::default()
    };
    let scene = Scene::new(limits).await;
    let mut stalled = scene.ws("/v1/ws").await;
    stalled.live().await;
    insert_many(&scene).await;
    // What was sent before is still read, then the connection ends without a close.
    while stalled.next_or_end().await {}
    scene.clients(0).await;
    scene.end().await;
}
