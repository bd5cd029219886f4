//! `parked`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use pgherald_core::{HandlerError, HandlerResult};

use super::consumers::{LAG, PARKED, becomes, local, scene, start, stop};
use super::support::Scene;

/// Jobs fail until they are fixed, with a delay of minutes. Jobs from 100 on are retried all the time.
struct Plan(Rc<RefCell<BTreeSet<i64>>>);

impl Plan {
    fn new() -> Self {
        Self(Rc::default())
    }

    fn handler(&self) -> impl Fn(i64) -> HandlerResult + 'static {
        let fixed = Rc::clone(&self.0);
        move |id| match id {
            100.. => Err(HandlerError::snooze(Duration::from_millis(2))),
            id if fixed.borrow().contains(&id) => Ok(()),
            _ => Err("not now".into()),
        }
    }

    fn fix(&self, ids: impl IntoIterator<Item = i64>) {
        self.0.borrow_mut().extend(ids);
    }
}

const BEHIND: &str =
    "SELECT count(*)::text FROM pgherald.parked_event WHERE due_at IS NULL AND dead_at IS NULL";

/// Returns the ids of the parked events of a job, in order.
async fn of_job(scene: &Scene, job: i64) -> Vec<String> {
    let parked = scene
        .json(&["parked", "list", "--group", "work", "--limit", "1000"])
        .await;
    let its = parked.iter().filter(|one| one["key"]["id"] == job);
    its.map(|one| one["id"].to_string()).collect()
}

#[tokio::test]
async fn running_consumers_notice_a_retry() {
    local(async {
        let scene = scene().await;
        let plan = Plan::new();
        let consumer = start(&scene, "work", plan.handler());
        scene.run("INSERT INTO jobs VALUES (1, 'a'), (2, 'a'), (3, 'a')").await;
        becomes(&scene, PARKED, "3").await;
        scene.run("UPDATE jobs SET value = 'b' WHERE id = 1").await;
        becomes(&scene, BEHIND, "1").await;

        let printed = scene.fine(&["parked", "list"]).await;
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(lines.len(), 5, "{printed}");
        assert!(lines[0].contains("DUE") && !lines[0].contains("DEAD SINCE"), "{printed}");
        assert!(lines[1].contains(" in ") && lines[1].ends_with("not now"), "{printed}");
        assert!(lines[4].contains("update public.jobs 1") && lines[4].contains("behind an earlier event"), "{printed}");
        let first = of_job(&scene, 1).await;
        let printed = scene.fine(&["parked", "show", "work", &first[0]]).await;
        assert!(printed.contains("\nDue         in ") && printed.contains("\nAttempts    1\n"), "{printed}");

        // The events of one row.
        plan.fix([2]);
        let of_row = ["parked", "retry", "work", "--table", "jobs", "--where", "key=2"];
        assert_eq!(scene.fine(&of_row).await, "1 parked event of work is due now.\n");
        becomes(&scene, PARKED, "3").await;
        assert_eq!(of_job(&scene, 2).await, [""; 0]);
        let ran = scene.pgherald(&of_row).await;
        let message = "pgherald: group \"work\" has no parked event of table public.jobs, of a row with this key\n\
            hint: pgherald parked list --group work\n";
        assert_eq!((ran.code, &*ran.stderr), (1, message), "{ran:?}");

        // An event that waits behind another one: both are handled, in order.
        plan.fix([1]);
        let printed = scene.fine(&["parked", "retry", "work", &first[1], "7000000"]).await;
        let expected = "1 parked event of work is due now.\n1 begins when an earlier event of the same row is handled.\nNot parked: 7000000.\n";
        assert_eq!(printed, expected);
        becomes(&scene, PARKED, "1").await;
        assert_eq!(of_job(&scene, 1).await, [""; 0]);

        plan.fix([3]);
        let object = &scene.json(&["parked", "retry", "work", "--all"]).await[0];
        assert_eq!((&object["action"], &object["count"]), (&"retried".into(), &1.into()), "{object}");
        becomes(&scene, PARKED, "0").await;
        assert_eq!(scene.fine(&["parked", "list"]).await, "There are no parked events.\n");
        assert_eq!(scene.fine(&["parked", "retry", "work", "--all"]).await, "0 parked events of work are due now.\n");
        stop(&consumer).await;
    })
    .await;
}

