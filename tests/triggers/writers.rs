//! Writes by every role and every kind of statement are announced, and triggers do not make them fail.

use super::support::{Listener, Scene, event, spec};

const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, email text)";

fn keyed(operation: &str, keys: &str) -> String {
    event(
        operation,
        "users",
        &format!(r#","key":["id"],"keys":{keys}"#),
    )
}

#[tokio::test]
async fn writes_of_a_role_that_may_only_insert_are_announced() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users").columns(["email"])).await;
    let role = format!(
        "writer_{}",
        scene.value("SELECT current_database()::text").await
    );
    scene
        .run(&format!(
            "CREATE ROLE {role}; GRANT INSERT ON users TO {role}"
        ))
        .await;
    scene.run("REVOKE ALL ON SCHEMA public FROM PUBLIC").await;
    scene
        .run(&format!(
            "GRANT USAGE ON SCHEMA public TO {role}; SET ROLE {role}"
        ))
        .await;
    let shapes = scene.shapes("INSERT INTO users VALUES (1, 'a')").await;
    let expected = r#","key":["id"],"keys":[1],"columns":[{"email":"a"}]"#;
    assert_eq!(shapes, [event("insert", "users", expected)]);
    let callable = "SELECT count(*)::text
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname = 'pgherald' AND has_function_privilege(p.oid, 'EXECUTE')";
    assert_eq!(scene.value(callable).await, "0");
    scene
        .run(&format!(
            "RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"
        ))
        .await;
}

#[tokio::test]
async fn a_session_cannot_substitute_its_own_functions() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users").columns(["email"])).await;
    scene.run(
        "CREATE SCHEMA evil; SET search_path = evil, pg_catalog, public;
         CREATE FUNCTION evil.to_json(int) RETURNS json LANGUAGE sql AS $$ SELECT '\"evil\"'::json $$;
         CREATE FUNCTION evil.pg_notify(text, text) RETURNS void LANGUAGE sql AS '';
         CREATE TEMPORARY TABLE pgherald_new (id int)",
    )
    .await;
    let shapes = scene.shapes("INSERT INTO public.users VALUES (1)").await;
    let expected = r#","key":["id"],"keys":[1],"columns":[{"email":null}]"#;
    assert_eq!(shapes, [event("insert", "users", expected)]);
}

#[tokio::test]
async fn on_conflict_announces_both_halves() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    let upsert =
        "INSERT INTO users VALUES (1, 'a'), (2, 'b') ON CONFLICT (id) DO UPDATE SET email = ''";
    assert_eq!(scene.shapes(upsert).await, [keyed("insert", "[1,2]")]);
    let upsert = upsert.replace("(2, 'b')", "(3, 'c')");
    let mut shapes = scene.shapes(&upsert).await;
    shapes.sort();
    assert_eq!(shapes, [keyed("insert", "[3]"), keyed("update", "[1]")]);
    let nothing = "INSERT INTO users VALUES (1) ON CONFLICT DO NOTHING";
    assert_eq!(scene.shapes(nothing).await, [""; 0]);
}

#[tokio::test]
async fn merge_announces_each_part() {
    let mut scene = Scene::new(USERS).await;
    if scene
        .value("SELECT (current_setting('server_version_num')::int >= 150000)::text")
        .await
        != "true"
    {
        return;
    }
    scene.install(spec("users")).await;
    scene.run("INSERT INTO users VALUES (1), (2)").await;
    scene.announced("").await;
    let merge = "MERGE INTO users AS u USING (VALUES (1), (2), (3)) AS s (id) ON u.id = s.id
        WHEN MATCHED AND s.id = 1 THEN DELETE
        WHEN MATCHED THEN UPDATE SET email = 'x'
        WHEN NOT MATCHED THEN INSERT VALUES (s.id)";
    let mut shapes = scene.shapes(merge).await;
    shapes.sort();
    assert_eq!(
        shapes,
        [
            keyed("delete", "[1]"),
            keyed("insert", "[3]"),
            keyed("update", "[2]")
        ]
    );
}

