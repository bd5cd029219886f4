//! The script of `pgherald install --migration`, run by sqlx and refinery.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

use std::future::poll_fn;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pgherald_core::__private::host;
use pgherald_core::trigger;
use pgherald_testkit::Postgres;
use sqlx::Connection as _;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

const DEADLINE: Duration = Duration::from_secs(60);

const TABLES: &str = "CREATE TABLE users (id int PRIMARY KEY, email text, company text);
    CREATE SCHEMA shop;
    CREATE TABLE shop.orders (id bigint PRIMARY KEY, total numeric, note text);";

/// One table in each mode.
const MANIFEST: &str = r#"[
    {"schema": "public", "table": "users", "mode": "notify", "columns": ["email"], "when_changed": ["email"]},
    {"schema": "shop", "table": "orders", "mode": "outbox", "columns": "*", "old_columns": true}
]"#;

/// An earlier installation of the same tables, with fewer columns and operations.
const FORMER: &str = r#"[
    {"schema": "public", "table": "users", "mode": "notify", "operations": ["insert"]},
    {"schema": "shop", "table": "orders", "mode": "outbox", "columns": ["total"]}
]"#;

/// A directory with files, which is removed when this is dropped.
struct Files(PathBuf);

impl Files {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let directory = format!("pgherald_frameworks_{}_{name}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        std::fs::create_dir_all(&directory).unwrap();
        for (name, text) in files {
            std::fs::write(directory.join(name), text).unwrap();
        }
        Self(directory)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the command. Returns its exit code and its output.
async fn pgherald(arguments: Vec<String>) -> (i32, String) {
    let run = move || {
        let cargo = ["run", "--quiet", "--package", "pgherald-cli", "--"];
        let mut command = Command::new(env!("CARGO"));
        command.args(cargo).args(arguments).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), printed + &error)
}

async fn script(name: &str, manifest: &str) -> String {
    let files = Files::new(name, &[("tables.json", manifest)]);
    let arguments = [
        "install",
        "--from",
        &files.path("tables.json"),
        "--migration",
    ];
    // No server listens on this port: writing a script needs no connection.
    let database = [
        "--database-url".to_owned(),
        "host=127.0.0.1 port=1".to_owned(),
    ];
    let arguments = database.into_iter().chain(arguments.map(str::to_owned));
    let (code, script) = pgherald(arguments.collect()).await;
    assert_eq!(code, 0, "{script}");
    script
}

/// A database with a listening connection.
struct Scene {
    url: String,
    client: Client,
    payloads: mpsc::Receiver<String>,
}

impl Scene {
    async fn new() -> Self {
        let url = Postgres::shared()
            .await
            .unwrap()
            .create_database()
            .await
            .unwrap();
        let (client, mut connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let (sender, payloads) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(notification) = message {
                    let payload = notification.payload().to_owned();
                    sender.try_send(payload).unwrap();
                }
            }
        });
        client.batch_execute("LISTEN pgherald").await.unwrap();
        Self {
            url,
            client,
            payloads,
        }
    }

    /// Installs `manifest` as `pgherald install --commit` does.
    async fn install(&self, manifest: &str) {
        let specs = host::trigger::from_manifest(manifest).unwrap();
        trigger::install(&self.client, &specs).await.unwrap();
    }

    /// The versions of all functions and triggers, which listeners compare.
    async fn versions(&self) -> String {
        let sql = "SELECT string_agg(version, ' ' ORDER BY version) FROM (
            SELECT concat_ws(':', oid, xmin) FROM pg_proc WHERE pronamespace = 'pgherald'::regnamespace
            UNION ALL SELECT concat_ws(':', oid, xmin) FROM pg_trigger
            UNION ALL SELECT concat_ws(':', objoid, xmin) FROM pg_description) AS v (version)";
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Asserts that the manifest is installed, and that an event of each table arrives.
    async fn assert_installed(&mut self, name: &str) {
        let files = Files::new(name, &[("tables.json", MANIFEST)]);
        let manifest = files.path("tables.json");
        let arguments = [
            "--database-url",
            &self.url,
            "install",
            "--from",
            &manifest,
            "--check",
        ];
        let (code, printed) = pgherald(arguments.map(str::to_owned).to_vec()).await;
        assert_eq!(code, 0, "{printed}");

        let write = "INSERT INTO users VALUES (1, 'a@x'); INSERT INTO shop.orders VALUES (7, 9.50);
            UPDATE shop.orders SET total = 10; DELETE FROM users; DELETE FROM shop.orders";
        self.client.batch_execute(write).await.unwrap();
        for operation in ["insert", "delete"] {
            let payload = tokio::time::timeout(DEADLINE, self.payloads.recv()).await;
            let payload = payload.unwrap().unwrap();
            let expected =
                format!(r#""operation":"{operation}","schema":"public","table":"users""#);
            assert!(payload.contains(&expected), "{payload}");
            assert!(payload.contains(r#"[{"email":"a@x"}]"#), "{payload}");
        }
        let sql = "SELECT string_agg(concat_ws(' ', operation, key, columns, old_columns), '; ' ORDER BY id)
            FROM pgherald.outbox_event WHERE xid = (SELECT max(xid::text::bigint)::text::xid8 FROM pgherald.outbox_event)";
        let recorded: String = self.client.query_one(sql, &[]).await.unwrap().get(0);
        let expected = r#"insert 7 {"id":7,"total":"9.50","note":null}; update 7 {"id":7,"total":"10","note":null} {"id":7,"total":"9.50","note":null}; delete 7 {"id":7,"total":"10","note":null}"#;
        assert_eq!(recorded, expected);
    }
}

async fn sqlx(url: &str, files: &[(&str, &str)], name: &str) {
    let files = Files::new(name, files);
    let migrator = sqlx::migrate::Migrator::new(files.0.as_path())
        .await
        .unwrap();
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    migrator.run(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn refinery(url: &str, migrations: &[(&str, &str)], is_grouped: bool) {
    let migrations = migrations.iter();
    let migrations =
        migrations.map(|(name, sql)| refinery::Migration::unapplied(name, sql).unwrap());
    let runner = refinery::Runner::new(&migrations.collect::<Vec<_>>()).set_grouped(is_grouped);
    let (mut client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    runner.run_async(&mut client).await.unwrap();
}

#[tokio::test]
async fn sqlx_installs_on_an_empty_database_and_again() {
    let script = script("sqlx_script", MANIFEST).await;
    let mut scene = Scene::new().await;
    let files = [("1_tables.sql", TABLES), ("2_pgherald.sql", &*script)];
    sqlx(&scene.url, &files, "sqlx_first").await;
    scene.assert_installed("sqlx_first_check").await;
    let before = scene.versions().await;
    // The same script as a later migration.
    let files = [&files[..], &[("3_again.sql", &*script)]].concat();
    sqlx(&scene.url, &files, "sqlx_again").await;
    assert_eq!(scene.versions().await, before);
    scene.assert_installed("sqlx_again_check").await;
}

#[tokio::test]
async fn sqlx_installs_over_an_earlier_installation() {
    let script = script("sqlx_over_script", MANIFEST).await;
    for (number, former) in [FORMER, MANIFEST].into_iter().enumerate() {
        let mut scene = Scene::new().await;
        scene.client.batch_execute(TABLES).await.unwrap();
        scene.install(former).await;
        let name = format!("sqlx_over_{number}");
        sqlx(&scene.url, &[("1_pgherald.sql", &*script)], &name).await;
        scene.assert_installed(&format!("{name}_check")).await;
    }
}

#[tokio::test]
async fn refinery_installs_on_an_empty_database_and_again() {
    let script = script("refinery_script", MANIFEST).await;
    for is_grouped in [false, true] {
        let mut scene = Scene::new().await;
        let all = [
            ("V1__tables", TABLES),
            ("V2__pgherald", &*script),
            ("V3__again", &*script),
        ];
        refinery(&scene.url, &all[..2], is_grouped).await;
        scene
            .assert_installed(&format!("refinery_{is_grouped}"))
            .await;
        let before = scene.versions().await;
        refinery(&scene.url, &all, is_grouped).await;
        assert_eq!(scene.versions().await, before);
        scene
            .assert_installed(&format!("refinery_again_{is_grouped}"))
            .await;
    }
}

#[tokio::test]
async fn refinery_installs_over_an_earlier_installation() {
    let script = script("refinery_over_script", MANIFEST).await;
    for (number, former) in [FORMER, MANIFEST].into_iter().enumerate() {
        let mut scene = Scene::new().await;
        scene.client.batch_execute(TABLES).await.unwrap();
        scene.install(former).await;
        refinery(&scene.url, &[("V1__pgherald", &*script)], true).await;
        scene
            .assert_installed(&format!("refinery_over_{number}"))
            .await;
    }
}
