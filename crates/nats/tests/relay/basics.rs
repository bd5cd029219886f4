//! What a relay stores, and how it continues.

use std::collections::HashMap;
use std::time::Duration;

use actix::Actor as _;
use futures_util::StreamExt as _;
use pgherald_actors::Drain;
use pgherald_core::Operation;
use pgherald_core::group::{Group, Seek};
use pgherald_nats::contract::{Heartbeat, Prefix, headers};
use pgherald_testkit::nats::NatsServer;

use crate::support::{Kind, LIMIT, Scene, Stored, events, local, options, resyncs};

#[tokio::test]
async fn each_event_is_stored_once_in_the_order_of_its_row() {
    local(async {
        let scene = Scene::new().await;
        scene.write(1..=100).await;
        let relay = scene.relay(options("fleet"));
        scene.write(1..=100).await;
        scene.run("DELETE FROM jobs WHERE id > 50").await;
        let stored = scene.until_relayed().await;
        let mut last = HashMap::new();
        for one in &stored {
            let key = one.headers.get(headers::KEY).unwrap().as_str().to_owned();
            let (slice, id) = last.entry(key).or_insert((one.slice, 0));
            assert!(*slice == one.slice && *id < one.event().unwrap(), "{one:?}");
            *id = one.event().unwrap();
        }
        assert_eq!(last.len(), 100);
        let deleted = stored.iter().filter(|one| {
            matches!(
                one.kind,
                Kind::Event {
                    operation: Operation::Delete,
                    ..
                }
            )
        });
        assert_eq!(deleted.count(), 50);
        let report = relay.handle.report();
        assert_eq!(
            (report.events, report.fenced, report.truncated),
            (250, 0, 0),
            "{report:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn messages_have_the_payload_and_the_headers_of_the_contract() {
    local(async {
        let scene = Scene::new().await;
        scene.run("INSERT INTO jobs VALUES (7, 1, 'ü')").await;
        let _relay = scene.relay(options("fleet"));
        let stored = scene.until_relayed().await;
        let [one] = &stored[..] else { panic!("{stored:?}") };
        let row = scene
            .client
            .query_one("SELECT id, xid::text, (extract(epoch FROM sent_at) * 1000000)::bigint FROM pgherald.outbox", &[])
            .await
            .unwrap();
        let header = |name| one.headers.get(name).unwrap().as_str().to_owned();
        assert_eq!(header(headers::EVENT), row.get::<_, i64>(0).to_string());
        assert_eq!(header(headers::TRANSACTION), row.get::<_, String>(1));
        assert_eq!(header(headers::RECORDED), row.get::<_, i64>(2).to_string());
        assert_eq!(header(headers::TRACEPARENT).len(), 55);
        assert!(header(headers::CURSOR).contains(':') && header(headers::HISTORY).contains(','));
        for part in [r#"{"type":"event","event":{"v":1,"operation":"insert""#, r#""note":"ü""#, r#""keys":[7]"#] {
            assert!(one.payload.contains(part), "{}", one.payload);
        }
    })
    .await;
}

#[tokio::test]
async fn new_group_announces_that_earlier_changes_are_not_in_the_stream() {
    local(async {
        let scene = Scene::new().await;
        scene.write(1..=5).await;
        let options = pgherald_nats::RelayOptions::new("fleet", crate::support::STREAM)
            .create(pgherald_nats::StreamOptions::new());
        let _relay = scene.relay(options);
        let stored = scene
            .until("the first resync", |stored| !stored.is_empty())
            .await;
        assert_eq!(resyncs(&stored, "started").len(), 1);
        scene.write(6..=6).await;
        let stored = scene.until("the event", |stored| stored.len() > 1).await;
        assert_eq!(events(&stored).len(), 1);
    })
    .await;
}

#[tokio::test]
async fn relay_continues_after_it_was_drained_or_dropped() {
    local(async {
        let scene = Scene::new().await;
        for round in 0..4 {
            let relay = scene.relay(options("fleet"));
            scene.write(1..=200).await;
            scene.until_relayed().await;
            if round % 2 == 0 {
                relay.drained().await;
            }
        }
        let relay = scene.relay(options("fleet"));
        scene.write(1..=1).await;
        let stored = scene.until_relayed().await;
        assert_eq!(relay.handle.report().resyncs, 0);
        assert!(stored.iter().all(|one| one.resync().is_none()));
    })
    .await;
}

#[tokio::test]
async fn relays_share_slices_and_take_over_those_of_a_dropped_one() {
    local(async {
        let scene = Scene::new().await;
        let one = scene.relay(options("fleet"));
        let other = scene.relay(options("fleet"));
        let half = |report: &pgherald_nats::RelayHandle| report.report().consumer.slices == 2;
        one.until("half of the slices", half).await;
        other.until("half of the slices", half).await;
        scene.write(1..=300).await;
        scene.until_relayed().await;
        assert!(one.handle.report().events > 0 && other.handle.report().events > 0);
        drop(one);
        scene.write(1..=300).await;
        scene.until_relayed().await;
        assert_eq!(other.handle.report().consumer.slices, 4);
    })
    .await;
}

#[tokio::test]
async fn events_that_are_too_large_are_stored_without_columns() {
    local(async {
        let nats = NatsServer::builder()
            .max_payload(16 * 1_024)
            .start()
            .await
            .unwrap();
        let scene = Scene::with(nats).await;
        scene
            .run("INSERT INTO jobs SELECT i, i, repeat('x', 40000) FROM generate_series(1, 3) AS i")
            .await;
        scene.run("INSERT INTO jobs VALUES (4, 4, 'small')").await;
        let relay = scene.relay(options("fleet"));
        let stored = scene.until_relayed().await;
        let truncated = |one: &&Stored| one.headers.get(headers::TRUNCATED).is_some();
        let (without, with): (Vec<_>, Vec<_>) = stored.iter().partition(truncated);
        assert_eq!((without.len(), with.len()), (3, 1));
        assert!(
            without
                .iter()
                .all(|one| !one.payload.contains("columns") && one.payload.contains("keys"))
        );
        assert_eq!(relay.handle.report().truncated, 3);
    })
    .await;
}

#[tokio::test]
async fn heartbeats_have_a_small_lag_until_the_relay_stops() {
    local(async {
        let scene = Scene::new().await;
        let relay = scene.relay(options("fleet"));
        let client = async_nats::connect(scene.nats.url()).await.unwrap();
        let mut heartbeats = client
            .subscribe(Prefix::default().heartbeats())
            .await
            .unwrap();
        scene.write(1..=50).await;
        let stored = scene.until_relayed().await;
        let last = stored
            .iter()
            .filter(|one| one.slice == 2)
            .map(|one| one.sequence)
            .max();
        let caught_up = async {
            loop {
                let message = heartbeats.next().await.unwrap();
                let heartbeat = Heartbeat::parse(&message.payload).unwrap();
                assert_eq!((heartbeat.slices, heartbeat.interval_ms), (4, 100));
                let is_it = heartbeat.slice == 2 && Some(heartbeat.sequence) == last;
                if is_it && heartbeat.lag() < Duration::from_secs(5) {
                    return;
                }
            }
        };
        tokio::time::timeout(LIMIT, caught_up).await.unwrap();
        assert_eq!(
            scene.stored().await.len(),
            stored.len(),
            "heartbeats are not stored"
        );
        relay.drained().await;
        // Heartbeats that were sent before may still arrive.
        let silence = async {
            while let Ok(Some(_)) =
                tokio::time::timeout(Duration::from_secs(1), heartbeats.next()).await
            {}
        };
        tokio::time::timeout(LIMIT, silence).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn group_of_a_relay_cannot_seek_nor_relay_elsewhere() {
    local(async {
        let scene = Scene::new().await;
        let relay = scene.relay(options("fleet"));
        relay
            .until("slices", |handle| handle.report().consumer.slices == 4)
            .await;
        let group = Group::new(&scene.client, "fleet");
        let error = group.seek(Seek::Beginning).await.unwrap_err();
        assert!(
            error.is_config() && error.to_string().contains("stored twice"),
            "{error}"
        );
        let other = scene.relay(options("fleet").prefix("other".parse().unwrap()));
        other.until_degraded("relays to").await;
    })
    .await;
}

#[actix::test]
async fn relay_runs_in_an_actor_until_it_is_drained() {
    let scene = Scene::new().await;
    let (handle, relay) =
        pgherald_nats::Relay::new(scene.config(), scene.nats(), options("fleet")).unwrap();
    let relay = pgherald_nats::RelayActor::new(handle, relay).start();
    scene.write(1..=50).await;
    scene.until_relayed().await;
    let report = relay.send(Drain { deadline: LIMIT }).await.unwrap();
    assert!(report.to_string().contains("fleet"), "{report}");
    scene.write(1..=50).await;
    assert_eq!(scene.stored().await.len(), 50, "the actor has stopped");
}

#[tokio::test]
async fn group_of_the_most_slices_stores_a_transaction_of_many_pages() {
    local(async {
        let scene = Scene::new().await;
        let options = || options("fleet").slices(1_024);
        let has_all = |handle: &pgherald_nats::RelayHandle| {
            handle.report().consumer.slices == 1_024 && handle.health().borrow().is_live()
        };
        let relay = scene.relay(options());
        relay.until("all slices", has_all).await;
        scene.write(1..=10_000).await;
        scene.until_relayed().await;
        drop(relay);
        let other = scene.relay(options());
        other.until("all slices", has_all).await;
        scene.write(1..=1_000).await;
        let stored = scene.until_relayed().await;
        assert!(stored.iter().all(|one| one.resync().is_none()));
    })
    .await;
}
