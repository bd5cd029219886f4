//! `group list`, `show`, `delete`, and when `seek` requires `--commit`.

use pgherald_core::HandlerResult;

use super::consumers::{DEAD, LAG, OWNED, PARKED, becomes, local, scene, start, stop, tens};
use super::support::{Scene, connect};

const REQUIRE: &str = r#"INSERT INTO pgherald.consumer_requirement (group_name, schema_name, table_name, specification)
    VALUES ('work', 'public', 'jobs', '{"schema":"public","table":"jobs","mode":"outbox","key":["id"],"columns":["value"]}')"#;
const GROUPS: &str = "SELECT count(*)::text FROM pgherald.consumer_group";
const CURSORS: &str = "SELECT string_agg(cursor, ' ' ORDER BY slice) FROM pgherald.consumer_cursor";

#[expect(clippy::unnecessary_wraps, reason = "a handler's result")]
fn well(_: i64) -> HandlerResult {
    Ok(())
}

#[tokio::test]
async fn groups_are_listed_and_shown() {
    local(async {
        let scene = scene().await;
        let printed = scene.fine(&["group", "list"]).await;
        assert_eq!(
            printed,
            "There are no groups: a group is created by its first consumer.\n"
        );
        let consumer = start(&scene, "work", tens);
        scene
            .run("INSERT INTO jobs VALUES (1), (2), (10), (30)")
            .await;
        becomes(&scene, DEAD, "2").await;
        becomes(&scene, PARKED, "1").await;
        becomes(&scene, LAG, "0").await;
        scene.run(REQUIRE).await;

        let printed = scene.fine(&["group", "list"]).await;
        let cells: Vec<_> = printed
            .lines()
            .last()
            .unwrap()
            .split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect();
        let expected = [
            "work",
            "failing, dead letters",
            "public.jobs",
            "0 events",
            "0 s",
            "1",
            "1",
            "1",
            "2",
        ];
        assert_eq!(cells, expected, "{printed}");
        let object = &scene.json(&["group", "list"]).await[0];
        assert_eq!(
            object["tables"],
            serde_json::json!(["public.jobs"]),
            "{object}"
        );
        assert_eq!(
            (&object["parked"], &object["dead_letters"]),
            (&1.into(), &2.into()),
            "{object}"
        );

        let printed = scene.fine(&["group", "show", "work"]).await;
        for part in [
            "Group   work\nState   failing, dead letters\n",
            "Slices  4, 4 with a consumer\n",
            "Parked  1 event, 1 failing\n",
            "\nRequired by groups\n",
            "\nSlices\nSLICE  CONSUMER",
            "not now\n",
            "no 1 at all\n",
            "\npgherald parked list --group work\npgherald dead-letters list --group work\n",
        ] {
            assert!(printed.contains(part), "{part:?} in {printed}");
        }
        let object = &scene.json(&["group", "show", "work"]).await[0];
        let slices = object["slice_states"].as_array().unwrap();
        let pid = format!("pid {}", std::process::id());
        assert_eq!(slices.len(), 4, "{object}");
        assert!(
            slices
                .iter()
                .all(|one| one["consumer"].as_str().unwrap().ends_with(&pid)),
            "{object}"
        );
        assert!(slices.iter().all(|one| one["lag_events"] == 0), "{object}");
        assert_eq!(object["reasons"].as_array().unwrap().len(), 3, "{object}");
        assert_eq!(object["reasons"][0]["error"], "not now", "{object}");
        stop(&consumer).await;
        let printed = scene.fine(&["group", "show", "work"]).await;
        assert!(
            printed.contains("\nSlices  4, 0 with a consumer\n")
                && printed.contains("\nNodes: none\n"),
            "{printed}"
        );
    })
    .await;
}

#[tokio::test]
async fn group_delete_requires_commit_and_no_running_consumers() {
    local(async {
        let scene = scene().await;
        let consumer = start(&scene, "work", tens);
        scene.run("INSERT INTO jobs VALUES (1), (10), (30)").await;
        becomes(&scene, DEAD, "1").await;
        becomes(&scene, PARKED, "1").await;
        becomes(&scene, LAG, "0").await;
        scene.run(REQUIRE).await;
        for arguments in [&["group", "delete", "work"][..], &["group", "delete", "work", "--commit"]] {
            let ran = scene.pgherald(arguments).await;
            let message = "pgherald: group \"work\" cannot be deleted: consumer ";
            let pid = format!("pid {} runs\nhint: stop the programs", std::process::id());
            assert_eq!((ran.code, &*ran.stdout), (1, ""), "{ran:?}");
            assert!(ran.stderr.starts_with(message) && ran.stderr.contains(&pid), "{ran:?}");
        }
        stop(&consumer).await;
        scene.run("INSERT INTO jobs VALUES (31)").await;
        let expected = "group work:
  4 cursors, 1 event behind
  1 parked event
  1 dead letter
  the requirements on public.jobs; the triggers stay installed\n";
        let printed = scene.fine(&["group", "delete", "work"]).await;
        assert_eq!(printed, format!("Deletes {expected}Nothing was changed. Add --commit to delete it.\n"));
        assert_eq!(scene.value(GROUPS).await, "1");
        let printed = scene.fine(&["group", "delete", "work", "--commit"]).await;
        assert_eq!(printed, format!("Deleted {expected}"));
        let left = "SELECT (SELECT count(*) FROM pgherald.consumer_group) + (SELECT count(*) FROM pgherald.parked_event)
            + (SELECT count(*) FROM pgherald.consumer_cursor) + (SELECT count(*) FROM pgherald.consumer_requirement)";
        assert_eq!(scene.value(&format!("SELECT ({left})::text")).await, "0");
        let ran = scene.pgherald(&["group", "delete", "work", "--commit"]).await;
        let message = "pgherald: there is no group \"work\"\nhint: there is no group yet: a group is created by its first consumer\n";
        assert_eq!((ran.code, &*ran.stderr), (1, message), "{ran:?}");
    })
    .await;
}

