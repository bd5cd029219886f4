//! Rows applied by a logical replication subscription, on tables that are installed with replicated rows.

use pgherald_core::trigger::TriggerSpec;
use pgherald_testkit::Postgres;
use tokio_postgres::Client;

use super::support::{Scene, connect, event, spec};

const USERS: &str = "CREATE TABLE users (id int PRIMARY KEY, email text, score int)";
const IS_READY: &str = "SELECT bool_and(srsubstate = 'r')::text FROM pg_subscription_rel";

/// A database that subscribes to another one of the same server.
struct Pair {
    /// Stopped when dropped.
    _server: Postgres,
    publisher: Client,
    subscriber: Scene,
}

impl Pair {
    /// Both databases have the tables of `sql`. The subscriber has `spec` installed and has copied the rows written by `before`.
    async fn new(sql: &str, options: &str, spec: TriggerSpec, before: &str) -> Self {
        Self::streaming("off", sql, options, spec, before).await
    }

    /// Like `new`, with this mode of streaming transactions in progress.
    async fn streaming(
        streaming: &str,
        sql: &str,
        options: &str,
        spec: TriggerSpec,
        before: &str,
    ) -> Self {
        let server = Postgres::builder()
            .setting("wal_level", "logical")
            // Larger transactions are streamed before they end, if that is enabled.
            .setting("logical_decoding_work_mem", "64kB");
        let server = server.start().await.unwrap();
        let url = server.create_database().await.unwrap();
        let publisher = connect(&url).await;
        let publication = format!("CREATE PUBLICATION all_users FOR TABLE users {options}");
        for sql in [sql, before, &publication] {
            publisher.batch_execute(sql).await.unwrap();
        }
        // The slot is created first: a server that subscribes to itself would wait for itself.
        let slot = "SELECT pg_create_logical_replication_slot('users', 'pgoutput')";
        publisher.batch_execute(slot).await.unwrap();
        let subscriber = Scene::on(&server, sql).await;
        subscriber.install(spec.replicated()).await;
        let streaming = match streaming {
            "off" => String::new(),
            streaming => format!(", streaming = {streaming}"),
        };
        let subscribe = format!(
            "CREATE SUBSCRIPTION users CONNECTION '{url}' PUBLICATION all_users WITH (create_slot = false{streaming})"
        );
        subscriber.run(&subscribe).await;
        subscriber.until(IS_READY, "true").await;
        Self {
            _server: server,
            publisher,
            subscriber,
        }
    }

    async fn write(&self, sql: &str) {
        self.publisher.batch_execute(sql).await.unwrap();
    }

    /// Waits until the subscriber has recorded `count` rows, and returns them.
    async fn recorded(&self, count: usize) -> Vec<String> {
        let sql = "SELECT count(*)::text FROM pgherald.outbox";
        self.subscriber.until(sql, &count.to_string()).await;
        let line = "concat_ws(' ', operation, key, columns, old_columns, changed)";
        let sql =
            format!("SELECT string_agg({line}, E'\n' ORDER BY id) FROM pgherald.outbox_event");
        let rows = self.subscriber.value(&sql).await;
        rows.lines().map(str::to_owned).collect()
    }
}

