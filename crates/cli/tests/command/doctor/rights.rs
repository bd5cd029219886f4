//! The rights of roles, and the fixes that grant them.

use std::time::Instant;

use pgherald_testkit::Postgres;
use serde_json::Value;

use super::{TABLES, fix, found_and_fixed, is_healthy, on, only, wrong};
use crate::support::{DEADLINE, Scene, connect};

#[tokio::test]
async fn purpose_of_a_role_without_rights_is_read_or_install_in_an_empty_database() {
    let server = Postgres::start().await.unwrap();
    let scene = on(&server, "outbox").await;
    server.execute("CREATE ROLE reader LOGIN").await.unwrap();
    let other = server.create_database().await.unwrap();
    for (url, may) in [(&scene.url, "read"), (&other, "install")] {
        let as_reader = Scene {
            url: url.replace("postgres@", "reader@"),
            client: connect(url).await,
        };
        let is_of_rights = |finding: &Value| finding["check"] == "rights";
        let all = wrong(&as_reader, &[]).await;
        for finding in &all {
            let text = finding["finding"].as_str().unwrap();
            let (result, part) = match finding["check"].as_str().unwrap() {
                "rights" => {
                    // Without an outbox, the role may be meant to listen only.
                    let result = if may == "read" { "failed" } else { "warning" };
                    (result, format!("role reader may not {may}: it lacks "))
                }
                // A check that lacks a right does not stop the others.
                "outbox history" | "outbox size" | "outbox age" | "groups" if may == "read" => {
                    ("failed", "the check could not run: ".to_owned())
                }
                _ => ("skipped", String::new()),
            };
            assert!(
                finding["result"] == result && text.starts_with(&part),
                "{all:#?}"
            );
        }
        let rights: Vec<_> = all.into_iter().filter(is_of_rights).collect();
        assert!(!rights.is_empty());
        fix(&as_reader, &rights).await;
        let skipped = wrong(&as_reader, &[]).await;
        assert!(
            skipped.iter().all(|finding| finding["result"] == "skipped"),
            "{skipped:#?}"
        );
    }
}

#[tokio::test]
async fn rights_of_a_consuming_role_name_the_installing_role() {
    let server = Postgres::start().await.unwrap();
    let scene = Scene::on(&server, TABLES).await;
    server
        .execute("CREATE ROLE owner LOGIN; CREATE ROLE app LOGIN")
        .await
        .unwrap();
    let database = scene.value("SELECT quote_ident(current_database())").await;
    scene.run(&format!("GRANT CREATE ON DATABASE {database} TO owner; ALTER TABLE users OWNER TO owner; GRANT pg_read_all_stats TO app")).await;
    let as_role = async |role: &str| Scene {
        url: scene.url.replace("postgres@", &format!("{role}@")),
        client: connect(&scene.url).await,
    };
    let (owner, app) = (as_role("owner").await, as_role("app").await);
    owner
        .fine(&["install", "users", "--mode", "outbox", "--commit"])
        .await;
    owner
        .fine(&["grant", "app", "--to", "consume", "--commit"])
        .await;
    let printed = app.fine(&["doctor"]).await;
    assert!(
        printed.contains("role app may run groups, and has no other rights; role owner installs"),
        "{printed}"
    );
    let sql = "GRANT SELECT ON users TO app; ALTER FUNCTION pgherald.trim_outbox(interval, bigint) OWNER TO app";
    scene
        .run(&format!("GRANT CREATE ON SCHEMA pgherald TO app; {sql}"))
        .await;
    let part = "belongs to role app, and schema pgherald to owner";
    found_and_fixed(&scene, &[], "rights", "warning", part).await;
}

#[tokio::test]
async fn read_only_sessions_are_found_and_fixed() {
    let server = Postgres::start().await.unwrap();
    let scene = on(&server, "outbox").await;
    let database = scene.value("SELECT quote_ident(current_database())").await;
    let settings = [
        (
            format!("ALTER DATABASE {database} SET default_transaction_read_only = on"),
            "database",
        ),
        (
            "ALTER ROLE postgres SET default_transaction_read_only = on".to_owned(),
            "user",
        ),
        (
            format!(
                "ALTER ROLE postgres IN DATABASE {database} SET default_transaction_read_only = on"
            ),
            "both",
        ),
    ];
    for (sql, what) in settings {
        scene.run(&sql).await;
        let part = "sessions of role postgres are read-only";
        let found = only(&scene, &[], "rights", "warning", part).await;
        let read_only = connect(&scene.url).await;
        let fix = found[0]["fix"].as_str().unwrap();
        for statement in fix.split_inclusive(';') {
            read_only
                .batch_execute(statement)
                .await
                .unwrap_or_else(|error| panic!("{what}: {error:?}"));
        }
        is_healthy(&scene, &[]).await;
    }
}

#[tokio::test]
async fn installing_role_must_own_the_tables() {
    let server = Postgres::start().await.unwrap();
    let scene = Scene::on(&server, TABLES).await;
    let sql = "CREATE ROLE owner LOGIN; CREATE ROLE shop";
    server.execute(sql).await.unwrap();
    let database = scene.value("SELECT quote_ident(current_database())").await;
    scene
        .run(&format!(
            "GRANT CREATE ON DATABASE {database} TO owner; ALTER TABLE users OWNER TO owner"
        ))
        .await;
    scene.run("GRANT pg_read_all_stats TO owner").await;
    let owner = Scene {
        url: scene.url.replace("postgres@", "owner@"),
        client: connect(&scene.url).await,
    };
    owner
        .fine(&["install", "users", "--mode", "outbox", "--commit"])
        .await;
    is_healthy(&owner, &[]).await;
    scene
        .run("ALTER TABLE users OWNER TO shop; GRANT ALL ON users TO owner")
        .await;
    let part = "may not upgrade the triggers of public.users, which belongs to role shop";
    found_and_fixed(&owner, &[], "rights", "warning", part).await;
}

#[tokio::test]
async fn read_only_server_configuration_is_found_and_fixed() {
    let server = Postgres::start().await.unwrap();
    let scene = on(&server, "notify").await;
    let file = server.data_dir().join("postgresql.conf");
    let text = std::fs::read_to_string(&file).unwrap() + "\ndefault_transaction_read_only = on\n";
    std::fs::write(&file, text).unwrap();
    scene.run("SELECT pg_reload_conf()").await;
    let begun = Instant::now();
    while wrong(&scene, &[]).await.is_empty() && begun.elapsed() < DEADLINE {}
    let part = "sessions of role postgres are read-only";
    let found = only(&scene, &[], "rights", "warning", part).await;
    for statement in found[0]["fix"].as_str().unwrap().split_inclusive(';') {
        scene.run(statement).await;
    }
    let begun = Instant::now();
    while !wrong(&scene, &[]).await.is_empty() {
        assert!(begun.elapsed() < DEADLINE, "it is not writable");
    }
}
