//! The protocol of PGCacheWatch.

use std::time::Duration;

use pgherald_distributor::Limits;
use pgherald_testkit::Postgres;

use crate::support::Scene;

#[actix_web::test]
async fn each_payload_is_one_frame_byte_for_byte() {
    let scene = Scene::new(Limits::default()).await;
    let mut one = scene.ws("/pgpubsub/c1").await;
    let mut odd = scene.ws("/pgpubsub/c%20%22%27%3B--%C3%BC").await;
    for payload in [
        "",
        "x",
        "{\"a\": 1}",
        "line\r\n\u{1}ü😀",
        &"y".repeat(7_999),
    ] {
        scene.notify("c1", payload).await;
        assert_eq!(one.next().await.as_deref(), Ok(payload));
        scene.notify("c \"';--ü", payload).await;
        assert_eq!(odd.next().await.as_deref(), Ok(payload));
    }
    scene.clients(2).await;
    one.close().await;
    odd.close().await;
    scene.clients(0).await;
    assert!(scene.channels.is_empty());
    scene.end().await;
}

#[actix_web::test]
async fn nothing_is_lost_right_after_connect() {
    let scene = Scene::new(Limits::default()).await;
    for round in 0..100 {
        let channel = format!("c{}", round % 3);
        let mut socket = scene.ws(&format!("/pgpubsub/{channel}")).await;
        for n in 0..3 {
            scene.notify(&channel, &format!("{round} {n}")).await;
        }
        for n in 0..3 {
            assert_eq!(socket.next().await, Ok(format!("{round} {n}")));
        }
        // Every other client goes away without closing.
        if round % 2 == 0 {
            socket.close().await;
        }
    }
    scene.clients(0).await;
    assert!(scene.channels.is_empty());
    scene.end().await;
}

#[actix_web::test]
async fn sockets_are_closed_when_the_database_is_lost_and_accepted_when_it_is_back() {
    let server = Postgres::start().await.unwrap();
    let limits = Limits {
        upgrade: Duration::from_millis(300),
        ..Limits::default()
    };
    let scene = Scene::on(server.url(), limits).await;
    let mut socket = scene.ws("/pgpubsub/c").await;
    scene.notify("c", "1").await;
    assert_eq!(socket.next().await.as_deref(), Ok("1"));
    server.stop().await.unwrap();
    assert_eq!(socket.next().await, Err(1012));
    let refused = scene.try_ws("/pgpubsub/c").await.err().unwrap();
    assert_eq!(refused, 503);
    server.start_again().await.unwrap();
    let mut socket = loop {
        match scene.try_ws("/pgpubsub/c").await {
            Ok(socket) => break socket,
            Err(status) => assert_eq!(status, 503),
        }
    };
    let config: pgherald_core::ConnectConfig = scene.database.parse().unwrap();
    let client = config.client().await.unwrap();
    client.batch_execute("NOTIFY c, '2'").await.unwrap();
    assert_eq!(socket.next().await.as_deref(), Ok("2"));
    scene.end().await;
}
