//! The floor of a difference: the last id that was taken before its snapshot.

use std::path::Path;

use pgherald::ErrorKind;
use pgherald_core::__private::host::outbox::OutboxReader;

use tokio::task::JoinSet;

use crate::support::Scene;

/// The reader's statement.
const FLOOR: &str = include_str!("../../crates/core/src/outbox/floor.sql");

/// Beside such writers, a plain SELECT of the sequence's `last_value` is too high once in about 5,000 reads, and once in about
/// 100,000 on a busy machine.
const LOOKS: usize = 600_000;
const WRITERS: usize = 4;
/// Commits are included because they contend for the log, as small transactions do.
const TAKE_IDS: &str =
    "INSERT INTO taken SELECT nextval('pgherald.outbox_id') FROM generate_series(1, 100)";

#[tokio::test]
async fn a_floor_is_never_above_an_id_that_is_taken_later() {
    let scene = Scene::new().await;
    scene.run("CREATE TABLE taken (id bigint)").await;
    // Dropping the set at the end of the test ends the writers.
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let client = scene.connect().await;
        writers.spawn(async move {
            loop {
                client.batch_execute(TAKE_IDS).await.unwrap();
            }
        });
    }
    let probe = format!(
        "CREATE FUNCTION pg_temp.looks() RETURNS text LANGUAGE plpgsql AS $$
         DECLARE floor bigint; id bigint; highest bigint := 0;
         BEGIN
             FOR look IN 1..{LOOKS} LOOP
                 floor := ({FLOOR});
                 IF floor < highest THEN
                     RETURN format('look %s: the floor went back from %s to %s', look, highest, floor);
                 END IF;
                 highest := floor;
                 IF look % 4 = 0 THEN
                     id := nextval('pgherald.outbox_id');
                     IF id <= floor THEN
                         RETURN format('look %s: id %s was taken after floor %s was read', look, id, floor);
                     END IF;
                 END IF;
             END LOOP;
             RETURN NULL;
         END $$"
    );
    scene.run(&probe).await;
    let sql = "SELECT pg_temp.looks()";
    let found: Option<String> = scene.client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(found, None);
}

#[tokio::test]
async fn a_missing_right_on_the_sequence_is_reported_with_the_grant() {
    let scene = Scene::new().await;
    let role = format!("reader_{:x}", fastrand::u64(..));
    let grant = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA pgherald TO {role};
         GRANT SELECT ON ALL TABLES IN SCHEMA pgherald TO {role}"
    );
    scene.run(&grant).await;
    let client = scene.connect().await;
    let role_only = format!("SET ROLE {role}");
    client.batch_execute(&role_only).await.unwrap();
    let mut reader = OutboxReader::new(client.into());
    let error = reader.now().await.unwrap_err();
    let chain = error.chain();
    assert!(
        chain.contains("permission denied for sequence pgherald.outbox_id"),
        "{chain}"
    );
    assert!(
        chain.contains("GRANT SELECT ON SEQUENCE pgherald.outbox_id"),
        "{chain}"
    );
    let grant = format!("GRANT SELECT ON SEQUENCE pgherald.outbox_id TO {role}");
    scene.run(&grant).await;
    reader.now().await.unwrap();
}

#[tokio::test]
async fn a_sequence_that_was_set_back_is_a_history_error() {
    let mut scene = Scene::new().await;
    scene
        .run("INSERT INTO counters SELECT n, 0 FROM generate_series(1, 100) AS n")
        .await;
    assert_eq!(scene.read(1_000).await.len(), 100);
    // As in a restored copy of the database, or set by an operator.
    scene.run("SELECT setval('pgherald.outbox_id', 50)").await;
    scene.run("INSERT INTO counters VALUES (101, 0)").await;
    let error = scene.reader.next(&scene.cursor, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::History, "{error:?}");
    assert!(error.to_string().contains("floor"), "{error}");
}

#[test]
fn no_statement_reads_the_page_of_a_sequence() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates");
    let mut folders: Vec<_> = std::fs::read_dir(crates)
        .unwrap()
        .map(|package| package.unwrap().path().join("src"))
        .collect();
    let mut statements = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|end| end == "sql" || end == "rs")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with(['-', '/']));
                for line in code.filter(|line| line.contains("last_value")) {
                    assert!(line.contains("pg_sequence_last_value"), "{path:?}: {line}");
                    statements += 1;
                }
            }
        }
    }
    assert!(statements >= 3, "{statements} statements were found");
}
