//! Whoever writes, and by whatever statement, is heard; and is never hindered.

use super::support::{Ear, Scene, event, spec};

const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, email text)";

fn keyed(operation: &str, keys: &str) -> String {
    event(
        operation,
        "users",
        &format!(r#","key":["id"],"keys":{keys}"#),
    )
}

#[tokio::test]
async fn a_role_that_may_only_insert_is_heard() {
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
async fn a_session_cannot_plant_its_own_functions() {
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
async fn copy_and_cascades_are_heard() {
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
async fn a_column_dropped_or_renamed_since_does_not_fail_the_write() {
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
    let expected = [("insert", "users"), ("update", "users"), ("update", "log")];
    let expected = expected.map(|(operation, table)| event(operation, table, ""));
    assert_eq!(scene.shapes(sql).await, expected);
    let drift = scene.drift(&spec("users").columns(["email"])).await;
    assert_eq!(
        drift,
        [r#"public.users: specification of public.users: no column "email"; there is id, mail"#]
    );
}

#[tokio::test]
async fn a_column_that_changes_its_type_is_announced_in_the_new_one() {
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
async fn other_channels_hear_nothing() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    let mut ear = Ear::on(&scene.url, "elsewhere").await;
    assert_eq!(
        scene.announced("INSERT INTO users VALUES (1)").await.len(),
        1
    );
    assert_eq!(ear.heard(&scene.client).await, [""; 0]);
}
