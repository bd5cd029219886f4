//! The statements that `grant` shows and runs.

use pgherald_testkit::Postgres;

use super::{CONSUMERS, SESSIONS, granted, installed, is_green, role};
use crate::support::{Scene, connect};

#[tokio::test]
async fn grant_adds_missing_rights_and_is_idempotent() {
    let server = Postgres::start().await.unwrap();
    let scene = installed(&server).await;
    for (name, purpose) in [("reader", "read"), ("App \"1\"'s", "consume")] {
        let role = role(&scene, name).await;
        let grant = ["grant", name, "--to", purpose];
        let shown = scene.fine(&grant).await;
        assert!(shown.contains("-- Nothing was changed."), "{shown}");
        let sql = scene.json(&grant).await.remove(0);
        assert_eq!(sql["committed"], false);
        let committed = scene.json(&[&grant[..], &["--commit"]].concat()).await;
        assert_eq!(committed[0]["sql"], sql["sql"]);
        assert_eq!(committed[0]["committed"], true);
        let again = scene.json(&[&grant[..], &["--commit"]].concat()).await;
        assert_eq!(
            (&again[0]["sql"], &again[0]["committed"]),
            (&"".into(), &false.into())
        );
        let again = scene.fine(&grant).await;
        assert!(again.starts_with("-- Nothing to do: role "), "{again}");
        is_green(&role, &[SESSIONS, CONSUMERS]).await;
        // If one right is missing, the shown script grants it.
        let revoke = "SELECT format('REVOKE SELECT ON pgherald.outbox FROM %I', $1::text)";
        let revoke: String = scene
            .client
            .query_one(revoke, &[&name])
            .await
            .unwrap()
            .get(0);
        scene.run(&revoke).await;
        let sql = scene.json(&grant).await.remove(0);
        let sql = sql["sql"].as_str().unwrap();
        assert_eq!(sql.matches("GRANT").count(), 1, "{sql}");
        scene.run(sql).await;
        is_green(&role, &[SESSIONS, CONSUMERS]).await;
    }
}

#[tokio::test]
async fn grant_skips_rights_that_the_role_inherits() {
    let server = Postgres::start().await.unwrap();
    let scene = installed(&server).await;
    let _team = granted(&scene, "team", "consume").await;
    let member = role(&scene, "member").await;
    scene.run("GRANT team TO member").await;
    for purpose in ["read", "consume"] {
        let printed = scene.fine(&["grant", "member", "--to", purpose]).await;
        assert!(printed.starts_with("-- Nothing to do"), "{printed}");
    }
    is_green(&member, &[SESSIONS]).await;
    // Rights that PUBLIC has need no grant.
    scene
        .run("GRANT USAGE ON SCHEMA pgherald TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA pgherald TO PUBLIC")
        .await;
    let _reader = role(&scene, "reader").await;
    let printed = scene.fine(&["grant", "reader", "--to", "read"]).await;
    let grants: Vec<_> = printed
        .lines()
        .filter(|line| line.starts_with("GRANT"))
        .collect();
    assert_eq!(
        grants,
        ["GRANT SELECT ON SEQUENCE pgherald.outbox_id TO reader;"]
    );
}

