//! A program that serves metrics of its listener, cache and durable handler to Prometheus.
//!
//! ```text
//! cargo run --features prometheus --example prometheus
//! curl localhost:9187/metrics
//! ```
//!
//! Orders are inserted continuously. A cache has the number of orders of each customer. A durable handler ships each order,
//! and fails sometimes. `docs/grafana.json` is a dashboard for the metrics, and `docs/alerts.yml` has alert rules.
//!
//! Starts its own PostgreSQL server and prints its URL. With `DATABASE_URL` set, it uses that database. `PORT` sets the port.
//! With `--check` it requests the metrics itself, checks them, and ends.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use pgherald::group::Group;
use pgherald::outbox;
use pgherald::trigger::{self, TriggerSpec};
use pgherald::{
    Affected, Attempt, CacheBuilder, ConnectConfig, DurableOptions, EventHandler, Herald, Inserted,
    Table, TableName,
};
use pgherald_testkit::Database;
use serde::Deserialize;
use tokio::time::interval;
use tokio_postgres::Client;
use tracing_subscriber::EnvFilter;

type Failure = Box<dyn Error + Send + Sync>;

/// How often the metrics of groups and outbox are recorded.
const GROUPS: Duration = Duration::from_secs(5);
/// Metrics that `--check` expects.
const EXPECTED: [&str; 9] = [
    "pgherald_listeners_live 1",
    "pgherald_event_latency_seconds_count",
    "pgherald_cache_reads_total{cache=\"orders\",result=\"hit\"}",
    "pgherald_cache_invalidations_total{cache=\"orders\",cause=\"event\"}",
    "pgherald_handler_attempts_total{handler=\"ship\",result=\"done\"}",
    "pgherald_handler_attempts_total{handler=\"ship\",result=\"error\"}",
    "pgherald_group_lag_events{group=\"ship\"}",
    "pgherald_group_failing_events{group=\"ship\"}",
    "pgherald_outbox_bytes",
];

#[derive(Table)]
#[table(name = "shop_orders", key = "id")]
struct Order {
    #[expect(dead_code, reason = "names the key's type")]
    id: i64,
}

/// The column of an order that the triggers record.
#[derive(Deserialize)]
struct Customer {
    customer: i64,
}

/// Ships orders. The first attempt fails for every tenth order.
struct Ship;

impl EventHandler for Ship {
    type Event = Inserted<Order>;

    async fn handle(&self, order: Inserted<Order>, attempt: Attempt) -> pgherald::HandlerResult {
        // Logged in the span of the attempt, which has the event, its table and its commit time.
        tracing::info!(order = order.key, "shipping");
        if order.key % 10 == 0 && attempt.number() == 1 {
            return Err("the carrier does not answer".into());
        }
        Ok(())
    }
}

#[actix::main]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .init();
    let check = std::env::args().any(|argument| argument == "--check");
    let port = match std::env::var("PORT") {
        Ok(port) => port.parse()?,
        Err(_) => 9187,
    };
    // First, because listeners, caches and handlers that start before the recorder is installed are not measured.
    pgherald::prometheus::serve(([127, 0, 0, 1], port))?;

    let database = Database::from_env_or_start().await?;
    let config: ConnectConfig = database.url().parse()?;
    let client = Arc::new(config.client().await?);
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS shop_orders
                (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer bigint NOT NULL)",
        )
        .await?;
    let herald = Herald::builder(config.clone())
        .watch_with(TriggerSpec::of::<Order>()?.outbox().columns(["customer"]))
        .install_triggers()
        .start()
        .await?;
    let by_customer =
        CacheBuilder::<i64, i64>::new("orders").keys_by::<Order>(|change| {
            match change.event.columns::<Customer>() {
                Ok(Some(columns)) => Affected::Keys(vec![columns.customer]),
                _ => Affected::Everything,
            }
        });
    let orders = herald.start_cache(by_customer).await?;
    herald
        .start_durable(DurableOptions::new("ship").from_beginning(), || Ship)
        .await?;

    println!("the database is {}", database.url());
    println!("serving http://127.0.0.1:{port}/metrics, until Ctrl-C");
    let trade = async {
        let mut ticks = interval(Duration::from_millis(20));
        for number in 0_i64.. {
            ticks.tick().await;
            let customer = number % 5;
            let sql = "INSERT INTO shop_orders (customer) VALUES ($1)";
            client.execute(sql, &[&customer]).await?;
            for _ in 0..20 {
                orders
                    .get_or_load(number % 3, || count(&client, number % 3))
                    .await?;
            }
        }
        Ok::<_, Failure>(())
    };
    let groups = async {
        let mut ticks = interval(GROUPS);
        loop {
            ticks.tick().await;
            for group in Group::all(&client).await? {
                group.record();
            }
            outbox::status(&client).await?.record();
        }
        #[expect(unreachable_code, reason = "it determines the type")]
        Ok::<_, Failure>(())
    };
    let until = async {
        match check {
            true => check_metrics(port).await,
            false => Ok(tokio::signal::ctrl_c().await?),
        }
    };
    tokio::select! {
        ended = trade => ended?,
        ended = groups => ended?,
        ended = until => ended?,
    }

    println!("{}", herald.shutdown(Duration::from_secs(5)).await?);
    let tables = [TableName::new(Order::SCHEMA, Order::NAME)?];
    trigger::plan_uninstall(&client, &tables)
        .await?
        .apply(&client)
        .await?;
    Ok(())
}

async fn count(client: &Client, customer: i64) -> Result<i64, tokio_postgres::Error> {
    let sql = "SELECT count(*) FROM shop_orders WHERE customer = $1";
    Ok(client.query_one(sql, &[&customer]).await?.get(0))
}

/// Requests the metrics until they include all expected ones.
async fn check_metrics(port: u16) -> Result<(), Failure> {
    let mut missing = Vec::new();
    for _ in 0..300 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut answer = awc::Client::default()
            .get(format!("http://127.0.0.1:{port}/metrics"))
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let body = answer.body().limit(1 << 20).await;
        let text = String::from_utf8(body.map_err(|error| error.to_string())?.to_vec())?;
        missing = EXPECTED.to_vec();
        missing.retain(|line| !text.contains(line));
        if missing.is_empty() {
            println!(
                "{}",
                text.lines().filter(|line| !line.starts_with('#')).count()
            );
            return Ok(());
        }
    }
    Err(format!("metrics are missing: {}", missing.join(", ")).into())
}
