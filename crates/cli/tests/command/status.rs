//! `status`.

use std::time::Duration;

use pgherald_core::group::Consumer;
use pgherald_core::{
    Attempt, ConnectConfig, DurableOptions, Event, EventHandler, HandlerResult, NotifySource,
    OutboxSource, Signal, Source,
};
use pgherald_testkit::Postgres;
use serde_json::Value;

use super::consumers::{
    DEAD, LAG, OWNED, PARKED, becomes, interrupt, local, scene, start, stop, tens,
};
use super::support::{Running, Scene, connect};

/// Waits until the server has ended the session of the previous command.
async fn alone(scene: &Scene) {
    let commands = "SELECT count(*)::text FROM pg_stat_activity
        WHERE application_name = 'pgherald-cli' AND datname = current_database()";
    becomes(scene, commands, "0").await;
}

#[tokio::test]
async fn status_of_an_empty_database_shows_how_to_begin() {
    let scene = Scene::new("CREATE TABLE users (id int PRIMARY KEY)").await;
    let printed = scene.fine(&["status"]).await;
    assert!(printed.contains("\nSessions: none\n"), "{printed}");
    let end =
        "\nNothing is installed in this database.\nBegin with: pgherald install TABLE --commit\n";
    assert!(printed.ends_with(end), "{printed}");
    alone(&scene).await;
    let object = &scene.json(&["status"]).await[0];
    assert_eq!(object["is_installed"], false, "{object}");
    for list in ["sessions", "tables", "groups"] {
        assert_eq!(object[list], serde_json::json!([]), "{object}");
    }
    assert!(object["outbox"].is_null(), "{object}");
}

#[tokio::test]
async fn status_shows_tables_listeners_and_drift() {
    let scene = Scene::new("CREATE TABLE users (id int PRIMARY KEY, email text)").await;
    let install = [
        "install",
        "users",
        "--columns",
        "email",
        "--operations",
        "insert,update",
        "--commit",
    ];
    scene.fine(&install).await;
    let named = connect(&format!("{}?application_name=pgherald-x", scene.url)).await;
    let other = connect(&scene.url).await;
    other.batch_execute("LISTEN pgherald").await.unwrap();
    let bystander = connect(&format!("{}?application_name=shop", scene.url)).await;
    bystander.batch_execute("SELECT 1").await.unwrap();

    alone(&scene).await;
    let object = &scene.json(&["status"]).await[0];
    let names: Vec<_> = object["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| [&one["role"], &one["application_name"]].map(|text| text.as_str().unwrap()))
        .collect();
    let expected = [["listener", ""], ["other", "pgherald-x"]];
    assert_eq!(names, expected, "{object}");
    assert_eq!(object["sessions"][1]["user"], "postgres");
    let expected = serde_json::json!([{"table": "public.users", "mode": "notify", "channel": "pgherald",
        "operations": ["insert", "update"], "key": ["id"], "columns": ["email"], "replicated": false, "triggers": 2,
        "drift": null}]);
    assert_eq!(object["tables"], expected);
    let printed = scene.fine(&["status"]).await;
    let row = printed
        .lines()
        .find(|line| line.starts_with("public.users"))
        .unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(
        cells,
        [
            "public.users",
            "notify",
            "pgherald",
            "insert,update",
            "id",
            "email",
            "2",
            "ok"
        ]
    );
    assert!(
        !printed.contains("Outbox") && !printed.contains("Groups"),
        "{printed}"
    );

    scene
        .run("ALTER TABLE users DISABLE TRIGGER pgherald_notify_update")
        .await;
    let object = &scene.json(&["status"]).await[0];
    let drift = object["tables"][0]["drift"].as_str().unwrap();
    assert_eq!(
        drift,
        "trigger pgherald_notify_update on public.users is disabled; enable it"
    );
    assert!(scene.fine(&["status"]).await.contains(drift));
    drop(named);
}

struct Nothing;

impl EventHandler for Nothing {
    type Event = Event;

    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        Ok(())
    }
}

/// Waits until a source is live.
async fn live(source: &mut impl Source) {
    while !matches!(source.next().await, Signal::Live) {}
}

