//! Databases of an earlier version, with groups and parked events.
//!
//! `tests/versions/1.sql` is what version 1 installed for the table `jobs`. Each released version has such a file.

use std::sync::Arc;

use pgherald_core::__private::host;
use pgherald_core::__private::host::trigger::Migration;
use pgherald_core::TableName;
use pgherald_core::group::ConsumerHandle;
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_testkit::Postgres;

use crate::support::{Log, Scene, all_well, connect, degraded, drained, local, options};

/// A group of four slices that has read everything so far. The SQL is valid for each version.
const GROUP: &str = "INSERT INTO pgherald.consumer_group (name, slices) VALUES ('g', 4);
    INSERT INTO pgherald.consumer_slice (group_name, slice, epoch) SELECT 'g', n, 7 FROM generate_series(0, 3) AS n";
const CURSORS: &str = "INSERT INTO pgherald.consumer_cursor (group_name, slice, epoch, cursor)
    SELECT 'g', n, 7, pg_current_snapshot() || ' 0 1 0' FROM generate_series(0, 3) AS n;";
/// Turns the outbox row of a job into a parked event: one to retry now, or a dead letter.
const PARK: &str = "INSERT INTO pgherald.parked_event
        (group_name, id, slice, xid, sent_at, relation, hash, operation, key, columns, attempts, due_at, dead_at)
    SELECT 'g', id, (hash & 2147483647) % 4, xid, sent_at, relation, hash, operation, key, columns, 1, clock_timestamp(),
        CASE key WHEN '2' THEN clock_timestamp() END
    FROM pgherald.outbox WHERE key IN ('1', '2');";
const NODE: &str = "INSERT INTO pgherald.consumer_node VALUES ('g', 1, 'worker 4711 on host a', clock_timestamp() + interval '1 hour');";

/// A database of version 1 with two events that were parked after an attempt, and three unread ones.
async fn of_version_1() -> Scene {
    let server = Postgres::shared().await.unwrap();
    let url = server.create_database().await.unwrap();
    let client = connect(&url).await;
    let scene = Scene {
        url,
        client: Arc::new(client),
    };
    scene
        .run("CREATE TABLE jobs (id int PRIMARY KEY, value bigint)")
        .await;
    scene.run(include_str!("../versions/1.sql")).await;
    scene
        .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 2) AS n")
        .await;
    scene.run(GROUP).await;
    scene.run(CURSORS).await;
    scene.run(PARK).await;
    for id in 3..6 {
        scene
            .run(&format!("INSERT INTO jobs VALUES ({id}, 1)"))
            .await;
    }
    scene
}

fn jobs() -> TriggerSpec {
    TriggerSpec::new(TableName::new("public", "jobs").unwrap())
        .every_column()
        .outbox()
}

async fn migrations(scene: &Scene) -> Vec<Migration> {
    let actual = host::trigger::inspect_all(&scene.client, &[])
        .await
        .unwrap();
    actual.migrations().unwrap()
}

async fn upgrade(scene: &Scene) {
    for migration in migrations(scene).await {
        migration.plan.apply(&scene.client).await.unwrap();
    }
    let plan = trigger::plan(&scene.client, &[jobs()]).await.unwrap();
    plan.apply(&scene.client).await.unwrap();
}

fn consume(scene: &Scene, log: &Log) -> ConsumerHandle {
    scene.start(options("g").slices(4).requires([jobs()]), log, all_well())
}