#[tokio::test]
async fn copy_and_cascades_are_announced() {
    let mut scene = Scene::new(USERS).await;
    scene.run("CREATE TABLE posts (id int PRIMARY KEY, author int REFERENCES users ON DELETE CASCADE)").await;
    scene.install(spec("users")).await;
    scene.install(spec("posts")).await;
    let copy = "COPY users (id) FROM PROGRAM 'printf \"1\\n2\\n\"'";
    assert_eq!(scene.shapes(copy).await, [keyed("insert", "[1,2]")]);
    scene.run("INSERT INTO posts VALUES (10, 1), (11, 1)").await;
    scene.announced("").await;
    let mut shapes = scene.shapes("DELETE FROM users WHERE id = 1").await;
    shapes.sort();
    let posts = event("delete", "posts", r#","key":["id"],"keys":[10,11]"#);
    assert_eq!(shapes, [posts, keyed("delete", "[1]")]);
}

#[tokio::test]
async fn a_rolled_back_change_is_not_announced() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    let sql = "BEGIN; INSERT INTO users VALUES (1); SAVEPOINT s; INSERT INTO users VALUES (2);
        ROLLBACK TO s; COMMIT; BEGIN; INSERT INTO users VALUES (3); ROLLBACK";
    assert_eq!(scene.shapes(sql).await, [keyed("insert", "[1]")]);
}

