//! `install`, `uninstall`, `upgrade`.

use pgherald_core::__private::host::events::Watches;
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{NotifySource, TableName};
use pgherald_testkit::Postgres;

use super::support::{Scene, pgherald};

const TABLES: &str = "CREATE TABLE users (id int PRIMARY KEY, email text);
    CREATE SCHEMA shop; CREATE TABLE shop.orders (id int PRIMARY KEY);
    CREATE TABLE \"My Table\" (id int PRIMARY KEY)";

#[tokio::test]
async fn install_without_commit_changes_nothing() {
    let scene = Scene::new(TABLES).await;
    let before = scene.dump().await;
    let shown = scene.fine(&["install", "users", "--sql"]).await;
    assert!(
        shown.contains(" TRIGGER \"pgherald_notify_insert\""),
        "{shown}"
    );
    assert!(shown.ends_with("Add --commit to run this.\n"), "{shown}");
    assert_eq!(scene.dump().await, before);
    let object = &scene.json(&["install", "users"]).await[0];
    assert_eq!(object["committed"], false);
    assert!(
        object["sql"].as_str().unwrap().starts_with("BEGIN;\n"),
        "{object}"
    );
    assert_eq!(scene.dump().await, before);
}

#[tokio::test]
async fn uninstall_removes_everything() {
    let scene = Scene::new(TABLES).await;
    let before = scene.dump().await;
    let modes = [
        &["users", "shop.orders"][..],
        &["users", "\"My Table\"", "--mode", "outbox"],
    ];
    for arguments in modes {
        let install = [&["install"], arguments, &["--commit"]].concat();
        let printed = scene.fine(&install).await;
        assert!(
            printed.starts_with("Installed on public.users, "),
            "{printed}"
        );
        let again = scene.fine(&install).await;
        assert_eq!(again, "Nothing to do: everything is as it should be.\n");
        let objects = scene.json(&install).await;
        assert_eq!(objects[0]["committed"], false, "{objects:?}");
        assert_ne!(scene.dump().await, before);
        let plan = scene.fine(&["uninstall", "--all"]).await;
        assert!(plan.contains("DROP FUNCTION"), "{plan}");
        assert_eq!(
            scene.fine(&["uninstall", "--all", "--commit"]).await,
            "Removed everything.\n"
        );
        assert_eq!(scene.dump().await, before);
    }
    let install = ["install", "users", "shop.orders", "--commit"];
    scene.fine(&install).await;
    scene.fine(&["uninstall", "shop.orders", "--commit"]).await;
    scene.fine(&["uninstall", "users", "--commit"]).await;
    assert_eq!(scene.dump().await, before);
}

#[tokio::test]
async fn install_options_apply_to_the_triggers() {
    let scene = Scene::new(TABLES).await;
    let install = [
        "install",
        "users",
        "--mode",
        "outbox",
        "--columns",
        "*",
        "--old-columns",
        "--operations",
        "insert,update",
        "--when-changed",
        "email",
        "--commit",
    ];
    scene.fine(&install).await;
    scene.run("INSERT INTO users VALUES (1, 'a'); UPDATE users SET email = 'b'; UPDATE users SET id = 1; DELETE FROM users").await;
    let sql = "SELECT string_agg(concat_ws(' ', operation, columns, old_columns), E'\n' ORDER BY id) FROM pgherald.outbox_event";
    let expected = "insert {\"id\":1,\"email\":\"a\"}\nupdate {\"id\":1,\"email\":\"b\"} {\"id\":1,\"email\":\"a\"}";
    assert_eq!(scene.value(sql).await, expected);
}

#[tokio::test]
async fn upgrade_repairs_altered_triggers() {
    let scene = Scene::new(TABLES).await;
    scene
        .fine(&["install", "users", "--columns", "email", "--commit"])
        .await;
    let installed = scene.dump().await;
    assert_eq!(
        scene.fine(&["upgrade"]).await,
        "-- Nothing to do: everything is as it should be.\n"
    );
    scene.run("DROP TRIGGER pgherald_notify_update ON users; ALTER TABLE users DISABLE TRIGGER pgherald_notify_insert").await;
    let plan = scene.fine(&["upgrade"]).await;
    assert!(
        plan.contains("pgherald_notify_update") && plan.contains("ENABLE TRIGGER"),
        "{plan}"
    );
    assert_eq!(
        scene.fine(&["upgrade", "--commit"]).await,
        "Everything is up to date.\n"
    );
    assert_eq!(scene.dump().await, installed);
    scene.run("DO $$ BEGIN EXECUTE (SELECT format('COMMENT ON FUNCTION %s IS NULL', oid::regprocedure)
        FROM pg_proc WHERE proname ~ '^notify_[0-9a-f]{16}$'); END $$").await;
    let ran = scene.pgherald(&["upgrade"]).await;
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("does not contain") && ran.stderr.contains("\nhint: "),
        "{}",
        ran.stderr
    );
}

