//! Interoperation with the Python library PGCacheWatch 0.4.2: each receives the notifications of the other's triggers.
//!
//! `PGHERALD_PYTHON` names a Python in which it is installed; see `CONTRIBUTING.md`. Without it, these tests only print a notice.

use std::process::Command;

use super::support::{Running, Scene, blocking};

const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, email text)";
const CHANNEL: &str = "ch_pgcachewatch_table_change";

fn python() -> Option<Command> {
    let program = std::env::var_os("PGHERALD_PYTHON");
    if program.is_none() {
        eprintln!("not tested: PGHERALD_PYTHON is not set");
    }
    program.map(Command::new)
}

#[tokio::test]
async fn pgcachewatch_receives_notifications_of_pgherald() {
    let Some(mut python) = python() else { return };
    let scene = Scene::new(USERS).await;
    scene
        .fine(&[
            "install",
            "users",
            "--channel",
            CHANNEL,
            "--columns",
            "email",
            "--commit",
        ])
        .await;
    python
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/command/listen.py"
        ))
        .arg(&scene.url);
    let mut theirs = Running::of(python);
    theirs.line(|line| line == "listening").await;
    scene
        .run("INSERT INTO users VALUES (1, 'a'), (2, 'b')")
        .await;
    scene.run("UPDATE users SET email = 'c'").await;
    scene.run("DELETE FROM users WHERE id = 1").await;
    scene.run("TRUNCATE users").await;
    for operation in ["insert", "update", "delete", "truncate"] {
        let line = theirs.line(|_| true).await;
        assert_eq!(line, format!("{operation} users {CHANNEL}"));
    }
}

#[tokio::test]
async fn watch_receives_notifications_of_pgcachewatch() {
    let Some(mut python) = python() else { return };
    let scene = Scene::new(USERS).await;
    let before = scene.dump().await;
    // PGCacheWatch takes the port only from its own option.
    let config: tokio_postgres::Config = scene.url.parse().unwrap();
    let port = config.get_ports()[0].to_string();
    python.args([
        "-m",
        "pgcachewatch",
        "install",
        "users",
        "--commit",
        "--pg-dsn",
        &scene.url,
        "--pg-port",
        &port,
    ]);
    let output = blocking(move || python.output().unwrap()).await;
    assert!(output.status.success(), "{output:?}");
    let theirs = scene.dump().await;
    assert_ne!(theirs, before);
    // Triggers of pgherald work beside them, and can be removed alone.
    scene.fine(&["install", "users", "--commit"]).await;
    let mut watch = Running::start(&scene, &["watch", "users", "--channel", CHANNEL, "--json"]);
    watch.object(|line| line["kind"] == "live").await;
    scene.run("INSERT INTO users VALUES (1, 'a')").await;
    let event = watch.object(|line| line["kind"] == "event").await;
    assert_eq!(
        (&event["operation"], &event["table"], &event["channel"]),
        (&"insert".into(), &"users".into(), &CHANNEL.into())
    );
    assert!(
        event["key"].is_null() && event["schema"].is_null(),
        "{event}"
    );
    scene
        .run("UPDATE users SET email = 'b'; DELETE FROM users")
        .await;
    for operation in ["update", "delete"] {
        let event = watch.object(|line| line["kind"] == "event").await;
        assert_eq!(event["operation"], operation);
    }
    scene.fine(&["uninstall", "--all", "--commit"]).await;
    assert_eq!(scene.dump().await, theirs);
}
