//! Databases whose history differs from the one that a group knows: restored from a dump, copied, put back, or restarted.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use pgherald_core::__private::host::group::rehearse;
use pgherald_core::group::Seek;
use pgherald_testkit::Postgres;
use tokio_postgres::Client;

use crate::support::{
    LIMIT, Log, Scene, all_well, connect, drained, local, options, report, until,
};

const LAG: &str = "SELECT lag_events FROM pgherald.consumer_group_status";
const WAITING: &str = "SELECT lag_events + parked FROM pgherald.consumer_group_status";
const DEAD: &str = "SELECT dead_letters FROM pgherald.consumer_group_status";

/// Uses transaction ids, as other databases of the server would.
async fn use_transactions(client: &Client, count: u32) {
    let sql = format!(
        "DO $$ BEGIN FOR i IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    );
    client.batch_execute(&sql).await.unwrap();
}

async fn columns(client: &Client, table: &str) -> String {
    let sql = "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
        WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped";
    client.query_one(sql, &[&table]).await.unwrap().get(0)
}

async fn copy(from: &Client, to: &Client, table: &str) {
    let columns = columns(from, table).await;
    let sql = format!("COPY (SELECT {columns} FROM {table}) TO STDOUT");
    let rows: Vec<_> = from.copy_out(&sql).await.unwrap().collect().await;
    let sql = format!("COPY {table} ({columns}) FROM STDIN");
    let sink = to.copy_in(&sql).await.unwrap();
    futures_util::pin_mut!(sink);
    for row in rows {
        sink.send(row.unwrap()).await.unwrap();
    }
    sink.finish().await.unwrap();
}

const SEQUENCES: [&str; 3] = [
    "pgherald.outbox_id",
    "pgherald.outbox_clock",
    "effects_number_seq",
];

/// Restores a dump of `from` into `to` as pg_restore does: each table is written by one transaction of the new server, before the
/// triggers exist.
async fn restore(from: &Scene, to: &Scene) {
    let tables = "SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('public', 'pgherald') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        ORDER BY c.oid::regclass::text = 'pgherald.parked_event', c.oid::regclass::text NOT LIKE '%group', 1";
    let rows = from.client.query(tables, &[]).await.unwrap();
    let tables: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    to.run("ALTER TABLE jobs DISABLE TRIGGER ALL; ALTER TABLE others DISABLE TRIGGER ALL")
        .await;
    to.run(&format!("TRUNCATE {}", tables.join(", "))).await;
    for table in &tables {
        copy(&from.client, &to.client, table).await;
    }
    for sequence in SEQUENCES {
        let sql = format!("SELECT last_value FROM {sequence}");
        let value = from.number(&sql).await;
        to.run(&format!("SELECT setval('{sequence}', {value})"))
            .await;
    }
    to.run("ALTER TABLE jobs ENABLE TRIGGER ALL; ALTER TABLE others ENABLE TRIGGER ALL")
        .await;
}

/// A database that is dumped after its group has handled rows 1 to 4 of 8.
async fn dumped(server: &Postgres) -> Scene {
    let scene = Scene::at(server.create_database().await.unwrap()).await;
    let log = Log::default();
    let handle = scene.start(options("g"), &log, all_well());
    scene
        .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 4) AS n")
        .await;
    log.has(4).await;
    drained(&handle).await;
    use_transactions(&scene.client, 300).await;
    scene
        .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(5, 8) AS n")
        .await;
    scene
}

/// Waits until each of these lines was logged.
async fn contains(log: &Log, lines: &[&str]) {
    let is = || {
        let logged = log.lines();
        lines
            .iter()
            .all(|line| logged.iter().any(|one| one == line))
    };
    until(&format!("{lines:?}"), is, || format!("{:?}", log.lines())).await;
}

fn sorted(log: &Log) -> Vec<String> {
    let mut lines = log.lines();
    lines.sort();
    // An event that was handled just before the consumer has detected the new history is handled again.
    lines.dedup();
    lines
}

