//! `install --migration`: a script for migration tools, generated without a connection.

use super::support::{Scene, pgherald};

const TABLES: &str = "CREATE TABLE users (id int PRIMARY KEY, email text, company text);
    CREATE SCHEMA shop; CREATE TABLE shop.\"Order Lines\" (id int PRIMARY KEY, total numeric)";

/// Generates a script without a reachable server.
async fn script(arguments: &[&str]) -> String {
    let all = [
        &[
            "--database-url",
            "host=127.0.0.1 port=1",
            "install",
            "--migration",
        ],
        arguments,
    ];
    let ran = pgherald(&all.concat()).await;
    assert_eq!((ran.code, &*ran.stderr), (0, ""), "{ran:?}");
    ran.stdout
}

#[tokio::test]
async fn migration_script_installs_the_arguments() {
    let scene = Scene::new(TABLES).await;
    let users = [
        "Users",
        "--columns",
        "email,company",
        "--when-changed",
        "email",
        "--operations",
        "insert,update",
    ];
    let lines = [
        "shop.\"Order Lines\"",
        "--mode",
        "outbox",
        "--columns",
        "*",
        "--old-columns",
        "--value-limit",
        "2000000",
        "--replicated",
    ];
    for arguments in [&users[..], &lines[..]] {
        let script = script(arguments).await;
        for _ in 0..2 {
            scene.run(&script).await;
        }
        // With a connection, a name is first looked up literally in the catalog, so write it as it is stored.
        let table = if arguments[0] == "Users" {
            "users"
        } else {
            arguments[0]
        };
        let check = [
            &["install", table],
            &arguments[1..],
            &["--check", "--narrow"],
        ]
        .concat();
        let expected = "Everything is installed as it should be.\n";
        assert_eq!(scene.fine(&check).await, expected);
    }
    let dump = scene.dump().await;
    let again = script(&lines).await;
    scene.run(&again).await;
    assert_eq!(scene.dump().await, dump);
}

#[tokio::test]
async fn migration_script_starts_with_its_manifest() {
    let file = std::env::temp_dir().join(format!("pgherald_script_{}.json", std::process::id()));
    let manifest = r#"[{"schema":"public","table":"users","mode":"notify","columns":["email"]},
        {"schema":"shop","table":"Order Lines","mode":"outbox","columns":"*"}]"#;
    std::fs::write(&file, manifest).unwrap();
    let path = file.to_str().unwrap();
    let sql = script(&["--from", path]).await;
    let (head, _) = sql.split_once("-- The rest is the same").unwrap();
    for line in manifest.lines() {
        let object = line.trim().trim_matches(['[', ']', ',']);
        assert!(head.contains(object), "{object} in {head}");
    }
    let scene = Scene::new(TABLES).await;
    scene.run(&sql).await;
    scene.fine(&["install", "--from", path, "--check"]).await;
    scene.fine(&["doctor"]).await;
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn invalid_migration_script_is_refused() {
    for (arguments, expected) in [
        (&["users", "--commit"][..], "cannot be used with"),
        (&["users", "--check"][..], "cannot be used with"),
        (&[][..], "required"),
        (&["users", "--old-columns"][..], "old values"),
        (&["users", "--columns", "a,a"][..], "twice"),
        (
            &["users", "users"][..],
            "two specifications of public.users",
        ),
    ] {
        let all = [&["install", "--migration"], arguments].concat();
        let ran = pgherald(&all).await;
        assert_eq!(ran.code, 2, "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(expected), "{arguments:?}: {ran:?}");
    }
    let ran = pgherald(&["install", "--migration", "users", "--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(report["sql"].as_str().unwrap().contains("DO $pgherald"));
}
