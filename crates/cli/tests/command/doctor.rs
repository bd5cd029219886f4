//! `doctor`: each problem is found, and the printed fix corrects it.

mod moved;
mod path;
mod replicated;
mod rights;

use std::time::{Duration, Instant};

use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{ConnectConfig, NotifySource, OutboxSource, Signal, Source, TableName};
use pgherald_testkit::Postgres;
use serde_json::Value;
use tokio::sync::watch::{Receiver, channel};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::support::{DEADLINE, Scene, connect, pgherald};

const TABLES: &str = "CREATE TABLE users (id int PRIMARY KEY, email text);
    CREATE SCHEMA shop; CREATE TABLE shop.orders (id int PRIMARY KEY)";

/// Runs `doctor` with these arguments, checks its exit code, and returns the findings that are not ok.
pub(crate) async fn wrong(scene: &Scene, arguments: &[&str]) -> Vec<Value> {
    let all = [&["doctor", "--json"], arguments].concat();
    let ran = scene.pgherald(&all).await;
    assert_eq!(ran.stderr, "", "{ran:?}");
    let lines = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let findings: Vec<_> = lines.collect();
    let failed = findings.iter().any(|finding| finding["result"] == "failed");
    assert_eq!(ran.code, i32::from(failed), "{ran:?}");
    let checks = [
        "server version",
        "primary",
        "pooler",
        "notifications",
        "rights",
        "triggers",
        "nested statements",
        "replication role",
        "subscriptions",
        "notification queue",
        "listeners",
        "transactions",
        "prepared transactions",
        "replication slots",
        "outbox history",
        "outbox size",
        "outbox age",
        "groups",
        "consumers",
    ];
    for check in checks {
        assert!(
            findings.iter().any(|finding| finding["check"] == check),
            "no {check} in {ran:?}"
        );
    }
    let is_wrong = |finding: &Value| finding["result"] != "ok";
    findings.into_iter().filter(is_wrong).collect()
}

