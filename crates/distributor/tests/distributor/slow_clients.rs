//! Clients that do not read.

use std::time::Duration;

use pgherald_distributor::{Limits, WhenSlow};

use crate::streams::number;
use crate::support::{DEADLINE, Scene, Socket};

/// Enough rows of 7 kB to fill the buffers of a connection and of the client.
const ROWS: i64 = 3_000;
const BUFFER: usize = 64;
/// The rows of a transaction, less than the buffer.
const CHUNK: i64 = 30;

/// Limits of which only the buffer is reached.
pub(crate) fn limits() -> Limits {
    Limits {
        buffer: BUFFER,
        idle: DEADLINE,
        write: DEADLINE,
        ..Limits::default()
    }
}

async fn insert_chunk(scene: &Scene, first: i64) {
    let last = first + CHUNK - 1;
    let sql = format!(
        "DO $$ BEGIN FOR id IN {first} .. {last} LOOP
             INSERT INTO users VALUES (id, 'a', repeat('x', 7000));
         END LOOP; END $$"
    );
    scene.sql(&sql).await;
}

pub(crate) async fn insert_many(scene: &Scene) {
    for chunk in 0..ROWS / CHUNK {
        insert_chunk(scene, 1 + chunk * CHUNK).await;
    }
}

/// What a client has received.
#[derive(Debug, Default, PartialEq)]
struct Account {
    received: i64,
    missed: i64,
    last: i64,
}

/// Reads up to the row `last`, and checks that each gap was reported.
async fn read(socket: &mut Socket, account: &mut Account, last: i64) {
    while account.last < last {
        let message = socket.message().await;
        if let Some(rest) = message.strip_prefix(r#"{"type":"lagged","missed":"#) {
            account.missed += rest.trim_end_matches('}').parse::<i64>().unwrap();
            continue;
        }
        account.last = number(&message);
        account.received += 1;
        assert_eq!(account.last, account.received + account.missed);
    }
}

#[actix_web::test]
async fn a_stalled_client_learns_how_much_it_missed_and_another_one_misses_nothing() {
    let scene = Scene::new(limits()).await;
    let mut stalled = scene.ws("/v1/ws").await;
    let mut fast = scene.ws("/v1/ws").await;
    stalled.live().await;
    fast.live().await;
    let mut account = Account::default();
    for chunk in 0..ROWS / CHUNK {
        insert_chunk(&scene, 1 + chunk * CHUNK).await;
        read(&mut fast, &mut account, (chunk + 1) * CHUNK).await;
    }
    assert_eq!((account.received, account.missed), (ROWS, 0));
    let mut account = Account::default();
    read(&mut stalled, &mut account, ROWS).await;
    assert!(account.missed > 0, "{account:?}");
    scene.end().await;
}

#[actix_web::test]
async fn a_slow_client_is_disconnected_if_so_configured() {
    let limits = Limits {
        when_slow: WhenSlow::Disconnect,
        ..limits()
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
        write: Duration::from_millis(100),
        ..limits()
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