#[tokio::test]
async fn consumers_notice_a_retry_while_other_events_are_retried() {
    local(async {
        let scene = scene().await;
        let plan = Plan::new();
        let consumer = start(&scene, "work", plan.handler());
        scene.run("INSERT INTO jobs SELECT n, 'a' FROM generate_series(100, 399) AS n; INSERT INTO jobs VALUES (1, 'a')").await;
        becomes(&scene, PARKED, "301").await;
        becomes(&scene, LAG, "0").await;
        plan.fix([1]);
        let id = of_job(&scene, 1).await;
        scene.fine(&["parked", "retry", "work", &id[0]]).await;
        becomes(&scene, PARKED, "300").await;
        stop(&consumer).await;
    })
    .await;
}

#[tokio::test]
async fn retry_without_consumers_keeps_attempts() {
    local(async {
        let scene = scene().await;
        let plan = Plan::new();
        let consumer = start(&scene, "work", plan.handler());
        scene.run("INSERT INTO jobs VALUES (1, 'a'), (2, 'a')").await;
        becomes(&scene, PARKED, "2").await;
        stop(&consumer).await;
        scene.fine(&["group", "pause", "work"]).await;
        let printed = scene.fine(&["parked", "retry", "work", "--table", "public.jobs"]).await;
        let expected = "2 parked events of work are due now.\nNo consumer of the group runs.\nIt is paused: pgherald group resume work\n";
        assert_eq!(printed, expected);
        let attempts = "SELECT sum(attempts)::text FROM pgherald.parked_event";
        assert_eq!(scene.value(attempts).await, "2");
        assert!(scene.fine(&["parked", "list"]).await.contains("  now  "));
        // Events of a dropped table are found by the name with which they were recorded.
        scene.run("DROP TABLE jobs").await;
        let printed = scene.fine(&["parked", "retry", "work", "--table", "jobs"]).await;
        assert!(printed.starts_with("2 parked events"), "{printed}");
        // A parked event is not a dead letter.
        for (command, id) in [("parked", "1"), ("dead-letters", "1")] {
            let ran = scene.pgherald(&[command, "show", "work", id]).await;
            assert_eq!(ran.code, if command == "parked" { 0 } else { 1 }, "{ran:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn invalid_selections_are_refused() {
    let scene = scene().await;
    scene
        .run("INSERT INTO pgherald.consumer_group (name, slices) VALUES ('work', 1), ('', 1)")
        .await;
    let huge = "x".repeat(100_000);
    let cases: [(&[&str], i32, &str); 12] = [
        (&["retry", "wrok", "--all"], 1, "there is no group \"wrok\""),
        (&["retry", &huge, "--all"], 1, "there is no group \"xxx"),
        (
            &["show", "work", "1"],
            1,
            "1 is not a parked event of group \"work\"\nhint: pgherald parked list --group work",
        ),
        (
            &["retry", "work", "1", "2", "2"],
            1,
            "none of 1, 2 is a parked event",
        ),
        (
            &["retry", "work", "--table", "nowhere"],
            1,
            "has no parked event of table public.nowhere\n",
        ),
        (
            &["retry", "work", "--table", "jobs"],
            1,
            "has no parked event of table public.jobs\n",
        ),
        (&["retry", "work"], 2, "ID"),
        (&["retry", "work", "--table", ""], 2, "--table"),
        (&["retry", "work", "--where", "key=1"], 2, "--table"),
        (
            &["retry", "work", "--table", "jobs", "--where", "key"],
            2,
            "COLUMN=VALUE",
        ),
        (
            &["retry", "work", "--all", "--table", "jobs"],
            2,
            "cannot be used with",
        ),
        (
            &["retry", "work", "99999999999999999999"],
            2,
            "99999999999999999999",
        ),
    ];
    for (arguments, code, message) in cases {
        let ran = scene.pgherald(&[&["parked"], arguments].concat()).await;
        assert_eq!(
            (ran.code, &*ran.stdout),
            (code, ""),
            "{arguments:?}: {ran:?}"
        );
        assert!(ran.stderr.contains(message), "{arguments:?}: {ran:?}");
    }
    let ran = scene.pgherald(&["parked", "list", "--limit", "-1"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    // The name of a group may be empty.
    let printed = scene.fine(&["parked", "retry", "", "--all"]).await;
    assert!(
        printed.starts_with("0 parked events of  are due now."),
        "{printed}"
    );
    // The same selections of dead letters.
    let ran = scene
        .pgherald(&[
            "dead-letters",
            "discard",
            "work",
            "--table",
            "jobs",
            "--where",
            "key=1",
        ])
        .await;
    assert!(
        ran.code == 1
            && ran
                .stderr
                .contains("has no dead letter of table public.jobs, of a row with this key"),
        "{ran:?}"
    );
}
