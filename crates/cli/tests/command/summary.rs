//! The summary that `install` prints.

use super::consumers::{OWNED, becomes, local, start, stop};
use super::support::Scene;

const TABLES: &str = "CREATE TABLE users (id int PRIMARY KEY, email text);
    CREATE TABLE events (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (100)";
const END: &str = "Nothing was changed. Add --commit to run this, or --sql to see its SQL.\n";

#[tokio::test]
async fn install_summary_lists_the_changes_of_each_table() {
    let scene = Scene::new(TABLES).await;
    let before = scene.dump().await;
    let expected = format!(
        "public.users: adds 4 triggers and 1 function.
public.events: adds 8 triggers and 1 function.
Locked for a moment (writers wait, and readers do not): public.events, public.events_1, public.users.
{END}"
    );
    let version = scene.value("SHOW server_version_num").await;
    if version.parse::<u32>().unwrap() >= 140_000 {
        assert_eq!(scene.fine(&["install", "users", "events"]).await, expected);
    }
    let printed = scene.fine(&["install", "users", "--sql"]).await;
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines[0], "-- public.users: adds 4 triggers and 1 function.");
    assert_eq!(lines[2], "BEGIN;");
    assert_eq!(
        lines.last().unwrap(),
        &"-- Nothing was changed. Add --commit to run this."
    );
    assert_eq!(scene.dump().await, before);
    // The shown SQL can be run.
    scene.run(&printed).await;
    assert_eq!(
        scene.fine(&["install", "users"]).await,
        "-- Nothing to do: everything is as it should be.\n"
    );

    let printed = scene
        .fine(&["install", "users", "--columns", "email"])
        .await;
    assert_eq!(
        printed,
        format!("public.users: replaces 1 function, keeps 4 triggers.\n{END}")
    );
    scene
        .run("ALTER TABLE users DISABLE TRIGGER pgherald_notify_insert")
        .await;
    let object = &scene
        .json(&[
            "install",
            "users",
            "--columns",
            "email",
            "--operations",
            "insert",
            "--narrow",
        ])
        .await[0];
    let summary = object["summary"].as_array().unwrap();
    assert_eq!(
        summary[0], "public.users: replaces 1 trigger and 1 function, removes 3 triggers.",
        "{object}"
    );
    assert_eq!(
        summary[1], "Locked for a moment (writers and readers wait): public.users.",
        "{object}"
    );
    assert!(
        object["sql"].as_str().unwrap().starts_with("BEGIN;"),
        "{object}"
    );
    for wrong in [&["--sql", "--commit"][..], &["--sql", "--check"]] {
        assert_eq!(
            scene
                .pgherald(&[&["install", "users"], wrong].concat())
                .await
                .code,
            2
        );
    }
}

#[tokio::test]
async fn install_summary_lists_groups_that_require_the_table() {
    local(async {
        let scene = Scene::new("CREATE TABLE jobs (id int PRIMARY KEY, value text, more text)").await;
        let outbox = ["install", "jobs", "--mode", "outbox"];
        scene.fine(&[&outbox[..], &["--columns", "value", "--commit"]].concat()).await;
        let consumer = start(&scene, "mail", |_| Ok(()));
        becomes(&scene, OWNED, "4").await;
        let require = r#"INSERT INTO pgherald.consumer_requirement (group_name, schema_name, table_name, specification, triggers) VALUES
            ('mail', 'public', 'jobs', '{"schema":"public","table":"jobs","mode":"outbox","key":["id"],"columns":["value"]}', '1')"#;
        scene.run(require).await;
        let printed = scene.fine(&[&outbox[..], &["--columns", "more"]].concat()).await;
        assert!(printed.contains("\nGroup mail gets a resync, because triggers that it requires change (1 consumer runs).\n"), "{printed}");
        let printed = scene.fine(&[&outbox[..], &["--columns", "more", "--narrow"]].concat()).await;
        let warning = "\nGroup mail requires column value of public.jobs: its consumers will not be live (1 consumer runs).\n";
        assert!(printed.contains(warning), "{printed}");
        stop(&consumer).await;
        let printed = scene.fine(&[&outbox[..], &["--columns", "more", "--narrow", "--commit"]].concat()).await;
        assert!(printed.contains("Group mail requires column value of public.jobs: its consumers will not be live (no consumer runs).\n"), "{printed}");
    })
    .await;
}
