//! `grant`: each role can do everything that its purpose includes, and nothing else.

mod doctor;
mod needed;
mod roles;
mod writing;

use pgherald_testkit::Postgres;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::doctor::wrong;
use crate::support::{Scene, connect};

/// A table for each mode, and one to which handlers write.
const TABLES: &str =
    "CREATE TABLE jobs (id int PRIMARY KEY, value text); CREATE TABLE news (id int PRIMARY KEY);
    CREATE TABLE effects (id int)";

/// Installs table `jobs` in outbox mode with its values, and `news` in notify mode. Roles belong to a whole server, so each test
/// has its own server.
async fn installed(server: &Postgres) -> Scene {
    let scene = Scene::on(server, TABLES).await;
    install(&scene, "jobs", "news").await;
    scene
}

async fn install(scene: &Scene, recorded: &str, announced: &str) {
    let record = ["install", recorded, "--mode", "outbox", "--columns", "*"];
    let record = [&record[..], &["--old-columns", "--commit"]].concat();
    scene.fine(&record).await;
    scene.fine(&["install", announced, "--commit"]).await;
}

/// Creates a role, and returns the database with a URL for that role. The client is still the superuser's.
async fn role(scene: &Scene, name: &str) -> Scene {
    let create = "SELECT format('CREATE ROLE %I LOGIN', $1::text)";
    let sql: String = scene
        .client
        .query_one(create, &[&name])
        .await
        .unwrap()
        .get(0);
    scene.run(&sql).await;
    let encoded = name.bytes().map(|byte| format!("%{byte:02x}"));
    let encoded: String = encoded.collect();
    Scene {
        url: scene.url.replace("postgres@", &format!("{encoded}@")),
        client: connect(&scene.url).await,
    }
}

/// Creates a role, and grants its rights.
async fn granted(scene: &Scene, name: &str, purpose: &str) -> Scene {
    let role = role(scene, name).await;
    scene
        .fine(&["grant", name, "--to", purpose, "--commit"])
        .await;
    role
}

/// Asserts that `doctor` finds no problems and skips only checks that need other rights.
async fn is_green(role: &Scene, skipped: &[&str]) {
    let wrong = wrong(role, &[]).await;
    for finding in &wrong {
        let text = finding["finding"].as_str().unwrap();
        let is_expected = skipped.iter().any(|part| text.contains(part));
        assert!(finding["result"] == "skipped" && is_expected, "{wrong:#?}");
    }
}

/// The skipped check of roles that are not members of `pg_read_all_stats`.
const SESSIONS: &str = "may not see the sessions of other roles";
/// The skipped check of roles that only read.
const CONSUMERS: &str = "this role may not run groups";

/// The definitions of schemas `pgherald` and `public`, and the rights on them.
const DEFINITIONS: &str = "WITH home AS (SELECT oid FROM pg_namespace WHERE nspname IN ('pgherald', 'public'))
    SELECT string_agg(d, e'\\n' ORDER BY d) FROM (
        SELECT concat_ws(' ', relname, relkind, relowner, relacl, relreplident, reloptions) FROM pg_class
        WHERE relnamespace IN (SELECT oid FROM home)
        UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, atttypid, attacl, attisdropped) FROM pg_attribute
        WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace IN (SELECT oid FROM home))
        UNION ALL SELECT concat_ws(' ', oid::regprocedure, proowner, proacl, prosecdef, prosrc, proconfig) FROM pg_proc
        WHERE pronamespace IN (SELECT oid FROM home)
        UNION ALL SELECT concat_ws(' ', tgrelid::regclass, tgname, tgenabled, tgfoid) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT concat_ws(' ', nspname, nspowner, nspacl) FROM pg_namespace
        UNION ALL SELECT concat_ws(' ', objoid, description) FROM pg_description WHERE objoid >= 16384
    ) AS all_of_them (d)";

/// Every row of schema `pgherald`, and every definition.
async fn everything(scene: &Scene) -> String {
    // `server_run` is left out, because it stores each start of the server.
    let relations = "SELECT relname::text, relkind = 'S' FROM pg_class
        WHERE relnamespace = 'pgherald'::regnamespace AND relkind IN ('r', 'S') AND relname <> 'server_run' ORDER BY 1";
    let mut all = scene.value(DEFINITIONS).await;
    assert!(all.contains("begin_history"), "{all}");
    for row in scene.client.query(relations, &[]).await.unwrap() {
        let (name, is_sequence): (String, bool) = (row.get(0), row.get(1));
        let columns = match is_sequence {
            true => "last_value || ' ' || is_called",
            false => "t::text",
        };
        let sql = format!(
            "SELECT string_agg({columns}, e'\\n' ORDER BY {columns}) FROM pgherald.{name} AS t"
        );
        all += &format!("\n{name}\n{}", scene.value(&sql).await);
    }
    all
}

/// Asserts that each statement fails because a right is missing, and changes nothing.
async fn are_refused(scene: &Scene, client: &Client, statements: &[&str]) {
    let before = everything(scene).await;
    let mut run = Vec::new();
    for sql in statements {
        let refusal = client.batch_execute(sql).await.err();
        let code = refusal.as_ref().and_then(|error| error.code());
        if code != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            run.push((sql, refusal));
        }
    }
    assert!(run.is_empty(), "{run:#?}");
    assert_eq!(everything(scene).await, before);
}

/// Asserts that each command fails because a right is missing, and changes nothing.
async fn commands_are_refused(scene: &Scene, role: &Scene, commands: &[&[&str]]) {
    let before = everything(scene).await;
    for arguments in commands {
        let ran = role.pgherald(arguments).await;
        let refusals = ["permission denied", "may not", "must be owner"];
        let is_refused = refusals.iter().any(|part| ran.stderr.contains(part));
        assert!(ran.code == 1 && is_refused, "{arguments:?}: {ran:?}");
    }
    assert_eq!(everything(scene).await, before);
}
