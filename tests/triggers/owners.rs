//! Objects that run with the installing role's rights must belong to that role or to a superuser.

use pgherald_core::trigger;

use super::support::{Scene, connect, event, spec};

const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY)";

/// A role that may create schemas in this database and nothing else.
async fn role(scene: &Scene, name: &str) -> String {
    let role = format!(
        "{name}_{}",
        scene.value("SELECT current_database()::text").await
    );
    scene
        .run(&format!(
            "CREATE ROLE {role}; DO $$ BEGIN
                EXECUTE format('GRANT CREATE ON DATABASE %I TO {role}', current_database()); END $$;
             GRANT ALL ON SCHEMA public TO {role}"
        ))
        .await;
    role
}

async fn drop_role(scene: &Scene, role: &str) {
    scene
        .run(&format!(
            "RESET ROLE; DROP OWNED BY {role} CASCADE; DROP ROLE {role}"
        ))
        .await;
}

async fn refusal(scene: &Scene, table: &str) -> String {
    let error = trigger::plan(&scene.client, &[spec(table)])
        .await
        .unwrap_err();
    assert!(error.is_config(), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_schema_of_another_role_is_rejected() {
    let scene = Scene::new(USERS).await;
    let mallory = role(&scene, "mallory").await;
    scene
        .run(&format!(
            "SET ROLE {mallory}; CREATE SCHEMA pgherald; RESET ROLE"
        ))
        .await;
    let message = refusal(&scene, "users").await;
    let expected = format!(
        "schema pgherald belongs to {mallory}, who could make the triggers run anything with your rights; \
         install as {mallory}, or let a superuser own it"
    );
    assert_eq!(message, expected);
    drop_role(&scene, &mallory).await;
}

#[tokio::test]
async fn a_function_of_another_role_is_rejected() {
    let scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    let mallory = role(&scene, "mallory").await;
    for function in ["notify_rows", "notify_[0-9a-f]+"] {
        let own = |owner: &str| {
            format!(
                "DO $$ BEGIN EXECUTE format('ALTER FUNCTION %s OWNER TO {owner}', (
                     SELECT oid::regprocedure FROM pg_proc
                     WHERE pronamespace = 'pgherald'::regnamespace AND proname ~ '^{function}$')); END $$"
            )
        };
        scene.run(&own(&mallory)).await;
        let message = refusal(&scene, "users").await;
        assert!(
            message.contains(&format!("belongs to {mallory}")),
            "{message}"
        );
        assert_eq!(scene.drift(&spec("users")).await.len(), 1, "{function}");
        scene.run(&own("CURRENT_USER")).await;
    }
    drop_role(&scene, &mallory).await;
}

#[tokio::test]
async fn a_schema_created_by_another_role_between_plan_and_apply_is_rejected() {
    let scene = Scene::new(USERS).await;
    let plan = scene.plan(&[spec("users")]).await;
    let mallory = role(&scene, "mallory").await;
    scene
        .run(&format!(
            "SET ROLE {mallory}; CREATE SCHEMA pgherald; RESET ROLE"
        ))
        .await;
    let before = scene.catalog().await;
    let error = plan.apply(&scene.client).await.unwrap_err();
    assert!(error.chain().contains(&mallory), "{}", error.chain());
    assert_eq!(scene.catalog().await, before);
    drop_role(&scene, &mallory).await;
}

#[tokio::test]
async fn a_role_cannot_install_into_the_schema_of_another_role() {
    let scene = Scene::new(USERS).await;
    let (ann, bob) = (role(&scene, "ann").await, role(&scene, "bob").await);
    scene
        .run(&format!(
            "SET ROLE {ann}; CREATE TABLE a (id int PRIMARY KEY)"
        ))
        .await;
    scene.install(spec("a")).await;
    scene
        .run(&format!(
            "GRANT ALL ON SCHEMA pgherald TO {bob}; RESET ROLE;
             SET ROLE {bob}; CREATE TABLE b (id int PRIMARY KEY)"
        ))
        .await;
    assert!(refusal(&scene, "b").await.contains(&ann));
    scene.run("RESET ROLE").await;
    assert!(refusal(&scene, "users").await.contains(&ann));
    assert_eq!(scene.drift(&spec("a")).await, [""; 0]);
    drop_role(&scene, &bob).await;
    drop_role(&scene, &ann).await;
}

#[tokio::test]
async fn roles_with_rights_may_use_the_objects_of_a_superuser() {
    let mut scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    let bob = role(&scene, "bob").await;
    scene
        .run(&format!(
            "GRANT ALL ON SCHEMA pgherald TO {bob}; SET ROLE {bob}; CREATE TABLE b (id int PRIMARY KEY)"
        ))
        .await;
    let message = refusal(&scene, "b").await;
    assert!(message.contains("you may not call it"), "{message}");
    let grant = |verb, word| {
        format!(
            "RESET ROLE; {verb} EXECUTE ON FUNCTION pgherald.notify_rows, pgherald.rows_query {word} {bob}; SET ROLE {bob}"
        )
    };
    scene.run(&grant("GRANT", "TO")).await;
    scene.install(spec("b")).await;
    let shapes = scene.shapes("INSERT INTO b VALUES (1)").await;
    assert_eq!(
        shapes,
        [event("insert", "b", r#","key":["id"],"keys":[1]"#)]
    );
    assert_eq!(scene.drift(&spec("b")).await, [""; 0]);
    scene.run(&grant("REVOKE", "FROM")).await;
    let drift = scene.drift(&spec("b")).await;
    assert!(
        drift[0].contains("its owner may not call pgherald.notify_rows"),
        "{drift:?}"
    );
    let shapes = scene.shapes("INSERT INTO b VALUES (2)").await;
    assert_eq!(shapes, [event("insert", "b", "")]);
    drop_role(&scene, &bob).await;
}

#[tokio::test]
async fn a_listener_without_rights_on_the_schema_can_verify() {
    let scene = Scene::new(USERS).await;
    scene.install(spec("users")).await;
    let listener = role(&scene, "listener").await;
    let client = connect(&scene.url).await;
    client
        .batch_execute(&format!("SET ROLE {listener}"))
        .await
        .unwrap();
    assert_eq!(
        trigger::verify(&client, &[spec("users")]).await.unwrap(),
        []
    );
    drop_role(&scene, &listener).await;
}
