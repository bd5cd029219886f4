//! The payload of each kind of change.

use pgherald_core::__private::host::events::Decoder;
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{ChannelName, Operation, Table, TableName};

use super::support::{Listener, Scene, event, spec, table};

const USERS: &str = "CREATE TABLE users (id bigint PRIMARY KEY, email text, seen timestamptz)";

#[tokio::test]
async fn each_operation_has_its_payload() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    let keyed = |operation, keys| {
        event(
            operation,
            "users",
            &format!(r#","key":["id"],"keys":{keys}"#),
        )
    };
    assert_eq!(
        scene.shapes("INSERT INTO users VALUES (7)").await,
        [keyed("insert", "[7]")]
    );
    assert_eq!(
        scene.shapes("UPDATE users SET email = 'x'").await,
        [keyed("update", "[7]")]
    );
    assert_eq!(
        scene.shapes("DELETE FROM users").await,
        [keyed("delete", "[7]")]
    );
    assert_eq!(
        scene.shapes("TRUNCATE users").await,
        [event("truncate", "users", "")]
    );
}

#[tokio::test]
async fn pgcachewatch_can_read_a_payload() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    scene
        .run("SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'SQL, DMY'")
        .await;
    let payloads = scene.announced("INSERT INTO users VALUES (7)").await;
    let [payload] = &payloads[..] else {
        panic!("{payloads:?}")
    };
    assert_eq!(
        scene.json(payload, "{operation}").await.as_deref(),
        Some("insert")
    );
    assert_eq!(
        scene.json(payload, "{table}").await.as_deref(),
        Some("users")
    );
    let sent_at = scene.json(payload, "{sent_at}").await.unwrap();
    let pattern = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$";
    let checks = format!(
        "SELECT ('{sent_at}' ~ '{pattern}'
             AND clock_timestamp() - '{sent_at}'::timestamptz BETWEEN '0' AND '1 minute')::text"
    );
    assert_eq!(scene.value(&checks).await, "true", "{sent_at}");
    let xid = scene.json(payload, "{xid}").await.unwrap();
    assert_eq!(scene.value("SELECT xmin::text FROM users").await, xid);
}