#[tokio::test]
async fn a_group_continues_at_its_position_after_an_upgrade() {
    local(async {
        let scene = of_version_1().await;
        let log = Log::default();
        let early = consume(&scene, &log);
        degraded(&early, "version 1 is installed").await;
        early.drain(crate::support::LIMIT).await;
        assert_eq!(log.lines(), [""; 0]);

        upgrade(&scene).await;
        assert!(migrations(&scene).await.is_empty());
        assert_eq!(trigger::verify(&scene.client, &[jobs()]).await.unwrap(), []);
        let handle = consume(&scene, &log);
        scene.run("INSERT INTO jobs VALUES (6, 1)").await;
        let mut lines = log.has(5).await;
        lines.sort();
        assert_eq!(lines, ["1=1#2", "3=1#1", "4=1#1", "5=1#1", "6=1#1"]);
        let (group, waiting) = (
            scene.group("g"),
            "SELECT lag_events + parked FROM pgherald.consumer_group_status",
        );
        scene.becomes(waiting, 0).await;
        assert_eq!(group.dead_letters(None, 10).await.unwrap().len(), 1);
        group.retry_dead_letters(None).await.unwrap();
        assert_eq!(log.has(6).await[5], "2=1#1");
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn rows_restored_before_the_upgrade_are_handled_with_one_resync() {
    local(async {
        let scene = of_version_1().await;
        // A restore writes the rows of several transactions in one.
        scene.run("UPDATE pgherald.outbox SET changed = NULL").await;
        upgrade(&scene).await;
        let log = Log::default();
        let handle = consume(&scene, &log);
        let mut lines = log.has(5).await;
        lines.sort();
        assert_eq!(lines[..4], ["1=1#2", "3=1#1", "4=1#1", "5=1#1"]);
        assert_eq!(lines[4], "resync restored");
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn cursors_restored_before_the_upgrade_cause_one_resync() {
    local(async {
        let scene = of_version_1().await;
        scene
            .run("DELETE FROM pgherald.outbox; DELETE FROM pgherald.parked_event")
            .await;
        // A cursor of a server that had assigned more transaction ids. This server has assigned as many by now.
        let ahead = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 50";
        let ahead = scene.number(ahead).await;
        scene
            .run(&format!(
                "UPDATE pgherald.consumer_cursor SET cursor = '{ahead}:{ahead}: 0 1 0'"
            ))
            .await;
        scene.run("INSERT INTO jobs VALUES (6, 1)").await;
        for _ in 0..60 {
            scene.run("SELECT pg_current_xact_id()").await;
        }
        upgrade(&scene).await;
        let log = Log::default();
        let handle = consume(&scene, &log);
        // It is unknown which events such a cursor passed. The resync stands for row 6 as well.
        assert_eq!(log.has(1).await, ["resync restored"]);
        scene
            .becomes(
                "SELECT lag_events + parked FROM pgherald.consumer_group_status",
                0,
            )
            .await;
        drained(&handle).await;
    })
    .await;
}

#[tokio::test]
async fn nothing_is_migrated_while_a_consumer_is_live() {
    let scene = of_version_1().await;
    scene.run(NODE).await;
    let steps = migrations(&scene).await;
    let error = steps[0].plan.apply(&scene.client).await.unwrap_err();
    let message = error.chain();
    assert!(
        message.contains("worker 4711 on host a of group g") && message.contains("stop them"),
        "{message}"
    );
    assert_eq!(migrations(&scene).await.len(), steps.len());
    scene
        .run("UPDATE pgherald.consumer_node SET lease_until = clock_timestamp()")
        .await;
    upgrade(&scene).await;
    // A plan that was made before the upgrade is rejected.
    let error = steps[0].plan.apply(&scene.client).await.unwrap_err();
    assert!(error.chain().contains("plan again"), "{}", error.chain());
}

#[tokio::test]
async fn an_upgraded_database_has_the_same_objects_as_a_new_one() {
    let old = of_version_1().await;
    upgrade(&old).await;
    let new = Scene::new().await;
    let columns = "SELECT string_agg(format('%s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
            a.attnotnull, pg_get_expr(d.adbin, d.adrelid)), E'\\n' ORDER BY c.relname, a.attname)
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'pgherald'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped";
    let others = "SELECT string_agg(x, E'\\n' ORDER BY x) FROM (
            SELECT pg_get_functiondef(oid) || coalesce(array_to_string(proacl, ' '), '') AS x FROM pg_proc
            WHERE pronamespace = 'pgherald'::regnamespace AND proname !~ '^notify_[0-9a-f]{16}$'
            UNION ALL SELECT pg_get_viewdef(oid) FROM pg_class
            WHERE relnamespace = 'pgherald'::regnamespace AND relkind = 'v'
            UNION ALL SELECT conrelid::regclass || pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'pgherald'::regnamespace
            UNION ALL SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid::regclass::text LIKE 'pgherald.%'
            UNION ALL SELECT format('%s %s %s %s %s', relname, relkind, relpersistence, relreplident, reloptions)
            FROM pg_class WHERE relnamespace = 'pgherald'::regnamespace
        ) AS o (x)";
    for sql in [columns, others] {
        let of = async |scene: &Scene| -> String {
            let row = scene.client.query_one(sql, &[]).await.unwrap();
            row.get(0)
        };
        let (old, new) = (of(&old).await, of(&new).await);
        assert!(old == new, "upgraded:\n{old}\nnew:\n{new}");
    }
}
