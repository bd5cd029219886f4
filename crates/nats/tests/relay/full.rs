//! Streams that have no room.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use pgherald_core::group::Group;
use pgherald_nats::contract::{Heartbeat, Prefix};
use pgherald_nats::{RelayOptions, StreamOptions};

use crate::support::{LIMIT, STREAM, Scene, eventually, local, options};

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
        let status = eventually("the error in the status", async || {
            let status = Group::new(&scene.client, "fleet").status().await.unwrap();
            match &status.destination_error {
                Some(error) if error.contains("is full") => Ok(status),
                _ => Err(status),
            }
        })
        .await;
        assert!(status.destination.unwrap().contains("CHANGES"));
        assert!(status.destination_usage.is_some());
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

#[tokio::test]
async fn slice_sends_no_heartbeat_before_its_resync_is_stored() {
    local(async {
        let scene = Scene::new().await;
        let create = || StreamOptions::new().max_messages(100).refuse_new();
        let first = scene.relay(options("first").create(create()));
        scene.write(1..=100).await;
        scene.until_relayed().await;
        first.drained().await;
        let client = async_nats::connect(scene.nats.url()).await.unwrap();
        let mut heartbeats = client
            .subscribe(Prefix::default().heartbeats())
            .await
            .unwrap();
        client.flush().await.unwrap();
        // It has to announce that it does not continue the other group's position. The stream has no room for that.
        let second = RelayOptions::new("second", STREAM)
            .slices(2)
            .heartbeat(Duration::from_millis(50))
            .create(create());
        let second = scene.relay(second);
        second
            .until("refused announcements", |handle| {
                handle.report().refused >= 10
            })
            .await;
        let of_second =
            |message: &async_nats::Message| Heartbeat::parse(&message.payload).unwrap().slices == 2;
        while let Some(Some(message)) = heartbeats.next().now_or_never() {
            assert!(!of_second(&message), "{message:?}");
        }
        let mut config = scene.stream().await.cached_info().config.clone();
        config.max_messages = -1;
        scene.jetstream().await.update_stream(config).await.unwrap();
        let heard = async { while !of_second(&heartbeats.next().await.unwrap()) {} };
        tokio::time::timeout(LIMIT, heard).await.unwrap();
        // One of each slice, and that of a new group.
        second
            .until("the resyncs", |handle| handle.report().resyncs == 3)
            .await;
    })
    .await;
}

#[tokio::test]
async fn batches_are_refused_while_the_stream_has_too_many_unfinished_ones() {
    local(async {
        let scene = Scene::new().await;
        let relay = scene.relay(options("fleet"));
        scene.write(1..=10).await;
        scene.until_relayed().await;
        let context = scene.jetstream().await;
        for batch in 0..50 {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Nats-Batch-Id", format!("unfinished-{batch}"));
            headers.insert("Nats-Batch-Sequence", "1");
            let begun = context.publish_with_headers("pg.9.$control", headers, "".into());
            begun.await.unwrap().await.ok();
        }
        scene.write(1..=100).await;
        relay.until_degraded("as many unfinished batches").await;
        // The server gives up the unfinished ones after a while.
        scene.until_relayed().await;
        assert_eq!(relay.handle.report().unknown, 0);
    })
    .await;
}