#[tokio::test]
async fn group_delete_is_refused_if_a_consumer_joins_meanwhile() {
    let scene = scene().await;
    scene
        .run("INSERT INTO pgherald.consumer_group (name, slices) VALUES ('work', 1)")
        .await;
    // A consumer is about to join.
    let joining = connect(&scene.url).await;
    let join = "BEGIN; INSERT INTO pgherald.consumer_node (group_name, id, description, lease_until, lease)
        VALUES ('work', 1, 'late worker', clock_timestamp() + interval '1 min', interval '1 min')";
    joining.batch_execute(join).await.unwrap();
    let deleting = scene.pgherald(&["group", "delete", "work", "--commit"]);
    let committing = async {
        let waits = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        becomes(&scene, waits, "1").await;
        joining.batch_execute("COMMIT").await.unwrap();
    };
    let (ran, ()) = tokio::join!(deleting, committing);
    assert!(
        ran.code == 1 && ran.stderr.contains("consumer late worker runs"),
        "{ran:?}"
    );
    assert_eq!(scene.value(GROUPS).await, "1");
}

#[tokio::test]
async fn seek_that_skips_or_repeats_many_events_requires_commit() {
    local(async {
        let scene = scene().await;
        let consumer = start(&scene, "work", tens);
        scene.run("INSERT INTO jobs VALUES (1), (10); INSERT INTO jobs SELECT generate_series(1000, 1999)").await;
        becomes(&scene, DEAD, "1").await;
        becomes(&scene, PARKED, "1").await;
        becomes(&scene, LAG, "0").await;
        stop(&consumer).await;
        let before = scene.value(CURSORS).await;

        let ran = scene.pgherald(&["group", "seek", "work", "beginning"]).await;
        assert_eq!((ran.code, &*ran.stderr), (1, ""), "{ran:?}");
        let lines: Vec<_> = ran.stdout.lines().collect();
        assert_eq!(lines[0], "Group work would continue with all events that are still in the outbox.");
        assert!(lines[1].starts_with("Would be delivered again: 1002 events, recorded "), "{ran:?}");
        assert_eq!(lines[2..], [
            "Parked events among them: 1. They stay parked, and are not handled twice.",
            "Dead letters among them: 1. They stay dead letters, even if they are handled now.",
            "Nothing was changed. Add --commit to move the group.",
        ]);
        assert_eq!(scene.value(CURSORS).await, before);
        let printed = scene.fine(&["group", "seek", "work", "beginning", "--commit"]).await;
        assert!(printed.contains("\nTo be delivered again: 1002 events, ") && printed.contains("\n1002 events wait to be handled.\n"), "{printed}");

        // To the end: everything is skipped.
        let ran = scene.pgherald(&["group", "seek", "work", "now", "--json"]).await;
        assert_eq!(ran.code, 1, "{ran:?}");
        let object: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((&object["committed"], &object["skipped"]["events"]), (&false.into(), &1002.into()), "{object}");
        assert_eq!(object["repeated"]["events"], 0, "{object}");
        assert_eq!(object["notes"][1], "Parked events are not skipped: 1. They are retried.", "{object}");
        assert_eq!(scene.value(LAG).await, "1002");
        scene.fine(&["group", "seek", "work", "now", "--commit"]).await;
        assert_eq!(scene.value(LAG).await, "0");
        // Nothing is skipped or repeated.
        let printed = scene.fine(&["group", "seek", "work", "now"]).await;
        assert!(printed.starts_with("Group work continues with events committed from now on.\nAll recorded events were read.\n"), "{printed}");
    })
    .await;
}

