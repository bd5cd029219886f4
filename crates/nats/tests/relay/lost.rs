//! Streams that lose messages, because they are purged, deleted, created again or restored.

use std::path::Path;

use pgherald_core::group::Group;
use pgherald_nats::StreamOptions;
use pgherald_nats::contract::Prefix;
use pgherald_testkit::nats::NatsServer;

use crate::support::{Scene, Stored, copy_directory, events, local, options, resyncs};

fn all_slices(stored: &[Stored]) -> Vec<u16> {
    let mut slices = resyncs(stored, "destination_lost");
    slices.sort_unstable();
    slices
}

/// Relays some events, and waits until the database knows the last one.
async fn relayed(scene: &Scene) -> Vec<Stored> {
    scene.write(1..=100).await;
    let stored = scene.until_relayed().await;
    scene
        .until_known("fleet", stored.last().unwrap().sequence)
        .await;
    stored
}

#[tokio::test]
async fn purged_stream_causes_one_resync_per_slice() {
    local(async {
        let scene = Scene::new().await;
        let relay = scene.relay(options("fleet"));
        relayed(&scene).await;
        scene.stream().await.purge().await.unwrap();
        scene.write(1..=100).await;
        let stored = scene
            .until("the later events", |stored| events(stored).len() == 100)
            .await;
        assert_eq!(all_slices(&stored), [0, 1, 2, 3]);
        for slice in 0..4 {
            let first = stored.iter().find(|one| one.slice == slice).unwrap();
            assert_eq!(
                first.resync(),
                Some("destination_lost"),
                "before the events"
            );
        }
        assert_eq!(relay.handle.report().resyncs, 4);
        // The loss is announced only once.
        scene.write(1..=100).await;
        let stored = scene
            .until("the last events", |stored| events(stored).len() == 200)
            .await;
        assert_eq!(all_slices(&stored).len(), 4);
    })
    .await;
}

#[tokio::test]
async fn purge_while_no_relay_runs_is_announced_by_the_next_one() {
    local(async {
        let scene = Scene::new().await;
        let relay = scene.relay(options("fleet"));
        relayed(&scene).await;
        relay.drained().await;
        scene.stream().await.purge().await.unwrap();
        let _relay = scene.relay(options("fleet"));
        let stored = scene.until("the resyncs", |stored| stored.len() == 4).await;
        assert_eq!(all_slices(&stored), [0, 1, 2, 3]);
    })
    .await;
}

#[tokio::test]
async fn deleted_stream_is_created_again_and_announced() {
    local(async {
        let scene = Scene::new().await;
        let _relay = scene.relay(options("fleet"));
        relayed(&scene).await;
        scene
            .jetstream()
            .await
            .delete_stream(crate::support::STREAM)
            .await
            .unwrap();
        scene.write(1..=100).await;
        let stored = scene
            .until("the later events", |stored| events(stored).len() == 100)
            .await;
        assert_eq!(all_slices(&stored), [0, 1, 2, 3]);
    })
    .await;
}

#[tokio::test]
async fn idle_slices_notice_that_the_stream_was_created_again() {
    local(async {
        let scene = Scene::new().await;
        let relay = scene.relay(options("fleet"));
        relayed(&scene).await;
        let context = scene.jetstream().await;
        context.delete_stream(crate::support::STREAM).await.unwrap();
        let stored = scene.until("the resyncs", |stored| stored.len() == 4).await;
        assert_eq!(all_slices(&stored), [0, 1, 2, 3]);
        relay
            .until("live", |handle| handle.health().borrow().is_live())
            .await;
        // The loss is announced only once.
        scene.write(1..=100).await;
        let stored = scene
            .until("the later events", |stored| events(stored).len() == 100)
            .await;
        assert_eq!(all_slices(&stored).len(), 4);
    })
    .await;
}