fn listed(operation: &str, keys: &str, columns: &str) -> String {
    let rest = format!(r#","key":["id"],"keys":{keys},"columns":{columns}"#);
    event(operation, "users", &rest)
}

#[tokio::test]
async fn replicated_rows_are_announced() {
    let before = "INSERT INTO users VALUES (1, 'a'), (2, NULL)";
    let email = spec("users").columns(["email"]);
    let mut pair = Pair::new(USERS, "", email, before).await;
    let copied = [r#"{"email":"a"}"#, r#"{"email":null}"#];
    for (id, email) in (1..).zip(copied) {
        let expected = listed("insert", &format!("[{id}]"), &format!("[{email}]"));
        assert_eq!(pair.subscriber.next().await, expected);
    }
    for (sql, expected) in [
        (
            "INSERT INTO users VALUES (3, 'c')",
            listed("insert", "[3]", r#"[{"email":"c"}]"#),
        ),
        (
            "UPDATE users SET email = 'd' WHERE id = 3",
            listed("update", "[3]", r#"[{"email":"d"}]"#),
        ),
        (
            "UPDATE users SET id = 4 WHERE id = 3",
            listed("update", "[4,3]", r#"[{"email":"d"},null]"#),
        ),
        (
            "DELETE FROM users WHERE id = 4",
            listed("delete", "[4]", r#"[{"email":"d"}]"#),
        ),
        ("TRUNCATE users", event("truncate", "users", "")),
    ] {
        // No other event wakes up the listening session.
        pair.write(sql).await;
        assert_eq!(pair.subscriber.next().await, expected, "{sql}");
    }
}

#[tokio::test]
async fn replicated_rows_are_recorded() {
    let email = spec("users").columns(["email"]).old_columns().outbox();
    let before = "INSERT INTO users VALUES (1, 'a'), (2, NULL)";
    let pair = Pair::new(USERS, "", email, before).await;
    let sql = "BEGIN; INSERT INTO users VALUES (3, 'c'); UPDATE users SET email = 'd' WHERE id = 3; SAVEPOINT s;
        DELETE FROM users WHERE id = 3; ROLLBACK TO s; DELETE FROM users WHERE id = 1; COMMIT";
    pair.write(sql).await;
    pair.write("UPDATE users SET id = 5 WHERE id = 3").await;
    pair.write("DELETE FROM users").await;
    pair.write("TRUNCATE users").await;
    let mut rows = pair.recorded(10).await;
    // The server chooses their order.
    rows[5..7].sort();
    rows[7..9].sort();
    let expected = [
        r#"insert 1 {"email":"a"}"#,
        r#"insert 2 {"email":null}"#,
        r#"insert 3 {"email":"c"}"#,
        r#"update 3 {"email":"d"} {"email":"c"} {email}"#,
        r#"delete 1 {"email":"a"}"#,
        r#"update 3 {"email":"d"}"#,
        r#"update 5 {"email":"d"}"#,
        r#"delete 2 {"email":null}"#,
        r#"delete 5 {"email":"d"}"#,
        "truncate",
    ];
    assert_eq!(rows, expected);
    let transactions = "SELECT string_agg(count::text, ' ' ORDER BY xid)
        FROM (SELECT xid, count(*) FROM pgherald.outbox GROUP BY xid) AS counted";
    assert_eq!(pair.subscriber.value(transactions).await, "2 3 2 2 1");
    // A regular session of the subscriber.
    pair.subscriber
        .run("INSERT INTO users VALUES (6, 'e')")
        .await;
    assert_eq!(pair.recorded(11).await[10], r#"insert 6 {"email":"e"}"#);
}

const PARTITIONED: &str =
    "CREATE TABLE users (id int PRIMARY KEY, email text) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF users FOR VALUES FROM (0) TO (100);
    CREATE TABLE high PARTITION OF users FOR VALUES FROM (100) TO (200)";

#[tokio::test]
async fn replicated_rows_of_partitions_are_events_of_the_parent() {
    for by_root in [true, false] {
        let options = format!("WITH (publish_via_partition_root = {by_root})");
        let before = "INSERT INTO users VALUES (1, 'a')";
        let pair = Pair::new(PARTITIONED, &options, spec("users").outbox(), before).await;
        pair.write("INSERT INTO users VALUES (101, 'b')").await;
        pair.write("UPDATE users SET email = 'c' WHERE id = 101")
            .await;
        pair.write("UPDATE users SET id = 2 WHERE id = 101").await;
        pair.write("DELETE FROM users WHERE id = 1").await;
        let rows = pair.recorded(6).await;
        let expected = [
            "insert 1",
            "insert 101",
            "update 101",
            "delete 101",
            "insert 2",
            "delete 1",
        ];
        assert_eq!(rows, expected, "{by_root}");
    }
}

#[tokio::test]
async fn replication_continues_after_columns_were_altered() {
    let columns = spec("users").columns(["email", "score"]).outbox();
    let pair = Pair::new(USERS, "", columns, "").await;
    pair.write("INSERT INTO users VALUES (1, 'a', 1)").await;
    let _ = pair.recorded(1).await;
    let alter = "ALTER TABLE users ALTER score TYPE bigint, ALTER email TYPE varchar(9), DROP id, ADD id int PRIMARY KEY DEFAULT 7";
    pair.subscriber.run(alter).await;
    pair.write("INSERT INTO users VALUES (2, 'b', 2)").await;
    let rows = pair.recorded(2).await;
    assert_eq!(rows[1], r#"insert 2 {"email":"b","score":2}"#);
    pair.subscriber.run("ALTER TABLE users DROP score").await;
    // The server rejects rows with columns that the subscriber lacks.
    pair.write("ALTER TABLE users DROP score; INSERT INTO users VALUES (3, 'c')")
        .await;
    let rows = pair.recorded(3).await;
    assert_eq!(rows[2], r#"insert 3 {"email":"c"}"#);
}

#[tokio::test]
async fn streamed_transactions_are_recorded() {
    let version = Scene::new("").await.value("SHOW server_version_num").await;
    let streaming = match version.parse::<u32>().unwrap() {
        ..140_000 => return,
        140_000..160_000 => "on",
        _ => "parallel",
    };
    let pair = Pair::streaming(streaming, USERS, "", spec("users").outbox(), "").await;
    let insert = |first: u32| {
        format!(
            "INSERT INTO users SELECT n, repeat('x', 100) FROM generate_series({first}, {first} + 1999) AS n"
        )
    };
    pair.write(&format!(
        "BEGIN; {}; SAVEPOINT s; {}",
        insert(1),
        insert(2_001)
    ))
    .await;
    pair.write(&format!("ROLLBACK TO s; {}; COMMIT", insert(4_001)))
        .await;
    let rows = pair.recorded(4_000).await;
    let keys = (1..=2_000).chain(4_001..=6_000);
    let expected: Vec<_> = keys.map(|key| format!("insert {key}")).collect();
    assert!(rows == expected, "{:?}", rows.len());
    let streamed =
        "SELECT (stream_txns > 0)::text FROM pg_stat_replication_slots WHERE slot_name = 'users'";
    pair.subscriber.until(streamed, "true").await;
}
