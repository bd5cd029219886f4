//! Receipts are written exactly once, although their processes are killed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

use std::process::{Child, Command};
use std::time::Duration;

use pgherald::trigger::{self, TriggerSpec};
use pgherald::{ConnectConfig, TableName};
use pgherald_testkit::Postgres;
use tokio_postgres::Client;

const ORDERS: i64 = 500;
const KILLS: i64 = 3;
const LIMIT: Duration = Duration::from_secs(60);

const TABLES: &str = "
    CREATE TABLE shop_products (id bigint PRIMARY KEY, name text NOT NULL, price_cents bigint NOT NULL);
    CREATE TABLE shop_orders (id bigint PRIMARY KEY, product_id bigint NOT NULL, quantity integer NOT NULL);
    CREATE TABLE shop_receipts (order_id bigint NOT NULL, quantity integer NOT NULL);
    CREATE TABLE shop_handled_events (idempotency_key text PRIMARY KEY);";

/// A process of the example that only writes receipts. Killed with SIGKILL when this is dropped.
struct Worker(Child);

impl Worker {
    fn start(url: &str, transactions: &str) -> Self {
        let program = env!("CARGO_BIN_EXE_pgherald-axum-sqlx");
        let arguments = ["worker", url, transactions];
        Self(Command::new(program).args(arguments).spawn().unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

async fn count(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn until(client: &Client, sql: &str) {
    let holds = async {
        while !client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, holds)
        .await
        .unwrap_or_else(|_| panic!("not true within {LIMIT:?}: {sql}"));
}

async fn each_order_gets_one_receipt(transactions: &str) {
    let server = Postgres::start().await.unwrap();
    let url = server.url();
    let config: ConnectConfig = url.parse().unwrap();
    let client = config.client().await.unwrap();
    client.batch_execute(TABLES).await.unwrap();
    let products = TableName::new("public", "shop_products").unwrap();
    let orders = TableName::new("public", "shop_orders").unwrap();
    let specs = [
        TriggerSpec::new(products).columns(["name", "price_cents"]),
        TriggerSpec::new(orders).columns(["quantity"]).outbox(),
    ];
    trigger::install(&client, &specs).await.unwrap();

    let mut worker = Worker::start(&url, transactions);
    until(&client, "SELECT count(*) > 0 FROM pgherald.consumer_group").await;
    for id in 1..=ORDERS {
        client
            .execute("INSERT INTO shop_orders VALUES ($1, 1, 2)", &[&id])
            .await
            .unwrap();
        if id % (ORDERS / (KILLS + 1)) == 0 && id < ORDERS {
            // Kill the worker while orders wait for their receipts.
            let sql = format!(
                "SELECT count(*) BETWEEN 1 AND {} FROM shop_receipts",
                id - 1
            );
            until(&client, &sql).await;
            drop(std::mem::replace(
                &mut worker,
                Worker::start(&url, transactions),
            ));
        }
    }
    let all = format!("SELECT count(DISTINCT order_id) = {ORDERS} FROM shop_receipts");
    until(&client, &all).await;
    let none_parked = "SELECT count(*) = 0 FROM pgherald.parked_event";
    until(&client, none_parked).await;
    drop(worker);
    assert_eq!(
        count(&client, "SELECT count(*) FROM shop_receipts").await,
        ORDERS
    );
}

#[tokio::test]
async fn killed_workers_write_one_receipt_per_order_in_pgherald_transactions() {
    each_order_gets_one_receipt("pgherald").await;
}

#[tokio::test]
async fn killed_workers_write_one_receipt_per_order_in_sqlx_transactions() {
    each_order_gets_one_receipt("sqlx").await;
}
