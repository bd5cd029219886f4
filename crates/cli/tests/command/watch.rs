//! `watch`.

use pgherald_testkit::Postgres;
use rustix::process::{Pid, Signal, kill_process};

use super::support::{Running, Scene, binary, pgherald};

const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, email text);
    CREATE TABLE orders (region text, id int, PRIMARY KEY (region, id))";

#[tokio::test]
async fn watch_prints_events_of_both_modes_as_json() {
    let scene = Scene::new(USERS).await;
    scene
        .fine(&["install", "users", "--columns", "email", "--commit"])
        .await;
    scene
        .fine(&["install", "orders", "--mode", "outbox", "--commit"])
        .await;
    let mut watch = Running::start(&scene, &["watch", "--json"]);
    for _ in 0..2 {
        watch.object(|line| line["kind"] == "live").await;
    }
    scene
        .run("INSERT INTO users VALUES (7, 'a@b'); INSERT INTO orders VALUES ('eu', 3)")
        .await;
    let mut both = [
        watch.object(|line| line["kind"] == "event").await,
        watch.object(|line| line["kind"] == "event").await,
    ];
    both.sort_by_key(|event| event["table"].as_str().map(str::to_owned));
    let [order, user] = both;
    assert_eq!(user["key"], serde_json::json!({"id": 7}));
    assert_eq!(user["columns"], serde_json::json!({"email": "a@b"}));
    assert_eq!(
        (&user["operation"], &user["schema"]),
        (&"insert".into(), &"public".into())
    );
    assert_eq!(order["key"], serde_json::json!({"region": "eu", "id": 3}));
    assert!(order["outbox_id"].is_i64() && user.get("outbox_id").is_none());
    assert!(user["latency_ms"].is_f64() && user["xid"].is_u64());
    assert!(user["sent_at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn watch_refuses_tables_without_events_and_ends_on_permanent_errors() {
    let server = Postgres::start().await.unwrap();
    let scene = Scene::on(&server, USERS).await;
    scene.fine(&["install", "users", "--commit"]).await;
    scene
        .fine(&["install", "orders", "--mode", "outbox", "--commit"])
        .await;
    for (arguments, code, cause) in [
        (
            &["watch", "orders", "--channel", "x"][..],
            2,
            "changes of public.orders are recorded",
        ),
        (&["watch", "nosuch"], 1, "there is no table public.nosuch"),
        (
            &["watch", "--channel", "x", "nosuch", "--count", "1"],
            1,
            "there is no table public.nosuch",
        ),
    ] {
        let ran = scene.pgherald(arguments).await;
        assert_eq!((ran.code, &*ran.stdout), (code, ""), "{ran:?}");
        assert!(
            ran.stderr.contains(cause) && ran.stderr.contains("\nhint: "),
            "{ran:?}"
        );
    }
    server.execute("CREATE ROLE reader LOGIN").await.unwrap();
    let url = scene.url.replace("postgres@", "reader@");
    let ran = pgherald(&["--database-url", &url, "watch", "orders"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("permission denied")
            && ran.stderr.contains("\nhint: connect as the owner"),
        "{ran:?}"
    );
    // `status` shows what the role may read.
    let ran = pgherald(&["--database-url", &url, "status"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stdout.contains("public.users") && ran.stdout.contains("Outbox: not shown"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn watch_escapes_names_and_values() {
    let scene = Scene::new("CREATE TABLE \"\u{1b}[2Jevil\n\" (id text PRIMARY KEY)").await;
    scene
        .fine(&["install", "\u{1b}[2Jevil\n", "--commit"])
        .await;
    let mut watch = Running::start(&scene, &["watch", "--count", "1"]);
    watch.line(|line| line.starts_with("-- live")).await;
    scene
        .run("INSERT INTO \"\u{1b}[2Jevil\n\" VALUES (E'\\x1b]0;x\\x07')")
        .await;
    assert_eq!(watch.code().await, 0);
    watch
        .line(|line| line.contains("key=\\u{1b}]0;x\\u{7}"))
        .await;
    let forged = |line: &String| !line.starts_with("-- ") && !line.contains("  insert  ");
    assert!(!watch.seen.iter().any(forged), "{:?}", watch.seen);
    let shown = scene.fine(&["status"]).await;
    assert!(shown.contains("public.\\u{1b}[2Jevil\\n"), "{shown}");
    let ran = scene.pgherald(&["install", "\u{1b}c", "--commit"]).await;
    let printed = [&*shown, &*ran.stderr, &*watch.seen.concat()].concat();
    assert!(
        !printed.contains('\u{1b}') && ran.stderr.contains("\\u{1b}c"),
        "{printed}"
    );
}

#[tokio::test]
async fn watch_prints_lines_and_ends_after_count() {
    let scene = Scene::new(USERS).await;
    scene.fine(&["install", "users", "--commit"]).await;
    let mut watch = Running::start(&scene, &["watch", "users", "--count", "2"]);
    watch.line(|line| line.starts_with("-- live")).await;
    scene.run("INSERT INTO users VALUES (1), (2), (3)").await;
    let line = watch.line(|line| line.contains("insert")).await;
    assert!(
        line.contains("  insert    public.users  key=1  ") && line.ends_with(" ms"),
        "{line}"
    );
    assert_eq!(watch.code().await, 0);
    watch.line(|line| line.contains("key=2")).await;
    assert!(
        !watch
            .seen
            .iter()
            .any(|line| line.contains("key=3") || line.contains('\u{1b}')),
        "{:?}",
        watch.seen
    );
}

#[tokio::test]
async fn watch_filters_by_table_operation_and_key() {
    let scene = Scene::new(USERS).await;
    scene
        .fine(&["install", "users", "orders", "--commit"])
        .await;
    let mut by_key = Running::start(
        &scene,
        &["watch", "--where", "key=7", "--count", "1", "--json"],
    );
    let mut by_column = Running::start(
        &scene,
        &[
            "watch",
            "orders",
            "--where",
            "region=eu",
            "--operation",
            "delete,update",
            "--count",
            "1",
            "--json",
        ],
    );
    by_key.object(|line| line["kind"] == "live").await;
    by_column.object(|line| line["kind"] == "live").await;
    scene
        .run("INSERT INTO users VALUES (1), (7); INSERT INTO orders VALUES ('eu', 1), ('us', 1)")
        .await;
    scene
        .run("DELETE FROM orders WHERE region = 'us'; DELETE FROM orders")
        .await;
    let found = by_key.object(|line| line["kind"] == "event").await;
    assert_eq!(found["key"], serde_json::json!({"id": 7}));
    let found = by_column.object(|line| line["kind"] == "event").await;
    assert_eq!(
        (&found["operation"], &found["key"]["region"]),
        (&"delete".into(), &"eu".into())
    );
    assert_eq!((by_key.code().await, by_column.code().await), (0, 0));
}

#[tokio::test]
async fn watch_survives_a_server_restart() {
    let server = Postgres::start().await.unwrap();
    let scene = Scene::on(&server, USERS).await;
    scene.fine(&["install", "users", "--commit"]).await;
    let mut watch = Running::start(&scene, &["watch", "--json"]);
    watch.object(|line| line["kind"] == "live").await;
    server.restart().await.unwrap();
    let down = watch.object(|line| line["kind"] == "down").await;
    assert!(
        !down["error"].as_str().unwrap().is_empty() && !down["hint"].as_str().unwrap().is_empty()
    );
    let resync = watch.object(|line| line["kind"] == "resync").await;
    assert_eq!(resync["reasons"], serde_json::json!(["reconnected"]));
    watch.object(|line| line["kind"] == "live").await;
    server
        .batch(&scene.url, "INSERT INTO users VALUES (1)")
        .await
        .unwrap();
    watch.object(|line| line["kind"] == "event").await;
    kill_process(
        Pid::from_raw(watch.id().cast_signed()).unwrap(),
        Signal::INT,
    )
    .unwrap();
    assert_eq!(watch.code().await, 0);
}

#[tokio::test]
async fn watch_refusals_report_cause_and_hint() {
    let scene = Scene::new(USERS).await;
    let ran = scene.pgherald(&["watch"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("hint: pgherald install TABLE --commit"),
        "{ran:?}"
    );
    scene.fine(&["install", "users", "--commit"]).await;
    let ran = scene.pgherald(&["watch", "orders"]).await;
    assert!(
        ran.code == 1
            && ran
                .stderr
                .contains("pgherald install public.orders --commit"),
        "{ran:?}"
    );
    let ran = scene.pgherald(&["watch", "--where", "email=a"]).await;
    assert!(
        ran.code == 2 && ran.stderr.contains("use key, or one of: id"),
        "{ran:?}"
    );
    for arguments in [
        &["watch", "--where", "7"][..],
        &["watch", "--count", "0"],
        &["watch", "--operation", "select"],
    ] {
        let ran = scene.pgherald(arguments).await;
        assert!(
            ran.code == 2 && ran.stdout.is_empty() && !ran.stderr.contains("panicked"),
            "{ran:?}"
        );
    }
}

#[tokio::test]
async fn password_file_is_read_for_each_connection() {
    use std::os::unix::fs::PermissionsExt;
    let server = Postgres::builder().password("first").start().await.unwrap();
    let scene = Scene::on(&server, USERS).await;
    scene.fine(&["install", "users", "--commit"]).await;
    let file = server.data_dir().with_extension("pgpass");
    let write = |password: &str| {
        std::fs::write(&file, format!("*:*:*:postgres:{password}\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("first");
    let mut command = binary();
    command.env("PGPASSFILE", &file).args([
        "--database-url",
        &scene.url.replace(":first@", "@"),
        "watch",
        "users",
        "--json",
    ]);
    let mut watch = Running::of(command);
    watch.object(|line| line["kind"] == "live").await;
    scene
        .run("ALTER ROLE postgres PASSWORD 'second'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
              WHERE application_name = 'pgherald-cli' AND pid <> pg_backend_pid()")
        .await;
    watch.object(|line| line["kind"] == "down").await;
    write("second");
    watch.object(|line| line["kind"] == "live").await;
    let _ = std::fs::remove_file(&file);
}
