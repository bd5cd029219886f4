//! Relays that a herald starts.

use std::time::Duration;

use pgherald_actors::Herald;
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{Filter, TableName};
use pgherald_nats::{Relay, RelayOptions};

use crate::support::{LIMIT, STREAM, Scene, options};

async fn herald(scene: &Scene, live_within: Duration) -> Herald {
    let table = TableName::new("public", "jobs").unwrap();
    Herald::builder(scene.config())
        .watch_with(TriggerSpec::new(table).every_column().outbox())
        .live_within(live_within)
        .start()
        .await
        .unwrap()
}

#[actix::test]
async fn relay_stores_events_from_its_start_until_the_shutdown() {
    let scene = Scene::new().await;
    let herald = herald(&scene, LIMIT).await;
    let (handle, _) = Relay::start(&herald, scene.nats(), options("fleet"))
        .await
        .unwrap();
    assert!(handle.health().borrow().is_live());
    scene.write(1..=50).await;
    scene.until_relayed().await;
    let required =
        "SELECT table_name FROM pgherald.consumer_requirement WHERE group_name = 'fleet'";
    assert_eq!(scene.text(required).await, "jobs");

    scene.write(51..=100).await;
    let report = herald.shutdown(LIMIT).await.unwrap();
    assert_eq!(report.handlers.len(), 1, "{report:?}");
    let nodes = "SELECT count(*)::text FROM pgherald.consumer_node";
    assert_eq!(scene.text(nodes).await, "0", "the relay has left its group");
    let error = Relay::start(&herald, scene.nats(), options("fleet")).await;
    assert!(error.is_err());
}

#[actix::test]
async fn relay_without_events_or_stream_is_refused() {
    let scene = Scene::new().await;
    let herald = herald(&scene, Duration::from_secs(5)).await;
    let others = options("fleet").filter(Filter::new().table("public", "users"));
    let error = Relay::start(&herald, scene.nats(), others).await;
    let error = error.map(drop).unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains("no events"),
        "{error:?}"
    );

    let error = Relay::start(&herald, scene.nats(), RelayOptions::new("fleet", STREAM)).await;
    let error = error.map(drop).unwrap_err().chain();
    for part in ["group \"fleet\"", "there is no stream \"CHANGES\""] {
        assert!(error.contains(part), "{error}");
    }
}