#[tokio::test]
async fn seek_over_unreadable_cursors_requires_commit() {
    local(async {
        let scene = scene().await;
        let consumer = start(&scene, "work", well);
        becomes(&scene, OWNED, "4").await;
        stop(&consumer).await;
        scene
            .run("UPDATE pgherald.consumer_cursor SET cursor = 'x' WHERE slice = 1")
            .await;
        let ran = scene.pgherald(&["group", "seek", "work", "now"]).await;
        assert!(
            ran.code == 1
                && ran
                    .stdout
                    .contains("Slices whose cursors cannot be parsed: 1."),
            "{ran:?}"
        );
        let printed = scene
            .fine(&["group", "seek", "work", "now", "--commit"])
            .await;
        assert!(
            printed.contains("Slices whose cursors cannot be parsed: 1."),
            "{printed}"
        );
        assert_eq!(scene.value(LAG).await, "0");
        // A group with such cursors can be deleted, too.
        scene
            .run("UPDATE pgherald.consumer_cursor SET cursor = 'x'; INSERT INTO jobs VALUES (1)")
            .await;
        let printed = scene.fine(&["group", "delete", "work", "--commit"]).await;
        assert!(
            printed.contains("an unknown number of events behind"),
            "{printed}"
        );
    })
    .await;
}

#[tokio::test]
async fn unreadable_cursors_are_named_and_replaced_by_the_next_consumer() {
    local(async {
        let scene = scene().await;
        let consumer = start(&scene, "work", well);
        becomes(&scene, OWNED, "4").await;
        stop(&consumer).await;
        scene
            .run(
                "UPDATE pgherald.consumer_cursor SET cursor = '9:7: 0 7 0' WHERE slice IN (1, 3);
                INSERT INTO jobs SELECT n FROM generate_series(1, 20) AS n",
            )
            .await;
        let printed = scene.fine(&["group", "list"]).await;
        assert!(
            printed.contains("no consumer, unreadable cursors of slices 1, 3"),
            "{printed}"
        );
        assert!(
            printed.contains("20 events"),
            "the events of these slices count: {printed}"
        );
        let printed = scene.fine(&["group", "show", "work"]).await;
        assert!(printed.contains("unreadable cursor"), "{printed}");
        let found = scene.pgherald(&["doctor"]).await;
        assert!(
            found
                .stdout
                .contains("group work: unreadable cursors of slices 1, 3"),
            "{found:?}"
        );
        let consumer = start(&scene, "work", well);
        becomes(&scene, LAG, "0").await;
        stop(&consumer).await;
        let printed = scene.fine(&["group", "list"]).await;
        assert!(!printed.contains("unreadable"), "{printed}");
    })
    .await;
}

#[tokio::test]
async fn unknown_groups_and_missing_rights_are_refused() {
    let scene = Scene::new("CREATE TABLE jobs (id int PRIMARY KEY)").await;
    let all: [&[&str]; 3] = [&["list"], &["show", "work"], &["delete", "work"]];
    for arguments in all {
        let ran = scene.pgherald(&[&["group"], arguments].concat()).await;
        assert!(
            ran.code == 1
                && ran
                    .stderr
                    .starts_with("pgherald: there is no outbox in this database"),
            "{ran:?}"
        );
    }
    scene
        .fine(&["install", "jobs", "--mode", "outbox", "--commit"])
        .await;
    scene
        .run("INSERT INTO pgherald.consumer_group (name, slices) VALUES ('work', 1)")
        .await;
    for name in ["wrok", "", "work ", "WORK"] {
        for action in ["show", "delete"] {
            let ran = scene.pgherald(&["group", action, name]).await;
            let message =
                format!("pgherald: there is no group {name:?}\nhint: existing groups: work; ");
            assert!(ran.code == 1 && ran.stderr.starts_with(&message), "{ran:?}");
        }
    }
    let create = "SELECT format('CREATE ROLE %I LOGIN', 'stranger_' || oid) FROM pg_database WHERE datname = current_database()";
    scene.run(&scene.value(create).await).await;
    let role = scene
        .value("SELECT 'stranger_' || oid FROM pg_database WHERE datname = current_database()")
        .await;
    let stranger = Scene {
        url: scene.url.replace("postgres@", &format!("{role}@")),
        client: connect(&scene.url).await,
    };
    for arguments in [
        &["group", "list"][..],
        &["group", "show", "work"],
        &["group", "delete", "work", "--commit"],
        &["group", "seek", "work", "now"],
        &["parked", "list"],
        &["parked", "retry", "work", "--all"],
    ] {
        let ran = stranger.pgherald(arguments).await;
        assert!(
            ran.code == 1
                && ran.stderr.contains("permission denied")
                && ran.stderr.contains("\nhint: "),
            "{ran:?}"
        );
    }
    scene
        .fine(&["grant", &role, "--to", "consume", "--commit"])
        .await;
    stranger.fine(&["group", "show", "work"]).await;
    stranger.fine(&["parked", "retry", "work", "--all"]).await;
    // A role that consumes may not delete groups.
    let ran = stranger
        .pgherald(&["group", "delete", "work", "--commit"])
        .await;
    assert!(
        ran.code == 1
            && ran
                .stderr
                .contains("permission denied for table consumer_group"),
        "{ran:?}"
    );
    assert_eq!(scene.value(GROUPS).await, "1");
    scene
        .run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}