#[tokio::test]
async fn a_specification_of_a_table_type_has_its_name_and_key() {
    struct User;
    impl Table for User {
        const NAME: &'static str = "users";
        const KEY: &'static [&'static str] = &["email"];
        type Key = String;
    }
    let mut scene = Scene::new(USERS).await;
    scene.install(TriggerSpec::of::<User>().unwrap()).await;
    let shapes = scene.shapes("INSERT INTO users VALUES (7, 'x')").await;
    assert_eq!(
        shapes,
        [event("insert", "users", r#","key":["email"],"keys":["x"]"#)]
    );
}

#[tokio::test]
async fn the_decoder_can_read_a_payload() {
    let sql = "CREATE TABLE seats (place text, row int, free bool, PRIMARY KEY (row, place))";
    let mut scene = Scene::new(sql).await;
    scene.install(spec("seats").columns(["free"])).await;
    let payloads = scene
        .announced("INSERT INTO seats VALUES ('a', 1, true), ('b', 2, NULL)")
        .await;
    let mut events = Vec::new();
    let received_at = std::time::SystemTime::now();
    Decoder::new()
        .decode("pgherald", &payloads[0], 0, received_at, &mut events)
        .unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(
        (events[0].schema(), events[0].table()),
        (Some("public"), "seats")
    );
    assert_eq!(
        events[0].key_columns(),
        [Box::from("row"), Box::from("place")]
    );
    assert_eq!(events[1].key(), Some(&(2, "b").into()));
    assert_eq!(
        events[0].columns_json().as_deref(),
        Some(r#"{"free":true}"#)
    );
    let xid = scene.value("SELECT min(xmin::text) FROM seats").await;
    assert_eq!(
        events[0].transaction_id().map(|id| id.to_string()),
        Some(xid)
    );
}

#[tokio::test]
async fn a_statement_lists_all_its_rows_once() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    let keyed = |operation| event(operation, "users", r#","key":["id"],"keys":[1,2,3]"#);
    assert_eq!(
        scene.shapes("INSERT INTO users VALUES (1), (2), (3)").await,
        [keyed("insert")]
    );
    assert_eq!(
        scene.shapes("UPDATE users SET email = id").await,
        [keyed("update")]
    );
    assert_eq!(scene.shapes("DELETE FROM users").await, [keyed("delete")]);
}

#[tokio::test]
async fn repeated_statements_of_one_transaction_are_all_announced() {
    let mut scene = Scene::new("").await;
    scene.run("CREATE TABLE log (line text)").await;
    scene.install(spec("log")).await;
    let insert = "INSERT INTO log VALUES ('x')";
    let shapes = scene
        .shapes(&format!("TRUNCATE log; {insert}; TRUNCATE log; {insert}"))
        .await;
    let [truncate, insert] = ["truncate", "insert"].map(|name| event(name, "log", ""));
    assert_eq!(shapes, [truncate.clone(), insert.clone(), truncate, insert]);
}

#[tokio::test]
async fn a_statement_without_rows_is_announced_only_for_truncate() {
    let mut scene = Scene::new(USERS).await;
    scene.run("CREATE TABLE log (line text)").await;
    scene.install(spec("users").columns(["email"])).await;
    scene.install(spec("log")).await;
    for name in ["users", "log"] {
        let sql = format!(
            "INSERT INTO {name} SELECT FROM generate_series(1, 0);
             UPDATE {name} SET ctid = ctid WHERE false; DELETE FROM {name}"
        );
        let sql = sql.replace(
            "ctid = ctid",
            if name == "log" {
                "line = ''"
            } else {
                "email = ''"
            },
        );
        assert_eq!(scene.shapes(&sql).await, [""; 0]);
        let truncated = scene.shapes(&format!("TRUNCATE {name}")).await;
        assert_eq!(truncated, [event("truncate", name, "")]);
    }
}

#[tokio::test]
async fn a_composite_key_is_an_array_in_the_order_of_the_key() {
    let sql = "CREATE TABLE seats (place text, row int, free bool, PRIMARY KEY (row, place))";
    let mut scene = Scene::new(sql).await;
    scene.install(spec("seats")).await;
    let shapes = scene
        .shapes("INSERT INTO seats VALUES ('a', 1), ('b\"', 2)")
        .await;
    let expected = r#","key":["row","place"],"keys":[[1,"a"],[2,"b\""]]"#;
    assert_eq!(shapes, [event("insert", "seats", expected)]);
}

#[tokio::test]
async fn key_columns_may_be_chosen_and_may_be_null_and_repeat() {
    let mut scene = Scene::new("CREATE TABLE t (id int PRIMARY KEY, tenant int)").await;
    scene.install(spec("t").key_columns(["tenant"])).await;
    let shapes = scene
        .shapes("INSERT INTO t VALUES (1, 5), (2, 5), (3, NULL), (4, 5)")
        .await;
    assert_eq!(
        shapes,
        [event("insert", "t", r#","key":["tenant"],"keys":[5,null]"#)]
    );
}

#[tokio::test]
async fn a_table_without_a_key_is_announced_as_a_whole() {
    let mut scene = Scene::new("CREATE TABLE log (line text)").await;
    scene.install(spec("log")).await;
    let sql = "INSERT INTO log VALUES ('a'), ('b'); UPDATE log SET line = 'c'; DELETE FROM log";
    let expected = ["insert", "update", "delete"].map(|operation| event(operation, "log", ""));
    assert_eq!(scene.shapes(sql).await, expected);
}

#[tokio::test]
async fn a_changed_primary_key_is_announced_with_old_and_new_keys() {
    let sql = "CREATE TABLE users (id bigint PRIMARY KEY DEFERRABLE, email text)";
    let mut scene = Scene::new(sql).await;
    scene.install(spec("users").columns(["email"])).await;
    scene
        .run("INSERT INTO users VALUES (1, 'a'), (2, 'b')")
        .await;
    scene.announced("").await;
    let shapes = scene
        .shapes("UPDATE users SET id = id + 1 WHERE id = 2")
        .await;
    let expected = r#","key":["id"],"keys":[3,2],"columns":[{"email":"b"},null]"#;
    assert_eq!(shapes, [event("update", "users", expected)]);
    // Two rows move up: key 3 is the new key of one and the old key of the other.
    let shapes = scene.shapes("UPDATE users SET id = id + 2").await;
    let expected = r#","key":["id"],"keys":[3,5,1],"columns":[{"email":"a"},{"email":"b"},null]"#;
    assert_eq!(shapes, [event("update", "users", expected)]);
}

#[tokio::test]
async fn columns_have_new_values_and_in_deletes_old_ones() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users").columns(["email", "id"])).await;
    let columns = |operation, values| {
        event(
            operation,
            "users",
            &format!(r#","key":["id"],"keys":[1],"columns":{values}"#),
        )
    };
    assert_eq!(
        scene.shapes("INSERT INTO users VALUES (1, NULL)").await,
        [columns("insert", r#"[{"email":null,"id":1}]"#)]
    );
    assert_eq!(
        scene.shapes(r#"UPDATE users SET email = E'a"\\\n'"#).await,
        [columns("update", r#"[{"email":"a\"\\\n","id":1}]"#)]
    );
    assert_eq!(
        scene.shapes("DELETE FROM users").await,
        [columns("delete", r#"[{"email":"a\"\\\n","id":1}]"#)]
    );
}

#[tokio::test]
async fn values_do_not_depend_on_session_settings() {
    let sql = "CREATE DOMAIN number AS int; CREATE TYPE mood AS ENUM ('so, so');
        CREATE TABLE t (
            id number PRIMARY KEY, small smallint, yes bool, name name, code char(4), v varchar, u uuid,
            mood mood, price numeric, day date, at timestamptz, local timestamp, span interval,
            raw bytea, real float8, money money, ip inet, list int[], doc jsonb, pair point
        )";
    let mut scene = Scene::new(sql).await;
    let columns =
        "small yes name code v u mood price day at local span raw real money ip list doc pair";
    scene.install(spec("t").columns(columns.split(' '))).await;
    let insert = "INSERT INTO t VALUES (
        1, 2, true, 'n', 'ab', 'ü', '{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}', 'so, so', 1.50,
        '2026-03-02', '2026-03-02 01:00+05:30', '2026-03-02 01:00', '1 day 02:00', 'ab', 0.1,
        '1.5'::float8::numeric::money, '10.0.0.1', '{1,2}', '{\"a\": [1]}', '(1,2)'
    )";
    let expected = concat!(
        r#","key":["id"],"types":{"price":"numeric","day":"date","at":"timestamptz","local":"timestamp","#,
        r#""raw":"bytea","real":"float","list":["int"],"doc":"json"},"#,
        r#""keys":[1],"columns":[{"small":2,"yes":true,"name":"n","code":"ab  ","v":"ü","#,
        r#""u":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","mood":"so, so","price":"1.50","#,
        r#""day":"2026-03-02","at":"2026-03-01 19:30:00+00","local":"2026-03-02 01:00:00","#,
        r#""span":"P1DT2H","raw":"\\x6162","real":"0.1","money":"$1.50","ip":"10.0.0.1","#,
        r#""list":"{1,2}","doc":"{\"a\": [1]}","pair":"(1,2)"}]"#,
    );
    let hostile = "SET DateStyle = 'German, DMY'; SET TimeZone = 'Asia/Kolkata'; SET IntervalStyle = sql_standard;
        SET bytea_output = escape; SET extra_float_digits = -5; SET standard_conforming_strings = off;
        SET search_path = ''";
    assert_eq!(scene.shapes(insert).await, [event("insert", "t", expected)]);
    scene.run("DELETE FROM t").await;
    scene.announced("").await;
    scene.run(hostile).await;
    let insert = insert.replace("INTO t", "INTO public.t");
    assert_eq!(
        scene.shapes(&insert).await,
        [event("insert", "t", expected)]
    );
}

#[tokio::test]
async fn any_valid_name_works() {
    let names = [
        "Mixed Case",
        "it's",
        r#"a"b"#,
        r"back\slash",
        "100%",
        "ünïcode✓",
        "$pgherald$",
        "a\n--b",
        "{{key}}",
    ];
    let scene = Scene::new("").await;
    for hostile in ["on", "off"] {
        for name in names {
            scene
                .run(&format!("SET standard_conforming_strings = {hostile}"))
                .await;
            let quoted = format!("\"{}\"", name.replace('"', "\"\""));
            let sql = format!(
                "CREATE SCHEMA {quoted};
                 CREATE TABLE {quoted}.{quoted} ({quoted} text PRIMARY KEY, \"{quoted2}\" int)",
                quoted2 = format!("{name}2").replace('"', "\"\"")
            );
            scene.run(&sql).await;
            let channel = ChannelName::new(name).unwrap();
            let spec = TriggerSpec::new(TableName::new(name, name).unwrap())
                .channel(channel)
                .columns([format!("{name}2")])
                .when_changed([name]);
            scene.install(spec.clone()).await;
            assert!(scene.plan(&[spec]).await.is_empty(), "{name}");
            let mut listener = Listener::on(&scene.url, &name.replace('"', "\"\"")).await;
            scene
                .run(&format!("INSERT INTO {quoted}.{quoted} VALUES ('1', 2)"))
                .await;
            scene
                .run(&format!("UPDATE {quoted}.{quoted} SET {quoted} = '3'"))
                .await;
            let heard = listener.heard(&scene.client).await;
            let [payload, _] = &heard[..] else {
                panic!("{name}: {heard:?}")
            };
            for path in ["{schema}", "{table}", "{key,0}"] {
                assert_eq!(
                    scene.json(payload, path).await.as_deref(),
                    Some(name),
                    "{payload}"
                );
            }
            scene.run(&format!("DROP SCHEMA {quoted} CASCADE")).await;
        }
    }
}

#[tokio::test]
async fn names_of_63_bytes_do_not_collide() {
    let long = "n".repeat(63);
    let sql = format!("CREATE SCHEMA {long}; CREATE TABLE {long}.{long} (id int PRIMARY KEY)");
    let mut scene = Scene::new(&sql).await;
    scene.run("CREATE SCHEMA \"a.b\"; CREATE SCHEMA a").await;
    scene.run("CREATE TABLE \"a.b\".c (id int PRIMARY KEY); CREATE TABLE a.\"b.c\" (id int PRIMARY KEY)").await;
    for (schema, name) in [(&*long, &*long), ("a.b", "c"), ("a", "b.c")] {
        scene
            .install(TriggerSpec::new(TableName::new(schema, name).unwrap()))
            .await;
    }
    let sql = format!(
        "INSERT INTO {long}.{long} VALUES (1); INSERT INTO \"a.b\".c VALUES (1); INSERT INTO a.\"b.c\" VALUES (1)"
    );
    let payloads = scene.announced(&sql).await;
    let mut tables = Vec::new();
    for payload in &payloads {
        tables.push((
            scene.json(payload, "{schema}").await.unwrap(),
            scene.json(payload, "{table}").await.unwrap(),
        ));
    }
    let expected = [(&*long, &*long), ("a.b", "c"), ("a", "b.c")];
    assert_eq!(
        tables,
        expected.map(|(schema, name)| (schema.to_owned(), name.to_owned()))
    );
}

#[tokio::test]
async fn tables_with_the_same_name_in_two_schemas_are_distinguished() {
    let mut scene = Scene::new(USERS).await;
    scene
        .run("CREATE SCHEMA app; CREATE TABLE app.users (id text PRIMARY KEY)")
        .await;
    scene.install(spec("users")).await;
    scene
        .install(TriggerSpec::new(TableName::new("app", "users").unwrap()))
        .await;
    let shapes = scene
        .shapes("INSERT INTO app.users VALUES ('x'); INSERT INTO users VALUES (1)")
        .await;
    let theirs = event("insert", "users", r#","key":["id"],"keys":["x"]"#).replace("public", "app");
    assert_eq!(
        shapes,
        [
            theirs,
            event("insert", "users", r#","key":["id"],"keys":[1]"#)
        ]
    );
}

#[tokio::test]
async fn only_the_specified_operations_are_announced_on_the_specified_channel() {
    let mut scene = Scene::new(USERS).await;
    let channel = ChannelName::new("Other \"one\"").unwrap();
    let operations = Operation::Delete | Operation::Truncate;
    scene
        .install(
            TriggerSpec::new(table("users"))
                .channel(channel)
                .operations(operations),
        )
        .await;
    let mut listener = Listener::on(&scene.url, "Other \"\"one\"\"").await;
    let sql = "INSERT INTO users VALUES (1); UPDATE users SET email = ''; DELETE FROM users; TRUNCATE users";
    assert_eq!(scene.shapes(sql).await, [""; 0]);
    let heard = listener.heard(&scene.client).await;
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(
        heard[0].contains("delete") && heard[1].contains("truncate"),
        "{heard:?}"
    );
}
