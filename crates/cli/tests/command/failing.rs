//! Failing events are reported by `doctor`, by `status` and by the report at shutdown.

use serde_json::{Value, json};

use super::consumers::{LAG, PARKED, becomes, local, scene, start, stop};
use super::doctor::wrong;
use super::support::Scene;
use pgherald_core::HandlerResult;

/// Fails for even ids.
fn even(id: i64) -> HandlerResult {
    match id % 2 {
        0 => Err("550 no such mailbox".into()),
        _ => Ok(()),
    }
}

/// Returns the result and the text of each finding about groups that is not ok.
async fn about_groups(scene: &Scene) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = wrong(scene, &[]).await;
    let findings = findings.iter().filter(|one| one["check"] == "groups");
    findings
        .map(|one| (text(&one["result"]), text(&one["finding"])))
        .collect()
}

/// Returns the status of the only group as an object, and as its line in the table.
async fn group(scene: &Scene) -> (Value, String) {
    let object = scene.json(&["status"]).await[0]["groups"][0].clone();
    let printed = scene.fine(&["status"]).await;
    let name = object["group"].as_str().unwrap().to_owned();
    let line = printed
        .lines()
        .find(|line| line.starts_with(&name))
        .unwrap();
    (object, line.to_owned())
}

#[tokio::test]
async fn failing_events_appear_in_doctor_status_and_shutdown_report() {
    local(async {
        let scene = scene().await;
        let consumer = start(&scene, "mail", even);
        scene.run("INSERT INTO jobs SELECT generate_series(1, 4000)").await;
        becomes(&scene, PARKED, "2000").await;
        becomes(&scene, LAG, "0").await;

        let found = about_groups(&scene).await;
        let [(result, finding)] = &*found else {
            panic!("{found:#?}");
        };
        assert_eq!(result, "failed", "{finding}");
        for part in [
            "group mail: 2000 events fail (2000 of 2000 parked)",
            "2000 of them in the last 5 min",
            "last error: 550 no such mailbox",
        ] {
            assert!(finding.contains(part), "{part:?} in {finding:?}");
        }

        let (object, line) = group(&scene).await;
        assert_eq!(object["state"], "failing", "{object}");
        assert_eq!(object["failing"], 2000, "{object}");
        assert_eq!(object["failing_recently"], 2000, "{object}");
        assert!(object["oldest_failing_seconds"].as_f64().is_some(), "{object}");
        assert_eq!(object["last_error"], "550 no such mailbox", "{object}");
        assert!(line.contains("failing"), "{line}");
        let printed = scene.fine(&["status"]).await;
        let failures = printed.split("\nFailures\n").nth(1).unwrap();
        assert!(failures.contains("550 no such mailbox"), "{printed}");

        let conclusion = scene.fine(&["group", "resume", "mail"]).await;
        let part = "2000 events parked, which wait for a retry or behind an earlier event of the same row; 2000 of them have failed.";
        assert!(conclusion.contains(part), "{conclusion}");

        let report = consumer.drain(super::support::DEADLINE).await;
        // Some may have been retried already, because their delays have jitter.
        let failed = report.failed_attempts();
        assert_eq!((report.handled, report.parked, report.dead_letters), (2000, 2000, 0));
        assert!(failed >= 2000, "{report}");
        let expected = format!(
            "mail: 2000 handled, {failed} attempts failed, 2000 parked, 0 dead letters, 0 left to others"
        );
        assert_eq!(report.to_string(), expected);
    })
    .await;
}

#[tokio::test]
async fn group_without_consumers_is_not_up_to_date() {
    local(async {
        let scene = scene().await;
        let consumer = start(&scene, "mail", |_| Ok(()));
        becomes(&scene, super::consumers::OWNED, "4").await;
        assert_eq!(about_groups(&scene).await, []);
        assert_eq!(group(&scene).await.0["state"], "up to date");
        stop(&consumer).await;

        let expected = (
            "warning".to_owned(),
            "group mail: no consumer runs; 0 events behind".to_owned(),
        );
        assert_eq!(about_groups(&scene).await, [expected]);
        let (object, line) = group(&scene).await;
        assert_eq!(object["state"], "no consumer", "{object}");
        assert_eq!(object["nodes"], json!([]), "{object}");
        assert!(line.contains("no consumer"), "{line}");

        // The same while the group is paused and has a lag.
        scene.run("INSERT INTO jobs VALUES (1), (2), (3)").await;
        scene.fine(&["group", "pause", "mail"]).await;
        let found = about_groups(&scene).await;
        let texts: Vec<_> = found.iter().map(|(_, text)| &**text).collect();
        let [paused, alone] = texts[..] else {
            panic!("{texts:#?}");
        };
        assert!(
            paused.starts_with("group mail: paused, 3 events behind"),
            "{paused}"
        );
        assert!(
            alone.starts_with("group mail: no consumer runs; 3 events behind"),
            "{alone}"
        );
        assert_eq!(group(&scene).await.0["state"], "paused, no consumer");
    })
    .await;
}
