//! PostgreSQL servers that crash, or are restored to an earlier state.

use std::time::Duration;

use pgherald_core::{Signal, Source as _};
use pgherald_nats::NatsSource;
use pgherald_nats::contract::headers;
use pgherald_testkit::nats::NatsServer;
use pgherald_testkit::{FaultProxy, Postgres};
use tokio_postgres::Client;

use crate::support::{
    LIMIT, STREAM, Scene, Stored, connect, copy_directory, events, local, options, resyncs,
};

/// Keeps relays from writing cursors until the connection ends.
async fn lock_cursors(scene: &Scene) -> Client {
    let client = connect(&scene.url).await;
    let lock = "BEGIN; LOCK TABLE pgherald.consumer_cursor IN EXCLUSIVE MODE";
    client.batch_execute(lock).await.unwrap();
    client
}

async fn scene_of(server: &Postgres) -> Scene {
    let url = server.create_database().await.unwrap();
    Scene::at(url, NatsServer::start().await.unwrap()).await
}

/// The same scene, with a new connection.
async fn reconnected(scene: Scene) -> Scene {
    let client = connect(&scene.url).await.into();
    Scene { client, ..scene }
}

fn with_restored(stored: &[Stored]) -> Vec<u16> {
    let mut slices = resyncs(stored, "restored");
    slices.sort_unstable();
    slices.dedup();
    slices
}

#[tokio::test]
async fn crashes_of_the_database_neither_lose_nor_duplicate_events() {
    local(async {
        let server = Postgres::builder().start().await.unwrap();
        let mut scene = scene_of(&server).await;
        let relay = scene.relay(options("fleet"));
        for _ in 0..4 {
            let before = relay.handle.report().events;
            scene.write(1..=400).await;
            // The cursors in the database are behind.
            relay
                .until("stored events", |handle| handle.report().events > before)
                .await;
            server.kill().await.unwrap();
            server.start_again().await.unwrap();
            scene = reconnected(scene).await;
        }
        scene.write(1..=10).await;
        scene.until_relayed().await;
        let report = relay.handle.report();
        assert_eq!(report.resyncs, 0, "nothing was lost: {report:?}");
    })
    .await;
}

#[tokio::test]
async fn events_of_an_earlier_history_are_listed_until_they_were_read_again() {
    local(async {
        let server = Postgres::builder().start().await.unwrap();
        let mut scene = scene_of(&server).await;
        let (proxy, config) = scene.behind_proxy().await;
        let first = scene.relay_at(config.request_timeout(LIMIT), options("fleet"));
        scene.write(1..=100).await;
        scene.until_relayed().await;
        // The next events are stored, and no cursor is written afterwards.
        proxy.stall();
        scene.write(1..=100).await;
        first
            .until("events in flight", |handle| {
                handle.report().consumer.in_flight == 100
            })
            .await;
        let _blocked = lock_cursors(&scene).await;
        proxy.resume();
        scene.until_relayed().await;
        server.kill().await.unwrap();
        server.start_again().await.unwrap();
        scene = reconnected(scene).await;
        first
            .until("the slices", |handle| {
                let report = handle.report();
                report.consumer.slices == 4 && handle.health().borrow().is_live()
            })
            .await;
        let listed = "SELECT count(*)::text FROM pgherald.consumer_cursor WHERE stored LIKE '%-%'";
        scene.until_text(listed, "4").await;
        first.drained().await;
        let second = scene.relay(options("fleet"));
        // The second batch of each slice is stored after everything before it was read.
        for _ in 0..2 {
            scene.write(1..=100).await;
            scene.until_relayed().await;
        }
        let stored = scene.until_relayed().await;
        assert_eq!(listing(&stored), [0_u16; 0]);
        assert_eq!(second.handle.report().resyncs, 0);
    })
    .await;
}

/// An event that is stored already follows the last event of a batch. The relay is killed before it has written the cursor.
#[tokio::test]
async fn events_that_are_skipped_after_a_batch_are_not_stored_again() {
    local(async {
        let server = Postgres::builder().start().await.unwrap();
        let mut scene = scene_of(&server).await;
        let (proxy, config) = scene.behind_proxy().await;
        let options = || options("fleet").slices(1);
        let first = scene.relay_at(config.request_timeout(LIMIT), options());
        scene.write(1..=1).await;
        scene.until_relayed().await;
        // The event of this transaction has a smaller id than the next event, and is committed later.
        let early = connect(&scene.url).await;
        let insert = "BEGIN; INSERT INTO jobs VALUES (2, 1)";
        early.batch_execute(insert).await.unwrap();
        proxy.stall();
        scene.write(3..=3).await;
        first
            .until("an event in flight", |handle| {
                handle.report().consumer.in_flight == 1
            })
            .await;
        let _blocked = lock_cursors(&scene).await;
        proxy.resume();
        scene.until_relayed().await;
        drop(first);
        early.batch_execute("COMMIT").await.unwrap();
        server.kill().await.unwrap();
        server.start_again().await.unwrap();
        scene = reconnected(scene).await;
        let column = |name: &str| format!("SELECT {name} FROM pgherald.consumer_cursor");
        let cursor = scene.text(&column("cursor")).await;
        let known = scene.text(&column("stored")).await;
        let second = scene.relay(options());
        scene.until_relayed().await;
        drop(second);
        // As if the relay had ended before it wrote the cursor.
        scene
            .run(&format!(
                "UPDATE pgherald.consumer_slice SET node = NULL, epoch = epoch + 1;
                 UPDATE pgherald.consumer_cursor
                 SET epoch = epoch + 1, generation = 0, cursor = '{cursor}', stored = '{known}'"
            ))
            .await;
        let _third = scene.relay(options());
        scene.write(4..=4).await;
        let last = scene
            .text("SELECT max(id)::text FROM pgherald.outbox")
            .await;
        let stored = scene
            .until("the last event", |stored| {
                events(stored).iter().any(|id| id.to_string() == last)
            })
            .await;
        assert_eq!(events(&stored).len(), 4, "{:?}", events(&stored));
    })
    .await;
}

