//! When relays are live: also without slices, and while their group is paused.

use pgherald_core::group::Group;
use pgherald_testkit::FaultProxy;

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
        let proxy = FaultProxy::start((scene.nats.host(), scene.nats.port()))
            .await
            .unwrap();
        let config = nats(&proxy.url(&scene.nats.url())).only_these_servers();
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
