//! Fixes keep the installed options, and findings are failures if nothing works.

use super::doctor::wrong;
use super::support::{Scene, connect};

/// The command that `doctor` prints for the only finding about triggers.
async fn fix(scene: &Scene) -> String {
    let found = wrong(scene, &[]).await;
    let mut triggers = found.iter().filter(|one| one["check"] == "triggers");
    let fix = triggers.next().unwrap()["fix"].as_str().unwrap().to_owned();
    assert!(triggers.next().is_none(), "{found:#?}");
    fix
}

#[tokio::test]
async fn fix_keeps_renamed_columns() {
    let scene = Scene::new("CREATE TABLE items (id int PRIMARY KEY, price numeric, qty int)").await;
    let options = [
        "--columns",
        "price,qty",
        "--when-changed",
        "price",
        "--operations",
        "insert,update",
    ];
    scene
        .fine(
            &[
                &["install", "items", "--mode", "outbox", "--old-columns"],
                &options[..],
                &["--commit"],
            ]
            .concat(),
        )
        .await;
    let installed = async || {
        let table = scene.json(&["status"]).await[0]["tables"][0].clone();
        (
            table["columns"].to_string(),
            table["operations"].to_string(),
            table["drift"].clone(),
        )
    };
    scene
        .run("ALTER TABLE items RENAME COLUMN price TO cost")
        .await;
    let command = fix(&scene).await;
    scene.run_fix(&command).await;
    let expected = (
        r#"["cost","qty"]"#.to_owned(),
        r#"["insert","update"]"#.to_owned(),
        serde_json::Value::Null,
    );
    assert_eq!(installed().await, expected, "{command}");
    assert!(wrong(&scene, &[]).await.is_empty(), "{command}");
    let comment = "SELECT obj_description(p.oid, 'pg_proc') FROM pg_proc AS p WHERE p.proname ~ '^notify_[0-9a-f]{16}$'";
    let comment = scene.value(comment).await;
    assert!(
        comment.contains(r#""when_changed":["cost"]"#) && comment.contains("old_columns"),
        "{comment}"
    );

    // The same if the table is also renamed and another column was dropped.
    scene.run("ALTER TABLE items RENAME COLUMN cost TO \"the price\"; ALTER TABLE items DROP COLUMN qty; ALTER TABLE items RENAME TO goods").await;
    let command = fix(&scene).await;
    let expected = "pgherald install public.goods --mode outbox --columns 'the price' --operations insert,update --when-changed 'the price' --old-columns --commit";
    assert_eq!(command, expected);
    let arguments = expected
        .strip_prefix("pgherald ")
        .unwrap()
        .replace("'the price'", "the_price");
    let arguments: Vec<_> = arguments
        .split(' ')
        .map(|word| word.replace("the_price", "the price"))
        .collect();
    scene
        .fine(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    assert_eq!(installed().await.0, r#"["the price"]"#);
    assert!(wrong(&scene, &[]).await.is_empty());
}

#[tokio::test]
async fn role_without_rights_on_an_outbox_fails_the_check() {
    let scene = Scene::new("CREATE TABLE jobs (id int PRIMARY KEY)").await;
    scene.fine(&["install", "jobs", "--commit"]).await;
    let role = scene
        .value("SELECT 'nobody_' || oid FROM pg_database WHERE datname = current_database()")
        .await;
    scene.run(&format!("CREATE ROLE {role} LOGIN")).await;
    let stranger = Scene {
        url: scene.url.replace("postgres@", &format!("{role}@")),
        client: connect(&scene.url).await,
    };
    // Without an outbox, the role may be meant to listen only.
    let rights = async || {
        let found = wrong(&stranger, &[]).await;
        let rights = found.into_iter().filter(|one| one["check"] == "rights");
        rights
            .map(|one| one["result"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let found = rights().await;
    assert!(
        !found.is_empty() && found.iter().all(|one| one == "warning"),
        "{found:?}"
    );
    scene
        .fine(&[
            "install", "jobs", "--mode", "outbox", "--narrow", "--commit",
        ])
        .await;
    let found = rights().await;
    assert!(
        !found.is_empty() && found.iter().all(|one| one == "failed"),
        "{found:?}"
    );
    let ran = stranger.pgherald(&["doctor"]).await;
    assert!(
        ran.code == 1 && ran.stdout.contains("\nfailed   rights "),
        "{ran:?}"
    );
    scene.run(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn rights_that_triggers_lack_fail_the_check() {
    let scene = Scene::new("CREATE TABLE jobs (id int PRIMARY KEY)").await;
    let role = scene
        .value("SELECT 'installer_' || oid FROM pg_database WHERE datname = current_database()")
        .await;
    scene
        .run(&format!("CREATE ROLE {role} LOGIN; CREATE TABLE goods (id int PRIMARY KEY); ALTER TABLE goods OWNER TO {role}"))
        .await;
    // This makes a superuser the owner of the schema.
    scene
        .fine(&["install", "jobs", "--mode", "outbox", "--commit"])
        .await;
    scene
        .fine(&["grant", &role, "--to", "install", "--commit"])
        .await;
    let owner = Scene {
        url: scene.url.replace("postgres@", &format!("{role}@")),
        client: connect(&scene.url).await,
    };
    owner
        .fine(&["install", "goods", "--mode", "outbox", "--commit"])
        .await;
    assert!(wrong(&scene, &[]).await.is_empty());
    scene
        .run(&format!(
            "REVOKE INSERT ON pgherald.outbox_0, pgherald.outbox_1 FROM {role}; REVOKE EXECUTE ON FUNCTION pgherald.rows_query FROM {role}, PUBLIC"
        ))
        .await;
    let written = scene
        .client
        .batch_execute("INSERT INTO goods VALUES (1)")
        .await;
    assert!(written.is_err());
    let found = wrong(&scene, &[]).await;
    let text = format!(
        "writes to public.goods fail: their triggers run with the rights of role {role}, which lacks "
    );
    let is_it = |one: &&serde_json::Value| one["finding"].as_str().unwrap().starts_with(&text);
    let its: Vec<_> = found.iter().filter(is_it).collect();
    assert_eq!(its.len(), 2, "{found:#?}");
    assert!(
        its.iter().all(|one| one["result"] == "failed"),
        "{found:#?}"
    );
    for one in &its {
        scene.run_fix(one["fix"].as_str().unwrap()).await;
    }
    scene.run("INSERT INTO goods VALUES (1)").await;
    assert!(wrong(&scene, &[]).await.is_empty());
    scene
        .run(&format!(
            "DROP TABLE goods; DROP OWNED BY {role}; DROP ROLE {role}"
        ))
        .await;
}