#[tokio::test]
async fn table_arguments_are_resolved_literally_and_as_sql() {
    let scene = Scene::new(TABLES).await;
    for typed in [
        "My Table",
        "\"My Table\"",
        "public.My Table",
        "public.\"My Table\"",
    ] {
        assert!(
            scene
                .fine(&["install", typed, "--sql"])
                .await
                .contains("\"My Table\""),
            "{typed}"
        );
    }
    assert!(
        scene
            .fine(&["install", "SHOP.Orders", "--sql"])
            .await
            .contains("shop")
    );
    // An unqualified name selects the table on the search path.
    scene
        .run("CREATE TABLE shop.users (id int PRIMARY KEY)")
        .await;
    assert_eq!(
        scene.fine(&["install", "users", "--commit"]).await,
        "Installed on public.users.\n"
    );
}

#[tokio::test]
async fn refused_installs_report_cause_and_hint_and_change_nothing() {
    let scene = Scene::new(TABLES).await;
    scene.run("CREATE VIEW seen AS SELECT 1 AS a; DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; GRANT SELECT ON users TO reader").await;
    let before = scene.dump().await;
    let refused: [(&[&str], &str); 6] = [
        (
            &["install", "users", "user", "--commit"],
            "table public.user does not exist",
        ),
        (&["install", "orders", "--commit"], "there is shop.orders"),
        (&["install", "seen", "--commit"], "is a view"),
        (
            &["install", "users", "--columns", "emial", "--commit"],
            "there is no column \"emial\"; the columns are id, email",
        ),
        (
            &["install", "pg_catalog.pg_class", "--commit"],
            "belongs to the server",
        ),
        (
            &["install", "users", "users", "--commit"],
            "two specifications",
        ),
    ];
    for (arguments, cause) in refused {
        let ran = scene.pgherald(arguments).await;
        assert_eq!((ran.code, &*ran.stdout), (1, ""), "{arguments:?}: {ran:?}");
        let lines: Vec<_> = ran.stderr.lines().collect();
        assert!(
            lines[0].starts_with("pgherald: ") && lines[0].contains(cause),
            "{ran:?}"
        );
        assert!(
            lines[1].starts_with("hint: ") && lines.len() == 2,
            "{ran:?}"
        );
    }
    let wrong: [&[&str]; 9] = [
        &[
            "install",
            "users",
            "--mode",
            "outbox",
            "--old-columns",
            "--commit",
        ],
        &["install", "users", "--key", "id,id", "--commit"],
        &[
            "install",
            "users",
            "--columns",
            "id",
            "--columns",
            "\"id\"",
            "--commit",
        ],
        &[
            "install",
            "users",
            "--old-columns",
            "--columns",
            "email",
            "--commit",
        ],
        &[
            "install",
            "users",
            "--channel",
            "x",
            "--mode",
            "outbox",
            "--commit",
        ],
        &[
            "install",
            "users",
            "--when-changed",
            "email",
            "--operations",
            "insert",
            "--commit",
        ],
        &["install", "users", "--channel", "", "--commit"],
        &[
            "install",
            "users",
            "--channel",
            "x2345678901234567890123456789012345678901234567890123456789012345",
            "--commit",
        ],
        &["install", "", "--commit"],
    ];
    for arguments in wrong {
        let ran = scene.pgherald(arguments).await;
        assert_eq!((ran.code, &*ran.stdout), (2, ""), "{arguments:?}: {ran:?}");
        assert!(!ran.stderr.is_empty());
    }
    let reader = scene.url.replace("postgres@", "reader@");
    assert_ne!(reader, scene.url, "another user in {}", scene.url);
    let ran = pgherald(&["--database-url", &reader, "install", "users", "--commit"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("permission denied")
            && ran.stderr.contains("hint: connect as the owner"),
        "{ran:?}"
    );
    assert_eq!(scene.dump().await, before);
}

#[tokio::test]
async fn install_keeps_the_mode_unless_another_one_is_given() {
    let scene = Scene::new(TABLES).await;
    let outbox = ["install", "users", "--mode", "outbox", "--commit"];
    scene.fine(&outbox).await;
    let before = scene.dump().await;
    for arguments in [
        &["install", "users", "--commit"][..],
        &["install", "users", "shop.orders"],
    ] {
        let ran = scene.pgherald(arguments).await;
        assert_eq!((ran.code, &*ran.stdout), (1, ""), "{ran:?}");
        assert!(
            ran.stderr
                .contains("recording changes in the outbox\nhint: add the options"),
            "{ran:?}"
        );
    }
    assert_eq!(scene.dump().await, before);
    let notify = ["install", "users", "--mode", "notify", "--commit"];
    assert_eq!(scene.pgherald(&notify).await.code, 1);
    assert_eq!(scene.dump().await, before);
    let printed = scene.fine(&[&notify[..], &["--narrow"]].concat()).await;
    let loss = "Removed from public.users: recording changes in the outbox.";
    assert!(printed.contains(loss), "{printed}");
    assert_ne!(scene.dump().await, before);
    scene.fine(&["install", "users", "--commit"]).await;
}

#[tokio::test]
async fn uninstall_keeps_the_outbox_of_groups_except_with_all() {
    let scene = Scene::new(TABLES).await;
    let before = scene.dump().await;
    let install = ["install", "users", "--mode", "outbox", "--commit"];
    scene.fine(&install).await;
    scene
        .run("INSERT INTO pgherald.consumer_group (name, slices) VALUES ('work', 1)")
        .await;
    scene.run("INSERT INTO users VALUES (1)").await;
    let note = "The outbox stays for group work; pgherald uninstall --all removes it as well.";
    let shown = scene.fine(&["uninstall", "users"]).await;
    assert!(shown.contains(&format!("\n-- {note}\n")), "{shown}");
    let objects = scene.json(&["uninstall", "users"]).await;
    assert_eq!(objects[0]["notes"][0], note);
    let printed = scene.fine(&["uninstall", "users", "--commit"]).await;
    assert_eq!(printed, format!("Removed from public.users.\n{note}\n"));
    scene.run("INSERT INTO users VALUES (2)").await;
    assert_eq!(
        scene
            .value("SELECT count(*)::text FROM pgherald.outbox")
            .await,
        "1"
    );
    // The outbox continues where it was.
    scene.fine(&install).await;
    scene.fine(&["uninstall", "users", "--commit"]).await;
    let printed = scene.fine(&["uninstall", "--all", "--commit"]).await;
    assert_eq!(
        printed,
        "Removed everything.\nRemoved with the outbox: group work, with all unhandled events and dead letters.\n"
    );
    assert_eq!(scene.dump().await, before);
}

#[tokio::test]
async fn uninstall_refuses_unknown_tables() {
    let scene = Scene::new(TABLES).await;
    scene.fine(&["install", "shop.orders", "--commit"]).await;
    let ran = scene.pgherald(&["uninstall", "nosuch", "--commit"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("there is no table public.nosuch"),
        "{ran:?}"
    );
    let printed = scene.fine(&["uninstall", "users", "--commit"]).await;
    assert_eq!(printed, "Nothing to do: everything is as it should be.\n");
    scene.run("DROP TABLE shop.orders").await;
    let printed = scene.fine(&["uninstall", "shop.orders", "--commit"]).await;
    assert_eq!(printed, "Removed from shop.orders.\n");
}

#[tokio::test]
async fn upgrade_continues_past_tables_that_cannot_be_upgraded() {
    let scene = Scene::new(TABLES).await;
    scene
        .fine(&["install", "users", "--columns", "email", "--commit"])
        .await;
    scene.fine(&["install", "shop.orders", "--commit"]).await;
    scene.run("ALTER TABLE users DROP COLUMN email; DROP TRIGGER pgherald_notify_update ON shop.orders").await;
    let ran = scene.pgherald(&["upgrade", "--commit"]).await;
    assert_eq!(
        (ran.code, &*ran.stdout),
        (1, "Everything else is up to date.\n"),
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains("cannot be upgraded: public.users: ") && ran.stderr.contains("email"),
        "{ran:?}"
    );
    assert!(
        ran.stderr
            .contains("\nhint: pgherald install public.users --mode notify --commit\n"),
        "{ran:?}"
    );
    let sql = "SELECT count(*)::text FROM pg_trigger WHERE tgrelid = 'shop.orders'::regclass";
    assert_eq!(scene.value(sql).await, "4");
}

#[tokio::test]
async fn upgrade_refuses_triggers_of_a_later_version() {
    let scene = Scene::new(TABLES).await;
    scene.fine(&["install", "users", "--commit"]).await;
    scene
        .run(
            "DO $$ BEGIN EXECUTE (SELECT format('COMMENT ON FUNCTION %s IS %L', p.oid::regprocedure,
                    replace(d.description, '\"version\":2', '\"version\":99'))
                FROM pg_proc AS p JOIN pg_description AS d ON d.objoid = p.oid WHERE p.proname ~ '^notify_[0-9a-f]{16}$'); END $$",
        )
        .await;
    let before = scene.dump().await;
    let ran = scene.pgherald(&["upgrade", "--commit"]).await;
    assert_eq!((ran.code, &*ran.stdout), (1, ""), "{ran:?}");
    assert!(
        ran.stderr.contains("upgrade this program") && !ran.stderr.contains("pgherald upgrade"),
        "{ran:?}"
    );
    assert_eq!(scene.dump().await, before);
    let ran = scene.pgherald(&["upgrade", "--json"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let object: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&object["sql"], &object["committed"]),
        (&"".into(), &false.into())
    );
    assert!(
        object["notes"][0]
            .as_str()
            .unwrap()
            .contains("upgrade this program"),
        "{object}"
    );
}

