//! Drift that `verify` reports. Each is repaired by a new plan.

use pgherald_core::trigger::{self, DriftKind, TriggerSpec};

use super::support::{Scene, spec, table};

const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, email text)";

fn users() -> TriggerSpec {
    spec("users")
}

async fn scene() -> Scene {
    let scene = Scene::new(USERS).await;
    scene.install(users()).await;
    scene
}

/// Installs again, and checks that no drift remains.
async fn repair(scene: &mut Scene) {
    scene.install(users()).await;
    assert_eq!(scene.drift(&users()).await, [""; 0]);
    assert!(scene.plan(&[users()]).await.is_empty());
    assert_eq!(
        scene
            .announced("INSERT INTO users VALUES (7); DELETE FROM users")
            .await
            .len(),
        2
    );
}

#[tokio::test]
async fn a_missing_table_is_drift() {
    let scene = scene().await;
    scene.run("DROP TABLE users").await;
    let drift = trigger::verify(&scene.client, &[users()]).await.unwrap();
    let [drift] = &drift[..] else {
        panic!("{drift:?}");
    };
    assert_eq!(
        (&drift.table, &drift.relation, &drift.kind),
        (&table("users"), &table("users"), &DriftKind::TableMissing)
    );
    assert_eq!(drift.to_string(), "public.users: the table does not exist");
}

#[tokio::test]
async fn without_an_installation_every_trigger_is_missing() {
    let mut scene = Scene::new(USERS).await;
    let drift = trigger::verify(&scene.client, &[users()]).await.unwrap();
    let names =
        ["insert", "update", "delete", "truncate"].map(|name| format!("pgherald_notify_{name}"));
    let missing: Vec<_> = drift.into_iter().map(|drift| drift.kind).collect();
    assert_eq!(missing, names.map(DriftKind::Missing));
    repair(&mut scene).await;
}

#[tokio::test]
async fn a_missing_trigger_is_drift() {
    let mut scene = scene().await;
    scene
        .run("DROP TRIGGER pgherald_notify_delete ON users")
        .await;
    let expected = "public.users: trigger pgherald_notify_delete is missing on public.users; \
        install the triggers";
    assert_eq!(scene.drift(&users()).await, [expected]);
    repair(&mut scene).await;
}

#[tokio::test]
async fn a_disabled_trigger_is_drift() {
    let mut scene = scene().await;
    for how in ["DISABLE", "ENABLE REPLICA"] {
        scene
            .run(&format!(
                "ALTER TABLE users {how} TRIGGER pgherald_notify_insert"
            ))
            .await;
        let expected =
            "public.users: trigger pgherald_notify_insert on public.users is disabled; enable it";
        assert_eq!(scene.drift(&users()).await, [expected]);
        repair(&mut scene).await;
    }
    scene
        .run("ALTER TABLE users ENABLE ALWAYS TRIGGER pgherald_notify_insert")
        .await;
    assert_eq!(scene.drift(&users()).await, [""; 0]);
}

#[tokio::test]
async fn an_installation_of_another_specification_is_drift() {
    let mut scene = scene().await;
    let other = users().columns(["email"]);
    let drifts = trigger::verify(&scene.client, std::slice::from_ref(&other));
    let drifts = drifts.await.unwrap();
    assert_eq!(drifts.len(), 1);
    assert!(drifts[0].loses_changes(), "{drifts:?}");
    let shown = drifts[0].to_string();
    assert!(shown.contains("without column email"), "{shown}");
    // An installation that has more is accepted, and can still be replaced.
    scene.install(other.clone()).await;
    assert_eq!(scene.drift(&users()).await, [""; 0]);
    repair(&mut scene).await;
    assert_eq!(scene.drift(&other).await.len(), 1);
}

#[tokio::test]
async fn a_foreign_trigger_with_our_name_is_drift() {
    let mut scene = scene().await;
    scene
        .run(
            "CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         DROP TRIGGER pgherald_notify_insert ON users;
         CREATE TRIGGER pgherald_notify_insert AFTER INSERT ON users EXECUTE FUNCTION mine()",
        )
        .await;
    assert_eq!(scene.drift(&users()).await.len(), 1);
    repair(&mut scene).await;
}

