//! PostgreSQL servers that crash, or are put back to an earlier state.

use std::path::Path;

use pgherald_testkit::Postgres;
use pgherald_testkit::nats::NatsServer;

use crate::support::{Scene, Stored, connect, events, local, options, resyncs};

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
async fn crashes_of_the_database_neither_lose_nor_double_events() {
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
async fn database_that_was_put_back_is_announced_in_slices_that_lost_events() {
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

fn copy_directory(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success());
}