/// Returns the slices whose last message lists earlier ones.
fn listing(stored: &[Stored]) -> Vec<u16> {
    let last = |slice: u16| stored.iter().rfind(|one| one.slice == slice).unwrap();
    let lists = |slice: &u16| last(*slice).headers.get(headers::LISTED).is_some();
    (0..4).filter(lists).collect()
}

#[tokio::test]
async fn restored_database_is_announced_in_slices_that_lost_events() {
    local(async {
        let server = Postgres::builder().start().await.unwrap();
        let mut scene = scene_of(&server).await;
        let relay = scene.relay(options("fleet"));
        scene.write(1..=100).await;
        let stored = scene.until_relayed().await;
        scene
            .until_known("fleet", stored.last().unwrap().sequence)
            .await;
        server.stop().await.unwrap();
        let (data, saved) = (server.data_dir(), server.data_dir().with_extension("saved"));
        copy_directory(data, &saved);
        server.start_again().await.unwrap();
        scene = reconnected(scene).await;
        scene.write(1..=100).await;
        scene.until_relayed().await;
        server.stop().await.unwrap();
        std::fs::remove_dir_all(data).unwrap();
        copy_directory(&saved, data);
        server.start_again().await.unwrap();
        scene = reconnected(scene).await;
        scene.run("UPDATE jobs SET value = 1000").await;
        let stored = scene
            .until("the later events", |stored| {
                let new = stored.iter().filter(|one| is_new(one));
                new.count() == 100
            })
            .await;
        assert_eq!(with_restored(&stored), [0, 1, 2, 3]);
        assert_eq!(relay.handle.report().resyncs, 4, "one for each slice");
        let new = stored.iter().filter(|one| is_new(one));
        let first = new.map(|one| one.sequence).min().unwrap();
        assert!(resync_before(&stored, first), "{stored:?}");
        assert_eq!(events(&stored).len(), 300);
    })
    .await;
}

fn is_new(one: &Stored) -> bool {
    one.payload.contains(r#""value":1000,"#)
}

fn resync_before(stored: &[Stored], sequence: u64) -> bool {
    let slice = stored
        .iter()
        .find(|one| one.sequence == sequence)
        .unwrap()
        .slice;
    let mut of = stored
        .iter()
        .filter(|one| one.slice == slice && one.sequence < sequence);
    of.next_back()
        .is_some_and(|one| one.resync() == Some("restored"))
}

/// A cache may have loaded a change that the crash loses before a relay has stored it.
#[tokio::test]
async fn source_that_stays_live_emits_a_resync_after_a_crash_of_the_database() {
    local(async {
        let server = Postgres::builder().start().await.unwrap();
        let mut scene = scene_of(&server).await;
        scene.run("ALTER SYSTEM SET wal_writer_delay = '10s'").await;
        scene.run("SELECT pg_reload_conf()").await;
        let proxy = FaultProxy::start((server.host(), server.port()))
            .await
            .unwrap();
        let config = proxy.url(&scene.url).parse().unwrap();
        let _relay = scene.relay_of(config, options("fleet"));
        scene.write(1..=10).await;
        scene.until_relayed().await;
        let source = NatsSource::builder(scene.nats(), STREAM).max_lag(LIMIT);
        let mut source = source.build().unwrap();
        while !matches!(source.next().await, Signal::Live) {}
        proxy.stall();
        scene
            .run("SET synchronous_commit = off; UPDATE jobs SET value = 99 WHERE id = 1")
            .await;
        assert_eq!(
            scene
                .text("SELECT value::text FROM jobs WHERE id = 1")
                .await,
            "99"
        );
        server.kill().await.unwrap();
        proxy.cut();
        proxy.resume();
        server.start_again().await.unwrap();
        scene = reconnected(scene).await;
        assert_eq!(
            scene
                .text("SELECT value::text FROM jobs WHERE id = 1")
                .await,
            "1"
        );
        let writing = async {
            loop {
                scene.write(2..=10).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let reading = async {
            // Events from before the crash may arrive first.
            for _ in 0..20 {
                match source.next().await {
                    Signal::Resync(resync) => return resync.to_string(),
                    Signal::Events(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            "events only".to_owned()
        };
        let word = tokio::select! {
            () = writing => unreachable!(),
            word = tokio::time::timeout(LIMIT, reading) => word.unwrap(),
        };
        assert_eq!(word, "restored");
    })
    .await;
}
