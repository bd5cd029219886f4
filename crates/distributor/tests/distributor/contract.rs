//! The examples in `docs/distributor.md` are what the server sends.

use std::collections::BTreeSet;
use std::time::Duration;

use pgherald_distributor::Limits;
use pgherald_testkit::Postgres;
use serde_json::{Value, json};

use crate::slow_clients::{insert_many, limits};
use crate::support::Scene;

/// The fields whose values differ from run to run.
const VARYING: [&str; 8] = [
    "at",
    "id",
    "sent_at",
    "xid",
    "outbox_id",
    "missed",
    "retry_ms",
    "heartbeat_ms",
];

/// A message in which values that vary are replaced by their kind.
fn normal(json: &str) -> String {
    let mut value: Value = serde_json::from_str(json).expect(json);
    replace(&mut value);
    // Objects are sorted by their names.
    value.to_string()
}

fn replace(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    for (name, field) in fields {
        match field {
            Value::Number(_) if VARYING.contains(&&**name) => *field = json!("a number"),
            // Times have as many digits as they need, and positions as many numbers.
            Value::String(_) if VARYING.contains(&&**name) => *field = json!("a text"),
            other => replace(other),
        }
    }
}

#[actix_web::test]
async fn examples_in_the_documentation_are_what_the_server_sends() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/distributor.md");
    let page = std::fs::read_to_string(path).unwrap();
    let examples: BTreeSet<String> = page
        .split("```json\n")
        .skip(1)
        .map(|rest| normal(rest.split("\n```").next().unwrap()))
        .collect();

    let server = Postgres::start().await.unwrap();
    let limits = Limits {
        heartbeat: Duration::from_millis(300),
        ..limits()
    };
    let scene = Scene::on(server.url(), limits).await;
    let mut sent = BTreeSet::new();
    sent.insert(normal(&scene.get("/v1/events?tables=a").await.1));
    sent.insert(normal(&scene.get("/v1/events?table=app.users").await.1));
    let mut ws = scene.ws("/v1/ws").await;
    ws.live().await;
    insert_many(&scene).await;
    let mut all = scene.ws("/v1/ws").await;
    // Up to here all messages of `all` are recorded, then others of `ws`, which has not read.
    loop {
        let message = all.next().await.unwrap();
        sent.insert(normal(&message));
        if message.contains("live") {
            break;
        }
    }
    scene.notify("pgherald", "no event").await;
    scene.sql("DELETE FROM users").await;
    scene.insert(7, "a", "hello").await;
    while !all_of(&mut all, &mut sent).await.contains("hello") {}
    while !all_of(&mut all, &mut sent).await.contains("heartbeat") {}
    while !all_of(&mut ws, &mut sent).await.contains("lagged") {}
    server.stop().await.unwrap();
    while !all_of(&mut all, &mut sent).await.contains("down") {}
    let shutdown = scene.distributor.shutdown(Duration::ZERO);
    shutdown.await;
    while !all_of(&mut all, &mut sent).await.contains("closing") {}
    scene.end().await;
    continued(&mut sent).await;
    let missing: Vec<_> = examples.difference(&sent).collect();
    assert!(missing.is_empty(), "{missing:#?} were not sent");
    assert_eq!(examples.len(), 13, "examples in the page");
}

/// The messages of streams that can be continued.
async fn continued(sent: &mut BTreeSet<String>) {
    let limits = Limits {
        heartbeat: Duration::from_millis(300),
        ..Limits::default()
    };
    let scene = Scene::recorded(limits).await;
    let mut ws = scene.ws("/v1/ws").await;
    while !all_of(&mut ws, sent).await.contains("live") {}
    scene.insert(7, "a", "hello").await;
    let event = loop {
        let message = all_of(&mut ws, sent).await;
        if message.contains("hello") {
            break message;
        }
    };
    while !all_of(&mut ws, sent).await.contains("heartbeat") {}
    let event: Value = serde_json::from_str(&event).unwrap();
    for since in [event["id"].as_str().unwrap(), "x"] {
        let mut ws = scene.ws(&format!("/v1/ws?since={since}")).await;
        while !all_of(&mut ws, sent).await.contains("live") {}
    }
    scene.end().await;
}

async fn all_of(socket: &mut crate::support::Socket, sent: &mut BTreeSet<String>) -> String {
    let message = socket.next().await.unwrap();
    // The rows that fill the buffers are in no example.
    if !message.contains("xxxx") {
        sent.insert(normal(&message));
    }
    message
}