#[tokio::test]
async fn dropping_or_renaming_a_column_does_not_fail_writes() {
    let mut scene = Scene::new(USERS).await;
    scene.run("CREATE TABLE log (line text)").await;
    scene.install(spec("users").columns(["email"])).await;
    scene.install(spec("log").when_changed(["line"])).await;
    scene
        .run("INSERT INTO users VALUES (1, 'a'); INSERT INTO log VALUES ('a')")
        .await;
    scene
        .run("ALTER TABLE users RENAME email TO mail; ALTER TABLE log RENAME line TO entry")
        .await;
    scene.announced("").await;
    let sql =
        "INSERT INTO users VALUES (2); UPDATE users SET mail = 'b'; UPDATE log SET entry = 'b'";
    let rest = |rest: &str| format!(r#","key":["id"],{rest}"#);
    let expected = [
        event("insert", "users", &rest(r#""keys":[2],"columns":[{}]"#)),
        event(
            "update",
            "users",
            &rest(r#""keys":[1,2],"columns":[{},{}]"#),
        ),
        event("update", "log", ""),
    ];
    assert_eq!(scene.shapes(sql).await, expected);
    let drift = scene.drift(&spec("users").columns(["email"])).await;
    assert_eq!(
        drift,
        [
            r#"public.users: specification of public.users: there is no column "email"; the columns are id, mail"#
        ]
    );
}

#[tokio::test]
async fn a_column_whose_type_changed_is_announced_in_its_new_type() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    assert_eq!(
        scene.shapes("INSERT INTO users VALUES (1)").await,
        [keyed("insert", "[1]")]
    );
    scene.run("ALTER TABLE users ALTER id TYPE bigint").await;
    let insert = "INSERT INTO users VALUES (5000000000)";
    assert_eq!(
        scene.shapes(insert).await,
        [keyed("insert", "[5000000000]")]
    );
    scene.run("ALTER TABLE users ALTER id TYPE text").await;
    scene.install(spec("users")).await;
    assert_eq!(
        scene.shapes("DELETE FROM users WHERE id = '1'").await,
        [keyed("delete", r#"["1"]"#)]
    );
}

#[tokio::test]
async fn other_channels_receive_nothing() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    let mut listener = Listener::on(&scene.url, "elsewhere").await;
    assert_eq!(
        scene.announced("INSERT INTO users VALUES (1)").await.len(),
        1
    );
    assert_eq!(listener.heard(&scene.client).await, [""; 0]);
}

#[tokio::test]
async fn a_column_named_like_a_function_of_rows_is_not_a_call_of_it() {
    let mut scene = Scene::new("CREATE TABLE t (hash_record int PRIMARY KEY, num_nulls int)").await;
    scene.install(spec("t").columns(["num_nulls"])).await;
    let insert = "INSERT INTO t VALUES (1, 2)";
    let rest = r#","key":["hash_record"],"keys":[1],"columns":[{"num_nulls":2}]"#;
    assert_eq!(scene.shapes(insert).await, [event("insert", "t", rest)]);
    scene.run("ALTER TABLE t RENAME hash_record TO id").await;
    assert_eq!(
        scene.shapes("DELETE FROM t").await,
        [event("delete", "t", "")]
    );
    scene
        .run("ALTER TABLE t RENAME id TO hash_record; ALTER TABLE t RENAME num_nulls TO n")
        .await;
    let rest = r#","key":["hash_record"],"keys":[1],"columns":[{}]"#;
    assert_eq!(scene.shapes(insert).await, [event("insert", "t", rest)]);
}

#[tokio::test]
async fn columns_named_like_variables_of_the_function_are_columns() {
    let sql = "CREATE TABLE t (key int PRIMARY KEY, keys int, tg_op int, found bool, t int, k int, c int)";
    let mut scene = Scene::new(sql).await;
    let columns = ["keys", "tg_op", "found", "t", "k", "c"];
    scene
        .install(spec("t").columns(columns).when_changed(columns))
        .await;
    let values = r#""keys":2,"tg_op":3,"found":false,"t":4,"k":5"#;
    let expected = |operation, c| {
        let rest = format!(r#","key":["key"],"keys":[1],"columns":[{{{values},"c":{c}}}]"#);
        [event(operation, "t", &rest)]
    };
    let insert = "INSERT INTO t VALUES (1, 2, 3, false, 4, 5, 6)";
    assert_eq!(scene.shapes(insert).await, expected("insert", 6));
    assert_eq!(
        scene.shapes("UPDATE t SET c = 7").await,
        expected("update", 7)
    );
}

#[tokio::test]
async fn a_user_defined_cast_of_a_columns_new_type_is_not_run() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, a text, b int, c bool)";
    let mut scene = Scene::new(sql).await;
    scene
        .install(spec("t").columns(["a", "b", "c"]).when_changed(["a"]))
        .await;
    scene
        .run(
            "CREATE TABLE ran (x text); CREATE TYPE own AS (v text);
             CREATE FUNCTION to_j(own) RETURNS json LANGUAGE plpgsql
                 AS 'BEGIN INSERT INTO public.ran VALUES (''json''); RETURN ''1''; END';
             CREATE FUNCTION to_t(own) RETURNS text LANGUAGE plpgsql
                 AS 'BEGIN INSERT INTO public.ran VALUES (''text''); RETURN ''1''; END';
             CREATE FUNCTION to_i(own) RETURNS int8 LANGUAGE plpgsql
                 AS 'BEGIN INSERT INTO public.ran VALUES (''int8''); RETURN ''1''; END';
             CREATE FUNCTION to_b(own) RETURNS bool LANGUAGE plpgsql
                 AS 'BEGIN INSERT INTO public.ran VALUES (''bool''); RETURN true; END';
             CREATE CAST (own AS json) WITH FUNCTION to_j(own) AS IMPLICIT;
             CREATE CAST (own AS text) WITH FUNCTION to_t(own) AS IMPLICIT;
             CREATE CAST (own AS int8) WITH FUNCTION to_i(own) AS IMPLICIT;
             CREATE CAST (own AS bool) WITH FUNCTION to_b(own) AS IMPLICIT;",
        )
        .await;
    for column in ["a", "b", "c"] {
        scene
            .run(&format!(
                "ALTER TABLE t ALTER {column} TYPE own USING row({column})::own"
            ))
            .await;
        let sql = "INSERT INTO t VALUES (1, NULL, NULL, NULL);
            UPDATE t SET a = (SELECT a FROM t); DELETE FROM t";
        scene.announced(sql).await;
        let sql = format!("INSERT INTO t (id, {column}) VALUES (1, row('x')::own)");
        scene
            .announced(&format!("{sql}; UPDATE t SET id = 2; DELETE FROM t"))
            .await;
    }
    assert_eq!(scene.value("SELECT count(*)::text FROM ran").await, "0");
}

#[tokio::test]
async fn a_missing_or_forbidden_helper_function_does_not_fail_writes() {
    let mut scene = Scene::new(USERS).await;
    scene.run("CREATE TABLE log (line text)").await;
    scene.install(spec("users")).await;
    scene.install(spec("log")).await;
    scene.run("DROP FUNCTION pgherald.notify_rows").await;
    let sql = "INSERT INTO users VALUES (1); UPDATE users SET email = ''; TRUNCATE users; INSERT INTO log VALUES ('')";
    let expected = [
        ("insert", "users"),
        ("update", "users"),
        ("truncate", "users"),
        ("insert", "log"),
    ];
    let expected = expected.map(|(operation, table)| event(operation, table, ""));
    assert_eq!(scene.shapes(sql).await, expected);
}
