//! Renamed tables, other tables with their former names, and installations of other roles or versions.

use serde_json::Value;

use super::{fix, found_and_fixed, installed, is_healthy, only, wrong};
use crate::support::{Scene, pgherald};

fn fixes(findings: &[Value]) -> Vec<&str> {
    findings
        .iter()
        .map(|one| one["fix"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn view_with_the_former_name_of_a_table_is_ignored() {
    let scene = installed("outbox").await;
    scene
        .run("ALTER TABLE users RENAME TO people; CREATE VIEW users AS SELECT * FROM people")
        .await;
    let part = "public.users was renamed to public.people";
    let found = found_and_fixed(&scene, &[], "triggers", "failed", part).await;
    let expected = "pgherald install public.people --mode outbox --commit";
    assert_eq!(fixes(&found), [expected]);
}

/// Creates tables, installs them with these options, and renames them with `sql`.
async fn renamed(tables: &[(&str, &str)], sql: &str) -> Scene {
    let create =
        |(name, _): &(&str, _)| format!("CREATE TABLE {name} (id int PRIMARY KEY, v int, w int);");
    let scene = Scene::new(&tables.iter().map(create).collect::<String>()).await;
    for (name, options) in tables {
        let options = options.split(' ');
        let install = ["install", name, "--commit"].into_iter().chain(options);
        scene.fine(&install.collect::<Vec<_>>()).await;
    }
    scene.run(sql).await;
    scene
}

/// Returns SQL that sets the comment of the functions of triggers that meet the condition. An empty comment removes it.
fn commented(comment: &str, condition: &str) -> String {
    format!(
        "DO $$ DECLARE f text; BEGIN
            FOR f IN SELECT DISTINCT tgfoid::regprocedure FROM pg_trigger WHERE {condition} LOOP
                EXECUTE format('COMMENT ON FUNCTION %s IS %L', f, '{comment}');
            END LOOP;
        END $$"
    )
}

/// Lists each table with the number of its triggers, the table's name in its events, and its options.
async fn installations(scene: &Scene) -> String {
    let sql = "SELECT string_agg(line, ' ' ORDER BY line) FROM (
            SELECT format('%s:%s:%s:%s:%s', t.tgrelid::regclass, count(*), n->>'table',
                concat(n->>'when_changed', nullif(n->>'columns', '[]'), nullif(n->>'key', '[\"id\"]')),
                coalesce(n->>'outbox', n->>'channel')) AS line
            FROM pg_trigger AS t CROSS JOIN LATERAL (SELECT obj_description(t.tgfoid, 'pg_proc')::jsonb AS n) AS x
            WHERE t.tgname ~ '^pgherald_' GROUP BY t.tgrelid, n
        ) AS lines";
    scene.value(sql).await
}

/// Asserts that the fixes of the findings repair their tables in any order, and that an upgrade repairs all of them.
async fn fixes_suffice(tables: &[(&str, &str)], sql: &str, expected: &str) {
    let number = tables.len();
    for first in 0..=number {
        let scene = renamed(tables, sql).await;
        let mut found = only(&scene, &[], "triggers", "failed", " was renamed to ").await;
        assert_eq!(found.len(), number);
        if first == number {
            scene.fine(&["upgrade", "--commit"]).await;
        } else {
            found.rotate_left(first);
            for (done, one) in found.iter().enumerate() {
                fix(&scene, std::slice::from_ref(one)).await;
                // A fix does not change the findings about other tables.
                let left = wrong(&scene, &[]).await.len();
                assert_eq!(left, number - done - 1);
            }
        }
        assert_eq!(installations(&scene).await, expected);
        is_healthy(&scene, &[]).await;
    }
}

const SWAP: &str =
    "ALTER TABLE a RENAME TO x; ALTER TABLE b RENAME TO a; ALTER TABLE x RENAME TO b";

#[tokio::test]
async fn tables_that_swapped_names_keep_their_options() {
    let tables = [
        ("a", "--mode outbox --when-changed v"),
        ("b", "--channel other"),
    ];
    let expected = "a:4:a:[]:other b:4:b:[\"v\"]:true";
    fixes_suffice(&tables, SWAP, expected).await;
    let scene = renamed(&tables, SWAP).await;
    let mut found = only(&scene, &[], "triggers", "failed", " was renamed to ").await;
    found.sort_by_key(|one| one["fix"].to_string());
    let expected = [
        "pgherald install public.a --mode notify --channel other --commit",
        "pgherald install public.b --mode outbox --when-changed v --commit",
    ];
    assert_eq!(fixes(&found), expected);
    fix(&scene, &found).await;
    is_healthy(&scene, &[]).await;
    scene
        .run("INSERT INTO b VALUES (1); INSERT INTO a VALUES (2)")
        .await;
    let recorded = "SELECT string_agg(table_name || key, ',') FROM pgherald.outbox_event";
    assert_eq!(scene.value(recorded).await, "b1");
}

#[tokio::test]
async fn rotated_table_names_are_fixed_in_any_order() {
    let tables = [
        ("a", "--mode outbox"),
        ("b", "--channel other"),
        ("c", "--mode outbox --when-changed w"),
    ];
    let round = "ALTER TABLE a RENAME TO x; ALTER TABLE c RENAME TO a; ALTER TABLE b RENAME TO c;
        ALTER TABLE x RENAME TO b";
    let expected = "a:4:a:[\"w\"]:true b:4:b:[]:true c:4:c:[]:other";
    fixes_suffice(&tables, round, expected).await;
}

#[tokio::test]
async fn install_on_one_of_two_swapped_tables_warns_about_the_other() {
    let scene = renamed(&[("a", "--mode outbox"), ("b", "--mode notify")], SWAP).await;
    let install = ["install", "a", "--mode", "notify"];
    let printed = scene.fine(&install).await;
    let note = "Changes of public.b come under its former name public.a until public.b is installed again.";
    assert!(printed.contains(&format!("\n{note}\n")), "{printed}");
    let committed = [&install[..], &["--commit"]].concat();
    let printed = scene.json(&committed).await;
    assert_eq!(printed[0]["notes"], serde_json::json!([note]));
    assert_eq!(
        installations(&scene).await,
        "a:4:a:[]:pgherald b:4:a:[]:true"
    );
    let part = "public.a was renamed to public.b, and its changes still come under the former name";
    found_and_fixed(&scene, &[], "triggers", "failed", part).await;
    assert_eq!(
        installations(&scene).await,
        "a:4:a:[]:pgherald b:4:b:[]:true"
    );
}

#[tokio::test]
async fn table_created_with_the_former_name_gets_triggers_and_the_renamed_one_keeps_them() {
    let anew = "ALTER TABLE a RENAME TO old; CREATE TABLE a (LIKE old INCLUDING ALL)";
    let tables = [("a", "--mode outbox --when-changed v")];
    let scene = renamed(&tables, anew).await;
    let part = "public.a was renamed to public.old, and its changes still come under the former name; another table is called public.a now, and is not watched";
    let found = only(&scene, &[], "triggers", "failed", part).await;
    assert_eq!(fixes(&found), ["pgherald upgrade --commit"]);
    let printed = scene.fine(&["upgrade", "--commit"]).await;
    let note = "public.a gets the triggers of public.old, which had that name before.";
    assert_eq!(printed, format!("Everything is up to date.\n{note}\n"));
    is_healthy(&scene, &[]).await;
    let expected = "a:4:a:[\"v\"]:true old:4:old:[\"v\"]:true";
    assert_eq!(installations(&scene).await, expected);

    // The specification of the renamed table is lost. It must not silently leave the outbox.
    for mode in ["notify", "outbox"] {
        let scene = renamed(&tables, anew).await;
        scene
            .run(&commented("", "tgname = 'pgherald_notify_insert'"))
            .await;
        scene
            .fine(&["install", "a", "--mode", mode, "--commit"])
            .await;
        scene.run("INSERT INTO old VALUES (7)").await;
        let recorded = "SELECT string_agg(table_name || key, ' ') FROM pgherald.outbox_event";
        assert_eq!(scene.value(recorded).await, "a7");
        let part = "does not contain its specification";
        let found = found_and_fixed(&scene, &[], "triggers", "failed", part).await;
        let expected = "pgherald install public.old --mode outbox --commit";
        assert_eq!(fixes(&found), [expected]);
    }
}

#[tokio::test]
async fn rotated_partitions_stay_in_the_outbox() {
    let scene = Scene::new(
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE a PARTITION OF p FOR VALUES FROM (0) TO (10)",
    )
    .await;
    scene.fine(&["install", "p", "--commit"]).await;
    scene
        .fine(&["install", "a", "--mode", "outbox", "--commit"])
        .await;
    scene
        .run("ALTER TABLE a RENAME TO a_0; CREATE TABLE a PARTITION OF p FOR VALUES FROM (10) TO (20)")
        .await;
    let found = wrong(&scene, &[]).await;
    assert!(
        fixes(&found)
            .iter()
            .all(|fix| *fix == "pgherald upgrade --commit")
    );
    fix(&scene, &found[..1]).await;
    is_healthy(&scene, &[]).await;
    let expected =
        "a:4:a:[]:true a:4:p:[]:pgherald a_0:4:a_0:[]:true a_0:4:p:[]:pgherald p:4:p:[]:pgherald";
    assert_eq!(installations(&scene).await, expected);
}

#[tokio::test]
async fn leftovers_of_a_dropped_table_do_not_affect_the_table_with_its_name() {
    let tables = [("c", "--mode outbox"), ("a", "--channel other")];
    let sql = "DROP TABLE a; ALTER TABLE c RENAME TO a; CREATE TABLE c (LIKE a INCLUDING ALL)";
    let scene = renamed(&tables, sql).await;
    let found = only(&scene, &[], "triggers", "failed", " was renamed to ").await;
    assert_eq!(fixes(&found), ["pgherald upgrade --commit"]);
    fix(&scene, &found).await;
    is_healthy(&scene, &[]).await;
    assert_eq!(installations(&scene).await, "a:4:a:[]:true c:4:c:[]:true");
}

#[tokio::test]
async fn tables_that_swapped_names_and_lost_columns_keep_the_remaining_columns() {
    let tables = [
        ("a", "--mode outbox --columns v,w --when-changed v"),
        ("b", "--channel other --columns v"),
    ];
    let gone = format!("{SWAP}; ALTER TABLE a DROP COLUMN v; ALTER TABLE b DROP COLUMN v");
    for one in 0..2 {
        let scene = renamed(&tables, &gone).await;
        let mut found = only(&scene, &[], "triggers", "failed", " was renamed to ").await;
        found.sort_by_key(|one| one["fix"].to_string());
        let expected = [
            "pgherald install public.a --mode notify --channel other --commit",
            "pgherald install public.b --mode outbox --columns w --commit",
        ];
        assert_eq!(fixes(&found), expected);
        for found in [&found[one], &found[1 - one]] {
            fix(&scene, std::slice::from_ref(found)).await;
        }
        is_healthy(&scene, &[]).await;
        assert_eq!(
            installations(&scene).await,
            "a:4:a:[]:other b:4:b:[][\"w\"]:true"
        );
    }
}

#[tokio::test]
async fn leftovers_of_a_dropped_table_are_removed() {
    let partitioned = "CREATE TABLE a (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE a_1 PARTITION OF a FOR VALUES FROM (0) TO (10); CREATE TABLE other (id int PRIMARY KEY)";
    let forget = commented("", "tgrelid = 'a_1'::regclass");
    let detached = format!("ALTER TABLE a DETACH PARTITION a_1; DROP TABLE a; {forget}");
    for (sql, part) in [
        (&*detached, "does not contain its specification"),
        ("DROP TABLE a; CREATE VIEW a AS SELECT 1 AS id", "is a view"),
    ] {
        let scene = Scene::new(partitioned).await;
        scene
            .fine(&["install", "a", "other", "--mode", "outbox", "--commit"])
            .await;
        scene.run(sql).await;
        found_and_fixed(&scene, &[], "triggers", "failed", part).await;
        let left = "SELECT string_agg(tgname, ',') FROM pg_trigger WHERE tgname ~ '^pgherald' AND tgrelid <> 'other'::regclass";
        assert_eq!(scene.value(left).await, "");
        let left = "SELECT count(*)::text FROM pg_proc WHERE proname ~ '^notify_[0-9a-f]{16}$'";
        assert_eq!(scene.value(left).await, "1");
    }
}

#[tokio::test]
async fn fix_is_the_reason_if_nothing_can_be_installed() {
    let scene = Scene::new("CREATE TABLE a (id int) PARTITION BY RANGE (id)").await;
    scene
        .fine(&["install", "a", "--mode", "outbox", "--commit"])
        .await;
    scene
        .run("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE f (id int) SERVER s;
            ALTER TABLE a ATTACH PARTITION f FOR VALUES FROM (0) TO (10)")
        .await;
    let found = only(&scene, &[], "triggers", "failed", "is a foreign table").await;
    let fix = fixes(&found)[0];
    assert!(fix.contains("watch it on its own server"), "{fix}");
    assert!(!fix.contains("pgherald install"), "{fix}");
}

#[tokio::test]
async fn uninstall_refuses_the_former_name_of_a_table() {
    let scene = renamed(&[("a", "--mode outbox")], "ALTER TABLE a RENAME TO b").await;
    let before = scene.dump().await;
    let ran = scene.pgherald(&["uninstall", "public.a", "--commit"]).await;
    assert_eq!((ran.code, &*ran.stdout), (1, ""), "{ran:?}");
    let expected = "public.a was renamed to public.b\nhint: pgherald uninstall public.b\n";
    assert!(ran.stderr.ends_with(expected), "{ran:?}");
    assert_eq!(scene.dump().await, before);
    let status = scene.json(&["status"]).await;
    let table = &status[0]["tables"][0];
    assert_eq!(table["table"], "public.b");
    assert_eq!(table["drift"], "renamed, its changes come under public.a");
}

#[tokio::test]
async fn upgrade_repairs_a_renamed_table() {
    let rename = "ALTER TABLE a RENAME TO b";
    fixes_suffice(
        &[("a", "--mode outbox --when-changed v")],
        rename,
        "b:4:b:[\"v\"]:true",
    )
    .await;
}

#[tokio::test]
async fn leftovers_of_a_dropped_table_differ_from_a_table_with_a_similar_name() {
    let scene = Scene::new("CREATE SCHEMA a; CREATE TABLE a.b (id int PRIMARY KEY); CREATE TABLE \"a.b\" (id int PRIMARY KEY)").await;
    scene
        .fine(&["install", "\"a\".\"b\"", "--mode", "outbox", "--commit"])
        .await;
    scene
        .fine(&[
            "install",
            "\"public\".\"a.b\"",
            "--mode",
            "outbox",
            "--commit",
        ])
        .await;
    scene.run("DROP TABLE a.b").await;
    let part = "a.b no longer exists";
    let found = found_and_fixed(&scene, &[], "triggers", "failed", part).await;
    assert_eq!(fixes(&found), ["pgherald uninstall '\"a\".\"b\"' --commit"]);
    let left = "SELECT count(*)::text FROM pg_trigger WHERE tgrelid = 'public.\"a.b\"'::regclass";
    assert_eq!(scene.value(left).await, "4");
}

#[tokio::test]
async fn doctor_does_not_suggest_an_upgrade_that_is_refused() {
    let later = "DO $$ BEGIN EXECUTE (SELECT format('COMMENT ON FUNCTION %s IS %L', p.oid::regprocedure,
            replace(obj_description(p.oid, 'pg_proc'), '\"version\":2', '\"version\":1000'))
        FROM pg_proc AS p JOIN pg_trigger AS t ON t.tgfoid = p.oid WHERE t.tgrelid = 'users'::regclass LIMIT 1); END $$";
    let scene = installed("notify").await;
    scene.run(later).await;
    let found = only(
        &scene,
        &[],
        "triggers",
        "warning",
        "version 1000 is installed, this program has",
    )
    .await;
    let fix = fixes(&found)[0];
    assert!(fix.ends_with("; upgrade this program"), "{fix}");
    let text = found[0]["finding"].as_str().unwrap();
    assert!(!text.contains("install the triggers"), "{text}");

    let scene = installed("notify").await;
    let role = scene
        .value("SELECT 'stranger_' || oid FROM pg_database WHERE datname = current_database()")
        .await;
    scene
        .run(&format!("CREATE ROLE {role}; ALTER TABLE users DISABLE TRIGGER pgherald_notify_insert;
            DO $$ BEGIN EXECUTE (SELECT format('ALTER FUNCTION %s OWNER TO {role}', t.tgfoid::regprocedure)
                FROM pg_trigger AS t WHERE t.tgrelid = 'users'::regclass LIMIT 1); END $$"))
        .await;
    let found = wrong(&scene, &[]).await;
    let triggers: Vec<_> = found
        .iter()
        .filter(|one| one["check"] == "triggers")
        .cloned()
        .collect();
    assert!(!triggers.is_empty());
    for fix in fixes(&triggers) {
        assert!(fix.contains(&format!("install as {role}")), "{fix}");
    }
}

#[tokio::test]
async fn upgrade_drops_missing_columns_of_a_renamed_table_and_its_successor() {
    let scene = renamed(
        &[("a", "--mode outbox --columns v")],
        "ALTER TABLE a RENAME TO old; ALTER TABLE old DROP COLUMN v; CREATE TABLE a (id int PRIMARY KEY, v int)",
    )
    .await;
    let part = " was renamed to public.old, and its changes still come under the former name; it can no longer be installed with v";
    found_and_fixed(&scene, &[], "triggers", "failed", part).await;
    assert_eq!(
        installations(&scene).await,
        "a:4:a:[][\"v\"]:true old:4:old:[]:true"
    );

    // Here the table with the former name lacks the column.
    let scene = renamed(
        &[("a", "--mode outbox --columns v")],
        "ALTER TABLE a RENAME TO old; CREATE TABLE a (id int PRIMARY KEY)",
    )
    .await;
    found_and_fixed(
        &scene,
        &[],
        "triggers",
        "failed",
        " was renamed to public.old",
    )
    .await;
    assert_eq!(
        installations(&scene).await,
        "a:4:a:[]:true old:4:old:[][\"v\"]:true"
    );

    let tables = [("a", "--columns v"), ("b", "--mode outbox")];
    let scene = renamed(&tables, &format!("{SWAP}; ALTER TABLE b DROP v")).await;
    let printed = scene.fine(&["upgrade", "--commit"]).await;
    let note = "public.b can no longer be installed with v.";
    assert!(printed.contains(note), "{printed}");
    is_healthy(&scene, &[]).await;
    assert_eq!(
        installations(&scene).await,
        "a:4:a:[]:true b:4:b:[]:pgherald"
    );
}

#[tokio::test]
async fn upgrade_continues_past_another_roles_table_with_a_former_name() {
    let tables = [("a", "--mode outbox"), ("b", "--mode notify")];
    let scene = renamed(&tables, "").await;
    let role = scene
        .value("SELECT 'owner_' || oid FROM pg_database WHERE datname = current_database()")
        .await;
    scene
        .run(&format!(
            "CREATE ROLE {role}; GRANT ALL ON SCHEMA public TO {role};
            DO $$ DECLARE t text; BEGIN
                EXECUTE 'GRANT CREATE ON DATABASE ' || current_database() || ' TO {role}';
                EXECUTE 'ALTER SCHEMA pgherald OWNER TO {role}';
                FOR t IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'pgherald'::regnamespace LOOP
                    EXECUTE 'ALTER FUNCTION ' || t || ' OWNER TO {role}';
                END LOOP;
                FOR t IN SELECT oid::regclass FROM pg_class WHERE relnamespace = 'pgherald'::regnamespace AND relkind IN ('r', 'p', 'v', 'S') LOOP
                    EXECUTE 'ALTER TABLE ' || t || ' OWNER TO {role}';
                END LOOP;
            END $$;
            ALTER TABLE a OWNER TO {role}; ALTER TABLE b OWNER TO {role};
            ALTER TABLE a RENAME TO old; ALTER TABLE b RENAME TO b2; CREATE TABLE a (id int PRIMARY KEY) PARTITION BY RANGE (id); ALTER TABLE a OWNER TO {role};
            CREATE TABLE a_1 PARTITION OF a FOR VALUES FROM (0) TO (10)"
        ))
        .await;
    let sign = if scene.url.contains('?') { '&' } else { '?' };
    let as_owner = format!("{}{sign}options=-c%20role%3D{role}", scene.url);
    let ran = pgherald(&["--database-url", &as_owner, "upgrade", "--commit"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let note = "public.a, the table with the former name of public.old, is not watched: this role may not create triggers on it, or on a part of it.";
    assert!(ran.stdout.contains(note), "{ran:?}");
    assert_eq!(
        installations(&scene).await,
        "b2:4:b2:[]:pgherald old:4:old:[]:true"
    );

    // A table that needs a change but now belongs to another role does not stop the upgrade, either. One that needs no change is
    // not mentioned.
    scene
        .run(&format!(
            "ALTER TABLE b2 RENAME TO b3; ALTER TABLE old RENAME TO older; ALTER TABLE b3 OWNER TO CURRENT_USER;
            CREATE TABLE b2 (id int PRIMARY KEY); ALTER TABLE b2 OWNER TO {role};
            CREATE TABLE c (id int PRIMARY KEY); ALTER TABLE c OWNER TO {role}"
        ))
        .await;
    let install = ["install", "c", "--commit"];
    let ran = pgherald(&[&["--database-url", &*as_owner], &install[..]].concat()).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    scene.run("ALTER TABLE c OWNER TO CURRENT_USER").await;
    let ran = pgherald(&["--database-url", &as_owner, "upgrade", "--commit"]).await;
    let refused = "cannot be upgraded: this role may not create triggers on public.b3, or on a part of it\n\
        hint: run it as the owner of public.b3\n";
    let printed = "Everything else is up to date.\n\
        Changes of public.b3 come under its former name public.b2 until public.b3 is installed again.\n\
        public.b2 gets the triggers of public.b3, which had that name before.\n";
    assert_eq!((ran.code, &*ran.stdout), (1, printed), "{ran:?}");
    assert!(ran.stderr.ends_with(refused), "{ran:?}");
    assert_eq!(
        installations(&scene).await,
        "b2:4:b2:[]:pgherald b3:4:b2:[]:pgherald c:4:c:[]:pgherald older:4:older:[]:true"
    );
    scene
        .run(&format!(
            "REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"
        ))
        .await;
}

#[tokio::test]
async fn unreadable_specifications_are_installed_again_unless_refused() {
    let every = "tgname ~ '^pgherald_'";
    let tables = [("a", "--mode outbox"), ("b", "--mode notify")];
    let swapped = format!("{SWAP}; {}", commented("", every));
    let scene = renamed(&tables, &swapped).await;
    // They are installed in the mode of their functions.
    found_and_fixed(&scene, &[], "triggers", "failed", "does not contain").await;
    assert_eq!(
        installations(&scene).await,
        "a:4:a:[]:pgherald b:4:b:[]:true"
    );

    let later = commented(r#"{"version":3,"tables":[]}"#, every);
    let scene = renamed(&tables, &later).await;
    let found = only(&scene, &[], "triggers", "failed", "does not contain").await;
    for fix in fixes(&found) {
        assert!(fix.ends_with("upgrade this program"), "{fix}");
    }
}

#[tokio::test]
async fn renames_of_partitions_lose_no_rows() {
    // A partition is recorded through its parent, even if the two swap names.
    let scene = Scene::new(
        "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE c PARTITION OF p FOR VALUES FROM (0) TO (10)",
    )
    .await;
    scene
        .fine(&["install", "p", "--mode", "outbox", "--commit"])
        .await;
    scene
        .run("ALTER TABLE p RENAME TO x; ALTER TABLE c RENAME TO p; ALTER TABLE x RENAME TO c")
        .await;
    found_and_fixed(&scene, &[], "triggers", "failed", " was renamed to ").await;
    scene.run("INSERT INTO p VALUES (1)").await;
    let recorded =
        "SELECT string_agg(table_name || key, ' ' ORDER BY id) FROM pgherald.outbox_event";
    assert_eq!(scene.value(recorded).await, "c1");

    // A partition that was never watched itself is recorded through its parent, and so is a new partition of the renamed table.
    let two = "CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE c PARTITION OF p FOR VALUES FROM (0) TO (10);
         CREATE TABLE d PARTITION OF p FOR VALUES FROM (10) TO (20);";
    let swap = "ALTER TABLE c RENAME TO x; ALTER TABLE d RENAME TO c; ALTER TABLE x RENAME TO d; INSERT INTO d VALUES (1)";
    let anew = "ALTER TABLE p RENAME TO x; CREATE TABLE p PARTITION OF x FOR VALUES FROM (20) TO (30); INSERT INTO p VALUES (21)";
    for (tables, sql, expected) in [(&["p", "d"][..], swap, "p1"), (&["p"], anew, "x21")] {
        let (renames, insert) = sql.rsplit_once(';').unwrap();
        let scene = Scene::new(two).await;
        let install = [&["install"], tables, &["--mode", "outbox", "--commit"]].concat();
        scene.fine(&install).await;
        scene.run(renames).await;
        scene.fine(&["upgrade", "--commit"]).await;
        is_healthy(&scene, &[]).await;
        scene.run(insert).await;
        assert_eq!(scene.value(recorded).await, expected, "{sql}");
    }

    // A table that becomes a partition of the table with its former name stays watched itself, too, until it is uninstalled.
    let scene = renamed(
        &[("a", "--mode outbox")],
        "ALTER TABLE a RENAME TO old; CREATE TABLE a (id int PRIMARY KEY, v int, w int) PARTITION BY RANGE (id);
         ALTER TABLE a ATTACH PARTITION old FOR VALUES FROM (0) TO (10)",
    )
    .await;
    scene.fine(&["upgrade", "--commit"]).await;
    is_healthy(&scene, &[]).await;
    scene
        .run("INSERT INTO old VALUES (1); INSERT INTO a VALUES (2)")
        .await;
    assert_eq!(scene.value(recorded).await, "old1 a1 a2");
    scene.fine(&["uninstall", "old", "--commit"]).await;
    is_healthy(&scene, &[]).await;
    scene.run("INSERT INTO old VALUES (3)").await;
    assert_eq!(scene.value(recorded).await, "old1 a1 a2 a3");
}

#[tokio::test]
async fn table_with_the_former_name_of_a_recorded_one_is_distinguished() {
    let anew = "ALTER TABLE a RENAME TO old; CREATE TABLE a (LIKE old INCLUDING ALL)";
    let scene = renamed(&[("a", "--mode outbox")], anew).await;
    let before = scene.dump().await;
    let ran = scene.pgherald(&["install", "a", "--commit"]).await;
    let cause = "recording changes in the outbox";
    assert!(ran.code == 1 && ran.stderr.contains(cause), "{ran:?}");
    let ran = scene
        .pgherald(&["watch", "a", "--channel", "x", "--count", "1"])
        .await;
    let cause = "changes of public.a are recorded in the outbox, not announced on channel x";
    assert!(ran.code == 2 && ran.stderr.contains(cause), "{ran:?}");
    let ran = scene.pgherald(&["uninstall", "a", "--commit"]).await;
    let cause = "public.a was renamed to public.old";
    assert!(ran.code == 1 && ran.stderr.contains(cause), "{ran:?}");
    assert_eq!(scene.dump().await, before);
}
