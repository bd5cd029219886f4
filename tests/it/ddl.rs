//! DDL that changes how rows read fires no trigger. Subscribers receive a resync instead, in both modes.

use std::time::Duration;

use actix::{Actor, Addr};
use pgherald::__private::host::events::Split;
use pgherald::trigger::TriggerSpec;
use pgherald::{CacheBuilder, Filter, Herald, ListenerActor, SubscribeHealth, Table, TableName};
use pgherald_testkit::{FaultProxy, Postgres, Probe, Seen};
use tokio_postgres::Client;

use crate::support::{
    DEADLINE, client, config, database, install, live, numbers, source, subscribe,
};

const ITEMS: &str = "
    CREATE TYPE mood AS ENUM ('calm', 'wild');
    CREATE TYPE listed AS ENUM ('a');
    CREATE TYPE narrowed AS ENUM ('b');
    CREATE DOMAIN narrow AS narrowed;
    CREATE TYPE contained AS ENUM ('c');
    CREATE TYPE pair AS (a int, b contained);
    CREATE TYPE bound AS ENUM ('d', 'e');
    CREATE TYPE span AS RANGE (SUBTYPE = bound);
    CREATE DOMAIN word AS text;
    CREATE TABLE items (
        id bigint PRIMARY KEY, price numeric, note text, state mood, list listed[], narrow narrow, pair pair, span span, word word
    )";
/// A table with two partitions, and a table with a child.
const PARTS: &str = "
    CREATE TABLE parts (id bigint PRIMARY KEY, price numeric) PARTITION BY RANGE (id);
    CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (100);
    CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (100) TO (200);
    CREATE TABLE base (id bigint PRIMARY KEY, price numeric);
    CREATE TABLE child (own text) INHERITS (base)";
const TABLES: [&str; 3] = ["items", "parts", "base"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Notify,
    Outbox,
}

const MODES: [Mode; 2] = [Mode::Notify, Mode::Outbox];

impl Mode {
    fn spec(self, table: &str) -> TriggerSpec {
        let spec = TriggerSpec::new(TableName::new("public", table).unwrap());
        match self {
            Self::Notify => spec,
            Self::Outbox => spec.outbox(),
        }
    }
}

/// A listener on [`TABLES`] behind a proxy that counts its statements.
struct Stage {
    client: Client,
    proxy: FaultProxy,
    probe: Probe,
    _listener: Addr<ListenerActor>,
}

impl Stage {
    async fn new(mode: Mode) -> Self {
        let server = Postgres::shared().await.unwrap();
        let url = database().await;
        let client = client(&url).await;
        client.batch_execute(ITEMS).await.unwrap();
        client.batch_execute(PARTS).await.unwrap();
        let proxy = FaultProxy::start((server.host(), server.port()))
            .await
            .unwrap();
        let mut builder = source(&proxy.url(&url)).heartbeat(Duration::from_millis(100), DEADLINE);
        for table in TABLES {
            let spec = mode.spec(table);
            install(&client, &spec).await;
            builder = builder.watch(spec);
        }
        let listener = match mode {
            Mode::Notify => ListenerActor::new(builder.factory().unwrap()).start(),
            Mode::Outbox => {
                let builder = builder.split_outbox().1;
                // A long interval, so that nearly all statements are heartbeats.
                let builder = builder.poll_interval(Duration::from_secs(1));
                ListenerActor::new(builder.factory().unwrap()).start()
            }
        };
        let probe = Probe::start();
        subscribe(&listener, &probe, Filter::new()).await;
        listener
            .send(SubscribeHealth(probe.health()))
            .await
            .unwrap();
        live(&probe).await;
        Self {
            client,
            proxy,
            probe,
            _listener: listener,
        }
    }