#[tokio::test]
async fn grant_refuses_with_cause_and_hint() {
    let server = Postgres::start().await.unwrap();
    let scene = Scene::on(&server, super::TABLES).await;
    let (reader, owner) = (role(&scene, "reader").await, role(&scene, "owner").await);
    let refusal = async |on: &Scene, arguments: &[&str], parts: &[&str]| {
        let ran = on.pgherald(&[&["grant"], arguments].concat()).await;
        assert_eq!((ran.code, &*ran.stdout), (1, ""), "{ran:?}");
        for part in parts {
            assert!(ran.stderr.contains(part), "{part:?} in {ran:?}");
        }
    };
    let read = ["reader", "--to", "read", "--commit"];
    refusal(
        &scene,
        &read,
        &["there is no schema pgherald", "first run pgherald install"],
    )
    .await;
    scene.fine(&["install", "news", "--commit"]).await;
    let printed = scene
        .fine(&["grant", "reader", "--to", "read", "--commit"])
        .await;
    assert!(printed.contains("There is no outbox yet"), "{printed}");
    let consume = ["reader", "--to", "consume", "--commit"];
    refusal(&scene, &consume, &["there is no outbox"]).await;
    scene.fine(&["uninstall", "--all", "--commit"]).await;

    let install = scene
        .fine(&["grant", "owner", "--to", "install", "--commit"])
        .await;
    assert!(install.contains("Role owner may install."), "{install}");
    scene
        .run("ALTER TABLE jobs OWNER TO owner; ALTER TABLE news OWNER TO owner")
        .await;
    super::install(&owner, "jobs", "news").await;
    refusal(
        &scene,
        &["Reader", "--to", "read"],
        &["there is no role \"Reader\"", "capitals"],
    )
    .await;
    refusal(
        &scene,
        &["PUBLIC", "--to", "read"],
        &["PUBLIC means every role"],
    )
    .await;
    let parts = [
        "schema pgherald belongs to role owner",
        "install as role owner",
    ];
    refusal(&scene, &["reader", "--to", "install"], &parts).await;
    // A role needs the right to grant: it fails without any right, with some rights, and with a part of the grant options.
    refusal(
        &reader,
        &read,
        &["permission denied", "run it as role owner"],
    )
    .await;
    scene
        .run("GRANT USAGE ON SCHEMA pgherald TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA pgherald TO reader;
            GRANT SELECT ON ALL SEQUENCES IN SCHEMA pgherald TO reader; REVOKE SELECT ON pgherald.outbox FROM reader;
            GRANT INSERT ON pgherald.outbox TO reader")
        .await;
    refusal(
        &reader,
        &read,
        &["nothing was changed", "run it as role owner"],
    )
    .await;
    owner
        .fine(&["grant", "reader", "--to", "read", "--commit"])
        .await;

    for (name, part) in [
        ("postgres", "is a superuser"),
        ("owner", "owns schema pgherald"),
    ] {
        for purpose in ["read", "consume", "install"] {
            let printed = scene
                .fine(&["grant", name, "--to", purpose, "--commit"])
                .await;
            assert!(
                printed.contains("Nothing to do") && printed.contains(part),
                "{printed}"
            );
        }
    }
    let dba = role(&scene, "dba").await;
    scene.run("GRANT owner TO dba").await;
    let printed = scene.fine(&["grant", "dba", "--to", "install"]).await;
    assert!(
        printed.contains("has the rights of role owner"),
        "{printed}"
    );
    is_green(&dba, &[SESSIONS]).await;
}

#[tokio::test]
async fn grant_requires_the_current_version_and_covers_new_tables() {
    let server = Postgres::start().await.unwrap();
    let scene = installed(&server).await;
    let _app = granted(&scene, "app", "consume").await;
    scene
        .run("COMMENT ON TABLE pgherald.outbox IS '{\"version\":1}'")
        .await;
    let ran = scene.pgherald(&["grant", "app", "--to", "consume"]).await;
    assert!(
        ran.code == 1 && ran.stderr.contains("pgherald upgrade --commit"),
        "{ran:?}"
    );
    let version = scene
        .value("SELECT obj_description('pgherald.outbox'::regclass)")
        .await;
    assert_eq!(version, "{\"version\":1}");
    scene
        .run("COMMENT ON TABLE pgherald.outbox IS '{\"version\":2}'")
        .await;
    // Like a table that a migration has created.
    scene
        .run("REVOKE ALL ON pgherald.consumer_requirement FROM app")
        .await;
    let printed = scene.fine(&["grant", "app", "--to", "consume"]).await;
    let grants: Vec<_> = printed
        .lines()
        .filter(|line| line.starts_with("GRANT"))
        .collect();
    let expected = "GRANT SELECT, INSERT, UPDATE, DELETE ON pgherald.consumer_requirement TO app;";
    assert_eq!(grants, [expected]);
}

#[tokio::test]
async fn grant_ignores_the_search_path() {
    let server = Postgres::start().await.unwrap();
    let scene = installed(&server).await;
    let _app = role(&scene, "app").await;
    scene
        .run("CREATE SCHEMA evil; CREATE DOMAIN evil.int8 AS text; CREATE DOMAIN evil.interval AS text; CREATE DOMAIN evil.text AS int;
            CREATE DOMAIN evil.oid AS text; CREATE DOMAIN evil.bool AS text")
        .await;
    let mut trapped = Scene {
        url: scene.url.clone(),
        client: connect(&scene.url).await,
    };
    trapped.url += "?options=-c%20search_path%3Devil%2Cpg_catalog";
    for purpose in ["read", "consume"] {
        let grant = ["grant", "app", "--to", purpose, "--commit"];
        let printed = trapped.fine(&grant).await;
        assert!(printed.contains("Role app may"), "{printed}");
    }
    let path = trapped.fine(&["grant", "app", "--to", "consume"]).await;
    assert!(path.contains("Nothing to do"), "{path}");
}

#[tokio::test]
async fn concurrent_grants_succeed() {
    let server = Postgres::start().await.unwrap();
    let scene = installed(&server).await;
    let names = ["a", "b", "c", "d"];
    for name in names {
        let _role = role(&scene, name).await;
    }
    let grants = names.iter().chain(&names).enumerate();
    let grants = grants.map(async |(number, name)| {
        let purpose = ["read", "consume"][number % 2];
        scene
            .fine(&["grant", name, "--to", purpose, "--commit"])
            .await;
    });
    futures_util::future::join_all(grants).await;
    for name in names {
        let purpose = ["read", "consume"][usize::from(["b", "d"].contains(&name))];
        let printed = scene.fine(&["grant", name, "--to", purpose]).await;
        assert!(printed.contains("Nothing to do"), "{printed}");
    }
}

#[tokio::test]
async fn grant_does_not_wait_long_for_a_transaction_that_alters_an_object() {
    let server = Postgres::start().await.unwrap();
    let scene = installed(&server).await;
    let reader = role(&scene, "reader").await;
    scene.run("CREATE ROLE other").await;
    let mut other = connect(&scene.url).await;
    let transaction = other.transaction().await.unwrap();
    let grant = "GRANT SELECT ON pgherald.outbox_part TO other";
    transaction.batch_execute(grant).await.unwrap();
    let ran = scene
        .pgherald(&["grant", "reader", "--to", "read", "--commit"])
        .await;
    assert_eq!(ran.code, 1, "{ran:?}");
    for part in [
        "lock timeout",
        "hint: another transaction keeps the object locked",
    ] {
        assert!(ran.stderr.contains(part), "{ran:?}");
    }
    let held = "SELECT count(*)::text FROM pg_class
        WHERE relnamespace = 'pgherald'::regnamespace AND has_table_privilege('reader', oid, 'SELECT')";
    assert_eq!(scene.value(held).await, "0");
    transaction.commit().await.unwrap();
    scene
        .fine(&["grant", "reader", "--to", "read", "--commit"])
        .await;
    is_green(&reader, &[SESSIONS, CONSUMERS]).await;
}
