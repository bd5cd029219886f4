//! `group`.

use std::process::Stdio;

use super::consumers::{LAG, OWNED, becomes, local, scene, start, stop};
use super::support::{binary, blocking};

#[tokio::test]
async fn paused_group_starts_no_attempts_until_resumed() {
    local(async {
        let scene = scene().await;
        let consumer = start(&scene, "work", |_| Ok(()));
        scene.run("INSERT INTO jobs VALUES (1)").await;
        becomes(&scene, LAG, "0").await;
        let printed = scene.fine(&["group", "pause", "work"]).await;
        let expected = "Group work is paused: running attempts finish, and no new ones start.
No recorded event waits to be handled.\nIt is paused: pgherald group resume work\n";
        assert_eq!(printed, expected);
        // A running consumer notices a pause after a moment, so start another one.
        stop(&consumer).await;
        let consumer = start(&scene, "work", |_| Ok(()));
        becomes(&scene, OWNED, "4").await;
        scene.run("INSERT INTO jobs VALUES (2), (3)").await;
        let object = &scene.json(&["group", "pause", "work"]).await[0];
        assert_eq!(
            (
                &object["is_paused"],
                &object["lag_events"],
                &object["nodes"]
            ),
            (&true.into(), &2.into(), &1.into()),
            "{object}"
        );
        assert_eq!(consumer.report().handled, 0);
        let printed = scene.fine(&["group", "resume", "work"]).await;
        assert!(printed.starts_with("Group work is resumed.\n"), "{printed}");
        becomes(&scene, LAG, "0").await;
        assert_eq!(consumer.report().handled, 2);
        stop(&consumer).await;
    })
    .await;
}

#[tokio::test]
async fn seek_moves_a_group_to_beginning_now_or_a_time() {
    local(async {
        let scene = scene().await;
        scene.run("INSERT INTO jobs VALUES (1), (2), (3)").await;
        let consumer = start(&scene, "work", |_| Ok(()));
        becomes(&scene, LAG, "0").await;
        stop(&consumer).await;

        let printed = scene.fine(&["group", "seek", "work", "beginning"]).await;
        let (first, rest) = printed.split_once('\n').unwrap();
        assert_eq!(
            first,
            "Group work continues with all events that are still in the outbox."
        );
        assert!(
            rest.starts_with("To be delivered again: 3 events, recorded "),
            "{printed}"
        );
        assert!(
            rest.ends_with("\n3 events wait to be handled.\nNo consumer of the group runs.\n"),
            "{printed}"
        );
        assert_eq!(scene.value(LAG).await, "3");
        let printed = scene
            .fine(&["group", "seek", "work", "now", "--commit"])
            .await;
        let skipped = "\nSkipped: 3 events, recorded ";
        assert!(
            printed.contains(skipped) && printed.contains("\nNo recorded event waits"),
            "{printed}"
        );
        assert_eq!(scene.value(LAG).await, "0");

        // A time between the events.
        let between = scene.value("SELECT clock_timestamp()::text").await;
        scene.run("INSERT INTO jobs VALUES (4), (5)").await;
        let printed = scene.fine(&["group", "seek", "work", &between]).await;
        assert!(
            printed.starts_with(&format!(
                "Group work continues with events recorded from {between} on.\n2 events wait"
            )),
            "{printed}"
        );
        let object = &scene.json(&["group", "seek", "work", "2 hours ago"]).await[0];
        assert_eq!(object["lag_events"], 5, "{object}");
        let oldest = scene
            .value("SELECT min(sent_at)::text FROM pgherald.outbox")
            .await;
        assert_eq!(
            object["notes"][0],
            format!("Nothing was recorded before {oldest}.")
        );
        // Pretend that a part was trimmed.
        scene
            .run("UPDATE pgherald.outbox_retention SET closed = 1, trimmed = 1")
            .await;
        let printed = scene.fine(&["group", "seek", "work", "yesterday"]).await;
        assert!(
            printed.contains(&format!(
                "\nEvents recorded before {oldest} are no longer kept.\n"
            )),
            "{printed}"
        );

        let consumer = start(&scene, "work", |_| Ok(()));
        becomes(&scene, LAG, "0").await;
        assert!(consumer.report().handled >= 5, "{:?}", consumer.report());
        stop(&consumer).await;
    })
    .await;
}