    async fn run(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}: {error:?}");
        }
    }

    async fn version(&self) -> u32 {
        let sql = "SELECT current_setting('server_version_num')::int / 10000";
        let version: i32 = self.client.query_one(sql, &[]).await.unwrap().get(0);
        version.try_into().unwrap()
    }

    /// Waits for two or three complete heartbeats. Each has about nine statements.
    async fn heartbeats(&self) {
        let until = self.proxy.statements() + 25;
        let asked = async {
            while self.proxy.statements() < until {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, asked).await.unwrap();
    }

    /// Writes row `n`, and returns everything that the probe has seen up to it.
    async fn seen_with_row(&self, n: i64) -> Seen {
        self.run(&format!("INSERT INTO base VALUES ({n})")).await;
        let seen = |seen: &Seen| numbers(seen).contains(&n);
        self.probe
            .wait_for("the row", DEADLINE, seen)
            .await
            .unwrap()
    }
}

fn resyncs(seen: &Seen) -> Vec<String> {
    seen.resyncs().map(ToString::to_string).collect()
}

/// Statements that change how rows of a watched table read, on version 13 and later.
const CHANGES: [&str; 20] = [
    "ALTER TABLE items ALTER COLUMN price TYPE numeric USING price * 100",
    "ALTER TABLE items ALTER COLUMN price TYPE text",
    "ALTER TABLE items DROP COLUMN note; ALTER TABLE items ADD COLUMN note text DEFAULT 'new'",
    "ALTER TABLE items ADD COLUMN doubled bigint GENERATED ALWAYS AS (id * 2) STORED",
    "ALTER TABLE items DROP COLUMN doubled",
    "ALTER TABLE items RENAME COLUMN note TO remark",
    // The types of columns, and the element types of arrays, domains, composite types and ranges.
    "ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet'",
    "ALTER TYPE listed RENAME VALUE 'a' TO 'z'",
    "ALTER TYPE narrowed RENAME VALUE 'b' TO 'z'",
    "ALTER TYPE contained RENAME VALUE 'c' TO 'z'",
    "ALTER TYPE bound RENAME VALUE 'd' TO 'z'",
    "ALTER TYPE pair RENAME ATTRIBUTE a TO c",
    "ALTER TYPE pair ADD ATTRIBUTE d text",
    // A reader in between has read another table.
    "ALTER TABLE items RENAME TO x; ALTER TABLE x RENAME TO items",
    "CREATE SCHEMA other; ALTER TABLE items SET SCHEMA other; ALTER TABLE other.items SET SCHEMA public",
    // These statements change only a part of the table.
    "ALTER TABLE parts DETACH PARTITION parts_low;
     ALTER TABLE parts_low ALTER COLUMN price TYPE numeric USING price * 2;
     ALTER TABLE parts ATTACH PARTITION parts_low FOR VALUES FROM (0) TO (100)",
    "ALTER TABLE child ALTER COLUMN own TYPE text USING own || '!'",
    "ALTER TABLE child NO INHERIT base; ALTER TABLE child INHERIT base",
    "ALTER TABLE child NO INHERIT base",
    "ALTER TABLE parts DETACH PARTITION parts_high",
];

async fn ddl_causes_resyncs(mode: Mode) {
    let stage = Stage::new(mode).await;
    let mut changes = CHANGES.to_vec();
    if stage.version().await >= 17 {
        changes.push(
            "ALTER TABLE items ADD COLUMN tripled bigint GENERATED ALWAYS AS (id * 3) STORED",
        );
        changes.push("ALTER TABLE items ALTER COLUMN tripled SET EXPRESSION AS (id * 4)");
    }
    if stage.version().await >= 18 {
        changes.push("ALTER TABLE items ADD COLUMN v bigint GENERATED ALWAYS AS (id * 3) VIRTUAL");
        changes.push("ALTER TABLE items ALTER COLUMN v SET EXPRESSION AS (id * 4)");
    }
    for (index, change) in (1..).zip(changes) {
        stage.heartbeats().await;
        let before = resyncs(&stage.probe.seen()).len();
        stage.run(change).await;
        let resynced = |seen: &Seen| seen.resyncs().count() > before;
        let seen = stage
            .probe
            .wait_for(change, DEADLINE, resynced)
            .await
            .unwrap();
        let resync = resyncs(&seen).pop().unwrap();
        assert!(resync.contains("table_altered"), "{change}: {resync}");
        stage.seen_with_row(index).await;
    }
    let seen = stage.probe.seen();
    assert_eq!(
        seen.health().len(),
        2,
        "live all the time: {:?}",
        seen.health()
    );
}