#[tokio::test]
async fn group_with_another_number_of_slices_does_not_continue_the_old_position() {
    local(async {
        let scene = Scene::new().await;
        let relay = scene.relay(options("fleet").slices(8));
        relayed(&scene).await;
        relay.drained().await;
        Group::new(&scene.client, "fleet").delete().await.unwrap();
        // The new group begins with everything in the outbox.
        let _relay = scene.relay(options("fleet").slices(4));
        scene.write(1..=100).await;
        let stored = scene
            .until("all events", |stored| events(stored).len() == 300)
            .await;
        let mut announced = resyncs(&stored, "other_group");
        announced.sort_unstable();
        assert_eq!(announced, [0, 1, 2, 3]);
        let mut controls = stored.iter().filter(|one| one.resync().is_some());
        assert!(
            controls.all(|one| one.payload.ends_with(r#""scope":{}}"#)),
            "keys may have been in other slices"
        );
    })
    .await;
}

#[tokio::test]
async fn two_groups_under_one_prefix_are_an_error() {
    local(async {
        let scene = Scene::new().await;
        let first = scene.relay(options("first"));
        scene.write(1..=100).await;
        scene.until_relayed().await;
        let second = scene.relay(options("second"));
        scene
            .until("the second group's announcements", |stored| {
                resyncs(stored, "other_group").len() == 4
            })
            .await;
        scene.write(1..=100).await;
        first
            .until_degraded("two groups cannot store under one prefix")
            .await;
        let stored = scene
            .until("the events of the second group", |stored| {
                events(stored).len() == 300
            })
            .await;
        assert_eq!(
            resyncs(&stored, "other_group").len(),
            4,
            "the groups do not take turns"
        );
        // As the error advises.
        second.drained().await;
        scene.stream().await.purge().await.unwrap();
        first
            .until("live", |handle| handle.health().borrow().is_live())
            .await;
        scene.write(1..=100).await;
        let stored = scene
            .until("the events of the first group", |stored| {
                events(stored).len() >= 100
            })
            .await;
        assert_eq!(all_slices(&stored), [0, 1, 2, 3]);
    })
    .await;
}

#[tokio::test]
async fn stream_that_was_restored_to_an_earlier_state_is_announced() {
    local(async {
        let scene = Scene::new().await;
        let relay = scene.relay(options("fleet"));
        let before = relayed(&scene).await;
        let (store, saved) = store_of(&scene.nats);
        scene.nats.stop().await.unwrap();
        copy_directory(&store, &saved);
        scene.nats.start_again().await.unwrap();
        scene.write(1..=100).await;
        let after = scene.until_relayed().await;
        scene
            .until_known("fleet", after.last().unwrap().sequence)
            .await;
        scene.nats.stop().await.unwrap();
        std::fs::remove_dir_all(&store).unwrap();
        copy_directory(&saved, &store);
        scene.nats.start_again().await.unwrap();
        scene.write(1..=100).await;
        let stored = scene
            .until("the latest events", |stored| {
                events(stored).len() == before.len() + 100
            })
            .await;
        assert_eq!(all_slices(&stored), [0, 1, 2, 3]);
        assert!(relay.handle.report().resyncs == 4);
        let unique: std::collections::HashSet<i64> = events(&stored).into_iter().collect();
        assert_eq!(unique.len(), events(&stored).len());
    })
    .await;
}

/// The greatest sequence of the stream does not show such a loss.
#[tokio::test]
async fn idle_slice_notices_that_the_stream_was_restored_although_it_has_grown_since() {
    local(async {
        let scene = Scene::new().await;
        let (proxy, config) = scene.behind_proxy().await;
        let _relay = scene.relay_at(config, options("fleet"));
        relayed(&scene).await;
        let (store, saved) = store_of(&scene.nats);
        scene.nats.stop().await.unwrap();
        copy_directory(&store, &saved);
        scene.nats.start_again().await.unwrap();
        scene.write(1..=1).await;
        let stored = scene.until_relayed().await;
        let last = stored.last().unwrap();
        scene.until_known("fleet", last.sequence).await;
        proxy.refuse();
        scene.nats.stop().await.unwrap();
        std::fs::remove_dir_all(&store).unwrap();
        copy_directory(&saved, &store);
        scene.nats.start_again().await.unwrap();
        let context = scene.jetstream().await;
        for _ in 0..20 {
            // Like a message of another relay, in a slice of its own.
            let payload = r#"{"type":"resync","reasons":["trimmed"],"lost":0,"scope":{}}"#;
            let control = Prefix::default().control(9);
            let sent = context.publish(control, payload.into()).await.unwrap();
            assert!(sent.await.unwrap().sequence <= last.sequence + 20);
        }
        proxy.resume();
        let stored = scene
            .until("the resync", |stored| !all_slices(stored).is_empty())
            .await;
        assert_eq!(all_slices(&stored), [last.slice]);
    })
    .await;
}

#[tokio::test]
async fn idle_slices_notice_that_the_stream_was_purged() {
    local(async {
        let scene = Scene::new().await;
        let relay = scene.relay(options("fleet"));
        relayed(&scene).await;
        scene.stream().await.purge().await.unwrap();
        let stored = scene.until("the resyncs", |stored| stored.len() == 4).await;
        assert_eq!(all_slices(&stored), [0, 1, 2, 3]);
        // The loss is announced only once.
        relay
            .until("live", |handle| handle.health().borrow().is_live())
            .await;
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        assert_eq!(scene.stored().await.len(), 4);
    })
    .await;
}

/// A full stream deletes its oldest messages, among them the last messages of idle slices. While a slice is idle, the relay
/// announces no resync for that.
#[tokio::test]
async fn idle_slices_of_a_full_stream_announce_no_resync() {
    local(async {
        let scene = Scene::new().await;
        let create = StreamOptions::new().max_messages(200);
        let relay = scene.relay(options("fleet").create(create));
        let stored = relayed(&scene).await;
        let busy: Vec<i32> = (1..=100)
            .filter(|id| {
                let key = format!("[{id}]");
                let of = |one: &&Stored| one.payload.contains(&format!("\"keys\":{key}"));
                stored.iter().find(of).unwrap().slice == 0
            })
            .collect();
        for _ in 0..12 {
            for id in &busy {
                scene.write(*id..=*id).await;
            }
        }
        relay
            .until("all", |handle| {
                handle.report().events >= 100 + 12 * busy.len() as u64
            })
            .await;
        tokio::time::sleep(std::time::Duration::from_secs(8)).await;
        assert_eq!(relay.handle.report().resyncs, 0);
    })
    .await;
}

/// Returns the directory of the server's streams, and one for a copy.
fn store_of(nats: &NatsServer) -> (std::path::PathBuf, std::path::PathBuf) {
    let root = nats.log_file().parent().unwrap();
    let store = find(root, "jetstream").unwrap();
    let saved = store.with_extension("saved");
    (store, saved)
}

fn find(root: &Path, name: &str) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(root).unwrap();
    let mut directories: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    directories.sort();
    if let Some(found) = directories
        .iter()
        .find(|path| path.file_name().unwrap() == name)
    {
        return Some(found.clone());
    }
    directories.iter().find_map(|path| find(path, name))
}
