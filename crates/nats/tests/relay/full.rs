//! Streams that have no room.

use pgherald_core::group::Group;
use pgherald_nats::StreamOptions;

use crate::support::{LIMIT, Scene, local, options};

#[tokio::test]
async fn full_stream_stops_the_relay_until_it_has_room() {
    local(async {
        let scene = Scene::new().await;
        let create = StreamOptions::new().max_messages(50).refuse_new();
        let relay = scene.relay(options("fleet").create(create));
        scene.write(1..=100).await;
        relay.until_degraded("is full").await;
        relay
            .until("the error", |handle| {
                let error = handle.report().consumer.destination_error;
                error.is_some_and(|error| error.contains("is full"))
            })
            .await;
        let report = relay.handle.report().consumer;
        assert_eq!(
            (report.parked, report.dead_letters, report.errors),
            (0, 0, 0)
        );
        let mut status = Group::new(&scene.client, "fleet").status().await.unwrap();
        let started = tokio::time::Instant::now();
        while !status
            .destination_error
            .as_ref()
            .is_some_and(|error| error.contains("is full"))
        {
            assert!(started.elapsed() < LIMIT, "{status:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            status = Group::new(&scene.client, "fleet").status().await.unwrap();
        }
        assert!(status.destination.unwrap().contains("CHANGES"));
        let mut stream = scene.stream().await;
        let mut config = stream.info().await.unwrap().config.clone();
        config.max_messages = -1;
        scene.jetstream().await.update_stream(config).await.unwrap();
        scene.until_relayed().await;
        relay
            .until("live", |handle| handle.health().borrow().is_live())
            .await;
        relay
            .until("no error", |handle| {
                handle.report().consumer.destination_error.is_none()
            })
            .await;
    })
    .await;
}