#[actix::test]
async fn ddl_that_changes_rows_causes_a_resync_in_notify_mode() {
    ddl_causes_resyncs(Mode::Notify).await;
}

#[actix::test]
async fn ddl_that_changes_rows_causes_a_resync_in_outbox_mode() {
    ddl_causes_resyncs(Mode::Outbox).await;
}

/// Maintenance leaves rows as they are. TRUNCATE is not on the list: it changes rows, and is an event.
const MAINTENANCE: [&str; 14] = [
    "INSERT INTO items SELECT n, n FROM generate_series(1, 1000) AS n; UPDATE items SET price = 1",
    "VACUUM items",
    "VACUUM FULL items",
    "ANALYZE items",
    "CREATE INDEX by_price ON items (price)",
    "REINDEX TABLE items",
    "CLUSTER items USING items_pkey",
    "ALTER TABLE items SET (fillfactor = 90, autovacuum_enabled = false)",
    "ALTER TABLE items ADD CONSTRAINT positive CHECK (price > 0), REPLICA IDENTITY FULL",
    "COMMENT ON TABLE items IS 'goods'; COMMENT ON COLUMN items.price IS 'of one'; GRANT SELECT ON items TO PUBLIC",
    "ALTER DOMAIN word ADD CONSTRAINT known CHECK (VALUE <> '')",
    "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
     CREATE TRIGGER nothing AFTER INSERT ON items EXECUTE FUNCTION nothing()",
    "TRUNCATE items",
    "CREATE TABLE elsewhere (id int); ALTER TABLE elsewhere ADD COLUMN price numeric DEFAULT 1; DROP TABLE elsewhere",
];

#[actix::test]
async fn maintenance_causes_no_resync() {
    for mode in MODES {
        let stage = Stage::new(mode).await;
        for (index, statement) in (10_000..).zip(MAINTENANCE) {
            // Some statements cannot run in a transaction. The list is not split at semicolons, because a function body has some.
            stage.run(statement).await;
            stage.heartbeats().await;
            let seen = stage.seen_with_row(index).await;
            assert_eq!(resyncs(&seen), ["started"], "{mode:?}: {statement}");
        }
    }
}

struct Item;

impl Table for Item {
    const NAME: &'static str = "items";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

#[actix::test]
async fn a_cached_row_is_invalidated_by_ddl() {
    for mode in MODES {
        let url = database().await;
        let client = client(&url).await;
        client.batch_execute(ITEMS).await.unwrap();
        let row = "INSERT INTO items (id, price, state) VALUES (7, 5, 'calm')";
        client.batch_execute(row).await.unwrap();
        let herald = Herald::builder(config(&url))
            .watch_with(mode.spec("items"))
            .source(|source| source.heartbeat(Duration::from_millis(100), DEADLINE))
            .install_triggers()
            .start()
            .await
            .unwrap();
        herald.live().await.unwrap();
        let cache = CacheBuilder::<i64, String>::new("items").row_of::<Item>();
        let cache = herald.start_cache(cache).await.unwrap();
        let load = async |id: i64| {
            let sql = "SELECT concat_ws(' ', price, state) FROM items WHERE id = $1";
            client
                .query_one(sql, &[&id])
                .await
                .map(|row| row.get::<_, String>(0))
        };
        let becomes = async |expected: &str| {
            let reading = async {
                loop {
                    let value = cache.get_or_load(7, || load(7)).await.unwrap();
                    // Only a value that the cache serves can be stale.
                    if value.as_str() == expected && cache.get(&7).is_some() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            };
            let read = tokio::time::timeout(DEADLINE, reading).await;
            assert!(read.is_ok(), "{mode:?}: {expected} is never read");
        };
        becomes("5 calm").await;
        let change = "ALTER TABLE items ALTER COLUMN price TYPE numeric USING price * 100";
        client.batch_execute(change).await.unwrap();
        becomes("500 calm").await;
        let change = "ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet'";
        client.batch_execute(change).await.unwrap();
        becomes("500 quiet").await;
    }
}
