//! Graceful shutdown.

use std::time::Duration;

use pgherald_distributor::Limits;

use crate::support::Scene;

/// The time in a message of type `closing`.
fn retry(message: &str) -> u64 {
    let rest = message
        .strip_prefix(r#"{"type":"closing","reason":"shutdown","retry_ms":"#)
        .expect(message);
    rest.trim_end_matches('}').parse().unwrap()
}

#[actix_web::test]
async fn a_shutdown_asks_clients_to_come_back_at_different_times() {
    let scene = Scene::new(Limits::default()).await;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        let mut ws = scene.ws("/v1/ws").await;
        ws.live().await;
        sockets.push(ws);
    }
    let mut sse = scene.sse("/v1/events").await;
    let mut channel = scene.ws("/pgpubsub/c").await;
    scene.clients(12).await;
    let shutdown = scene.distributor.shutdown(Duration::from_secs(30));
    let read = async {
        let mut times = Vec::new();
        for ws in &mut sockets {
            times.push(retry(&ws.message().await));
            assert_eq!(ws.next().await, Err(1012));
        }
        times.sort_unstable();
        times.dedup();
        assert!(
            times.len() > 5 && times[times.len() - 1] <= 5_000,
            "{times:?}"
        );
        assert_eq!(channel.next().await, Err(1012));
        let mut last = String::new();
        while let Some(block) = sse.block().await {
            last = block;
        }
        let (hint, message) = last.split_once("\nevent: closing\ndata: ").expect(&last);
        assert_eq!(hint, format!("retry: {}", retry(message.trim_end())));
    };
    let (left, ()) = tokio::join!(shutdown, read);
    assert_eq!(left, 0);
    for path in ["/v1/events", "/v1/events?table=users"] {
        let (status, body) = scene.get(path).await;
        assert_eq!(status, 503);
        assert!(body.contains(r#""code":"shutdown""#), "{body}");
    }
    scene.end().await;
}
