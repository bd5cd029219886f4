//! Tables whose names have gone to others, and what others have installed.

use serde_json::Value;

use super::{all_is_well, fix, found_and_fixed, installed, only, wrong};
use crate::support::{Scene, pgherald};

fn fixes(findings: &[Value]) -> Vec<&str> {
    findings
        .iter()
        .map(|one| one["fix"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_view_in_the_place_of_a_table_that_was_renamed_is_left_alone() {
    let scene = installed("outbox").await;
    scene
        .run("ALTER TABLE users RENAME TO people; CREATE VIEW users AS SELECT * FROM people")
        .await;
    let part = "public.users was renamed to public.people";
    let found = found_and_fixed(&scene, &[], "triggers", "failed", part).await;
    let expected = "pgherald install public.people --mode outbox --commit";
    assert_eq!(fixes(&found), [expected]);
}

/// Tables that were installed with these options, and renamed with `sql`.
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

/// SQL that gives a comment, or takes it away if it is empty, to the functions of triggers of which a condition holds.
fn commented(comment: &str, condition: &str) -> String {
    format!(
        "DO $$ DECLARE f text; BEGIN
            FOR f IN SELECT DISTINCT tgfoid::regprocedure FROM pg_trigger WHERE {condition} LOOP
                EXECUTE format('COMMENT ON FUNCTION %s IS %L', f, '{comment}');
            END LOOP;
        END $$"
    )
}

/// Each table with its triggers, whose name its events bear, and what it was installed with.
async fn told(scene: &Scene) -> String {
    let sql = "SELECT string_agg(line, ' ' ORDER BY line) FROM (
            SELECT format('%s:%s:%s:%s:%s', t.tgrelid::regclass, count(*), n->>'table',
                concat(n->>'when_changed', nullif(n->>'columns', '[]'), nullif(n->>'key', '[\"id\"]')),
                coalesce(n->>'outbox', n->>'channel')) AS line
            FROM pg_trigger AS t CROSS JOIN LATERAL (SELECT obj_description(t.tgfoid, 'pg_proc')::jsonb AS n) AS x
            WHERE t.tgname ~ '^pgherald_' GROUP BY t.tgrelid, n
        ) AS lines";
    scene.value(sql).await
}

/// The findings' fixes put all right in whatever order, each its own table; and so does an upgrade.
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
                // None takes from another what remains to be done for it.
                let left = wrong(&scene, &[]).await.len();
                assert_eq!(left, number - done - 1);
            }
        }
        assert_eq!(told(&scene).await, expected);
        all_is_well(&scene, &[]).await;
    }
}

const SWAP: &str =
    "ALTER TABLE a RENAME TO x; ALTER TABLE b RENAME TO a; ALTER TABLE x RENAME TO b";

#[tokio::test]
async fn tables_that_swapped_names_keep_what_they_were_installed_with() {
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
    all_is_well(&scene, &[]).await;
    scene
        .run("INSERT INTO b VALUES (1); INSERT INTO a VALUES (2)")
        .await;
    let recorded = "SELECT string_agg(table_name || key, ',') FROM pgherald.outbox_event";
    assert_eq!(scene.value(recorded).await, "b1");
}

