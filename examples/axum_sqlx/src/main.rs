//! A small shop on axum, sqlx and plain tokio: cached reads that do not get stale, receipts that are written exactly once, a
//! stream of events for browsers, and a shutdown in the right order.
//!
//! ```text
//! cargo run -p pgherald-axum-sqlx
//! curl -i localhost:8080/products/1
//! curl -X PUT localhost:8080/products/1 -H 'content-type: application/json' -d '{"name":"Tea","price_cents":390}'
//! curl -X POST localhost:8080/orders -H 'content-type: application/json' -d '{"product_id":1,"quantity":2}'
//! curl localhost:8080/orders/1
//! curl -N localhost:8080/events
//! curl -i localhost:8080/ready
//! ```
//!
//! | file | content |
//! |---|---|
//! | `shop.rs` | The tables, the cached reads and the writes, with sqlx. |
//! | `receipts.rs` | The durable handler, in two variants: in pgherald's transaction, and in a transaction of sqlx. |
//! | `web.rs` | The routes. |
//! | `check.rs` | The requests and comparisons of `--check`. |
//!
//! Starts its own PostgreSQL server. With `DATABASE_URL` set, it uses that database. `PORT` sets the port; 0 means any free
//! port. With `--check` it makes such requests itself, compares the answers, and ends.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

mod check;
mod receipts;
mod shop;
mod web;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use pgherald_testkit::Database;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::shop::Shop;
use crate::web::App;

/// The time limit for requests, and for handlers, to finish at a shutdown.
const DEADLINE: Duration = Duration::from_secs(10);

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")),
        )
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => serve(false).await,
        ["--check"] => serve(true).await,
        ["worker", url, transactions] => work(url, transactions).await,
        _ => Err("invalid arguments; run without arguments, or with --check".into()),
    }
}

async fn serve(is_check: bool) -> Result<(), Failure> {
    let metrics = pgherald::prometheus::builder()?.install_recorder()?;
    pgherald::telemetry::describe();
    let database = Database::from_env_or_start().await?;
    // sqlx and pgherald use the same options.
    let options: PgConnectOptions = database.url().parse()?;
    let pool = PgPoolOptions::new()
        .max_connections(8)
        .connect_with(options.clone())
        .await?;
    shop::create_tables(&pool).await?;

    let herald = shop::herald(&options)?.install_triggers().start().await?;
    let shop = Shop::new(&herald, pool.clone()).await?;
    receipts::in_sqlx(&herald, pool.clone()).await?;

    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let port = if is_check { "0" } else { &*port };
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let url = format!("http://{}", listener.local_addr()?);
    println!("serving {url}/products/1 until Ctrl-C");

    let herald = Arc::new(herald);
    let (closing, closed) = watch::channel(false);
    let app = App {
        shop: Arc::new(shop),
        herald: Arc::clone(&herald),
        metrics,
        closing: closed.clone(),
    };
    let mut until_closed = closed;
    let server = axum::serve(listener, web::routes(app)).with_graceful_shutdown(async move {
        let _ = until_closed.wait_for(|is_closing| *is_closing).await;
    });
    let mut server = tokio::spawn(server.into_future());
    let outcome = match is_check {
        true => check::run(&url, &pool).await,
        false => tokio::signal::ctrl_c().await.map_err(Into::into),
    };

    // 1. Refuse new requests, end the streams of events, and let the running requests finish. The process is not ready.
    closing.send_replace(true);
    if tokio::time::timeout(DEADLINE, &mut server).await.is_err() {
        server.abort();
    }
    // 2. Let the handlers finish, while they can use the pool.
    println!("{}", herald.shutdown(DEADLINE).await?);
    // 3. Close the pool, which is not used any more.
    pool.close().await;
    if is_check {
        shop::remove(&options).await?;
    }
    outcome
}

/// Runs a process that only writes receipts.
async fn work(url: &str, transactions: &str) -> Result<(), Failure> {
    let options: PgConnectOptions = url.parse()?;
    let pool = PgPoolOptions::new().connect_with(options.clone()).await?;
    let herald = shop::herald(&options)?.start().await?;
    match transactions {
        "pgherald" => receipts::in_pgherald(&herald).await?,
        "sqlx" => receipts::in_sqlx(&herald, pool.clone()).await?,
        _ => return Err("invalid transactions of a worker; use pgherald or sqlx".into()),
    }
    println!("{}", herald.run_until_signal(DEADLINE).await?);
    pool.close().await;
    Ok(())
}
