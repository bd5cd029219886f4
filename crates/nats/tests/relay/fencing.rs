//! Two relays that both believe that they own a slice, and batches whose outcome is unknown.

use std::time::Duration;

use pgherald_testkit::FaultProxy;

use crate::support::{LIMIT, Scene, events, local, nats, options};

#[tokio::test]
async fn stalled_relay_is_refused_by_the_stream_after_another_one_took_over() {
    local(async {
        let scene = Scene::new().await;
        // Its batches stay in flight.
        let (proxy, config) = scene.behind_proxy().await;
        let stalled = scene.relay_at(config.request_timeout(LIMIT), options("fleet"));
        stalled
            .until("slices", |handle| handle.report().consumer.slices == 4)
            .await;
        scene.write(1..=20).await;
        scene.until_relayed().await;
        // The batches of the first relay wait in the proxy. It still renews its lease, so the test takes its slices away.
        proxy.stall();
        scene.write(1..=20).await;
        stalled
            .until("events in flight", |handle| {
                handle.report().consumer.in_flight > 0
            })
            .await;
        scene
            .run(
                "UPDATE pgherald.consumer_slice SET node = NULL, epoch = epoch + 1;
                 UPDATE pgherald.consumer_cursor SET epoch = epoch + 1, generation = 0",
            )
            .await;
        let other = scene.relay(options("fleet"));
        scene
            .until("the events of the other relay", |stored| {
                stored.len() == 40 || other.handle.report().events > 0
            })
            .await;
        proxy.resume();
        scene.until_relayed().await;
        scene.write(1..=20).await;
        let stored = scene.until_relayed().await;
        assert_eq!(events(&stored).len(), 60);
        assert!(
            stalled.handle.report().fenced > 0,
            "{:?}",
            stalled.handle.report()
        );
    })
    .await;
}

#[tokio::test]
async fn unknown_outcomes_are_resolved_by_the_last_message() {
    local(async {
        let scene = Scene::new().await;
        let proxy = FaultProxy::start((scene.nats.host(), scene.nats.port()))
            .await
            .unwrap();
        let url = proxy.url(&scene.nats.url());
        let limit = Duration::from_millis(200);
        let config = nats(&url).only_these_servers().request_timeout(limit);
        let relay = scene.relay_at(config, options("fleet"));
        for round in 0..10 {
            scene.write(1..=100).await;
            scene.until_relayed().await;
            // Batches arrive, but too late for the relay, or not at all.
            proxy.delay(limit + Duration::from_millis(50));
            let before = relay.handle.report().unknown;
            scene.write(1..=100).await;
            relay
                .until("an unknown outcome", |handle| {
                    handle.report().unknown > before
                })
                .await;
            if round % 2 == 0 {
                proxy.cut();
            }
            proxy.resume();
        }
        scene.until_relayed().await;
        assert_eq!(relay.handle.report().resyncs, 0);
    })
    .await;
}

#[tokio::test]
async fn killed_server_keeps_what_it_acknowledged() {
    local(async {
        let scene = Scene::new().await;
        let _relay = scene.relay(options("fleet"));
        for _ in 0..5 {
            scene.write(1..=500).await;
            scene.nats.kill().await.unwrap();
            scene.write(1..=500).await;
            scene.nats.start_again().await.unwrap();
        }
        scene.until_relayed().await;
    })
    .await;
}