#[tokio::test]
async fn names_that_went_round_are_put_right_in_any_order() {
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
async fn an_installation_on_one_of_two_that_swapped_names_warns_of_the_other() {
    let scene = renamed(&[("a", "--mode outbox"), ("b", "--mode notify")], SWAP).await;
    let install = ["install", "a", "--mode", "notify"];
    let said = scene.fine(&install).await;
    let note = "Changes of public.b come under its former name public.a until public.b is installed again.";
    assert!(said.contains(&format!("\n{note}\n")), "{said}");
    let committed = [&install[..], &["--commit"]].concat();
    let said = scene.json(&committed).await;
    assert_eq!(said[0]["notes"], serde_json::json!([note]));
    assert_eq!(told(&scene).await, "a:4:a:[]:pgherald b:4:a:[]:true");
    let part = "public.a was renamed to public.b, and its changes still come under the former name";
    found_and_fixed(&scene, &[], "triggers", "failed", part).await;
    assert_eq!(told(&scene).await, "a:4:a:[]:pgherald b:4:b:[]:true");
}

#[tokio::test]
async fn a_table_made_anew_under_the_name_gets_triggers_and_the_renamed_one_keeps_its_own() {
    let anew = "ALTER TABLE a RENAME TO old; CREATE TABLE a (LIKE old INCLUDING ALL)";
    let tables = [("a", "--mode outbox --when-changed v")];
    let scene = renamed(&tables, anew).await;
    let part = "public.a was renamed to public.old, and its changes still come under the former name; another table is called public.a now, and is not watched";
    let found = only(&scene, &[], "triggers", "failed", part).await;
    assert_eq!(fixes(&found), ["pgherald upgrade --commit"]);
    let said = scene.fine(&["upgrade", "--commit"]).await;
    let note = "public.a gets the triggers of public.old, which had that name before.";
    assert_eq!(said, format!("Everything is up to date.\n{note}\n"));
    all_is_well(&scene, &[]).await;
    let expected = "a:4:a:[\"v\"]:true old:4:old:[\"v\"]:true";
    assert_eq!(told(&scene).await, expected);

    // Nothing is known of the one that was renamed: it is not taken out of the outbox in silence.
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
async fn partitions_that_are_rotated_stay_in_the_outbox() {
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
    all_is_well(&scene, &[]).await;
    let expected =
        "a:4:a:[]:true a:4:p:[]:pgherald a_0:4:a_0:[]:true a_0:4:p:[]:pgherald p:4:p:[]:pgherald";
    assert_eq!(told(&scene).await, expected);
}

#[tokio::test]
async fn what_a_dropped_table_left_does_not_overrule_what_its_name_has_come_to() {
    let tables = [("c", "--mode outbox"), ("a", "--channel other")];
    let sql = "DROP TABLE a; ALTER TABLE c RENAME TO a; CREATE TABLE c (LIKE a INCLUDING ALL)";
    let scene = renamed(&tables, sql).await;
    let found = only(&scene, &[], "triggers", "failed", " was renamed to ").await;
    assert_eq!(fixes(&found), ["pgherald upgrade --commit"]);
    fix(&scene, &found).await;
    all_is_well(&scene, &[]).await;
    assert_eq!(told(&scene).await, "a:4:a:[]:true c:4:c:[]:true");
}

#[tokio::test]
async fn tables_that_swapped_names_and_lost_columns_go_on_with_what_is_left() {
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
        all_is_well(&scene, &[]).await;
        assert_eq!(told(&scene).await, "a:4:a:[]:other b:4:b:[][\"w\"]:true");
    }
}

#[tokio::test]
async fn what_is_left_of_a_table_goes_whatever_has_its_name() {
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
async fn where_nothing_can_be_installed_the_reason_is_the_fix() {
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
async fn a_former_name_uninstalls_nothing() {
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
async fn an_upgrade_puts_a_renamed_table_right() {
    let rename = "ALTER TABLE a RENAME TO b";
    fixes_suffice(
        &[("a", "--mode outbox --when-changed v")],
        rename,
        "b:4:b:[\"v\"]:true",
    )
    .await;
}

#[tokio::test]
async fn what_a_dropped_table_left_is_told_from_a_table_of_the_same_look() {
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
async fn what_an_upgrade_does_not_help_is_not_to_be_upgraded() {
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
async fn an_upgrade_trims_what_a_renamed_table_has_no_more_also_with_another_in_its_place() {
    let scene = renamed(
        &[("a", "--mode outbox --columns v")],
        "ALTER TABLE a RENAME TO old; ALTER TABLE old DROP COLUMN v; CREATE TABLE a (id int PRIMARY KEY, v int)",
    )
    .await;
    let part = " was renamed to public.old, and its changes still come under the former name; it can no longer be installed with v";
    found_and_fixed(&scene, &[], "triggers", "failed", part).await;
    assert_eq!(told(&scene).await, "a:4:a:[][\"v\"]:true old:4:old:[]:true");

    // What it has no more may be what the other one lacks.
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
    assert_eq!(told(&scene).await, "a:4:a:[]:true old:4:old:[][\"v\"]:true");

    let tables = [("a", "--columns v"), ("b", "--mode outbox")];
    let scene = renamed(&tables, &format!("{SWAP}; ALTER TABLE b DROP v")).await;
    let said = scene.fine(&["upgrade", "--commit"]).await;
    let note = "public.b can no longer be installed with v.";
    assert!(said.contains(note), "{said}");
    all_is_well(&scene, &[]).await;
    assert_eq!(told(&scene).await, "a:4:a:[]:true b:4:b:[]:pgherald");
}

#[tokio::test]
async fn a_table_of_somebody_else_in_the_place_of_one_stops_nothing() {
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
    assert_eq!(told(&scene).await, "b2:4:b2:[]:pgherald old:4:old:[]:true");

    // Nor does one that needs a change and has become somebody else's; one that needs none is not spoken of.
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
    let told_of = "cannot be upgraded: this role may not create triggers on public.b3, or on a part of it\n\
        hint: run it as the owner of public.b3\n";
    let said = "Everything else is up to date.\n\
        Changes of public.b3 come under its former name public.b2 until public.b3 is installed again.\n\
        public.b2 gets the triggers of public.b3, which had that name before.\n";
    assert_eq!((ran.code, &*ran.stdout), (1, said), "{ran:?}");
    assert!(ran.stderr.ends_with(told_of), "{ran:?}");
    assert_eq!(
        told(&scene).await,
        "b2:4:b2:[]:pgherald b3:4:b2:[]:pgherald c:4:c:[]:pgherald older:4:older:[]:true"
    );
    scene
        .run(&format!(
            "REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"
        ))
        .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_not_to_be_installed_where_that_is_refused() {
    let every = "tgname ~ '^pgherald_'";
    let tables = [("a", "--mode outbox"), ("b", "--mode notify")];
    let swapped = format!("{SWAP}; {}", commented("", every));
    let scene = renamed(&tables, &swapped).await;
    // In the mode that their functions are in.
    found_and_fixed(&scene, &[], "triggers", "failed", "does not contain").await;
    assert_eq!(told(&scene).await, "a:4:a:[]:pgherald b:4:b:[]:true");

    let later = commented(r#"{"version":3,"tables":[]}"#, every);
    let scene = renamed(&tables, &later).await;
    let found = only(&scene, &[], "triggers", "failed", "does not contain").await;
    for fix in fixes(&found) {
        assert!(fix.ends_with("upgrade this program"), "{fix}");
    }
}

#[tokio::test]
async fn no_row_is_lost_where_a_partition_is_involved() {
    // Heard through its parent, whatever the two are called.
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

    // One is heard through its parent and never was by itself; a new partition of the renamed table will be.
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
        all_is_well(&scene, &[]).await;
        scene.run(insert).await;
        assert_eq!(scene.value(recorded).await, expected, "{sql}");
    }

    // A table that becomes a partition of its successor stays watched by itself as well, until it is uninstalled.
    let scene = renamed(
        &[("a", "--mode outbox")],
        "ALTER TABLE a RENAME TO old; CREATE TABLE a (id int PRIMARY KEY, v int, w int) PARTITION BY RANGE (id);
         ALTER TABLE a ATTACH PARTITION old FOR VALUES FROM (0) TO (10)",
    )
    .await;
    scene.fine(&["upgrade", "--commit"]).await;
    all_is_well(&scene, &[]).await;
    scene
        .run("INSERT INTO old VALUES (1); INSERT INTO a VALUES (2)")
        .await;
    assert_eq!(scene.value(recorded).await, "old1 a1 a2");
    scene.fine(&["uninstall", "old", "--commit"]).await;
    all_is_well(&scene, &[]).await;
    scene.run("INSERT INTO old VALUES (3)").await;
    assert_eq!(scene.value(recorded).await, "old1 a1 a2 a3");
}

#[tokio::test]
async fn a_table_in_the_place_of_a_recorded_one_is_told_from_it() {
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