#[tokio::test]
async fn upgrade_continues_past_tables_of_other_roles() {
    let server = Postgres::start().await.unwrap();
    let scene = Scene::on(&server, TABLES).await;
    scene
        .fine(&["install", "users", "shop.orders", "My Table", "--commit"])
        .await;
    let function = async |table: &str| {
        let sql = "SELECT tgfoid::regprocedure::text FROM pg_trigger WHERE tgrelid = ";
        scene
            .value(&format!("{sql}'{table}'::regclass LIMIT 1"))
            .await
    };
    let (orders, mine) = (
        function("shop.orders").await,
        function("\"My Table\"").await,
    );
    scene
        .run(&format!(
            "DO $$ BEGIN EXECUTE (SELECT format('COMMENT ON FUNCTION {orders} IS %L',
                replace(obj_description('{orders}'::regprocedure, 'pg_proc'), '\"version\":2', '\"version\":99'))); END $$;
            CREATE ROLE mallory; ALTER FUNCTION {mine} OWNER TO mallory; DROP TRIGGER pgherald_notify_update ON users"
        ))
        .await;
    let ran = scene.pgherald(&["upgrade", "--commit"]).await;
    assert_eq!(
        (ran.code, &*ran.stdout),
        (1, "Everything else is up to date.\n"),
        "{ran:?}"
    );
    for cause in [
        "triggers of shop.orders: version 99",
        "public.My Table: pgherald.notify_",
        "belongs to mallory",
    ] {
        assert!(ran.stderr.contains(cause), "{ran:?}");
    }
    let sql = "SELECT count(*)::text FROM pg_trigger WHERE tgrelid = 'users'::regclass";
    assert_eq!(scene.value(sql).await, "4");
    let ran = scene.pgherald(&["upgrade"]).await;
    assert_eq!(
        (ran.code, &*ran.stdout),
        (1, "-- Everything else is up to date.\n"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn ambiguous_table_names_are_refused() {
    let scene = Scene::new("CREATE SCHEMA a; CREATE TABLE a.b (id int PRIMARY KEY); CREATE TABLE \"a.b\" (id int PRIMARY KEY)").await;
    let ran = scene.pgherald(&["install", "a.b", "--commit"]).await;
    assert_eq!((ran.code, &*ran.stdout), (2, ""), "{ran:?}");
    let expected = "\"a.b\" may be any of '\"a\".\"b\"', '\"public\".\"a.b\"'\nhint: write it as one of these\n";
    assert!(ran.stderr.ends_with(expected), "{ran:?}");
    for typed in ["\"a\".\"b\"", "\"public\".\"a.b\""] {
        let shown = scene.fine(&["install", typed, "--sql"]).await;
        assert!(shown.contains(&format!(" ON {typed}\n")), "{shown}");
    }
}

/// Runs only if the test kit starts such a server; see `CONTRIBUTING.md`.
#[tokio::test]
async fn server_that_is_too_old_is_refused_and_unchanged() {
    let scene = Scene::new(TABLES).await;
    let version = scene.value("SHOW server_version_num").await;
    if version.parse::<u32>().unwrap() >= 130_000 {
        eprintln!("not tested: the server is not older than PostgreSQL 13");
        return;
    }
    let objects = "SELECT string_agg(oid::regproc::text, ',') FROM pg_proc WHERE oid >= 16384";
    let before = scene.value(objects).await;
    let commands: [&[&str]; 3] = [
        &["install", "users", "--commit"],
        &["install", "users", "--mode", "outbox", "--commit"],
        &["install", "users"],
    ];
    for arguments in commands {
        let ran = scene.pgherald(arguments).await;
        assert_eq!((ran.code, &*ran.stdout), (1, ""), "{ran:?}");
        let expected = "pgherald: the triggers need PostgreSQL 13 or later, this server has 12; upgrade the server\n\
            hint: correct what the message names; nothing was changed\n";
        assert_eq!(ran.stderr, expected);
    }
    assert_eq!(scene.value(objects).await, before);
    let ran = scene.pgherald(&["doctor"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let first: Vec<_> = ran.stdout.lines().take(2).collect();
    assert!(first[0].starts_with("failed   server version"), "{first:?}");
    assert!(first[1].contains("upgrade the server"), "{first:?}");
}

#[tokio::test]
async fn names_are_quoted_in_shown_sql() {
    let scene = Scene::new(TABLES).await;
    scene
        .fine(&["install", "users", "--mode", "outbox", "--commit"])
        .await;
    scene
        .run("INSERT INTO pgherald.consumer_group (name, slices) VALUES (E'evil\\nDROP TABLE users; --', 1)")
        .await;
    for arguments in [&["uninstall", "users"][..], &["uninstall", "--all"]] {
        let sql = scene.fine(arguments).await;
        assert!(sql.contains("group evil\\nDROP TABLE users; --"), "{sql}");
        scene.run(&sql).await;
        scene.run("SELECT FROM users").await;
    }
}

#[tokio::test]
async fn names_are_escaped_in_output() {
    let scene = Scene::new(
        "CREATE TABLE \"a\nInstalled on \u{1b}[31mb\u{202e}\u{9b}\" (id int PRIMARY KEY)",
    )
    .await;
    let name = scene
        .value("SELECT relname::text FROM pg_class WHERE relname ~ 'Installed' AND relkind = 'r'")
        .await;
    let printed = scene
        .fine(&["install", &name, "--mode", "outbox", "--commit"])
        .await;
    assert_eq!(
        printed,
        "Installed on public.a\\nInstalled on \\u{1b}[31mb\\u{202e}\\u{9b}.\n"
    );
    let ran = scene.pgherald(&["status", "--json"]).await;
    let object: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        object["tables"][0]["table"],
        format!("public.{name}"),
        "{object}"
    );
    assert!(ran.stdout.contains("[31mb\\u202e\\u009b"), "{ran:?}");
}

#[tokio::test]
async fn install_of_a_renamed_table_keeps_the_outbox_mode() {
    let scene = Scene::new(TABLES).await;
    scene
        .fine(&["install", "users", "--mode", "outbox", "--commit"])
        .await;
    let refused = async |cause: &str| {
        let before = scene.dump().await;
        let ran = scene.pgherald(&["install", "people", "--commit"]).await;
        assert!(
            ran.code == 1
                && ran.stderr.contains(cause)
                && ran.stderr.contains("hint: add the options"),
            "{ran:?}"
        );
        assert_eq!(scene.dump().await, before);
    };
    scene.run("ALTER TABLE users RENAME TO people").await;
    refused("recording changes in the outbox").await;
    let ran = scene
        .pgherald(&["watch", "people", "--channel", "x", "--count", "1"])
        .await;
    assert!(
        ran.code == 2 && ran.stderr.contains("changes of public.people are recorded"),
        "{ran:?}"
    );
    let ran = scene.pgherald(&["watch", "people"]).await;
    assert!(
        ran.code == 1 && ran.stderr.contains("hint: pgherald doctor"),
        "{ran:?}"
    );
    let each = |what: &str| {
        format!(
            "DO $$ BEGIN EXECUTE (SELECT format('{what}', p.oid::regprocedure) FROM pg_proc AS p
            WHERE proname ~ '^notify_[0-9a-f]{{16}}$'); END $$"
        )
    };
    scene.run(&each("COMMENT ON FUNCTION %s IS NULL")).await;
    refused("recording changes in the outbox").await;
    scene
        .run(&each("CREATE OR REPLACE FUNCTION %s RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN NULL; END''"))
        .await;
    refused("a specification that its function's comment does not contain").await;
    scene
        .fine(&[
            "install", "people", "--mode", "notify", "--narrow", "--commit",
        ])
        .await;
    scene.fine(&["install", "people", "--commit"]).await;
}

#[tokio::test]
async fn uninstall_notes_that_the_outbox_stays_for_renamed_tables() {
    let scene = Scene::new(TABLES).await;
    scene
        .fine(&["install", "users", "--mode", "outbox", "--commit"])
        .await;
    scene.run("INSERT INTO pgherald.consumer_group (name, slices) VALUES ('work', 1); ALTER TABLE users RENAME TO people").await;
    let printed = scene.fine(&["uninstall", "people", "--commit"]).await;
    assert!(
        printed.contains("\nThe outbox stays for group work"),
        "{printed}"
    );
}

#[tokio::test]
async fn uninstall_after_a_swap_of_names_uses_the_present_names() {
    let scene =
        Scene::new("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
            .await;
    scene.fine(&["install", "a", "b", "--commit"]).await;
    scene
        .run("ALTER TABLE a RENAME TO x; ALTER TABLE b RENAME TO a; ALTER TABLE x RENAME TO b")
        .await;
    let before = scene.dump().await;
    let ran = scene.pgherald(&["uninstall", "a", "--commit"]).await;
    assert!(
        ran.code == 1
            && ran.stderr.contains("public.b was called public.a before")
            && ran.stderr.contains("hint: pgherald upgrade --commit"),
        "{ran:?}"
    );
    assert_eq!(scene.dump().await, before);
    scene.fine(&["upgrade", "--commit"]).await;
    scene.fine(&["uninstall", "a", "--commit"]).await;
    let sql = "SELECT string_agg(DISTINCT tgrelid::regclass::text, ',') FROM pg_trigger";
    assert_eq!(scene.value(sql).await, "b");
    // An upgrade does not install the removed triggers again.
    scene.fine(&["upgrade", "--commit"]).await;
    assert_eq!(scene.value(sql).await, "b");
    scene.fine(&["uninstall", "b", "--commit"]).await;
    assert_eq!(scene.value(sql).await, "");
}

#[tokio::test]
async fn quoted_names_select_dropped_tables() {
    let scene = Scene::new(
        r#"CREATE SCHEMA "a.b"; CREATE TABLE "a.b"."c""d" (id int PRIMARY KEY); CREATE SCHEMA a; CREATE TABLE a.b (id int PRIMARY KEY);
        CREATE TABLE "a.b" (id int PRIMARY KEY); CREATE TABLE """a"".""b""" (id int PRIMARY KEY)"#,
    )
    .await;
    let before = scene.dump().await;
    let tables = [
        r#""a.b"."c""d""#,
        r#""a"."b""#,
        r#""public"."a.b""#,
        r#""public"."""a"".""b""""#,
    ];
    for table in tables {
        let printed = scene.fine(&["install", table, "--sql"]).await;
        assert!(
            printed.contains(&format!(" ON {table}\n")),
            "{table}: {printed}"
        );
    }
    assert_eq!(scene.dump().await, before);
    scene
        .fine(&[
            "install",
            r#""a.b"."c""d""#,
            r#""a"."b""#,
            r#""public"."a.b""#,
            "--commit",
        ])
        .await;
    scene.run(r#"DROP TABLE "a.b"."c""d", a.b"#).await;
    scene
        .fine(&["uninstall", r#""a.b"."c""d""#, "--commit"])
        .await;
    let ran = scene.pgherald(&["uninstall", "a.b", "--commit"]).await;
    assert!(
        ran.code == 2 && ran.stderr.contains("may be any of"),
        "{ran:?}"
    );
    scene.fine(&["uninstall", r#""a"."b""#, "--commit"]).await;
    let left = scene.json(&["status"]).await;
    assert_eq!(left[0]["tables"].as_array().unwrap().len(), 1, "{left:?}");
    assert_eq!(left[0]["tables"][0]["table"], "public.a.b");
}

#[tokio::test]
async fn hints_quote_names_for_the_shell() {
    let scene = Scene::new("CREATE SCHEMA \"-s\"; CREATE TABLE \"-s\".\"t  2\" (id int PRIMARY KEY, gone int, \"*\" int)").await;
    let table = r#""-s"."t  2""#;
    scene
        .fine(&[
            "install",
            table,
            "--channel=-ch",
            "--columns",
            "\"*\"",
            "--when-changed",
            "gone",
            "--commit",
        ])
        .await;
    scene
        .run("ALTER TABLE \"-s\".\"t  2\" DROP COLUMN gone")
        .await;
    let ran = scene.pgherald(&["upgrade"]).await;
    let hint = "\nhint: pgherald install '\"-s\".\"t  2\"' --mode notify --channel=-ch --columns '\"*\"' --commit\n";
    assert!(ran.stderr.ends_with(hint), "{ran:?}");
    let pasted = [
        "install",
        table,
        "--mode",
        "notify",
        "--channel=-ch",
        "--columns",
        "\"*\"",
        "--commit",
    ];
    assert_eq!(scene.fine(&pasted).await, "Installed on -s.t  2.\n");
    let comment = "SELECT obj_description(oid, 'pg_proc') FROM pg_proc WHERE proname ~ '^notify_[0-9a-f]{16}$'";
    assert!(scene.value(comment).await.contains("\"columns\":[\"*\"]"));
}

#[tokio::test]
async fn uninstall_all_removes_leftovers_and_keeps_foreign_objects() {
    let scene = Scene::new(TABLES).await;
    let before = scene.dump().await;
    for (install, drop) in [
        (
            &["install", "users", "--commit"][..],
            "DROP TABLE users; DROP FUNCTION pgherald.notify_F()",
        ),
        (
            &["install", "users", "--mode", "outbox", "--commit"],
            "DROP TABLE users; DROP FUNCTION pgherald.notify_F();
            DROP FUNCTION pgherald.notify_rows(text, text, text, text, text[], text[], text[])",
        ),
    ] {
        scene.fine(install).await;
        let sql = "SELECT proname::text FROM pg_proc WHERE proname ~ '^notify_[0-9a-f]{16}$'";
        let name = scene.value(sql).await;
        scene.run(&drop.replace("notify_F", &name)).await;
        assert_eq!(
            scene.fine(&["uninstall", "--all", "--commit"]).await,
            "Removed everything.\n"
        );
        scene
            .run("CREATE TABLE users (id int PRIMARY KEY, email text)")
            .await;
        assert_eq!(scene.dump().await, before);
    }
    scene.fine(&["install", "users", "--commit"]).await;
    scene
        .run("CREATE TABLE pgherald.consumer_group (theirs int)")
        .await;
    scene.fine(&["uninstall", "users", "--commit"]).await;
    scene
        .run("SELECT theirs FROM pgherald.consumer_group")
        .await;
}

#[tokio::test]
async fn value_limit_is_installed_and_kept_by_fixes() {
    let scene = Scene::new("CREATE TABLE files (id int PRIMARY KEY, body text, note text)").await;
    let options = ["--columns", "*", "--value-limit", "10"];
    let refused = scene
        .pgherald(&[&["install", "files"], &options[..]].concat())
        .await;
    assert!(
        refused.code == 2 && refused.stderr.contains("--mode outbox"),
        "{refused:?}"
    );
    let install = ["install", "files", "--mode", "outbox", "--commit"];
    scene.fine(&[&install, &options[..]].concat()).await;
    scene
        .run("INSERT INTO files VALUES (1, '12345678901', '1234567890')")
        .await;
    let expected = r#"{"id":1,"body":{"unavailable":{"limit":10}},"note":"1234567890"}"#;
    assert_eq!(
        scene.value("SELECT columns FROM pgherald.outbox").await,
        expected
    );
    // An installation with every column follows changes of the table.
    scene
        .run("ALTER TABLE files DROP note, ADD more text; DELETE FROM pgherald.outbox")
        .await;
    let ran = scene.pgherald(&["doctor"]).await;
    assert!(ran.stdout.contains("pgherald upgrade --commit"), "{ran:?}");
    scene.fine(&["upgrade", "--commit"]).await;
    scene
        .run("INSERT INTO files VALUES (2, 'x', '12345678901')")
        .await;
    let expected = r#"{"id":2,"body":"x","more":{"unavailable":{"limit":10}}}"#;
    assert_eq!(
        scene.value("SELECT columns FROM pgherald.outbox").await,
        expected
    );
}

#[tokio::test]
async fn replicated_rows_are_kept_until_narrowed() {
    let scene = Scene::new(TABLES).await;
    let install = async |options: &[&str]| {
        let all = [&["install", "users", "--commit"], options].concat();
        scene.fine(&all).await
    };
    install(&["--columns", "email"]).await;
    let without = scene.dump().await;
    install(&["--replicated"]).await;
    let status = scene.json(&["status"]).await;
    let table = &status[0]["tables"][0];
    assert_eq!(
        (&table["replicated"], &table["triggers"]),
        (&true.into(), &7.into())
    );
    let printed = install(&["--columns", "email"]).await;
    assert!(
        printed.ends_with("Kept on public.users: replicated rows. --narrow removes it.\n"),
        "{printed}"
    );
    let printed = install(&["--columns", "email", "--narrow"]).await;
    assert_eq!(
        printed,
        "Installed on public.users.\nRemoved from public.users: replicated rows.\n"
    );
    assert_eq!(scene.dump().await, without);
    let ran = scene
        .pgherald(&["install", "--from", "-", "--replicated"])
        .await;
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[tokio::test]
async fn install_removes_options_only_with_narrow() {
    let scene = Scene::new("CREATE TABLE items (id int PRIMARY KEY, price int, qty int)").await;
    let install = async |options: &[&str]| {
        let all = [&["install", "items", "--commit"], options].concat();
        scene.fine(&all).await
    };
    install(&["--columns", "price,qty"]).await;
    let before = scene.dump().await;
    let printed = install(&["--columns", "price", "--operations", "insert"]).await;
    let kept = "Kept on public.items: column qty, operation update, operation delete, operation truncate. --narrow removes it.";
    let idle = "Nothing to do: everything is as it should be.";
    assert_eq!(printed, format!("{idle}\n{kept}\n"));
    assert_eq!(scene.dump().await, before);
    let printed = scene
        .fine(&["install", "items", "--columns", "qty,id", "--sql"])
        .await;
    assert!(
        printed.contains("\n-- Kept on public.items: column price. --narrow removes it.\n"),
        "{printed}"
    );
    let printed = install(&["--columns", "price", "--operations", "insert", "--narrow"]).await;
    let loss = "Removed from public.items: column qty, operation update, operation delete, operation truncate.";
    assert_eq!(printed, format!("Installed on public.items.\n{loss}\n"));
    let status = scene.json(&["status"]).await;
    let table = &status[0]["tables"][0];
    assert_eq!(table["columns"], serde_json::json!(["price"]));
    assert_eq!(table["operations"], serde_json::json!(["insert"]));
}

#[tokio::test]
async fn install_keeps_requirements_of_groups_and_doctor_reports_unmet_ones() {
    let scene = Scene::new("CREATE TABLE items (id int PRIMARY KEY, price int, qty int)").await;
    let outbox = ["install", "items", "--mode", "outbox", "--commit"];
    scene.fine(&outbox).await;
    // Like a requirement that a consumer stores.
    scene
        .run(
            r#"INSERT INTO pgherald.consumer_group (name, slices) VALUES ('order-mail', 1);
            INSERT INTO pgherald.consumer_requirement (group_name, schema_name, table_name, specification) VALUES (
                'order-mail', 'public', 'items',
                '{"schema":"public","table":"items","mode":"outbox","key":["id"],"columns":["price"]}'
            )"#,
        )
        .await;
    let unmet = async || {
        let ran = scene.pgherald(&["--json", "doctor"]).await;
        let lines = ran
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let found: Vec<serde_json::Value> = lines.collect();
        let found = found.into_iter().filter(|one| {
            let text = one["finding"].as_str().unwrap_or_default();
            text.contains("its consumers are not live")
        });
        found.collect::<Vec<_>>()
    };
    let found = unmet().await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0]["finding"]
            .as_str()
            .unwrap()
            .contains("without column price")
    );
    let fix = "pgherald install public.items --mode outbox --columns price --commit";
    assert_eq!(
        (&found[0]["result"], &found[0]["fix"]),
        (&"failed".into(), &fix.into())
    );

    // Also if nothing is installed.
    scene.fine(&["uninstall", "items", "--commit"]).await;
    let found = unmet().await;
    assert!(
        found.iter().all(|one| one["fix"] == fix) && !found.is_empty(),
        "{found:?}"
    );
    let refused = scene
        .pgherald(&["install", "items", "--mode", "notify", "--commit"])
        .await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains(
            "the specification of public.items conflicts with what group order-mail requires"
        ),
        "{refused:?}"
    );
    let printed = scene.fine(&outbox).await;
    let kept =
        "Kept on public.items: what group order-mail requires (column price). --narrow removes it.";
    assert_eq!(printed, format!("Installed on public.items.\n{kept}\n"));
    assert_eq!(unmet().await, [] as [serde_json::Value; 0]);
    let printed = scene.fine(&[&outbox[..], &["--narrow"]].concat()).await;
    assert!(
        printed.contains("what group order-mail requires (column price)"),
        "{printed}"
    );
    assert_eq!(unmet().await.len(), 1);
}

#[tokio::test]
async fn install_from_a_manifest() {
    let scene = Scene::new(TABLES).await;
    let users = TriggerSpec::new(TableName::new("public", "users").unwrap()).columns(["email"]);
    let orders = TriggerSpec::new(TableName::new("shop", "orders").unwrap()).outbox();
    let config = scene.url.parse().unwrap();
    let herald = NotifySource::builder(config).watch(users).watch(orders);
    let folder = temporary_folder("manifest");
    let file = folder.join("tables.json");
    std::fs::write(&file, trigger::to_manifest(herald.watched()).unwrap()).unwrap();
    let install = ["install", "--from", file.to_str().unwrap(), "--commit"];
    let printed = scene.fine(&install).await;
    assert_eq!(printed, "Installed on public.users, shop.orders.\n");
    let printed = scene.fine(&install).await;
    assert_eq!(printed, "Nothing to do: everything is as it should be.\n");
    let tables = scene.json(&["status"]).await[0]["tables"].clone();
    assert_eq!(tables[0]["columns"], serde_json::json!(["email"]));
    assert_eq!(tables[1]["mode"], "outbox", "{tables}");

    for (text, what) in [
        ("[]", "lists no table"),
        ("{}", "not a manifest"),
        (r#"[{"table":"t"}]"#, "schema"),
    ] {
        std::fs::write(&file, text).unwrap();
        let ran = scene.pgherald(&install).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(what), "{ran:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
    let ran = scene.pgherald(&install).await;
    assert!(ran.stderr.contains("cannot read"), "{ran:?}");
    let ran = scene.pgherald(&["install", "users", "--from", "x"]).await;
    assert_eq!(ran.code, 2, "{ran:?}");
}

/// Creates a directory for the files of a test.
fn temporary_folder(name: &str) -> std::path::PathBuf {
    let name = format!("pgherald-{name}-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