#[tokio::test]
async fn status_distinguishes_sessions_of_listeners_and_consumers() {
    local(async {
        let scene = scene().await;
        let config: ConnectConfig = scene.url.parse().unwrap();
        let channel = "pgherald".parse().unwrap();
        let notify = NotifySource::builder(config.clone()).channel(channel);
        let mut notify = notify.probe(false).build().unwrap();
        live(&mut notify).await;
        let mut outbox = OutboxSource::builder(config.clone()).build().unwrap();
        live(&mut outbox).await;
        let (handle, consumer) =
            Consumer::new(config, DurableOptions::new("mail"), || Nothing).unwrap();
        tokio::task::spawn_local(consumer.run());
        becomes(&scene, OWNED, "32").await;

        alone(&scene).await;
        let object = &scene.json(&["status"]).await[0];
        let sessions = object["sessions"].as_array().unwrap().iter();
        let roles: Vec<_> = sessions
            .map(|one| [&one["role"], &one["application_name"]].map(|text| text.as_str().unwrap()))
            .collect();
        let listener = ["listener", "pgherald listener"];
        let consumer = ["consumer", "pgherald consumer mail"];
        assert_eq!(roles, [consumer, consumer, listener, listener], "{object}");
        let printed = scene.fine(&["status"]).await;
        assert!(
            printed.contains("\nconsumer  pgherald consumer mail"),
            "{printed}"
        );
        assert!(
            printed.contains("\nlistener  pgherald listener"),
            "{printed}"
        );
        handle.drain(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn status_shows_groups_with_lag_nodes_parked_keys_and_dead_letters() {
    local(async {
        let scene = scene().await;
        let consumer = start(&scene, "work", tens);
        scene.run("INSERT INTO jobs SELECT generate_series(1, 2); INSERT INTO jobs VALUES (10, 'a'), (30, 'a');
            UPDATE jobs SET value = 'b' WHERE id = 10").await;
        becomes(&scene, DEAD, "2").await;
        becomes(&scene, PARKED, "2").await;
        becomes(&scene, LAG, "0").await;
        // A running consumer notices a pause after a moment, so start another one.
        stop(&consumer).await;
        scene.fine(&["group", "pause", "work"]).await;
        let consumer = start(&scene, "work", tens);
        becomes(&scene, OWNED, "4").await;
        scene.run("INSERT INTO jobs VALUES (31), (32), (33)").await;
        becomes(&scene, LAG, "3").await;

        let object = &scene.json(&["status"]).await[0];
        let group = &object["groups"][0];
        let numbers = ["lag_events", "slices", "parked", "parked_keys", "dead_letters"];
        assert_eq!(numbers.map(|name| group[name].as_i64().unwrap()), [3, 4, 2, 1, 2], "{group}");
        assert_eq!((&group["group"], &group["is_paused"]), (&"work".into(), &true.into()), "{group}");
        assert!(group["lag_seconds"].as_f64().unwrap() > 0.0, "{group}");
        let node = &group["nodes"][0];
        let pid = format!("pid {}", std::process::id());
        assert!(node["description"].as_str().unwrap().ends_with(&pid), "{node}");
        assert_eq!(node["slices"], 4, "{node}");
        let lease = node["lease_seconds"].as_f64().unwrap();
        assert!(lease > 0.0 && lease <= 10.0, "{node}");
        let outbox = &object["outbox"];
        assert!(outbox["bytes"].as_i64().unwrap() > 0 && outbox["oldest_seconds"].as_f64().unwrap() > 0.0, "{outbox}");
        assert_eq!(outbox["keep_seconds"], 86_400.0);
        // Sessions of a consumer are recognised although the program has set application_name.
        let sessions = object["sessions"].as_array().unwrap();
        let is_consumer = |one: &&Value| one["application_name"] == "worker" && one["role"] == "consumer";
        assert!(sessions.iter().any(|one| is_consumer(&one)), "{object}");

        let printed = scene.fine(&["status"]).await;
        let cells = |begin: &str| {
            let line = printed.lines().find(|line| line.starts_with(begin)).unwrap();
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(cells("public.jobs")[1..], ["outbox", "-", "insert,update,delete,truncate", "id", "id,value", "4", "ok"]);
        let group = cells("work ");
        assert_eq!(group[2], "3 events", "{printed}");
        assert_eq!(group[4..], ["1", "2", "1", "1", "2"], "{printed}");
        assert!(printed.contains(" 4 of 4\n") && printed.contains("1 d 0 h"), "{printed}");
        stop(&consumer).await;
        let printed = scene.fine(&["status"]).await;
        assert!(printed.ends_with("\nNodes: none\n"), "{printed}");
    })
    .await;
}

#[tokio::test]
async fn status_watch_survives_a_server_restart_and_ends_with_ctrl_c() {
    let server = Postgres::start().await.unwrap();
    let scene = Scene::on(&server, "CREATE TABLE users (id int PRIMARY KEY)").await;
    scene.fine(&["install", "users", "--commit"]).await;
    let mut people = Running::start(&scene, &["status", "--watch"]);
    let mut json = Running::start(&scene, &["status", "--watch", "--json"]);
    people.line(|line| line.starts_with("public.users")).await;
    people.line(|line| line.starts_with("public.users")).await;
    json.object(|object| object["is_installed"] == true).await;

    server.stop().await.unwrap();
    people
        .line(|line| line.contains("  lost: ") && line.ends_with("; trying again."))
        .await;
    json.object(|object| object["error"].is_string() && object["at"].is_string())
        .await;
    server.start_again().await.unwrap();
    people.line(|line| line.starts_with("public.users")).await;
    json.object(|object| object["is_installed"] == true).await;
    // Reported once, however often it was retried.
    assert_eq!(
        people
            .seen
            .iter()
            .filter(|line| line.contains("lost: "))
            .count(),
        1
    );
    for running in [&mut people, &mut json] {
        interrupt(running);
        assert_eq!(running.code().await, 0);
    }
    // Without a server at the start, the command fails.
    server.stop().await.unwrap();
    let ran = scene.pgherald(&["status", "--watch"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(
        ran.stderr.contains("cannot connect") && ran.stderr.contains("\nhint: "),
        "{ran:?}"
    );
}

#[tokio::test]
async fn status_reports_missing_rights_in_any_language() {
    let scene = scene().await;
    scene
        .run(
            "CREATE FUNCTION pgherald.refuse() RETURNS SETOF pgherald.outbox_retention LANGUAGE plpgsql AS $$
            BEGIN RAISE 'keine Berechtigung' USING ERRCODE = 'insufficient_privilege'; END $$;
            ALTER TABLE pgherald.outbox_retention RENAME TO hidden;
            CREATE VIEW pgherald.outbox_retention AS SELECT * FROM pgherald.refuse()",
        )
        .await;
    let printed = scene.fine(&["status"]).await;
    let end = "\nOutbox: not shown: cannot read the outbox: db error: ERROR: keine Berechtigung\n";
    assert!(
        printed.contains("public.jobs") && printed.ends_with(end),
        "{printed}"
    );
}