async fn handled_once_after_a_restore(scene: &Scene) {
    let log = Log::default();
    // A write before any consumer runs, to a row with unhandled events.
    scene
        .run("UPDATE jobs SET value = 2 WHERE id = 5; INSERT INTO jobs VALUES (9, 1)")
        .await;
    let handle = scene.start(options("g"), &log, all_well());
    let mut expected = [
        "5=1#1",
        "5=2#1",
        "6=1#1",
        "7=1#1",
        "8=1#1",
        "9=1#1",
        "resync restored",
    ];
    expected.sort();
    log.has(expected.len()).await;
    scene.becomes(WAITING, 0).await;
    scene.run("UPDATE jobs SET value = 3 WHERE id = 5").await;
    let lines = log.has(expected.len() + 1).await;
    let of_row: Vec<_> = lines.iter().filter(|line| line.starts_with("5=")).collect();
    assert_eq!(of_row, ["5=1#1", "5=2#1", "5=3#1"]);
    let mut lines = lines[..expected.len()].to_vec();
    lines.sort();
    assert_eq!(lines, expected);
    scene.becomes(WAITING, 0).await;
    drained(&handle).await;
    assert_eq!(scene.number(DEAD).await, 0);
}

/// Closes, empties and reuses parts of the outbox.
async fn assert_trimming_works(scene: &Scene) {
    let trim = "SELECT pgherald.trim_outbox('0 s', 1)::bigint";
    let mut emptied = 0;
    for round in 0..6 {
        scene
            .run(&format!(
                "INSERT INTO jobs SELECT n, 1 FROM generate_series({0}, {0} + 9) AS n",
                1_000 + 10 * round
            ))
            .await;
        emptied += scene.number(trim).await;
    }
    assert!(emptied >= 3, "{emptied} parts were emptied");
}

#[tokio::test]
async fn rows_restored_into_a_new_cluster_are_handled_once_and_before_newer_ones() {
    local(async {
        let (old, new) = (
            Postgres::start().await.unwrap(),
            Postgres::start().await.unwrap(),
        );
        use_transactions(&connect(&old.url()).await, 5_000).await;
        let before = dumped(&old).await;
        let scene = Scene::at(new.create_database().await.unwrap()).await;
        restore(&before, &scene).await;
        handled_once_after_a_restore(&scene).await;
        assert_trimming_works(&scene).await;
    })
    .await;
}

#[tokio::test]
async fn rows_restored_into_a_cluster_with_greater_transaction_ids_are_handled_once_and_before_newer_ones()
 {
    local(async {
        let (old, new) = (
            Postgres::start().await.unwrap(),
            Postgres::start().await.unwrap(),
        );
        let before = dumped(&old).await;
        use_transactions(&connect(&new.url()).await, 5_000).await;
        let scene = Scene::at(new.create_database().await.unwrap()).await;
        restore(&before, &scene).await;
        handled_once_after_a_restore(&scene).await;
        assert_trimming_works(&scene).await;
    })
    .await;
}

#[tokio::test]
async fn trimming_works_after_a_restore_before_any_consumer_connects() {
    local(async {
        let (old, new) = (
            Postgres::start().await.unwrap(),
            Postgres::start().await.unwrap(),
        );
        use_transactions(&connect(&old.url()).await, 5_000).await;
        let before = dumped(&old).await;
        let scene = Scene::at(new.create_database().await.unwrap()).await;
        restore(&before, &scene).await;
        assert_trimming_works(&scene).await;
        // Both the restored rows and those written before the new history is recorded.
        scene
            .becomes(
                "SELECT count(*) FROM pgherald.parked_event WHERE operation <> 'R'",
                4 + 10,
            )
            .await;
    })
    .await;
}

#[tokio::test]
async fn groups_of_a_copied_database_continue_at_their_positions() {
    local(async {
        let server = Postgres::start().await.unwrap();
        let before = dumped(&server).await;
        let template = before.url.rsplit('/').next().unwrap().to_owned();
        let url = before.url.replace(&template, "copied");
        drop(before);
        let deadline = tokio::time::Instant::now() + LIMIT;
        // Its sessions need a moment to end.
        let sql = format!("CREATE DATABASE copied TEMPLATE {template}");
        while server.execute(&sql).await.is_err() {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{template} is in use"
            );
        }
        let client = Arc::new(connect(&url).await);
        handled_once_after_a_restore(&Scene { url, client }).await;
    })
    .await;
}