#[tokio::test]
async fn a_trigger_of_another_shape_is_drift() {
    let mut scene = scene().await;
    let function = scene
        .value("SELECT min(tgfoid::regproc::text) FROM pg_trigger WHERE NOT tgisinternal")
        .await;
    for shape in ["FOR EACH ROW WHEN (false)", "FOR EACH ROW", "WHEN (false)"] {
        scene
            .run(&format!(
                "DROP TRIGGER pgherald_notify_delete ON users;
             CREATE TRIGGER pgherald_notify_delete AFTER DELETE ON users
                 REFERENCING OLD TABLE AS pgherald_old {shape} EXECUTE FUNCTION {function}()"
            ))
            .await;
        let drift = scene.drift(&users()).await;
        assert_eq!(drift.len(), 1, "{shape}");
        assert!(scene.loses_changes(&users()).await, "{shape}");
        assert!(
            drift[0].contains("pgherald_notify_delete was installed in another way"),
            "{drift:?}"
        );
        repair(&mut scene).await;
    }
    // A later version of pgherald may create triggers of another shape.
    let later = format!(
        "COMMENT ON FUNCTION {function}() IS '{{\"version\":1000}}';
         DROP TRIGGER pgherald_notify_delete ON users;
         CREATE TRIGGER pgherald_notify_delete AFTER DELETE ON users
             REFERENCING OLD TABLE AS o EXECUTE FUNCTION {function}()"
    );
    scene.run(&later).await;
    assert!(!scene.loses_changes(&users()).await);
}

#[tokio::test]
async fn a_changed_function_body_is_drift() {
    let mut scene = scene().await;
    let functions = scene
        .value("SELECT string_agg(oid::regprocedure::text, ';') FROM pg_proc WHERE pronamespace = 'pgherald'::regnamespace")
        .await;
    for function in functions.split(';') {
        scene
            .run(&format!(
                "DO $$ BEGIN EXECUTE replace(pg_get_functiondef('{function}'::regprocedure), 'BEGIN', 'BEGIN  '); END $$"
            ))
            .await;
        let drift = scene.drift(&users()).await;
        assert_eq!(drift.len(), 1, "{function}");
        assert!(drift[0].contains("its body differs"), "{drift:?}");
        repair(&mut scene).await;
    }
}

#[tokio::test]
async fn a_missing_helper_function_is_drift() {
    let mut scene = scene().await;
    scene.run("DROP FUNCTION pgherald.notify_rows").await;
    let drift = scene.drift(&users()).await;
    assert_eq!(drift.len(), 1);
    assert!(
        drift[0].contains("pgherald.notify_rows is outdated: it is missing"),
        "{drift:?}"
    );
    repair(&mut scene).await;
}

#[tokio::test]
async fn a_dropped_schema_is_drift() {
    let mut scene = scene().await;
    scene.run("DROP SCHEMA pgherald CASCADE").await;
    assert_eq!(scene.drift(&users()).await.len(), 4);
    repair(&mut scene).await;
}

#[tokio::test]
async fn changed_rights_or_settings_of_a_function_are_drift() {
    let mut scene = scene().await;
    let functions = scene
        .value("SELECT string_agg(oid::regprocedure::text || CASE WHEN prosecdef THEN ' SECURITY INVOKER' ELSE ' SECURITY DEFINER' END, ';')
            FROM pg_proc WHERE pronamespace = 'pgherald'::regnamespace")
        .await;
    for change in functions.split(';') {
        let function = change.split(" SECURITY").next().unwrap_or_default();
        for change in [change, &format!("{function} SET search_path = public")] {
            scene.run(&format!("ALTER FUNCTION {change}")).await;
            let drift = scene.drift(&users()).await;
            assert_eq!(drift.len(), 1, "{change}");
            assert!(drift[0].contains("other rights or settings"), "{drift:?}");
            repair(&mut scene).await;
        }
    }
}

#[tokio::test]
async fn function_settings_of_every_kind_are_read_back_unchanged() {
    let scene = Scene::new("CREATE TABLE t (id int PRIMARY KEY, at timestamptz)").await;
    let spec = spec("t").columns(["at"]).when_changed(["at"]);
    scene.install(spec.clone()).await;
    assert_eq!(scene.drift(&spec).await, [""; 0]);
}

#[tokio::test]
async fn functions_of_the_same_name_with_other_arguments_are_ignored() {
    let mut scene = scene().await;
    scene
        .run(
            "CREATE FUNCTION pgherald.notify_rows(int) RETURNS void LANGUAGE sql AS '';
             DO $$ BEGIN EXECUTE (SELECT format('CREATE FUNCTION pgherald.%I(int) RETURNS void LANGUAGE sql AS %L', proname, '')
                FROM pg_proc WHERE pronamespace = 'pgherald'::regnamespace AND pronargs = 0); END $$",
        )
        .await;
    assert_eq!(scene.drift(&users()).await, [""; 0]);
    repair(&mut scene).await;
}
