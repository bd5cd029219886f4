//! Scripts for migrations: they lead to the same objects as `install`.

use pgherald_core::trigger::{self, TriggerSpec, migration_script};
use pgherald_core::{ChannelName, Operation};

use super::support::{Scene, table};

/// Tables with columns of all kinds of types, and names that have to be quoted.
const TYPES: &str = r#"
    CREATE TYPE mood AS ENUM ('sad', 'so so');
    CREATE TYPE "odd\ 'type""" AS (street text, zip int, "at 'Home\" bool);
    CREATE TYPE customer AS (name text, address "odd\ 'type""", tags text[], doc jsonb, raw bytea, scores float8[][]);
    CREATE DOMAIN price AS numeric(12, 2);
    CREATE DOMAIN tags AS text[];
    CREATE DOMAIN "odd\ 'domain""" AS tags;
    CREATE DOMAIN count AS bigint;"#;
const COLUMNS: &str = r#"
    a int, b smallint, c bigint, d bool, e uuid, f name, g text, h varchar(9), i char(3), j bytea, k mood, l inet, m cidr,
    n numeric, o numeric(9, 2), p date, q timestamp, r timestamptz, s timetz, t interval, u json, v jsonb, w float4, x float8,
    y money, z oid, aa regclass, ab xml, ac int4range, ad int[], ae box[], af customer, ag customer[], ah price, ai tags, aj count,
    ak "odd\ 'type""", al "odd\ 'domain""", am "char", an point, ao text COLLATE "C", ap bit(3), "odd\ 'column""" text, "@{key}@" int,
    "größe" int"#;

/// A specification for each combination of options, with the SQL that creates its table.
fn combinations() -> (String, Vec<TriggerSpec>) {
    let mut sql = TYPES.to_owned();
    let mut specs = Vec::new();
    for options in 0_u32..256 {
        let has = |bit: u32| options & 1 << bit != 0;
        let (is_outbox, has_key, is_unique) = (has(0), has(1), has(2));
        let (has_columns, has_watched, has_old, is_replicated) = (has(3), has(4), has(5), has(6));
        let is_partitioned = has(7);
        if !has_key && (has_columns || is_unique) || has_old && !(has_columns && is_outbox) {
            continue;
        }
        let name = format!("t\\ 'able\" {options}");
        let quoted = format!("\"t\\ 'able\"\" {options}\"");
        let primary = if is_unique {
            ", PRIMARY KEY (c, a)"
        } else {
            ""
        };
        let partition = match is_partitioned {
            true => format!(
                " PARTITION BY LIST (a); CREATE TABLE \"p {options}\" PARTITION OF {quoted} FOR VALUES IN (1)"
            ),
            false => String::new(),
        };
        sql.push_str(&format!(
            "CREATE TABLE {quoted} ({COLUMNS}{primary}){partition};"
        ));
        let mut spec = TriggerSpec::new(table(&name));
        if is_outbox {
            spec = spec.outbox();
        } else if options % 3 == 0 {
            spec = spec.channel(ChannelName::new("odd\\ 'channel\"").unwrap());
        }
        if has_key && !(is_unique && options % 3 == 1) {
            spec = match options % 3 {
                0 => spec.key_columns(["c", "a"]),
                1 => spec.key_columns(["g"]),
                // Types of all kinds, because their spelling is part of the function.
                _ => spec.key_columns([
                    "odd\\ 'column\"",
                    "@{key}@",
                    "a",
                    "c",
                    "r",
                    "d",
                    "e",
                    "f",
                    "h",
                    "i",
                    "k",
                    "l",
                    "t",
                    "y",
                    "z",
                    "ac",
                    "ad",
                    "af",
                    "ah",
                    "ai",
                    "aj",
                    "am",
                    "ao",
                    "ap",
                ]),
            };
        }
        if has_columns {
            spec = match options % 5 {
                0 => spec
                    .columns(["b", "d", "e"])
                    .optional_columns(["w", "missing", "b"]),
                1 => spec.columns(["odd\\ 'column\"", "@{key}@", "größe", "g", "af"]),
                _ => spec.every_column(),
            };
        }
        if has_watched {
            spec = match options % 4 {
                0 => spec.when_changed(["b"]),
                1 => spec.when_changed(["ah", "k", "g", "j", "@{key}@"]),
                _ => spec.when_changed(["v", "ag", "a"]),
            };
        }
        if has_old {
            spec = spec.old_columns();
        }
        if is_replicated {
            spec = spec.replicated();
        }
        if is_outbox && options % 3 == 0 {
            spec = spec.value_limit(if options % 2 == 0 { 1_000 } else { 3_000_000 });
        }
        if options % 7 == 0 {
            spec = spec.operations(Operation::Truncate | Operation::Update);
        }
        specs.push(spec);
    }
    (sql, specs)
}

/// All installed objects: functions, triggers, comments, rights, and the rows that tables rely on.
pub(crate) async fn installed(scene: &Scene) -> Vec<String> {
    let sql = include_str!("script_objects.sql");
    let rows = scene.client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The versions of the catalog rows that listeners and consumers compare.
pub(crate) async fn versions(scene: &Scene) -> String {
    scene
        .value(
            "SELECT md5(string_agg(version, ' ' ORDER BY version)) FROM (
                SELECT concat_ws(':', 'function', oid, xmin) FROM pg_proc WHERE pronamespace = 'pgherald'::regnamespace
                UNION ALL SELECT concat_ws(':', 'trigger', oid, xmin, tgenabled) FROM pg_trigger
                UNION ALL SELECT concat_ws(':', 'comment', objoid, classoid, xmin) FROM pg_description
                UNION ALL SELECT concat_ws(':', 'relation', oid, xmin) FROM pg_class WHERE relnamespace = 'pgherald'::regnamespace
            ) AS v (version)",
        )
        .await
}

pub(crate) fn assert_same(found: &[String], expected: &[String]) {
    for (found, expected) in found.iter().zip(expected) {
        assert!(found == expected, "found\n{found}\nexpected\n{expected}");
    }
    assert_eq!(found.len(), expected.len());
}

async fn uninstall(scene: &Scene) {
    let plan = trigger::plan_uninstall_all(&scene.client).await.unwrap();
    plan.apply(&scene.client).await.unwrap();
}

#[tokio::test]
async fn a_script_installs_the_same_bytes_as_a_plan() {
    let (sql, specs) = combinations();
    let scene = Scene::new("SELECT").await;
    scene.run(&sql).await;
    println!("{} specifications", specs.len());
    trigger::install(&scene.client, &specs).await.unwrap();
    let expected = installed(&scene).await;
    let script = migration_script(&specs, false).unwrap();

    let before = versions(&scene).await;
    scene.run(&script).await;
    assert_same(&installed(&scene).await, &expected);
    assert_eq!(
        versions(&scene).await,
        before,
        "the script changes objects that are right"
    );

    uninstall(&scene).await;
    scene.run(&script).await;
    assert_same(&installed(&scene).await, &expected);
    assert!(scene.plan(&specs).await.is_empty());
    let before = versions(&scene).await;
    scene.run(&script).await;
    assert_eq!(versions(&scene).await, before);
}

#[tokio::test]
async fn a_script_describes_case_insensitive_keys_like_a_plan() {
    let nocase = "CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    for (before, of) in [
        (nocase, "text COLLATE nocase"),
        (nocase, "name COLLATE nocase"),
        ("CREATE EXTENSION citext", "citext"),
        (
            "CREATE EXTENSION citext; CREATE DOMAIN email AS citext",
            "email",
        ),
    ] {
        let scene = Scene::new("SELECT").await;
        if scene.client.batch_execute(before).await.is_err() {
            println!("not available: {before}");
            continue;
        }
        scene
            .run(&format!("CREATE TABLE t (k {of} PRIMARY KEY)"))
            .await;
        let specs = [TriggerSpec::new(table("t")).outbox()];
        trigger::install(&scene.client, &specs).await.unwrap();
        let expected = installed(&scene).await;
        uninstall(&scene).await;
        scene.run(&migration_script(&specs, false).unwrap()).await;
        assert_same(&installed(&scene).await, &expected);
    }
}