#[tokio::test]
async fn a_cluster_with_another_system_identifier_counts_as_restored() {
    local(async {
        let scene = dumped(Postgres::shared().await.unwrap()).await;
        // pg_upgrade keeps all data, but the cluster gets another system identifier.
        let sql = "UPDATE pgherald.outbox_history SET system_identifier = 1 WHERE number = 1;
            UPDATE pgherald.outbox_history SET mark = xmin::text::bigint WHERE number = 1";
        scene.run(&format!("BEGIN; {sql}; COMMIT")).await;
        handled_once_after_a_restore(&scene).await;
    })
    .await;
}

/// `pg_restore --data-only` of another database with the same tables. Existing rows are rejected.
#[tokio::test]
async fn data_restored_from_another_database_begins_a_new_history() {
    local(async {
        let (old, new) = (Postgres::start().await.unwrap(), Postgres::start().await.unwrap());
        use_transactions(&connect(&old.url()).await, 5_000).await;
        let other = dumped(&old).await;
        let scene = Scene::at(new.create_database().await.unwrap()).await;
        let log = Log::default();
        let handle = scene.start(options("h"), &log, all_well());
        scene.run("INSERT INTO jobs VALUES (101, 1)").await;
        log.has(1).await;
        for table in ["outbox", "outbox_history", "consumer_group", "consumer_slice", "consumer_cursor"] {
            copy(&other.client, &scene.client, &format!("pgherald.{table}")).await;
        }
        for sequence in &SEQUENCES[..1] {
            scene.run(&format!("SELECT setval('{sequence}', 1)")).await;
        }
        // The group detects the new history by itself.
        scene.run("INSERT INTO jobs VALUES (102, 1)").await;
        contains(&log, &["102=1#1", "resync restored"]).await;
        scene.run("INSERT INTO jobs VALUES (103, 1)").await;
        contains(&log, &["103=1#1"]).await;
        assert_eq!(sorted(&log), ["101=1#1", "102=1#1", "103=1#1", "resync restored"]);
        let lag = "SELECT sum(lag_events)::bigint FROM pgherald.consumer_group_status WHERE name = 'h'";
        scene.becomes(lag, 0).await;
        drained(&handle).await;
        assert_trimming_works(&scene).await;
        let statement = "INSERT INTO pgherald.outbox_retention (closed, trimmed, keep, max_bytes) VALUES (0, 0, '1 s', 1)";
        scene.client.batch_execute(statement).await.unwrap_err();
    })
    .await;
}

fn copy_directory(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let done = Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()
        .unwrap();
    assert!(done.success());
}