#[tokio::test]
async fn seek_refuses_invalid_positions() {
    local(async {
        let scene = scene().await;
        let consumer = start(&scene, "work", |_| Ok(()));
        becomes(&scene, "SELECT count(*)::text FROM pgherald.consumer_cursor", "4").await;
        stop(&consumer).await;
        let cursors = "SELECT string_agg(cursor, ' ' ORDER BY slice) FROM pgherald.consumer_cursor";
        let before = scene.value(cursors).await;
        let refused = [
            ("tomorrow", 1, "is in the future: the server's clock says "),
            ("infinity", 1, "infinity is in the future"),
            ("-infinity", 1, "-infinity is not a point in time"),
            ("-2 hours ago", 1, "is in the future"),
            ("once upon a time", 2, "PostgreSQL cannot read \"once upon a time\" as a time"),
            ("long ago", 2, "PostgreSQL cannot read \"long ago\" as a time"),
            ("2026-13-01", 2, "PostgreSQL cannot read"),
        ];
        for (place, code, cause) in refused {
            let ran = scene.pgherald(&["group", "seek", "--", "work", place]).await;
            assert_eq!((ran.code, &*ran.stdout), (code, ""), "{place}: {ran:?}");
            assert!(ran.stderr.contains(cause) && ran.stderr.contains("\nhint: write "), "{place}: {ran:?}");
        }
        for arguments in [&["pause", "wrok"][..], &["resume", "wrok"], &["seek", "wrok", "now"]] {
            let ran = scene.pgherald(&[&["group"], arguments].concat()).await;
            let expected = "pgherald: there is no group \"wrok\"\nhint: existing groups: work; a group is created by its first consumer\n";
            assert_eq!((ran.code, &*ran.stderr), (1, expected), "{ran:?}");
        }
        assert_eq!(scene.value(cursors).await, before);
    })
    .await;
}

#[tokio::test]
async fn group_names_are_escaped_in_output_and_commands() {
    let scene = scene().await;
    scene.run("INSERT INTO pgherald.consumer_group (name, slices) VALUES ('-w', 1), (E'a\\nb\\x1b[31m\\u202e', 1)").await;
    let printed = scene
        .fine(&["group", "resume", "a\nb\u{1b}[31m\u{202e}"])
        .await;
    assert!(
        printed.starts_with("Group a\\nb\\u{1b}[31m\\u{202e} is resumed.\n"),
        "{printed}"
    );
    let printed = scene
        .fine(&["group", "pause", "a\nb\u{1b}[31m\u{202e}"])
        .await;
    let hint = r"It is paused: pgherald group resume $'a\012b\033[31m\342\200\256'";
    assert!(printed.ends_with(&format!("{hint}\n")), "{printed}");
    let printed = scene.fine(&["group", "pause", "--", "-w"]).await;
    assert!(
        printed.ends_with("It is paused: pgherald group resume -- -w\n"),
        "{printed}"
    );
    let ran = scene
        .pgherald(&["dead-letters", "discard", "--", "-w", "7"])
        .await;
    assert!(
        ran.stderr
            .ends_with("hint: pgherald dead-letters list --group=-w\n"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn seek_parses_times_in_the_zone_of_pgtz() {
    local(async {
        let scene = scene().await;
        let consumer = start(&scene, "work", |_| Ok(()));
        becomes(&scene, OWNED, "4").await;
        stop(&consumer).await;
        let seek = async |zone: &str| {
            let mut command = binary();
            command.args(["--database-url", &scene.url, "group", "seek", "work"]);
            command.arg("2026-01-01 12:00").env("PGTZ", zone);
            let output = blocking(move || command.stdin(Stdio::null()).output().unwrap()).await;
            let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            (output.status.code(), printed)
        };
        let (code, printed) = seek("Asia/Tokyo").await;
        assert!(
            code == Some(0) && printed.contains("events recorded from 2026-01-01 12:00:00+09 on"),
            "{printed}"
        );
        let (code, printed) = seek("nowhere").await;
        let cause = "no time zone \"nowhere\"\nhint: correct PGTZ";
        assert!(code == Some(2) && printed.contains(cause), "{printed}");
    })
    .await;
}
