//! `install --check`: the differences, and the exit code for CI.

use serde_json::Value;

use super::support::Scene;

const TABLES: &str = "CREATE TABLE users (id int PRIMARY KEY, email text, company text);
    CREATE SCHEMA shop; CREATE TABLE shop.orders (id int PRIMARY KEY, total numeric)";

/// Runs the check with and without `--json`, compares both outputs, and returns the differences.
async fn differences(scene: &Scene, install: &[&str]) -> Vec<Value> {
    let before = scene.dump().await;
    let check = [&["install"], install, &["--check"]].concat();
    let shown = scene.pgherald(&check).await;
    let json = scene.pgherald(&[&check[..], &["--json"]].concat()).await;
    assert_eq!(scene.dump().await, before);
    assert_eq!((&*shown.stderr, &*json.stderr), ("", ""));
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    let found = report["drift"].as_array().unwrap().clone();
    let code = i32::from(!found.is_empty());
    assert_eq!((shown.code, json.code), (code, code), "{shown:?}");
    for one in &found {
        let text = one["difference"].as_str().unwrap();
        assert!(shown.stdout.contains(text), "{text} in {}", shown.stdout);
    }
    let is_fine = shown.stdout == "Everything is installed as it should be.\n";
    assert_eq!(is_fine, found.is_empty(), "{}", shown.stdout);
    found
}

#[tokio::test]
async fn check_lists_each_difference_until_installed() {
    let scene = Scene::new(TABLES).await;
    let file = std::env::temp_dir().join(format!("pgherald_check_{}.json", std::process::id()));
    let manifest = r#"[{"schema":"public","table":"users","mode":"outbox","columns":["email"]},
        {"schema":"shop","table":"orders","columns":["total"]}]"#;
    std::fs::write(&file, manifest).unwrap();
    let from = ["--from", file.to_str().unwrap()];
    let found = differences(&scene, &from).await;
    for table in ["public.users", "shop.orders"] {
        assert!(found.iter().any(|one| one["table"] == table), "{found:#?}");
    }
    assert!(
        found.iter().all(|one| one["loses_changes"] == true),
        "{found:#?}"
    );
    let install = [&["install"], &from[..], &["--commit"]].concat();
    scene.fine(&install).await;
    assert!(differences(&scene, &from).await.is_empty());

    let function = "(SELECT tgfoid::regproc::text FROM pg_trigger WHERE tgrelid = 'users'::regclass AND tgname = 'pgherald_notify_insert')";
    let function = scene.value(&format!("SELECT {function}")).await;
    let drifts = [
        (
            "ALTER TABLE users DISABLE TRIGGER pgherald_notify_update".to_owned(),
            "is disabled",
            true,
        ),
        (
            "DROP TRIGGER pgherald_notify_delete ON shop.orders".to_owned(),
            "is missing",
            true,
        ),
        (
            format!("ALTER FUNCTION {function}() SECURITY INVOKER"),
            "is outdated",
            false,
        ),
        (
            "COMMENT ON FUNCTION pgherald.notify_rows IS NULL".to_owned(),
            "its comment is not pgherald's",
            false,
        ),
        (
            "DELETE FROM pgherald.outbox_relation".to_owned(),
            "has no row for the table",
            true,
        ),
        (
            "DELETE FROM pgherald.outbox_part".to_owned(),
            "schema pgherald is outdated",
            false,
        ),
    ];
    for (sql, part, loses) in drifts {
        scene.run(&sql).await;
        let found = differences(&scene, &from).await;
        assert!(!found.is_empty(), "{sql}");
        for one in &found {
            assert!(
                one["difference"].as_str().unwrap().contains(part),
                "{part}: {found:#?}"
            );
            assert_eq!(one["loses_changes"], loses, "{found:#?}");
        }
        scene.fine(&install).await;
        assert!(differences(&scene, &from).await.is_empty(), "{sql}");
    }
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn check_accepts_additional_options_except_with_narrow() {
    let scene = Scene::new(TABLES).await;
    scene
        .fine(&["install", "users", "--columns", "email,company", "--commit"])
        .await;
    let asked = ["users", "--columns", "email"];
    assert!(differences(&scene, &asked).await.is_empty());
    let narrow = [&asked[..], &["--narrow"]].concat();
    let found = differences(&scene, &narrow).await;
    let text = found[0]["difference"].to_string();
    assert!(
        found.len() == 1 && text.contains("more is installed: ") && text.contains("company"),
        "{text}"
    );
    for other in [
        &["users", "--mode", "outbox"][..],
        &["users", "--columns", "id,email,company"],
        &["users", "--key", "email"],
        &["users", "--channel", "news"],
    ] {
        let found = differences(&scene, other).await;
        assert!(
            !found.is_empty() && found.iter().all(|one| one["loses_changes"] == true),
            "{other:?}: {found:#?}"
        );
    }
    let ran = scene
        .pgherald(&["install", "users", "--check", "--commit"])
        .await;
    assert_eq!(ran.code, 2, "{ran:?}");
    // Installing would not remove these differences.
    for (other, part) in [
        (&["nothing"][..], "the table does not exist"),
        (&["users", "--columns", "gone"], "gone"),
    ] {
        let found = differences(&scene, other).await;
        assert!(
            found[0]["difference"].to_string().contains(part),
            "{found:#?}"
        );
        let shown = scene
            .pgherald(&[&["install"], other, &["--check"]].concat())
            .await;
        assert!(!shown.stdout.contains("--commit"), "{shown:?}");
    }
}