#[tokio::test]
async fn later_rows_are_not_lost_after_a_data_directory_was_put_back() {
    local(async {
        let server = Postgres::start().await.unwrap();
        let mut scene = Scene::at(server.create_database().await.unwrap()).await;
        let log = Log::default();
        let handle = scene.start(options("g"), &log, all_well());
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        log.has(1).await;
        server.stop().await.unwrap();
        let (data, saved) = (server.data_dir(), server.data_dir().with_extension("saved"));
        copy_directory(data, &saved);
        server.start_again().await.unwrap();
        scene.client = Arc::new(connect(&scene.url).await);
        // The group reads far beyond the position that is put back.
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(2, 300) AS n")
            .await;
        use_transactions(&scene.client, 300).await;
        log.has(300).await;
        server.stop().await.unwrap();
        copy_directory(&saved, data);
        std::fs::remove_dir_all(&saved).unwrap();
        server.start_again().await.unwrap();
        scene.client = Arc::new(connect(&scene.url).await);
        for id in 1_001..1_051 {
            scene
                .run(&format!("INSERT INTO jobs VALUES ({id}, 1)"))
                .await;
        }
        let handled = || {
            log.lines()
                .iter()
                .filter(|line| line.starts_with("10"))
                .count()
        };
        crate::support::until(
            "all rows",
            || handled() >= 50,
            || format!("{} rows", handled()),
        )
        .await;
        scene.becomes(WAITING, 0).await;
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn a_running_group_detects_a_new_history() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let handle = scene.start(options("g"), &log, all_well());
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        log.has(1).await;
        scene.becomes(LAG, 0).await;
        scene
            .run("DELETE FROM pgherald.outbox_history; INSERT INTO jobs VALUES (2, 1)")
            .await;
        contains(&log, &["2=1#1", "resync restored"]).await;
        scene.run("INSERT INTO jobs VALUES (3, 1)").await;
        contains(&log, &["3=1#1"]).await;
        assert_eq!(sorted(&log), ["1=1#1", "2=1#1", "3=1#1", "resync restored"]);
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn setting_back_the_outbox_sequence_loses_no_events() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let handle = scene.start(options("g"), &log, all_well());
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 100) AS n")
            .await;
        log.has(100).await;
        scene.run("SELECT setval('pgherald.outbox_id', 1)").await;
        for id in 101..111 {
            scene
                .run(&format!("INSERT INTO jobs VALUES ({id}, 1)"))
                .await;
        }
        log.has(111).await;
        scene.becomes(WAITING, 0).await;
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn rehearsing_the_statements_of_consumers_leaves_no_trace() {
    local(Box::pin(async {
        let scene = dumped(Postgres::shared().await.unwrap()).await;
        let state = "SELECT hashtext(string_agg(t, ';' ORDER BY t))::bigint FROM (
            SELECT 'g' || g::text AS t FROM pgherald.consumer_group AS g UNION ALL
            SELECT 'c' || c::text FROM pgherald.consumer_cursor AS c UNION ALL
            SELECT 's' || s::text FROM pgherald.consumer_slice AS s UNION ALL
            SELECT 'n' || n::text FROM pgherald.consumer_node AS n UNION ALL
            SELECT 'p' || p::text FROM pgherald.parked_event AS p UNION ALL
            SELECT 'r' || r::text FROM pgherald.outbox_retention AS r UNION ALL
            SELECT 'o' || o::text FROM pgherald.outbox AS o UNION ALL
            SELECT 'i' || last_value FROM pgherald.outbox_id UNION ALL
            SELECT 'k' || last_value FROM pgherald.outbox_clock
        ) AS x";
        let before = scene.number(state).await;
        let client = Arc::new(scene.connect().await);
        rehearse(&client).await.unwrap();
        assert_eq!(scene.number(state).await, before);
        scene
            .run("ALTER TABLE pgherald.parked_event ADD CONSTRAINT no CHECK (attempts < 2)")
            .await;
        let error = rehearse(&client).await.unwrap_err();
        assert!(
            error.chain().contains("violates check constraint"),
            "{}",
            error.chain()
        );
        scene
            .run("ALTER TABLE pgherald.parked_event DROP CONSTRAINT no")
            .await;
        rehearse(&client).await.unwrap();
    }))
    .await;
}

/// Debezium's default is such a publication. Every table that is updated or deleted from then needs a replica identity.
#[tokio::test]
async fn a_publication_for_all_tables_blocks_neither_writers_nor_consumers() {
    local(Box::pin(async {
        let scene = Scene::new().await;
        scene.run("CREATE PUBLICATION p FOR ALL TABLES").await;
        let log = Log::default();
        let plan = |line: &str, attempt: u32| match (line, attempt) {
            ("1=1", _) => Err(pgherald_core::HandlerError::permanent("no")),
            ("2=1", 1) => Err("later".into()),
            _ => Ok(()),
        };
        let handle = scene.start(options("g"), &log, Box::new(plan));
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 20) AS n")
            .await;
        report(&handle, "all", |report| {
            report.handled == 19 && report.dead_letters == 1
        })
        .await;
        let group = scene.group("g");
        group.pause().await.unwrap();
        group.resume().await.unwrap();
        assert_eq!(group.retry_dead_letters(None).await.unwrap(), 1);
        scene.becomes(DEAD, 1).await;
        assert_eq!(group.discard_dead_letters(None).await.unwrap(), 1);
        group.seek(Seek::Now).await.unwrap();
        scene.becomes(WAITING, 0).await;
        drained(&handle).await;
        assert_trimming_works(&scene).await;
        let retention = pgherald_core::outbox::Retention::default();
        pgherald_core::outbox::set_retention(&scene.client, retention)
            .await
            .unwrap();
        // A new history deletes rows of the outbox.
        scene
            .run("DELETE FROM pgherald.outbox_history; SELECT pgherald.history()")
            .await;
        rehearse(&Arc::new(scene.connect().await)).await.unwrap();
        group.delete().await.unwrap();
    }))
    .await;
}
