//! Changes that fire no ordinary triggers: by subscriptions, and by sessions whose `session_replication_role` is `replica`.

use pgherald_testkit::Postgres;

use super::{found_and_fixed, installed, is_healthy, on, only, wrong};
use crate::support::{Scene, connect};

/// Subscribes to `users` and `parts` of another database of the server. The subscription does not have to run.
async fn subscribe(scene: &Scene, server: &Postgres, options: &str) {
    let tables = "CREATE TABLE IF NOT EXISTS users (id int PRIMARY KEY, email text);
        CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY LIST (id);
        CREATE TABLE part PARTITION OF parts FOR VALUES IN (1);
        CREATE TABLE unwatched (id int PRIMARY KEY)";
    let publisher = server.create_database().await.unwrap();
    let publish = "CREATE PUBLICATION shop FOR TABLE users, part, unwatched";
    let client = connect(&publisher).await;
    client.batch_execute(tables).await.unwrap();
    client.batch_execute(publish).await.unwrap();
    scene.run(tables).await;
    let options = format!("WITH (create_slot = false, enabled = false{options})");
    scene
        .run(&format!(
            "CREATE SUBSCRIPTION shop CONNECTION '{publisher}' PUBLICATION shop {options}"
        ))
        .await;
}

#[tokio::test]
async fn subscriptions_that_write_watched_tables_are_found_and_fixed() {
    for mode in ["notify", "outbox"] {
        let server = Postgres::start().await.unwrap();
        let scene = on(&server, mode).await;
        subscribe(&scene, &server, "").await;
        let install = [
            "install",
            "users",
            "--mode",
            mode,
            "--columns",
            "email",
            "--narrow",
            "--commit",
        ];
        scene.fine(&install).await;
        scene
            .fine(&["install", "parts", "--mode", mode, "--commit"])
            .await;
        let part = "a subscription writes public.";
        let found = found_and_fixed(&scene, &[], "subscriptions", "failed", part).await;
        let texts: Vec<_> = found
            .iter()
            .map(|one| one["finding"].as_str().unwrap())
            .collect();
        let expected = [
            "a subscription writes public.part, and triggers of public.parts do not fire for its rows",
            "a subscription writes public.users, and triggers of public.users do not fire for its rows",
        ];
        assert_eq!(texts, expected);
        let fix = format!(
            r#"pgherald install public.users --mode {mode} --columns email --replicated --commit"#
        );
        assert_eq!(found[1]["fix"], fix);
        let shown = scene.fine(&["status"]).await;
        assert_eq!(
            shown.matches(&format!("{mode},replicated")).count(),
            2,
            "{shown}"
        );
    }
}

#[tokio::test]
async fn two_phase_subscriptions_are_reported() {
    let server = Postgres::start().await.unwrap();
    let scene = on(&server, "outbox").await;
    let version = scene.value("SHOW server_version_num").await;
    if version.parse::<u32>().unwrap() < 150_000 {
        eprintln!("not tested: the server is older than PostgreSQL 15");
        return;
    }
    subscribe(&scene, &server, ", two_phase = true").await;
    scene
        .fine(&[
            "install",
            "users",
            "--mode",
            "outbox",
            "--replicated",
            "--commit",
        ])
        .await;
    let part = "subscription shop applies prepared transactions, which fail where triggers of public.users notify";
    only(&scene, &[], "subscriptions", "warning", part).await;
}

#[tokio::test]
async fn subscriptions_are_checked_without_rights() {
    let server = Postgres::start().await.unwrap();
    let mut scene = on(&server, "outbox").await;
    subscribe(&scene, &server, "").await;
    scene.run("CREATE ROLE reader LOGIN").await;
    scene.url = scene.url.replace("postgres@", "reader@");
    let found = wrong(&scene, &[]).await;
    let named: Vec<_> = found
        .iter()
        .filter(|one| one["check"] == "subscriptions")
        .collect();
    assert_eq!(named.len(), 1, "{found:#?}");
    let text = named[0]["finding"].as_str().unwrap();
    assert!(
        text.contains("a subscription writes public.users"),
        "{text}"
    );
}

#[tokio::test]
async fn replica_role_is_ok_if_all_tables_are_installed_with_replicated() {
    let scene = installed("outbox").await;
    let sql = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET session_replication_role = replica', current_database()); END $$";
    scene.run(sql).await;
    let install = |tables: &[&'static str]| {
        [
            &["install"],
            tables,
            &["--mode", "outbox", "--replicated", "--commit"],
        ]
        .concat()
    };
    scene.fine(&install(&["users"])).await;
    let part = "session_replication_role is replica for";
    only(&scene, &[], "replication role", "failed", part).await;
    scene.fine(&install(&["shop.orders"])).await;
    is_healthy(&scene, &[]).await;
    // Row-level triggers of pgherald run no statements on the table.
    let by_email = ["users", "--key", "email", "--narrow"];
    scene.fine(&install(&by_email)).await;
    is_healthy(&scene, &[]).await;
}
