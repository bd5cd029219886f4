//! Restored dumps: a full dump, only the schema, or only the data. The outbox works, or `doctor` prints the fix.

use serde_json::Value;
use std::process::Command;

use pgherald_core::HandlerResult;
use pgherald_testkit::Binaries;

use super::consumers::{self, local, start};
use super::support::{DEADLINE, Scene, blocking};

const REQUIRED: &str = "INSERT INTO pgherald.consumer_requirement (group_name, schema_name, table_name, specification)
    VALUES ('g', 'public', 'jobs', '{\"schema\":\"public\",\"table\":\"jobs\",\"mode\":\"outbox\",\"columns\":\"*\"}')";
const WAITING: &str = "SELECT (lag_events + parked)::text FROM pgherald.consumer_group_status";

fn well(_: i64) -> HandlerResult {
    Ok(())
}

/// Creates a database with five jobs. If `has_group`, the group has handled two of them.
async fn original(has_group: bool) -> Scene {
    let scene = consumers::scene().await;
    let job = |id: i64| format!("INSERT INTO jobs VALUES ({id}, 'x')");
    scene.run(&format!("{}; {}", job(1), job(2))).await;
    if has_group {
        let handle = start(&scene, "g", well);
        becomes(&scene, WAITING, "0").await;
        handle.drain(DEADLINE).await;
        scene.run(REQUIRED).await;
    }
    scene.run(&[job(3), job(4), job(5)].join("; ")).await;
    scene
}

async fn becomes(scene: &Scene, sql: &str, expected: &str) {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let rows = scene.client.query(sql, &[]).await.unwrap();
        let found = rows.first().map(|row| row.get::<_, String>(0));
        if found.as_deref() == Some(expected) {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{sql}: {found:?}, not {expected}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn dump(scene: &Scene, options: &'static [&'static str]) -> String {
    let program = Binaries::find().unwrap().dir().join("pg_dump");
    let url = scene.url.clone();
    let output = blocking(move || {
        Command::new(program)
            .args(options)
            .arg("--inserts")
            .arg(url)
            .output()
            .unwrap()
    })
    .await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('\\'));
    lines.map(|line| format!("{line}\n")).collect()
}

async fn findings(scene: &Scene) -> Vec<Value> {
    let ran = scene.pgherald(&["doctor", "--json"]).await;
    let findings = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    findings
        .filter(|finding| !["ok", "skipped"].contains(&finding["result"].as_str().unwrap()))
        // No consumer runs in these tests.
        .filter(|finding| {
            !finding["finding"]
                .as_str()
                .unwrap()
                .contains("no consumer runs")
        })
        .collect()
}

/// Asserts that `doctor` has a finding that contains `part`, and that its fixes remove all problems.
async fn found_and_fixed_from_dump(scene: &Scene, part: &str) {
    let found = findings(scene).await;
    assert!(
        found.iter().any(|one| one.to_string().contains(part)),
        "{part:?}: {found:#?}"
    );
    for round in 0.. {
        let found = findings(scene).await;
        let Some(first) = found.first() else {
            return;
        };
        assert!(round < 10, "{found:#?}");
        scene.run_fix(first["fix"].as_str().unwrap()).await;
    }
}

/// Writes a job, and asserts that a consumer then handles `waiting` events.
async fn continues(scene: &Scene, waiting: u64) {
    local(async {
        // The dump has set the search_path of this session.
        scene.run("RESET ALL").await;
        scene.run("INSERT INTO jobs VALUES (6, 'x')").await;
        let shown = "SELECT count(*)::text FROM pgherald.outbox_event WHERE table_name = 'jobs' AND key = '6'";
        assert_eq!(scene.value(shown).await, "1");
        let handle = start(scene, "g", well);
        let deadline = std::time::Instant::now() + DEADLINE;
        while handle.report().handled < waiting {
            assert!(std::time::Instant::now() < deadline, "{:?}", handle.report());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        becomes(scene, WAITING, "0").await;
        let report = handle.drain(DEADLINE).await;
        assert_eq!((report.handled, report.dead_letters), (waiting, 0), "{report:?}");
    })
    .await;
}

#[tokio::test]
async fn restored_full_dump_continues_where_it_was() {
    for has_group in [true, false] {
        let from = local(original(has_group)).await;
        let to = Scene::new("").await;
        to.run(&dump(&from, &[]).await).await;
        found_and_fixed_from_dump(&to, "pgherald.history()").await;
        match has_group {
            // Three waiting events, a resync, and the new event.
            true => {
                let sql = "SELECT specification FROM pgherald.consumer_requirement";
                assert!(to.value(sql).await.contains("jobs"));
                continues(&to, 5).await;
            }
            false => assert_eq!(
                to.value("SELECT count(*)::text FROM pgherald.outbox").await,
                "0"
            ),
        }
    }
}

#[tokio::test]
async fn restored_schema_dump_starts_from_the_beginning() {
    for has_group in [true, false] {
        let from = local(original(has_group)).await;
        let to = Scene::new("").await;
        to.run(&dump(&from, &["--schema-only"]).await).await;
        found_and_fixed_from_dump(&to, "pgherald upgrade --commit").await;
        // A new group handles only the new job.
        continues(&to, 1).await;
    }
}

#[tokio::test]
async fn restored_data_dump_is_detected() {
    for has_group in [true, false] {
        let from = local(original(has_group)).await;
        let to = consumers::scene().await;
        let data = dump(&from, &["--data-only"]).await;
        to.run("ALTER TABLE jobs DISABLE TRIGGER USER").await;
        for line in data
            .lines()
            .filter(|line| !line.starts_with("--") && !line.is_empty())
        {
            // Continues after errors about existing rows, as psql does.
            if let Err(error) = to.client.batch_execute(line).await {
                let is_double =
                    error.code() == Some(&tokio_postgres::error::SqlState::UNIQUE_VIOLATION);
                assert!(is_double, "{line}: {error:?}");
            }
        }
        to.run("RESET ALL; ALTER TABLE jobs ENABLE TRIGGER USER")
            .await;
        found_and_fixed_from_dump(&to, "pgherald.history()").await;
        if has_group {
            continues(&to, 5).await;
        }
    }
}
