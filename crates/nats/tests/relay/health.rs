//! When relays are live: also without slices, and while their group is paused.

use std::cell::Cell;
use std::time::{Duration, Instant};

use pgherald_core::group::Group;
use pgherald_nats::Relay;
use tokio::net::TcpListener;

use crate::support::{Scene, local, nats, options};

#[tokio::test]
async fn relay_of_a_paused_group_is_live() {
    local(async {
        let scene = Scene::new().await;
        let first = scene.relay(options("fleet"));
        scene.write(1..=10).await;
        scene.until_relayed().await;
        first.drained().await;
        Group::new(&scene.client, "fleet").pause().await.unwrap();
        let second = scene.relay(options("fleet"));
        second
            .until("live", |handle| handle.health().borrow().is_live())
            .await;
        scene.write(1..=10).await;
        scene.nats.stop().await.unwrap();
        second.until_degraded("NATS").await;
        scene.nats.start_again().await.unwrap();
        second
            .until("live", |handle| handle.health().borrow().is_live())
            .await;
        assert_eq!(scene.stored().await.len(), 10, "the group is paused");
        Group::new(&scene.client, "fleet").resume().await.unwrap();
        scene.until_relayed().await;
    })
    .await;
}

#[tokio::test]
async fn problem_of_a_relay_ends_after_it_has_given_its_slices_away() {
    local(async {
        let scene = Scene::new().await;
        let (proxy, config) = scene.behind_proxy().await;
        let relay = scene.relay_at(config, options("fleet").slices(1));
        scene.write(1..=10).await;
        scene.until_relayed().await;
        proxy.refuse();
        proxy.cut();
        scene.write(1..=10).await;
        relay.until_degraded("NATS").await;
        // Another node joins, to which the only slice belongs because of its id.
        scene
            .run(
                "INSERT INTO pgherald.consumer_node (group_name, id, description, lease_until, lease)
                 VALUES ('fleet', 0, 'another', clock_timestamp() + '1 hour', '1 hour')",
            )
            .await;
        relay
            .until("no slice", |handle| handle.report().consumer.slices == 0)
            .await;
        proxy.resume();
        relay
            .until("live", |handle| handle.health().borrow().is_live())
            .await;
        assert_eq!(relay.handle.report().consumer.destination_error, None);
    })
    .await;
}

#[tokio::test]
async fn heartbeats_do_not_connect_to_a_server_that_does_not_answer() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        // Without the database, nothing else connects to NATS.
        let database = "postgresql://nobody@127.0.0.1:1/none".parse().unwrap();
        let options = options("fleet").heartbeat(Duration::from_millis(50));
        let (_handle, relay) = Relay::new(database, nats(&url), options).unwrap();
        let connections = Cell::new(0);
        let accept = async {
            loop {
                let silent = listener.accept().await.unwrap();
                connections.set(connections.get() + 1);
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                    drop(silent);
                });
            }
        };
        let begun = Instant::now();
        let ended = async {
            while connections.get() < 10 && begun.elapsed() < Duration::from_secs(5) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = relay.run() => panic!("the relay has ended"),
            () = accept => {}
            () = ended => {}
        }
        assert!(connections.get() < 10, "in {:?}", begun.elapsed());
    })
    .await;
}
