//! `dead-letters`.

use super::consumers::{DEAD, PARKED, becomes, local, scene, start, stop, tens};
use super::support::Scene;

/// Creates dead letters: jobs 1 to `count` in group "work", and job 1 in group "idle".
async fn given_up(count: u32) -> Scene {
    let scene = scene().await;
    scene
        .run(&format!(
            "INSERT INTO jobs SELECT generate_series(1, {count}), 'v'"
        ))
        .await;
    let consumers = [
        start(&scene, "work", |_| {
            Err(pgherald_core::HandlerError::permanent("no\n  way"))
        }),
        start(&scene, "idle", |id| if id == 1 { tens(1) } else { Ok(()) }),
    ];
    becomes(&scene, DEAD, &(count + 1).to_string()).await;
    for consumer in &consumers {
        stop(consumer).await;
    }
    scene
}

async fn ids(scene: &Scene) -> Vec<String> {
    let letters = scene
        .json(&["dead-letters", "list", "--group", "work"])
        .await;
    letters
        .iter()
        .map(|letter| letter["id"].to_string())
        .collect()
}

#[tokio::test]
async fn dead_letters_are_listed_and_shown() {
    local(async {
        let scene = given_up(3).await;
        scene.run("DELETE FROM pgherald.outbox WHERE id < 0").await;
        let letters = scene.json(&["dead-letters", "list"]).await;
        assert_eq!(letters.len(), 4);
        assert_eq!(letters[0]["group"], "idle");
        let letter = letters
            .iter()
            .find(|one| one["group"] == "work" && one["key"]["id"] == 2)
            .unwrap();
        assert_eq!(letter["event"], "insert public.jobs 2");
        assert_eq!(
            letter["columns"],
            serde_json::json!({"id": 2, "value": "v"})
        );
        assert_eq!(
            (&letter["attempts"], &letter["error"]),
            (&1.into(), &"no\n  way".into())
        );
        let printed = scene.fine(&["dead-letters", "list", "--limit", "2"]).await;
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(lines.len(), 5, "{printed}");
        let headings: Vec<_> = lines[0]
            .split("  ")
            .filter(|cell| !cell.is_empty())
            .map(str::trim)
            .collect();
        assert_eq!(
            headings,
            ["GROUP", "ID", "EVENT", "ATTEMPTS", "DEAD SINCE", "ERROR"]
        );
        assert!(
            lines[2].starts_with("work ") && lines[2].ends_with("Z  no way"),
            "{printed}"
        );
        assert_eq!(lines[4], "There are more of work: raise --limit.");
        let printed = scene
            .fine(&["dead-letters", "list", "--group", "idle"])
            .await;
        assert!(
            printed.contains("no 1 at all") && !printed.contains("work"),
            "{printed}"
        );

        let id = letter["id"].to_string();
        let shown = scene.fine(&["dead-letters", "show", "work", &id]).await;
        let values = [
            "Group       work\n",
            "Event       insert public.jobs 2\n",
            "\"value\":\"v\"",
            "Attempts    1\n",
            "Error       no\n              way\n",
        ];
        for value in values {
            assert!(shown.contains(value), "{value:?} in {shown}");
        }
        assert_eq!(
            &scene.json(&["dead-letters", "show", "work", &id]).await[0],
            letter
        );
    })
    .await;
}

