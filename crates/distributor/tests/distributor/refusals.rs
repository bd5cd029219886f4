//! Requests and clients that are refused.

use std::time::Duration;

use actix_web::web::Bytes;
use awc::ws::Message;
use pgherald_distributor::Limits;

use crate::support::{Scene, Socket};

#[actix_web::test]
async fn up_answers_without_a_client() {
    let scene = Scene::new(Limits::default()).await;
    assert_eq!(scene.get("/up").await, (200, String::new()));
    scene.end().await;
}

#[actix_web::test]
async fn other_channels_and_bad_names_are_refused_before_anything_is_listened_to() {
    let scene = Scene::new(Limits::default()).await;
    assert_eq!(scene.refused_ws("/pgpubsub/secret", &[]).await, 403);
    assert_eq!(scene.refused_ws("/pgpubsub/%20c", &[]).await, 403);
    let long = format!("/pgpubsub/{}", "c".repeat(64));
    assert_eq!(scene.refused_ws(&long, &[]).await, 400);
    assert_eq!(scene.refused_ws("/pgpubsub/c%00", &[]).await, 400);
    assert_eq!(scene.refused_ws("/pgpubsub/", &[]).await, 404);
    assert_eq!(scene.get("/pgpubsub/c").await.0, 426);
    assert_eq!(scene.get("/v1/ws").await.0, 426);
    let upgrade = "upgrade: websocket\r\n";
    let (status, ..) = scene.request("/pgpubsub/c", upgrade).await;
    assert_eq!(status, 400, "without a key");
    scene.clients(0).await;
    assert!(scene.channels.is_empty());
    scene.end().await;
}

#[actix_web::test]
async fn clients_beyond_the_limit_are_refused_until_others_leave() {
    let limits = Limits {
        clients_per_address: 2,
        ..Limits::default()
    };
    let scene = Scene::new(limits).await;
    let first = scene.ws("/pgpubsub/c").await;
    let _second = scene.ws("/v1/ws").await;
    for path in ["/pgpubsub/c", "/v1/ws"] {
        assert_eq!(scene.refused_ws(path, &[]).await, 429);
    }
    let (status, body) = scene.get("/v1/events").await;
    assert_eq!(status, 429);
    assert!(
        body.starts_with(r#"{"error":{"code":"too_many_clients","message":""#),
        "{body}"
    );
    // It does not close its socket.
    drop(first);
    scene.clients(1).await;
    let _third = scene.sse("/v1/events").await;
    scene.clients(2).await;
    scene.end().await;
}

#[actix_web::test]
async fn a_client_that_goes_away_without_a_word_frees_its_place() {
    let scene = Scene::new(Limits::default()).await;
    for _ in 0..20 {
        let sse = scene.sse("/v1/events").await;
        let ws = scene.ws("/v1/ws").await;
        scene.clients(2).await;
        drop((sse, ws));
        scene.clients(0).await;
    }
    scene.end().await;
}

#[actix_web::test]
async fn clients_that_send_messages_are_disconnected() {
    let scene = Scene::new(Limits::default()).await;
    let messages = [
        (Message::Text("hello".into()), 1008),
        (Message::Binary(Bytes::from_static(b"hello")), 1008),
        (Message::Text("x".repeat(5_000).into()), 1009),
    ];
    for (message, code) in messages {
        let mut socket = scene.ws("/pgpubsub/c").await;
        socket.send(message).await;
        assert_eq!(socket.next().await, Err(code));
    }
    let mut socket = scene.ws("/pgpubsub/c").await;
    socket.send(Message::Ping(Bytes::from_static(b"1"))).await;
    socket.pong(b"1").await;
    scene.end().await;
}

#[actix_web::test]
async fn a_client_that_answers_no_pings_is_disconnected() {
    let limits = Limits {
        heartbeat: Duration::from_millis(20),
        idle: Duration::from_secs(1),
        ..Limits::default()
    };
    let scene = Scene::new(limits).await;
    let mut silent = scene.ws("/pgpubsub/c").await;
    assert_eq!(silent.close_code_without_pongs().await, 1008);
    // One that answers stays.
    let mut answering: Socket = scene.ws("/v1/ws").await;
    let mut heartbeats = 0;
    while heartbeats < 20 {
        let text = answering.next().await.unwrap();
        heartbeats += usize::from(text.contains("heartbeat"));
    }
    scene.end().await;
}
