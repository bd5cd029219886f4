//! Columns altered after the installation, in new sessions and in sessions with cached plans.

use super::{USERS, scene};
use crate::support::{Scene, connect, event, recorded, spec};

/// Statements that alter the table, and the row that an insert records after each.
const ALTERED: [(&str, &str); 7] = [
    (
        "DROP email, ADD email text DEFAULT 'new'",
        r#"1 {"email":"new","score":null}"#,
    ),
    (
        "ALTER score TYPE bigint, ALTER score SET DEFAULT 5000000000",
        r#"1 {"email":"new","score":5000000000}"#,
    ),
    (
        "ALTER score DROP DEFAULT, ALTER score TYPE text, ALTER score SET DEFAULT 'x'",
        r#"1 {"email":"new","score":"x"}"#,
    ),
    ("RENAME score TO points", r#"1 {"email":"new"}"#),
    ("RENAME points TO score", r#"1 {"email":"new","score":"x"}"#),
    ("DROP score", r#"1 {"email":"new"}"#),
    ("RENAME id TO number", ""),
];

/// Inserts after each statement, in one session or in a new one each time. Calls `check` with the insert and the expected row.
async fn altered(mut scene: Scene, is_new: bool, check: impl AsyncFn(&mut Scene, &str, &str)) {
    let rest = "UPDATE users SET email = 'b'; UPDATE users SET id = 2; DELETE FROM users";
    let insert = "INSERT INTO users (id) VALUES (1)";
    scene.run(insert).await;
    scene.run(rest).await;
    for (alter, expected) in ALTERED {
        scene.run(&format!("ALTER TABLE users {alter}")).await;
        if is_new {
            scene.client = connect(&scene.url).await;
            scene.run("SET session_replication_role = replica").await;
        }
        let (insert, rest) = match expected {
            "" => (insert.replace("id", "number"), rest.replace("id", "number")),
            _ => (insert.to_owned(), rest.to_owned()),
        };
        check(&mut scene, &insert, expected).await;
        scene.run(&rest).await;
    }
}

#[tokio::test]
async fn altered_columns_do_not_fail_writes_and_other_columns_are_recorded() {
    let columns = spec("users").columns(["email", "score"]);
    for spec in [
        columns.clone(),
        columns.clone().old_columns(),
        columns.when_changed(["email", "score"]),
    ] {
        for is_new in [false, true] {
            let scene = scene(USERS, spec.clone().outbox(), "replica").await;
            let check = async |scene: &mut Scene, sql: &str, expected: &str| {
                let rows = recorded(scene, sql).await;
                let expected = format!("insert {expected}");
                assert_eq!(rows, [expected.trim_end()], "{is_new}");
            };
            altered(scene, is_new, check).await;
        }
    }
}

#[tokio::test]
async fn altered_columns_do_not_fail_writes_and_other_columns_are_announced() {
    let columns = spec("users").columns(["email", "score"]);
    for spec in [columns.clone(), columns.when_changed(["email", "score"])] {
        for is_new in [false, true] {
            let mut scene = scene(USERS, spec.clone(), "replica").await;
            let _ = scene.shapes("DELETE FROM users").await;
            let check = async |scene: &mut Scene, sql: &str, expected: &str| {
                let shapes = scene.shapes(sql).await;
                let rest = match expected.split_once(' ') {
                    Some((key, columns)) => {
                        format!(r#","key":["id"],"keys":[{key}],"columns":[{columns}]"#)
                    }
                    None => String::new(),
                };
                let expected = event("insert", "users", &rest);
                assert_eq!(shapes.last(), Some(&expected), "{is_new}");
            };
            altered(scene, is_new, check).await;
        }
    }
}

#[tokio::test]
async fn altered_columns_do_not_fail_writes_to_a_table_without_a_key() {
    for spec in [spec("users"), spec("users").outbox()] {
        let spec = spec.key_columns([""; 0]).when_changed(["email", "score"]);
        for is_new in [false, true] {
            let scene = scene(USERS, spec.clone(), "replica").await;
            altered(scene, is_new, async |scene, sql, _| scene.run(sql).await).await;
        }
    }
}

#[tokio::test]
async fn a_write_succeeds_without_the_shared_functions() {
    for spec in [spec("users").columns(["email"]), spec("users").outbox()] {
        let scene = scene(USERS, spec, "replica").await;
        let gone = "DROP FUNCTION pgherald.notify_rows; DROP FUNCTION pgherald.rows_query;
            ALTER TABLE users RENAME email TO mail";
        scene.run(gone).await;
        scene
            .run(
                "INSERT INTO users VALUES (1, 'a'); UPDATE users SET mail = 'b'; DELETE FROM users",
            )
            .await;
    }
}