#[tokio::test]
async fn dead_letters_are_retried_and_discarded() {
    local(async {
        let scene = given_up(4).await;
        let of = ids(&scene).await;
        let printed = scene.fine(&["dead-letters", "retry", "work", &of[0], "999999", &of[0]]).await;
        assert_eq!(printed, "1 dead letter of work will be retried.\nNot dead letters: 999999.\n");
        assert_eq!(scene.value(DEAD).await, "4");
        let printed = &scene.json(&["dead-letters", "discard", "work", &of[1], "-7"]).await[0];
        let expected = serde_json::json!({"group": "work", "action": "discarded", "count": 1, "not_found": [-7]});
        assert_eq!(printed, &expected);
        assert_eq!(ids(&scene).await, of[2..]);
        // Events that wait for their retry are no longer dead letters.
        for arguments in [["retry", "work", &of[0]], ["discard", "work", &of[1]], ["show", "work", &of[0]]] {
            let ran = scene.pgherald(&[&["dead-letters"], &arguments[..]].concat()).await;
            assert_eq!((ran.code, &*ran.stdout), (1, ""), "{ran:?}");
            let cause = format!("pgherald: {} is not a dead letter of group \"work\"\n", arguments[2]);
            assert_eq!(ran.stderr, cause + "hint: pgherald dead-letters list --group work\n");
        }
        assert_eq!(scene.value(PARKED).await, "1");
        let printed = scene.fine(&["dead-letters", "retry", "work", "--all"]).await;
        assert_eq!(printed, "2 dead letters of work will be retried.\n");
        let printed = scene.fine(&["dead-letters", "discard", "work", "--all"]).await;
        assert_eq!(printed, "0 dead letters of work discarded.\n");
        assert_eq!(scene.fine(&["dead-letters", "list", "--group", "work"]).await, "There are no dead letters.\n");
        // The next consumer handles the retried events. Those of the other group stay.
        let consumer = start(&scene, "work", |_| Ok(()));
        becomes(&scene, PARKED, "0").await;
        assert_eq!(scene.value(DEAD).await, "1");
        stop(&consumer).await;
    })
    .await;
}

#[tokio::test]
async fn many_dead_letters_are_changed_in_chunks() {
    local(async {
        let scene = given_up(2).await;
        scene.run("INSERT INTO pgherald.parked_event SELECT group_name, id + n * 1000, slice, xid, sent_at, relation, hash,
                operation, key, columns, old_columns, changed, attempts, error, parked_at, due_at, dead_at
            FROM pgherald.parked_event, generate_series(1, 1200) AS n WHERE group_name = 'work'").await;
        let limits = [("3000", 2402), ("201", 201), ("200", 200), ("0", 0)];
        for (limit, count) in limits {
            let arguments = ["dead-letters", "list", "--group", "work", "--limit", limit];
            let listed = scene.json(&arguments).await;
            let mut ids: Vec<_> = listed.iter().map(|letter| letter["id"].as_i64().unwrap()).collect();
            assert_eq!(ids.len(), count);
            let printed = scene.fine(&arguments).await;
            assert_eq!(printed.contains("There are more of work"), count < 2402, "{limit}");
            ids.dedup();
            assert!(ids.len() == count && ids.is_sorted());
        }
        let printed = scene.fine(&["dead-letters", "retry", "work", "--all"]).await;
        assert_eq!(printed, "2402 dead letters of work will be retried.\n");
        assert_eq!(scene.value(PARKED).await, "2402");
    })
    .await;
}

#[tokio::test]
async fn unknown_group_error_lists_the_existing_groups() {
    let scene = Scene::new("CREATE TABLE jobs (id int PRIMARY KEY)").await;
    let all: [&[&str]; 4] = [
        &["list", "--group", "wrok"],
        &["show", "wrok", "1"],
        &["retry", "wrok", "--all"],
        &["discard", "wrok", "1"],
    ];
    let fails_with = async |expected: &str| {
        for arguments in all {
            let ran = scene
                .pgherald(&[&["dead-letters"], arguments].concat())
                .await;
            assert_eq!(
                (ran.code, &*ran.stdout, &*ran.stderr),
                (1, "", expected),
                "{arguments:?}"
            );
        }
    };
    fails_with("pgherald: there is no outbox in this database, and therefore no group\nhint: pgherald install TABLE --mode outbox --commit\n").await;
    scene
        .fine(&["install", "jobs", "--mode", "outbox", "--commit"])
        .await;
    fails_with("pgherald: there is no group \"wrok\"\nhint: there is no group yet: a group is created by its first consumer\n").await;
    scene
        .run("INSERT INTO pgherald.consumer_group (name, slices) VALUES ('work', 1)")
        .await;
    fails_with("pgherald: there is no group \"wrok\"\nhint: existing groups: work; a group is created by its first consumer\n").await;
    assert_eq!(
        scene.fine(&["dead-letters", "list"]).await,
        "There are no dead letters.\n"
    );
}