async fn is_healthy(scene: &Scene, arguments: &[&str]) {
    let wrong = wrong(scene, arguments).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Asserts that all problems are of this kind, and returns them.
async fn only(
    scene: &Scene,
    arguments: &[&str],
    check: &str,
    result: &str,
    part: &str,
) -> Vec<Value> {
    let mut wrong = wrong(scene, arguments).await;
    // Skipped checks are not problems: the check of rights reports missing rights.
    wrong.retain(|finding| finding["result"] != "skipped");
    assert!(!wrong.is_empty(), "{check} is taken for ok");
    for finding in &wrong {
        assert_eq!(
            (&finding["check"], &finding["result"]),
            (&check.into(), &result.into()),
            "{wrong:#?}"
        );
        let text = finding["finding"].as_str().unwrap();
        assert!(text.contains(part), "{part:?} in {text:?}");
        assert!(finding["fix"].is_string(), "{finding}");
    }
    wrong
}

/// Runs the fixes of the findings.
async fn fix(scene: &Scene, findings: &[Value]) {
    for finding in findings {
        scene.run_fix(finding["fix"].as_str().unwrap()).await;
    }
}

/// Asserts that all problems are of this kind, and that their fixes remove them.
async fn found_and_fixed(
    scene: &Scene,
    arguments: &[&str],
    check: &str,
    result: &str,
    part: &str,
) -> Vec<Value> {
    let findings = only(scene, arguments, check, result, part).await;
    fix(scene, &findings).await;
    // A terminated session takes a moment to end.
    let begun = Instant::now();
    while !wrong(scene, arguments).await.is_empty() && begun.elapsed() < DEADLINE {}
    is_healthy(scene, arguments).await;
    findings
}

async fn installed(mode: &str) -> Scene {
    on(Postgres::shared().await.unwrap(), mode).await
}

async fn on(server: &Postgres, mode: &str) -> Scene {
    let scene = Scene::on(server, TABLES).await;
    // First in outbox mode, because checks of the outbox are skipped without one.
    for mode in ["outbox", mode] {
        let install = ["install", "users", "shop.orders", "--mode", mode];
        scene
            .fine(&[&install[..], &["--narrow", "--commit"]].concat())
            .await;
    }
    is_healthy(&scene, &[]).await;
    scene
}

/// Returns a session that listens and does not read, after sending it this number of notifications of 8 kB.
async fn unread(scene: &Scene, notifications: u32) -> Client {
    let listener = connect(&scene.url).await;
    listener.batch_execute("LISTEN x").await.unwrap();
    listener.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let sql = format!(
        "SELECT pg_notify('x', repeat('a', 7900) || i) FROM generate_series(1, {notifications}) AS i"
    );
    scene.run(&sql).await;
    listener
}

#[tokio::test]
async fn doctor_finds_nothing_in_a_healthy_database_and_changes_nothing() {
    let scene = installed("outbox").await;
    let before = scene.dump().await;
    let printed = scene.fine(&["doctor"]).await;
    assert!(
        printed.starts_with("ok       server version         PostgreSQL "),
        "{printed}"
    );
    assert_eq!(printed.lines().count(), 19, "{printed}");
    assert!(
        printed.contains("arrive from another connection, in "),
        "{printed}"
    );
    assert_eq!(scene.dump().await, before);
    let sql = "SELECT count(*)::text FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'pgherald%'";
    let begun = Instant::now();
    while scene.value(sql).await != "0" {
        assert!(begun.elapsed() < DEADLINE, "sessions are left over");
    }
}

#[tokio::test]
async fn doctor_skips_checks_in_an_empty_database() {
    let scene = Scene::new("").await;
    let before = scene.dump().await;
    let wrong = wrong(&scene, &[]).await;
    let skipped = wrong.iter().map(|finding| {
        assert_eq!(finding["result"], "skipped", "{finding}");
        assert_eq!(finding["finding"], "there is no outbox");
        finding["check"].as_str().unwrap()
    });
    assert_eq!(
        skipped.collect::<Vec<_>>(),
        [
            "outbox history",
            "outbox size",
            "outbox age",
            "groups",
            "consumers"
        ]
    );
    assert_eq!(scene.dump().await, before);
}

#[tokio::test]
async fn doctor_exits_with_2_without_a_connection_or_with_invalid_options() {
    let ran = pgherald(&["doctor", "--database-url", "postgresql://u@127.0.0.1:1/d"]).await;
    assert_eq!((ran.code, &*ran.stdout), (2, ""), "{ran:?}");
    let scene = Scene::new("").await;
    let ran = scene
        .pgherald(&["doctor", "--long-transaction", "ages"])
        .await;
    assert_eq!((ran.code, &*ran.stdout), (2, ""), "{ran:?}");
    assert!(
        ran.stderr.contains("\"ages\" is not an interval"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn altered_triggers_are_found_and_fixed() {
    for mode in ["notify", "outbox"] {
        let scene = installed(mode).await;
        let before = scene.dump().await;
        let cases = [
            (
                "DROP TRIGGER pgherald_notify_update ON users",
                "failed",
                "trigger pgherald_notify_update is missing",
            ),
            (
                "ALTER TABLE shop.orders DISABLE TRIGGER pgherald_notify_insert",
                "failed",
                "pgherald_notify_insert on shop.orders is disabled",
            ),
            (
                "DO $$ BEGIN EXECUTE (SELECT format('ALTER FUNCTION %s SECURITY INVOKER', t.tgfoid::regprocedure)
                    FROM pg_trigger AS t WHERE t.tgrelid = 'users'::regclass LIMIT 1); END $$",
                "warning",
                "is outdated",
            ),
            (
                "DO $$ BEGIN EXECUTE (SELECT format('COMMENT ON FUNCTION %s IS NULL', t.tgfoid::regprocedure)
                    FROM pg_trigger AS t WHERE t.tgrelid = 'users'::regclass LIMIT 1); END $$",
                "failed",
                "does not contain its specification; add the options that public.users",
            ),
        ];
        for (sql, result, part) in cases {
            scene.run(sql).await;
            found_and_fixed(&scene, &[], "triggers", result, part).await;
            assert_eq!(scene.dump().await, before, "after {sql}");
        }
        scene
            .run("ALTER TABLE shop.orders RENAME TO purchases")
            .await;
        let part = "shop.orders was renamed to shop.purchases";
        found_and_fixed(&scene, &[], "triggers", "failed", part).await;
        scene.run("DROP TABLE shop.purchases").await;
        let part = "shop.purchases no longer exists";
        found_and_fixed(&scene, &[], "triggers", "failed", part).await;
        scene.run("ALTER TABLE users DROP COLUMN id").await;
        let part = "public.users";
        let found = found_and_fixed(&scene, &[], "triggers", "failed", part).await;
        let fix = found[0]["fix"].as_str().unwrap();
        assert_eq!(fix.contains("--mode outbox"), mode == "outbox", "{fix}");
    }
}

#[tokio::test]
async fn triggers_of_a_detached_partition_are_removed() {
    let scene = installed("outbox").await;
    scene
        .run(
            "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY LIST (id);
            CREATE TABLE part PARTITION OF parted FOR VALUES IN (1)",
        )
        .await;
    scene.fine(&["install", "parted", "--commit"]).await;
    is_healthy(&scene, &[]).await;
    scene.run("ALTER TABLE parted DETACH PARTITION part").await;
    found_and_fixed(&scene, &[], "triggers", "warning", "is left over").await;
}

#[tokio::test]
async fn session_replication_role_settings_are_found_and_reset() {
    let server = Postgres::start().await.unwrap();
    let scene = on(&server, "notify").await;
    let cases = [
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET session_replication_role = replica', current_database()); END $$",
        "CREATE ROLE \"a Writer\"; ALTER ROLE \"a Writer\" SET session_replication_role = replica",
        "DO $$ BEGIN EXECUTE format('ALTER ROLE postgres IN DATABASE %I SET session_replication_role = replica', current_database()); END $$",
        "ALTER ROLE ALL SET session_replication_role = replica",
    ];
    for sql in cases {
        scene.run(sql).await;
        let part = "session_replication_role is replica for";
        found_and_fixed(&scene, &[], "replication role", "failed", part).await;
    }
    scene
        .run("ALTER SYSTEM SET session_replication_role = replica")
        .await;
    scene.run("SELECT pg_reload_conf()").await;
    let begun = Instant::now();
    while wrong(&scene, &[]).await.is_empty() && begun.elapsed() < DEADLINE {}
    let found = only(
        &scene,
        &[],
        "replication role",
        "failed",
        "(configuration file)",
    )
    .await;
    for statement in found[0]["fix"].as_str().unwrap().split_inclusive(';') {
        scene.run(statement).await;
    }
    let begun = Instant::now();
    while !wrong(&scene, &[]).await.is_empty() {
        assert!(begun.elapsed() < DEADLINE, "it is not reset");
    }
}

#[tokio::test]
async fn fix_with_hidden_characters_is_shown_only_in_json() {
    let scene = installed("outbox").await;
    scene
        .run("DO $$ BEGIN
                EXECUTE 'CREATE ROLE \"we\nird_' || current_database() || '\"';
                EXECUTE 'ALTER ROLE \"we\nird_' || current_database() || '\" IN DATABASE ' || current_database()
                    || ' SET session_replication_role = replica';
            END $$")
        .await;
    let found = only(&scene, &[], "replication role", "failed", "we ird_").await;
    let ran = scene.pgherald(&["doctor"]).await;
    assert!(
        ran.stdout.contains("see --json") && !ran.stdout.contains("RESET"),
        "{ran:?}"
    );
    fix(&scene, &found).await;
    is_healthy(&scene, &[]).await;
    scene
        .run("DO $$ BEGIN EXECUTE 'DROP ROLE \"we\nird_' || current_database() || '\"'; END $$")
        .await;
}

#[tokio::test]
async fn long_transactions_unused_slots_and_unread_notifications_are_found_and_fixed() {
    let server = Postgres::builder()
        .setting("max_prepared_transactions", "2")
        .setting("wal_level", "logical")
        .start()
        .await
        .unwrap();
    let scene = on(&server, "outbox").await;
    let at_once = ["--long-transaction", "0 s"];

    let idle = connect(&scene.url).await;
    idle.batch_execute("BEGIN; SELECT 1").await.unwrap();
    is_healthy(&scene, &[]).await;
    let part = "of postgres () is idle in transaction, its transaction open for 00:00";
    found_and_fixed(&scene, &at_once, "transactions", "warning", part).await;
    assert!(idle.batch_execute("SELECT 1").await.is_err());

    scene
        .run("CREATE TABLE t (a int); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'it''s me'")
        .await;
    is_healthy(&scene, &[]).await;
    let part = "it's me of postgres has been prepared";
    let check = "prepared transactions";
    found_and_fixed(&scene, &at_once, check, "warning", part).await;

    scene
        .run("SELECT pg_create_logical_replication_slot('forgotten', 'pgoutput')")
        .await;
    is_healthy(&scene, &[]).await;
    scene
        .run("DO $$ BEGIN FOR i IN 0..100000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
        .await;
    let part = "slot forgotten is inactive";
    found_and_fixed(&scene, &[], "replication slots", "warning", part).await;

    let listener = unread(&scene, 100).await;
    // One page is a millionth of the queue.
    is_healthy(&scene, &[]).await;
    let little = ["--queue-usage", "0.00001"];
    let part = "in use; probably held by session";
    found_and_fixed(&scene, &little, "notification queue", "warning", part).await;
    assert!(listener.batch_execute("SELECT 1").await.is_err());
}

/// The queue has 8 GB by default. From PostgreSQL 17 on, a setting makes it smaller; see `CONTRIBUTING.md`.
#[tokio::test]
async fn notification_queue_more_than_half_full_fails_the_check() {
    let version = Scene::new("").await.value("SHOW server_version_num").await;
    if version.parse::<u32>().unwrap() < 170_000 {
        eprintln!("not tested: the server is older than PostgreSQL 17");
        return;
    }
    let server = Postgres::builder()
        .setting("max_notify_queue_pages", "64")
        .start()
        .await
        .unwrap();
    let scene = on(&server, "outbox").await;
    let listener = unread(&scene, 40).await;
    let part = "in use; probably held by session";
    found_and_fixed(&scene, &[], "notification queue", "failed", part).await;
    assert!(listener.batch_execute("SELECT 1").await.is_err());
}

#[tokio::test]
async fn fix_keeps_the_options_of_the_installation() {
    let scene = Scene::new(
        "CREATE TABLE users (tenant int, id int, email text, name text, UNIQUE (id), PRIMARY KEY (tenant, id))",
    )
    .await;
    let install = [
        "install",
        "users",
        "--mode",
        "outbox",
        "--key",
        "id",
        "--columns",
        "email,name",
        "--old-columns",
        "--operations",
        "update,delete",
        "--when-changed",
        "name,email",
        "--commit",
    ];
    scene.fine(&install).await;
    scene.run("ALTER TABLE users DROP COLUMN email").await;
    let found = found_and_fixed(&scene, &[], "triggers", "failed", "email").await;
    assert_eq!(
        found[0]["fix"],
        "pgherald install public.users --mode outbox --key id --columns name --operations update,delete --when-changed \
         name --old-columns --commit"
    );
    scene.run("ALTER TABLE users RENAME TO \"the.users\"").await;
    let found = found_and_fixed(&scene, &[], "triggers", "failed", "was renamed").await;
    let fix = found[0]["fix"].as_str().unwrap();
    assert!(
        fix.starts_with("pgherald install '\"public\".\"the.users\"' --mode outbox --key id"),
        "{fix}"
    );
}

/// Polls a source, and publishes whether it is live.
fn running(mut source: impl Source) -> (Receiver<bool>, JoinHandle<()>) {
    let (live, lives) = channel(false);
    let task = tokio::spawn(async move {
        loop {
            match source.next().await {
                Signal::Live => drop(live.send(true)),
                Signal::Down(_) => drop(live.send(false)),
                _ => {}
            }
        }
    });
    (lives, task)
}

#[tokio::test]
async fn listener_that_requires_more_than_is_installed_is_reported() {
    let scene = Scene::new("CREATE TABLE items (id int PRIMARY KEY, price int)").await;
    let items = || TriggerSpec::new(TableName::new("public", "items").unwrap()).columns(["price"]);
    let config = || {
        scene
            .url
            .parse::<ConnectConfig>()
            .unwrap()
            .application_name("shop")
    };
    let often = Duration::from_millis(100);
    for mode in ["notify", "outbox"] {
        let install = ["install", "items", "--mode", mode, "--narrow", "--commit"];
        scene.fine(&install).await;
        let (mut live, task) = match mode {
            "notify" => running(
                NotifySource::builder(config())
                    .watch(items())
                    .heartbeat(often, DEADLINE)
                    .build()
                    .unwrap(),
            ),
            _ => running(
                OutboxSource::builder(config())
                    .watch(items().outbox())
                    .heartbeat(often, DEADLINE)
                    .build()
                    .unwrap(),
            ),
        };
        let named = "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND application_name = ";
        let is_named = async |name: &str, count: &str| {
            let begun = Instant::now();
            while scene.value(&format!("{named}'{name}'")).await != count {
                assert!(begun.elapsed() < DEADLINE, "{mode}: {name}");
            }
        };
        is_named("shop (not live: public.items)", "1").await;
        let found = only(
            &scene,
            &[],
            "listeners",
            "failed",
            "shop (not live: public.items)",
        )
        .await;
        assert_eq!(found.len(), 1);
        let status = scene.fine(&["status"]).await;
        assert!(
            status.contains("listener") && status.contains("(not live: public.items)"),
            "{status}"
        );
        scene
            .fine(&[
                "install",
                "items",
                "--mode",
                mode,
                "--columns",
                "price",
                "--commit",
            ])
            .await;
        tokio::time::timeout(DEADLINE, live.wait_for(|live| *live))
            .await
            .unwrap()
            .unwrap();
        is_named("shop", "1").await;
        let found = wrong(&scene, &[]).await;
        assert!(
            found.iter().all(|one| one["check"] != "listeners"),
            "{found:#?}"
        );
        task.abort();
        is_named("shop", "0").await;
    }
}

#[tokio::test]
async fn fix_after_ddl_keeps_all_remaining_options() {
    let columns = |json: &Value| json["tables"][0]["columns"].to_string();
    for (ddl, expected) in [
        ("RENAME price TO cost", r#"["cost","qty"]"#),
        ("RENAME id TO number", r#"["price","qty"]"#),
        ("DROP price", r#"["qty"]"#),
        (
            "ALTER price TYPE numeric USING price * 10",
            r#"["price","qty"]"#,
        ),
        ("ADD note text", r#"["price","qty"]"#),
        // Another column gets the name.
        (
            "RENAME price TO old; ALTER TABLE items ADD price int; ALTER TABLE items RENAME qty TO count",
            r#"["old","count"]"#,
        ),
        (
            "RENAME price TO x; ALTER TABLE items RENAME qty TO price; ALTER TABLE items RENAME x TO qty",
            r#"["qty","price"]"#,
        ),
        (
            "RENAME id TO number; ALTER TABLE items RENAME spare TO id",
            r#"["price","qty"]"#,
        ),
        ("RENAME TO products", r#"["price","qty"]"#),
    ] {
        let scene =
            Scene::new("CREATE TABLE items (id int PRIMARY KEY, spare int, price int, qty int)")
                .await;
        let options = "--columns price,qty --mode outbox --old-columns --value-limit 99 --operations insert,update";
        let install: Vec<_> = ["install", "items", "--commit"]
            .into_iter()
            .chain(options.split(' '))
            .collect();
        scene.fine(&install).await;
        let before = scene.json(&["status"]).await.remove(0);
        scene.run(&format!("ALTER TABLE items {ddl}")).await;
        let found = wrong(&scene, &[]).await;
        fix(&scene, &found).await;
        is_healthy(&scene, &[]).await;
        let after = scene.json(&["status"]).await.remove(0);
        assert_eq!(columns(&after), expected, "{ddl}");
        for kept in ["mode", "operations", "triggers"] {
            assert_eq!(after["tables"][0][kept], before["tables"][0][kept], "{ddl}");
        }
        let sql = "SELECT obj_description(tgfoid, 'pg_proc') FROM pg_trigger WHERE NOT tgisinternal LIMIT 1";
        let note: Value = serde_json::from_str(&scene.value(sql).await).unwrap();
        assert_eq!(
            (&note["old_columns"], &note["value_limit"]),
            (&true.into(), &99.into()),
            "{ddl}"
        );
        let key = if ddl.contains("number") {
            "number"
        } else {
            "id"
        };
        assert_eq!(note["key"][0], key, "{ddl}");
    }
}

/// Runs all fixes of `doctor`.
async fn apply_fixes(scene: &Scene) {
    let mut found = wrong(scene, &[]).await;
    found.retain(|one| one["fix"].is_string());
    fix(scene, &found).await;
}

#[tokio::test]
async fn column_numbers_of_another_table_do_not_count_as_renames() {
    let columns =
        async |scene: &Scene| scene.json(&["status"]).await[0]["tables"][0]["columns"].to_string();
    let install = [
        "install",
        "items",
        "--columns",
        "nick",
        "--mode",
        "outbox",
        "--commit",
    ];
    // In a restored dump, the columns have other numbers.
    let from = Scene::new(
        "CREATE TABLE items (id int PRIMARY KEY, junk int, nick text, secret text); ALTER TABLE items DROP junk",
    )
    .await;
    from.fine(&install).await;
    let to = Scene::new("").await;
    to.run(&from.dump().await).await;
    to.run("RESET ALL; ALTER TABLE items RENAME nick TO handle")
        .await;
    apply_fixes(&to).await;
    assert_eq!(columns(&to).await, "[]");
    // An upgrade stores the new column numbers, so a rename is recognised again.
    let to = Scene::new("").await;
    to.run(&from.dump().await).await;
    to.run("RESET ALL").await;
    to.fine(&["upgrade", "--commit"]).await;
    to.run("ALTER TABLE items RENAME nick TO handle").await;
    apply_fixes(&to).await;
    assert_eq!(columns(&to).await, "[\"handle\"]");
    // A table that was dropped and created again.
    let scene = Scene::new("CREATE TABLE items (id int PRIMARY KEY, nick text)").await;
    scene.fine(&install).await;
    scene
        .run("DROP TABLE items; CREATE TABLE items (id int PRIMARY KEY, secret text, name text)")
        .await;
    scene
        .fine(&[
            "install",
            "items",
            "--columns",
            "name",
            "--mode",
            "outbox",
            "--commit",
        ])
        .await;
    assert_eq!(columns(&scene).await, "[\"name\"]");
}

#[tokio::test]
async fn untrimmed_outbox_is_found_and_trimmed() {
    let scene = installed("outbox").await;
    let fill = "INSERT INTO users SELECT i, repeat('a', 100) FROM generate_series(1, 3000) AS i";
    scene.run(fill).await;
    scene
        .run("UPDATE pgherald.outbox_retention SET max_bytes = 200000")
        .await;
    found_and_fixed(
        &scene,
        &[],
        "outbox size",
        "failed",
        "of at most 195 kB: beyond that",
    )
    .await;
    scene
        .run("UPDATE pgherald.outbox_retention SET max_bytes = 1000000000, keep = '1 s'")
        .await;
    scene.run("DELETE FROM users").await;
    scene
        .run("UPDATE pgherald.outbox SET sent_at = sent_at - interval '1 hour'")
        .await;
    let part = "the oldest row is 60 min old; rows are kept for 1 s";
    let found = only(&scene, &[], "outbox age", "warning", part).await;
    // Rows are kept for one more second after writers have left their part.
    let begun = Instant::now();
    while !wrong(&scene, &[]).await.is_empty() {
        assert!(begun.elapsed() < DEADLINE, "it is not trimmed");
        fix(&scene, &found).await;
    }
}

#[tokio::test]
async fn deleted_retention_row_is_found_and_restored() {
    let scene = installed("outbox").await;
    scene
        .run("UPDATE pgherald.outbox_part SET closed = 7 WHERE part = 3; DELETE FROM pgherald.outbox_retention")
        .await;
    let part = "outbox_retention is empty";
    let mut found = wrong(&scene, &[]).await;
    assert!(
        found
            .iter()
            .any(|one| one["finding"].to_string().contains(part)),
        "{found:#?}"
    );
    found.retain(|one| one["fix"].is_string());
    fix(&scene, &found).await;
    is_healthy(&scene, &[]).await;
    let row = "SELECT string_agg(r::text, ';') FROM pgherald.outbox_retention AS r";
    assert_eq!(scene.value(row).await, "(7,7,\"1 day\",10737418240,t)");
}

#[tokio::test]
async fn problems_of_groups_are_reported() {
    let scene = installed("outbox").await;
    scene
        .run(
            "INSERT INTO pgherald.consumer_group (name, slices) VALUES ('enrich', 1);
            INSERT INTO pgherald.consumer_cursor (group_name, slice, epoch, cursor)
                VALUES ('enrich', 0, 0, pg_current_snapshot() || ' 0 0 0');
            INSERT INTO pgherald.consumer_node VALUES ('enrich', 1, 'here', now() + interval '1 hour', '1 hour')",
        )
        .await;
    is_healthy(&scene, &[]).await;

    let pause = |paused| format!("UPDATE pgherald.consumer_group SET is_paused = {paused}");
    scene.run(&pause(true)).await;
    let found = only(&scene, &[], "groups", "warning", "group enrich: paused").await;
    assert_eq!(found[0]["fix"], "pgherald group resume enrich");
    scene.run(&pause(false)).await;
    is_healthy(&scene, &[]).await;

    scene
        .run(
            "INSERT INTO pgherald.parked_event
                (group_name, id, slice, sent_at, relation, hash, operation, attempts, dead_at)
                VALUES ('enrich', 1, 0, now(), 1, 1, 'I', 3, now())",
        )
        .await;
    let part = "1 dead letter, 1 of them in the last 5 min";
    let found = only(&scene, &[], "groups", "warning", part).await;
    let expected = "pgherald dead-letters list --group enrich";
    assert_eq!(found[0]["fix"], expected);
    scene.run("DELETE FROM pgherald.parked_event").await;
    is_healthy(&scene, &[]).await;

    // Snoozed events, and events that wait behind another one, have not failed.
    let park = "INSERT INTO pgherald.parked_event
        (group_name, id, slice, sent_at, relation, hash, operation, attempts, error, due_at, delay)
        VALUES ('enrich', 1, 0, now(), 1, 1, 'I', 0, NULL, now(), 0)";
    scene.run(park).await;
    is_healthy(&scene, &[]).await;
    let fail = "UPDATE pgherald.parked_event SET attempts = 1, error = E'no\nanswer'";
    scene.run(fail).await;
    let part =
        "group enrich: 1 event fails (1 of 1 parked), 1 of them in the last 5 min, the oldest for";
    let found = only(&scene, &[], "groups", "warning", part).await;
    let text = found[0]["finding"].as_str().unwrap();
    assert!(text.ends_with("; last error: no answer"), "{text}");
    let age = "UPDATE pgherald.parked_event SET parked_at = parked_at - interval '10 min'";
    scene.run(age).await;
    let part = "(1 of 1 parked), the oldest for 10 min; last error: no answer";
    only(&scene, &[], "groups", "failed", part).await;
    scene
        .run("DELETE FROM pgherald.parked_event; DELETE FROM pgherald.consumer_node")
        .await;

    let part = "no consumer runs; 0 events behind";
    only(&scene, &[], "groups", "warning", part).await;
    scene.run("INSERT INTO users VALUES (1)").await;
    // With a future time, the lag is 0 s however long this test takes.
    scene
        .run("UPDATE pgherald.outbox SET sent_at = sent_at + interval '1 hour'")
        .await;
    let part = "no consumer runs; 1 event behind, for 0 s";
    only(&scene, &[], "groups", "warning", part).await;
    scene
        .run("UPDATE pgherald.outbox SET sent_at = sent_at - interval '70 minutes'")
        .await;
    let part = "no consumer runs; 1 event behind, for 10 min";
    let alone = only(&scene, &[], "groups", "failed", part).await;
    scene
        .run("INSERT INTO pgherald.consumer_node VALUES ('enrich', 1, 'here', now() + interval '1 hour', '1 hour')")
        .await;
    let part = "1 event behind, for 10 min, with 1 consumer";
    only(&scene, &[], "groups", "warning", part).await;

    let fix = alone[0]["fix"].as_str().unwrap();
    let (start, delete) = fix.rsplit_once(": ").unwrap();
    assert!(
        start.starts_with("start a program that runs a consumer of it"),
        "{fix}"
    );
    scene.run("DELETE FROM pgherald.consumer_node").await;
    scene.run_fix(delete).await;
    is_healthy(&scene, &[]).await;
}

#[tokio::test]
async fn locked_table_does_not_stop_other_checks() {
    let mut scene = installed("outbox").await;
    let other = connect(&scene.url).await;
    let lock = "BEGIN; LOCK TABLE pgherald.outbox_retention IN ACCESS EXCLUSIVE MODE";
    other.batch_execute(lock).await.unwrap();
    scene.url += "?options=-c%20statement_timeout%3D1s";
    let findings = wrong(&scene, &[]).await;
    let checks: Vec<_> = findings.iter().map(|one| &one["check"]).collect();
    let read = [
        "triggers",
        "outbox history",
        "outbox size",
        "outbox age",
        "consumers",
    ];
    assert_eq!(checks, read, "{findings:#?}");
    other.batch_execute("ROLLBACK").await.unwrap();
    is_healthy(&scene, &[]).await;
}

#[tokio::test]
async fn key_type_with_several_texts_per_value_is_a_warning() {
    for mode in ["notify", "outbox"] {
        let scene = installed(mode).await;
        scene
            .run("CREATE TABLE prices (amount numeric PRIMARY KEY)")
            .await;
        let install = ["install", "prices", "--mode", mode, "--commit"];
        scene.fine(&install).await;
        let findings = only(
            &scene,
            &[],
            "triggers",
            "warning",
            "key column \"amount\" has type numeric",
        )
        .await;
        let fix = findings[0]["fix"].as_str().unwrap();
        assert!(
            fix.contains("pgherald install") && fix.ends_with("--key …"),
            "{fix}"
        );
        scene
            .run("ALTER TABLE prices ALTER amount TYPE numeric(9,2)")
            .await;
        is_healthy(&scene, &[]).await;
    }
}

/// Returns the findings of the check "nested statements".
async fn nested(scene: &Scene) -> Vec<Value> {
    let mut wrong = wrong(scene, &[]).await;
    wrong.retain(|finding| finding["check"] == "nested statements");
    wrong
}

const NESTED: &str =
    "CREATE FUNCTION nested() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE TRIGGER nested AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION nested()";

#[tokio::test]
async fn row_triggers_on_a_table_without_unique_key_are_reported() {
    for mode in ["notify", "outbox"] {
        let scene = installed(mode).await;
        scene.run(NESTED).await;
        is_healthy(&scene, &[]).await;
        let install = |key| {
            [
                "install", "users", "--mode", mode, "--key", key, "--narrow", "--commit",
            ]
        };
        scene.fine(&install("email")).await;
        let part = "no unique index identifies its rows by the key";
        only(&scene, &[], "nested statements", "warning", part).await;
        scene.run("CREATE UNIQUE INDEX ON users (email)").await;
        is_healthy(&scene, &[]).await;
        scene.run("DROP INDEX users_email_idx").await;
        // The statements of these triggers are not recorded before the outer statement.
        for other in [
            "BEFORE INSERT ON users FOR EACH ROW",
            "AFTER INSERT ON users FOR EACH STATEMENT",
        ] {
            let sql = format!(
                "DROP TRIGGER IF EXISTS nested ON users; CREATE TRIGGER nested {other} EXECUTE FUNCTION nested()"
            );
            scene.run(&sql).await;
            is_healthy(&scene, &[]).await;
        }
    }
}

#[tokio::test]
async fn row_triggers_on_a_table_that_the_function_owner_cannot_read_are_reported() {
    let scene = installed("outbox").await;
    scene.run(NESTED).await;
    let give = "CREATE ROLE nested_reader; DO $$ BEGIN
        EXECUTE (SELECT string_agg(format('ALTER FUNCTION %s OWNER TO nested_reader', oid::regprocedure), ';')
        FROM pg_proc WHERE pronamespace = 'pgherald'::regnamespace); END $$";
    scene.run(give).await;
    for (sql, part) in [
        ("SELECT 1", "role nested_reader may not read the table"),
        (
            "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
            "row security hides rows from role nested_reader",
        ),
    ] {
        scene.run(sql).await;
        let found = nested(&scene).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0]["finding"].as_str().unwrap().contains(part),
            "{found:?}"
        );
        fix(&scene, &found).await;
        assert_eq!(nested(&scene).await, [""; 0]);
    }
    scene
        .run("DROP OWNED BY nested_reader CASCADE; DROP ROLE nested_reader")
        .await;
}

#[tokio::test]
async fn key_types_for_caches_are_reported() {
    let tables = "CREATE TABLE visits (id uuid PRIMARY KEY); CREATE TABLE places (code char(3) PRIMARY KEY, at inet);
        CREATE TABLE links (mac macaddr PRIMARY KEY); CREATE TABLE blobs (hash bytea PRIMARY KEY);
        CREATE TABLE users (id int PRIMARY KEY)";
    let scene = Scene::on(Postgres::shared().await.unwrap(), tables).await;
    let install = [
        "install", "visits", "places", "users", "links", "blobs", "--mode", "notify", "--commit",
    ];
    scene.fine(&install).await;
    let ran = scene.pgherald(&["doctor", "--json"]).await;
    let findings = ran.stdout.lines();
    let findings = findings.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let notes: Vec<_> = findings.filter(|one| one["check"] == "keys").collect();
    assert_eq!(notes.len(), 4, "{ran:?}");
    for (note, parts) in notes.iter().zip([
        ["public.blobs \"hash\" (bytea)", "Vec<u8>"],
        ["public.links \"mac\" (macaddr)", "MacAddress"],
        ["public.places \"code\" (character(3))", "PaddedText"],
        ["public.visits \"id\" (uuid)", "uuid::Uuid"],
    ]) {
        assert_eq!(note["result"], "ok");
        let text = note["finding"].as_str().unwrap();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}
