//! The text of values: it does not depend on the session, and is correct for every type.

use pgherald_core::__private::host::trigger::SpecParts;
use pgherald_core::trigger::{self, TriggerSpec};

use super::support::{Scene, connect, event, spec, table};

/// Objects that values refer to, in a schema that is on some search paths.
const OBJECTS: &str = "
    CREATE SCHEMA s;
    CREATE TABLE s.target (a int);
    CREATE FUNCTION s.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE OPERATOR s.@+@ (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
    CREATE COLLATION s.coll FROM \"C\";
    CREATE TEXT SEARCH CONFIGURATION s.conf (COPY = pg_catalog.simple);
    CREATE TEXT SEARCH DICTIONARY s.dict (TEMPLATE = pg_catalog.simple);
    CREATE TYPE s.pair AS (a int, b regclass);
    CREATE DOMAIN s.name_of AS regclass;
    CREATE DOMAIN s.names_of AS regclass[];
    CREATE TYPE s.label AS ENUM ('A b')";

/// A value of each type whose text depends on the session.
const VALUES: [(&str, &str); 36] = [
    ("aclitem", "postgres=r/postgres"),
    ("date", "2026-02-03"),
    ("datemultirange", "{[2026-02-03,2026-03-04)}"),
    ("daterange", "[2026-02-03,2026-03-04)"),
    ("int4multirange", "{[1,3)}"),
    ("int4range", "[1,3)"),
    ("int8multirange", "{[1,3)}"),
    ("int8range", "[1,3)"),
    ("interval", "1 day 2 hours"),
    ("money", "1234.5"),
    ("nummultirange", "{[1.5,3)}"),
    ("numrange", "[1.5,3)"),
    ("regclass", "s.target"),
    ("regcollation", "s.coll"),
    ("regconfig", "s.conf"),
    ("regdatabase", "postgres"),
    ("regdictionary", "s.dict"),
    ("regnamespace", "s"),
    ("regoper", "s.@+@"),
    ("regoperator", "s.@+@(int4,int4)"),
    ("regproc", "s.f"),
    ("regprocedure", "s.f(int4)"),
    ("regrole", "postgres"),
    ("regtype", "s.pair"),
    ("timestamp", "2026-02-03 04:05:06"),
    ("timestamptz", "2026-02-03 04:05:06+00"),
    ("tsmultirange", "{[2026-02-03,2026-03-04)}"),
    ("tsrange", "[2026-02-03,2026-03-04)"),
    (
        "tstzmultirange",
        "{[2026-02-03 00:00+00,2026-03-04 00:00+00)}",
    ),
    ("tstzrange", "[2026-02-03 00:00+00,2026-03-04 00:00+00)"),
    // Their output functions are declared immutable, although they depend on settings.
    ("bytea", "\\x00ff"),
    ("float4", "0.1"),
    ("float8", "0.1"),
    ("point", "(0.1,0.2)"),
    ("name", "Ab"),
    ("xml", "<a/>"),
];

const SESSIONS: [&str; 3] = [
    "SET search_path = pg_catalog",
    "SET search_path = s, public; SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Kolkata'; SET IntervalStyle = 'sql_standard';
        SET bytea_output = 'escape'; SET extra_float_digits = -15",
    "SET search_path = public; SET quote_all_identifiers = on; SET xmloption = document",
];

#[tokio::test]
async fn the_text_of_a_value_does_not_depend_on_the_session() {
    let mut scene = Scene::new(OBJECTS).await;
    let types = scene
        .value(
            "SELECT string_agg(t.typname, ',') FROM pg_type AS t JOIN pg_proc AS f ON f.oid = t.typoutput
            WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm')
            AND f.provolatile <> 'i' AND f.proname <> 'array_out'",
        )
        .await;
    let mut types: Vec<&str> = types.split(',').collect();
    types.extend(["bytea", "float4", "float8", "point", "name", "xml"]);
    let mut columns = Vec::new();
    for name in types {
        let value = VALUES.iter().find(|(of, _)| *of == name);
        let value = value.unwrap_or_else(|| panic!("no value of {name}")).1;
        columns.push((name.to_owned(), format!("'{value}'")));
        columns.push((format!("{name}[]"), format!("ARRAY['{value}']::{name}[]")));
    }
    for (name, value) in [
        ("s.pair", "ROW(1, 's.target'::regclass)::s.pair"),
        ("s.pair[]", "ARRAY[ROW(1, 's.target'::regclass)::s.pair]"),
        ("s.name_of", "'s.target'"),
        ("s.names_of", "ARRAY['s.target'::regclass]"),
        ("s.label", "'A b'"),
    ] {
        columns.push((name.to_owned(), value.to_owned()));
    }
    for (number, (type_name, value)) in columns.iter().enumerate() {
        let create = format!("CREATE TABLE t{number} (id int PRIMARY KEY, k {type_name})");
        scene.run(&create).await;
        for is_outbox in [true, false] {
            let spec = spec(&format!("t{number}"))
                .key_columns(["k"])
                .columns(["k"]);
            scene
                .install(if is_outbox { spec.outbox() } else { spec })
                .await;
            let mut texts = Vec::new();
            for (id, session) in SESSIONS.iter().enumerate() {
                scene.run(session).await;
                let insert = format!(
                    "INSERT INTO public.t{number} SELECT {id}, {value}; DELETE FROM public.t{number}"
                );
                // The literal is parsed under the session's settings. It is a valid date under all of them.
                let payloads = scene.shapes(&insert).await;
                scene.run("RESET ALL").await;
                let recorded =
                    "SELECT concat(key, columns) FROM pgherald.outbox ORDER BY id DESC LIMIT 1";
                texts.push(match is_outbox {
                    true => scene.value(recorded).await,
                    false => payloads[0].clone(),
                });
            }
            texts.dedup();
            assert_eq!(texts.len(), 1, "{type_name}: {texts:#?}");
            assert!(!texts[0].contains("null"), "{type_name}: {texts:?}");
        }
    }
}

#[tokio::test]
async fn functions_pin_the_search_path_only_if_their_values_need_it() {
    let scene = Scene::new(OBJECTS).await;
    scene
        .run("CREATE TABLE t (id int PRIMARY KEY, at timestamptz, n numeric, d date[], c s.label)")
        .await;
    scene.install(spec("t").every_column().outbox()).await;
    let settings = "SELECT array_to_string(proconfig, ' ') FROM pg_proc WHERE proname ~ '^notify_[0-9a-f]{16}$'";
    let pinned = scene.value(settings).await;
    assert!(!pinned.contains("search_path"), "{pinned}");
    scene.run("ALTER TABLE t ADD r s.pair[]").await;
    scene.install(spec("t").every_column().outbox()).await;
    let pinned = scene.value(settings).await;
    assert!(pinned.contains("search_path"), "{pinned}");
    // The type needs the search path now, so the triggers have to be installed again.
    scene
        .run("CREATE TYPE s.one AS (a int); CREATE TABLE u (id int PRIMARY KEY, v s.one)")
        .await;
    let spec = spec("u").every_column().outbox();
    scene.install(spec.clone()).await;
    assert!(scene.drift(&spec).await.is_empty());
    scene.run("ALTER TYPE s.one ADD ATTRIBUTE b regproc").await;
    assert_eq!(scene.drift(&spec).await.len(), 1);
    assert!(!scene.loses_changes(&spec).await);
}

#[tokio::test]
async fn keys_whose_equal_values_have_different_texts_are_drift() {
    let scene =
        Scene::new("CREATE DOMAIN cents AS numeric(10,2); CREATE TYPE pair AS (a int, b float8)")
            .await;
    let citext = scene
        .value("SELECT name::text FROM pg_available_extensions WHERE name = 'citext'")
        .await;
    let icu = scene
        .value("SELECT collname::text FROM pg_collation WHERE collprovider = 'i' LIMIT 1")
        .await;
    let mut ambiguous = vec![
        "numeric",
        "float4",
        "float8",
        "interval",
        "jsonb",
        "bpchar",
        "numeric[]",
        "pair",
        "numrange",
    ];
    if !citext.is_empty() {
        scene.run("CREATE EXTENSION citext").await;
        ambiguous.push("citext");
        ambiguous.push("citext[]");
    }
    if !icu.is_empty() {
        scene
            .run("CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
                CREATE TYPE span AS RANGE (subtype = text, collation = blind)")
            .await;
        ambiguous.extend([
            "text COLLATE blind",
            "varchar(9) COLLATE blind",
            "text[] COLLATE blind",
            "span",
        ]);
    }
    let sure = [
        "int",
        "text",
        "varchar(9)",
        "char(9)",
        "uuid",
        "bool",
        "numeric(9,2)",
        "cents",
        "timestamptz",
        "date",
        "timetz",
        "inet",
        "bytea",
        "name",
        "regclass",
        "int4range",
        "money",
        "int[]",
    ];
    let all = ambiguous
        .iter()
        .map(|name| (name, true))
        .chain(sure.iter().map(|name| (name, false)));
    for (number, (type_name, is_reported)) in all.enumerate() {
        scene
            .run(&format!(
                "CREATE TABLE t{number} (id int, code {type_name}, PRIMARY KEY (id, code))"
            ))
            .await;
        for spec in [
            spec(&format!("t{number}")),
            spec(&format!("t{number}")).outbox(),
        ] {
            scene.install(spec.clone()).await;
            let drift = scene.drift(&spec).await;
            assert_eq!(
                drift.len(),
                usize::from(is_reported),
                "{type_name}: {drift:?}"
            );
            assert!(
                drift
                    .iter()
                    .all(|text| text.contains("key column \"code\"")),
                "{drift:?}"
            );
            assert!(!scene.loses_changes(&spec).await, "{type_name}");
            assert!(scene.plan(&[spec]).await.is_empty());
        }
    }
    // A column that is not part of the key causes no drift.
    let spec = spec("t0").key_columns(["id"]).columns(["code"]);
    scene.install(spec.clone()).await;
    assert!(scene.drift(&spec).await.is_empty());
}

#[tokio::test]
async fn nulls_in_children_without_not_null_are_recorded_and_announced() {
    let mut scene = Scene::new("").await;
    let version = scene.value("SHOW server_version_num").await;
    let keeps_not_null = version.parse::<i32>().unwrap() >= 180_000;
    let create = match keeps_not_null {
        // A child may drop the constraints of its parent.
        false => {
            "CREATE TABLE base (id bigint PRIMARY KEY, age int NOT NULL, small smallint NOT NULL);
            CREATE TABLE child () INHERITS (base);
            ALTER TABLE child ALTER age DROP NOT NULL, ALTER small DROP NOT NULL, ALTER id DROP NOT NULL"
        }
        // Since version 18 a child keeps inherited constraints. A parent may declare one that is not inherited.
        true => {
            "CREATE TABLE base (id bigint NOT NULL NO INHERIT, age int NOT NULL NO INHERIT, small smallint NOT NULL NO INHERIT);
            CREATE TABLE child () INHERITS (base)"
        }
    };
    scene.run(create).await;
    let columns = || spec("base").key_columns(["id"]).columns(["age", "small"]);
    scene.install(columns().outbox()).await;
    scene.run("INSERT INTO child VALUES (1, NULL, 2)").await;
    let last = "SELECT concat_ws(' ', operation, key, columns) FROM pgherald.outbox ORDER BY id DESC LIMIT 1";
    assert_eq!(scene.value(last).await, r#"I 1 {"age":null,"small":2}"#);
    // The child's key allows null as well, and the parent may drop a constraint later.
    scene.run("UPDATE child SET id = NULL").await;
    let both = "SELECT string_agg(concat_ws(' ', operation, key), ',' ORDER BY key)
        FROM pgherald.outbox WHERE operation = 'U'";
    assert_eq!(scene.value(both).await, "U 1,U null");
    scene
        .run("ALTER TABLE base ALTER small DROP NOT NULL; INSERT INTO base VALUES (2, 3, NULL)")
        .await;
    assert_eq!(scene.value(last).await, r#"I 2 {"age":3,"small":null}"#);
    scene.install(columns()).await;
    let shapes = scene
        .shapes("INSERT INTO child VALUES (NULL, NULL, 2)")
        .await;
    let rest = r#","key":["id"],"keys":[null],"columns":[{"age":null,"small":2}]"#;
    assert_eq!(shapes, [event("insert", "base", rest)]);
}

#[tokio::test]
async fn rows_of_children_that_share_a_key_are_recorded_once_each() {
    let sql = "CREATE TABLE base (id bigint PRIMARY KEY, v int);
        CREATE TABLE child () INHERITS (base);
        INSERT INTO base VALUES (1), (2);
        INSERT INTO child VALUES (1)";
    let scene = Scene::new(sql).await;
    scene.install(spec("base").outbox()).await;
    scene.run("UPDATE base SET v = 1").await;
    let keys = "SELECT string_agg(key, ' ' ORDER BY key) FROM pgherald.outbox";
    assert_eq!(scene.value(keys).await, "1 1 2");
    scene.run("DELETE FROM ONLY base").await;
    scene
        .run("TRUNCATE pgherald.outbox; UPDATE base SET id = 3")
        .await;
    assert_eq!(scene.value(keys).await, "1 3");
}

fn wide(name: &str, columns: usize) -> String {
    let columns: Vec<_> = (0..columns)
        .map(|number| format!("c{number} int"))
        .collect();
    format!(
        "CREATE TABLE {name} (id int PRIMARY KEY, {})",
        columns.join(", ")
    )
}

#[tokio::test]
async fn more_columns_than_the_server_allows_are_rejected_with_the_limit() {
    let scene = Scene::new(&format!("{}; {}", wide("t", 900), wide("u", 1_599))).await;
    let names = |count: usize| (0..count).map(|number| format!("c{number}"));
    let refused = async |spec: TriggerSpec| {
        let error = trigger::plan(&scene.client, &[spec]).await.unwrap_err();
        assert!(error.is_config(), "{error}");
        error.to_string()
    };
    let all = || spec("t").outbox().every_column().old_columns();
    let error = refused(all().when_changed(names(900))).await;
    assert!(
        error.contains("1664") && error.contains("name fewer"),
        "{error}"
    );
    let error = refused(
        spec("u")
            .outbox()
            .every_column()
            .old_columns()
            .when_changed(names(1_000)),
    )
    .await;
    assert!(error.contains("1664"), "{error}");
    assert_eq!(scene.value("SHOW search_path").await, "\"$user\", public");
    // Statements within the limits work.
    let mut works = vec![
        all(),
        all().when_changed(names(700)),
        spec("t").outbox().every_column().when_changed(names(900)),
    ];
    works.push(spec("u").outbox().every_column().old_columns());
    works.push(spec("u").outbox().every_column());
    for spec in works {
        scene.install(spec.clone()).await;
        let name = spec.table().name();
        scene.run(&format!("INSERT INTO {name} (id, c1) VALUES (1, 1); UPDATE {name} SET c1 = 2; DELETE FROM {name}")).await;
        let recorded = "SELECT string_agg(concat(operation, key), ' ' ORDER BY id)
            FROM (SELECT * FROM pgherald.outbox ORDER BY id DESC LIMIT 3) AS o";
        assert_eq!(
            scene.value(recorded).await,
            "I1 U1 D1",
            "{}",
            spec.column_names().len()
        );
    }
}

#[tokio::test]
async fn wide_tables_and_keys_are_announced() {
    let mut scene = Scene::new(&wide("t", 1_599)).await;
    let key: Vec<_> = (0..32).map(|number| format!("c{number}")).collect();
    let create = format!(
        "CREATE TABLE k (id int, {}, PRIMARY KEY ({}))",
        key.join(" int, ") + " int",
        key.join(", ")
    );
    scene.run(&create).await;
    let watched = (0..1_599).map(|number| format!("c{number}"));
    scene
        .install(spec("t").every_column().when_changed(watched))
        .await;
    scene.install(spec("k")).await;
    let shapes = scene
        .shapes("INSERT INTO t (id) VALUES (1); UPDATE t SET c7 = 1")
        .await;
    assert_eq!(shapes.len(), 2);
    for shape in shapes {
        assert!(shape.contains(r#""keys":[1]"#), "{shape}");
    }
    let values: Vec<_> = (0..33).map(|number| number.to_string()).collect();
    let shapes = scene
        .shapes(&format!("INSERT INTO k VALUES ({})", values.join(", ")))
        .await;
    assert!(
        shapes[0].contains(&format!(r#""keys":[[{}]]"#, values[1..].join(","))),
        "{shapes:?}"
    );
}

/// Creates a database with this encoding and runs `sql` in it.
async fn encoded(encoding: &str, sql: &str) -> (String, tokio_postgres::Client) {
    let server = pgherald_testkit::Postgres::shared().await.unwrap();
    let name = format!("enc_{}_{}", encoding.to_lowercase(), std::process::id());
    let create = format!(
        "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    );
    server.execute(&create).await.unwrap();
    let url = server.url_for(&name);
    let client = connect(&url).await;
    client.batch_execute(sql).await.unwrap();
    (url, client)
}

#[tokio::test]
async fn keys_and_columns_that_are_not_utf8_are_escaped_in_notifications() {
    let create = "CREATE TABLE t (name text PRIMARY KEY, note text)";
    for (encoding, byte) in [("SQL_ASCII", "fc"), ("WIN1252", "81"), ("LATIN1", "fc")] {
        let (url, client) = encoded(encoding, create).await;
        let spec = TriggerSpec::new(table("t")).columns(["note"]);
        trigger::plan(&client, &[spec])
            .await
            .unwrap()
            .apply(&client)
            .await
            .unwrap();
        let mut listener = super::support::Listener::on(&url, "pgherald").await;
        // A function creates the text, because the client cannot send such bytes.
        let text = |hex: &str| format!("convert_from('\\x{hex}', getdatabaseencoding())");
        let (bad, note) = (text(&format!("4d{byte}6c")), text(&format!("22{byte}")));
        let one = format!("INSERT INTO t SELECT {bad}, {note}");
        client.batch_execute(&one).await.unwrap();
        let plain = listener.heard(&client).await;
        assert_eq!(plain.len(), 1, "{encoding}: the session is alive");
        let json: serde_json::Value = serde_json::from_str(&plain[0]).unwrap();
        let letter = char::from(u8::from_str_radix(byte, 16).unwrap());
        assert_eq!(json["keys"][0], format!("M{letter}l"), "{encoding}");
        assert_eq!(json["columns"][0]["note"], format!("\"{letter}"));
        // The same values beside valid ones, which stay unchanged.
        client
            .batch_execute("INSERT INTO t VALUES ('plain')")
            .await
            .unwrap();
        listener.heard(&client).await;
        client
            .batch_execute("UPDATE t SET note = NULL")
            .await
            .unwrap();
        let both = listener.heard(&client).await;
        let json: serde_json::Value = serde_json::from_str(&both[0]).unwrap();
        let keys = json["keys"].as_array().unwrap();
        assert!(
            keys.contains(&format!("M{letter}l").into()) && keys.contains(&"plain".into()),
            "{keys:?}"
        );
        // A changed key is announced under both keys.
        client
            .batch_execute(&format!("UPDATE t SET name = 'new' WHERE name = {bad}"))
            .await
            .unwrap();
        let moved = listener.heard(&client).await;
        let json: serde_json::Value = serde_json::from_str(&moved[0]).unwrap();
        assert_eq!(json["keys"][0], "new");
        assert_eq!(json["keys"][1], format!("M{letter}l"));
        assert_eq!(json["columns"].as_array().map(Vec::len), Some(2));
    }
}

/// The contents of the last `count` rows of the outbox, in order.
async fn last_recorded(scene: &Scene, count: usize) -> String {
    let sql = format!(
        "SELECT string_agg(concat_ws(' ', operation, key, columns, old_columns, changed), E'\n' ORDER BY id)
        FROM (SELECT * FROM pgherald.outbox ORDER BY id DESC LIMIT {count}) AS o"
    );
    scene.value(&sql).await
}

const UNAVAILABLE: &str = r#"{"unavailable":{"limit":1048576}}"#;

#[tokio::test]
async fn a_value_beyond_the_limit_is_unavailable_and_others_are_recorded() {
    let sql = "CREATE TABLE files (id int PRIMARY KEY, body bytea, note text)";
    let scene = Scene::new(sql).await;
    scene
        .install(spec("files").outbox().every_column().old_columns())
        .await;
    for storage in ["EXTERNAL", "EXTENDED"] {
        // Uncompressed and compressed.
        scene
            .run(&format!(
                "ALTER TABLE files ALTER body SET STORAGE {storage}"
            ))
            .await;
        scene
            .run("INSERT INTO files VALUES (1, decode(repeat('00', 30000000), 'hex'), 'a')")
            .await;
        let inserted = format!(r#"I 1 {{"id":1,"body":{UNAVAILABLE},"note":"a"}}"#);
        assert_eq!(last_recorded(&scene, 1).await, inserted);
        scene.run("UPDATE files SET note = 'b'").await;
        let row = |note: &str| format!(r#"{{"id":1,"body":{UNAVAILABLE},"note":"{note}"}}"#);
        // A compressed value with few bytes is compared.
        let changed = if storage == "EXTERNAL" {
            "{body,note}"
        } else {
            "{note}"
        };
        let updated = format!("U 1 {} {} {changed}", row("b"), row("a"));
        assert_eq!(last_recorded(&scene, 1).await, updated);
        scene.run("UPDATE files SET body = '\\x00'").await;
        let updated = format!(
            r#"U 1 {{"id":1,"body":"\\x00","note":"b"}} {} {{body}}"#,
            row("b")
        );
        assert_eq!(last_recorded(&scene, 1).await, updated);
        scene
            .run("UPDATE files SET body = NULL; DELETE FROM files")
            .await;
        assert_eq!(
            last_recorded(&scene, 1).await,
            r#"D 1 {"id":1,"body":null,"note":"b"}"#
        );
    }
    let largest = "SELECT (max(pg_column_size(o.*)) < 1000)::text FROM pgherald.outbox AS o";
    assert_eq!(scene.value(largest).await, "true");
}

#[tokio::test]
async fn the_limit_applies_to_the_text_of_values_of_every_type() {
    let scene =
        Scene::new("CREATE TYPE pair AS (a int, b text); CREATE DOMAIN words AS text").await;
    let exact = |bytes: usize| format!("repeat('x', {bytes})");
    let cases = [
        ("text", exact(1_048_576), exact(1_048_577)),
        ("varchar", exact(1_048_576), exact(1_048_577)),
        ("words", exact(1_048_576), exact(1_048_577)),
        (
            "text",
            "repeat('ü', 524288)".to_owned(),
            "repeat('ü', 524288) || 'x'".to_owned(),
        ),
        // Two digits per byte, after a prefix of two characters.
        (
            "bytea",
            "decode(repeat('00', 524287), 'hex')".to_owned(),
            "decode(repeat('00', 524288), 'hex')".to_owned(),
        ),
        (
            "json",
            "to_json(repeat('x', 1048574))".to_owned(),
            "to_json(repeat('x', 1048575))".to_owned(),
        ),
        (
            "jsonb",
            "to_jsonb(repeat('x', 1048574))".to_owned(),
            "to_jsonb(repeat('x', 1048575))".to_owned(),
        ),
        (
            "text[]",
            "ARRAY[repeat('x', 1048574)]".to_owned(),
            "ARRAY[repeat('x', 1048575)]".to_owned(),
        ),
        (
            "pair",
            "ROW(1, repeat('x', 1048572))::pair".to_owned(),
            "ROW(1, repeat('x', 1048573))::pair".to_owned(),
        ),
        // The text is far longer than the stored value.
        (
            "numeric[]",
            "ARRAY[1e131071]".to_owned(),
            "array_fill(1e131071, ARRAY[9])".to_owned(),
        ),
        (
            "bit varying",
            "repeat('1', 1048576)::varbit".to_owned(),
            "repeat('1', 1048577)::varbit".to_owned(),
        ),
        (
            "int[]",
            "ARRAY[1]".to_owned(),
            "array_fill(1234567890, ARRAY[3000000])".to_owned(),
        ),
    ];
    for (number, (type_name, within, beyond)) in cases.iter().enumerate() {
        scene
            .run(&format!(
                "CREATE TABLE t{number} (id int PRIMARY KEY, v {type_name}, n int)"
            ))
            .await;
        scene
            .install(
                spec(&format!("t{number}"))
                    .columns(["v"])
                    .old_columns()
                    .outbox(),
            )
            .await;
        let is_large = "SELECT concat(columns LIKE '%unavailable%', octet_length(columns) > 100000)
            FROM pgherald.outbox ORDER BY id DESC LIMIT 1";
        scene
            .run(&format!("INSERT INTO t{number} SELECT 1, {within}"))
            .await;
        let small = if within.len() < 12 { "ff" } else { "ft" };
        assert_eq!(scene.value(is_large).await, small, "{type_name}: {within}");
        scene.run(&format!("UPDATE t{number} SET n = 1")).await;
        let changed = "SELECT changed::text FROM pgherald.outbox ORDER BY id DESC LIMIT 1";
        assert_eq!(scene.value(changed).await, "{}", "{type_name}");
        scene
            .run(&format!("UPDATE t{number} SET v = {beyond}"))
            .await;
        assert_eq!(scene.value(is_large).await, "tf", "{type_name}: {beyond}");
        assert_eq!(scene.value(changed).await, "{v}", "{type_name}");
    }
    // Values of this type are shorter than that limit, but longer than another one.
    scene
        .run("CREATE TABLE n (id int PRIMARY KEY, v numeric)")
        .await;
    for (limit, is_large) in [(150_000, "false"), (131_072, "false"), (131_071, "true")] {
        let spec = spec("n").columns(["v"]).value_limit(limit).outbox();
        scene.install(spec).await;
        scene
            .run("INSERT INTO n VALUES (1, 1e131071); DELETE FROM n")
            .await;
        let last = "SELECT (columns LIKE '%unavailable%')::text FROM pgherald.outbox ORDER BY id DESC LIMIT 1";
        assert_eq!(scene.value(last).await, is_large, "{limit}");
    }
    // The column has another type now.
    scene.install(spec("t0").columns(["v"]).outbox()).await;
    scene
        .run("ALTER TABLE t0 ALTER v TYPE int USING 7; UPDATE t0 SET n = 3")
        .await;
    assert_eq!(last_recorded(&scene, 1).await, r#"U 1 {"v":7}"#);
}

#[tokio::test]
async fn a_notification_marks_the_values_that_do_not_fit() {
    let mut scene = Scene::new("CREATE TABLE t (id int PRIMARY KEY, v text, w text)").await;
    scene.install(spec("t").columns(["v", "w"])).await;
    let shapes = scene
        .shapes("INSERT INTO t VALUES (1, repeat('x', 8000), 'a')")
        .await;
    let rest =
        r#","key":["id"],"keys":[1],"columns":[{"v":{"unavailable":{"limit":7999}},"w":"a"}]"#;
    assert_eq!(shapes, [event("insert", "t", rest)]);
    // Both values in one statement.
    let shapes = scene
        .shapes("INSERT INTO t VALUES (2, repeat('x', 5000), repeat('y', 5000))")
        .await;
    assert_eq!(
        shapes,
        [event(
            "insert",
            "t",
            r#","key":["id"],"keys":[2],"columns":[null]"#
        )]
    );
}

#[tokio::test]
async fn an_unchanged_large_value_is_recorded_once() {
    let sql = "CREATE TABLE files (id int PRIMARY KEY, body text, note text, \"o'dd\" text)";
    let scene = Scene::new(sql).await;
    scene
        .install(spec("files").outbox().every_column().old_columns())
        .await;
    scene
        .run("INSERT INTO files VALUES (1, repeat('x', 100000), 'a', repeat('y', 2000))")
        .await;
    let sizes = "SELECT concat_ws(' ', octet_length(columns), octet_length(old_columns), changed)
        FROM pgherald.outbox ORDER BY id DESC LIMIT 1";
    scene.run("UPDATE files SET note = 'b'").await;
    assert_eq!(scene.value(sizes).await, "102039 19 {note}");
    let old = "SELECT old_columns FROM pgherald.outbox ORDER BY id DESC LIMIT 1";
    assert_eq!(scene.value(old).await, r#"{"id":1,"note":"a"}"#);
    scene
        .run("UPDATE files SET body = repeat('z', 100000)")
        .await;
    assert_eq!(scene.value(sizes).await, "102039 100029 {body}");
    // Under a new key, only the old values of the row are known.
    scene.run("UPDATE files SET id = 2").await;
    let gone = "SELECT octet_length(old_columns)::text FROM pgherald.outbox WHERE key = '1' ORDER BY id DESC LIMIT 1";
    assert_eq!(scene.value(gone).await, "102039");
    scene.run("UPDATE files SET body = NULL").await;
    assert_eq!(scene.value(sizes).await, "2041 100029 {body}");
}
