//! Compares cache strategies on the same stream of events.
//!
//! ```text
//! cargo run --example strategies
//! ```
//!
//! One row is updated in bursts. Each column of the output is a cache with its own strategy. It shows the version that a
//! reader gets at that moment, or `·` if it is the newest version.
//!
//! Starts its own PostgreSQL server. With `DATABASE_URL` set, it uses that database. It drops its table at the end.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::time::Duration;

use pgherald::{
    CacheBuilder, CacheHandle, ConnectConfig, Debounced, Greedy, Herald, Operation, Strategy,
    Table, Timed, Windowed,
};
use pgherald_testkit::Database;
use tokio::time::{Instant, sleep_until};
use tokio_postgres::Client;
use tracing_subscriber::EnvFilter;

type Failure = Box<dyn std::error::Error>;

const STEP: Duration = Duration::from_millis(100);
const STEPS: u32 = 30;

struct Page;

impl Table for Page {
    const NAME: &'static str = "strategies_pages";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

struct Caches<'a> {
    herald: &'a Herald,
    caches: Vec<CacheHandle<i64, i64>>,
}

impl Caches<'_> {
    async fn add(&mut self, name: &str, strategy: impl Strategy) -> Result<(), Failure> {
        let cache = CacheBuilder::new(name).row_of::<Page>().strategy(strategy);
        self.caches.push(self.herald.start_cache(cache).await?);
        Ok(())
    }
}

async fn version(database: &Client) -> Result<i64, tokio_postgres::Error> {
    let sql = "SELECT version FROM strategies_pages WHERE id = 1";
    Ok(database.query_one(sql, &[]).await?.get(0))
}

#[actix::main]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .init();
    let database = Database::from_env_or_start().await?;
    let config: ConnectConfig = database.url().parse()?;
    let client = config.client().await?;
    client
        .batch_execute(
            "DROP TABLE IF EXISTS strategies_pages;
             CREATE TABLE strategies_pages (id bigint PRIMARY KEY, version bigint NOT NULL);
             INSERT INTO strategies_pages VALUES (1, 1)",
        )
        .await?;
    let herald = Herald::builder(config.clone())
        .watch::<Page>()?
        .install_triggers()
        .start()
        .await?;

    let ms = Duration::from_millis;
    let mut caches = Caches {
        herald: &herald,
        caches: Vec::new(),
    };
    caches.add("greedy", Greedy::new()).await?;
    caches.add("3 events", Windowed::events(3)?).await?;
    let sequence = [Operation::Update; 2];
    caches
        .add(
            "U,U,500ms",
            Windowed::sequence(sequence)?.or_after(ms(500))?,
        )
        .await?;
    caches.add("every 700", Timed::every(ms(700))?).await?;
    caches
        .add("max 1/s", Timed::at_most_every(ms(1_000))?)
        .await?;
    caches
        .add("quiet 250", Debounced::new(ms(250), ms(400))?)
        .await?;
    let caches = caches.caches;
    while !caches.iter().all(CacheHandle::is_live) {
        tokio::task::yield_now().await;
    }

    print!("{:>6} {:>9}", "time", "database");
    caches
        .iter()
        .for_each(|cache| print!(" {:>10}", cache.name()));
    println!();
    let began = Instant::now();
    for step in 0..STEPS {
        sleep_until(began + STEP * step).await;
        // Six updates, then a pause of four steps.
        if step % 10 < 6 {
            let sql = "UPDATE strategies_pages SET version = version + 1 WHERE id = 1";
            client.execute(sql, &[]).await?;
        }
        // The event arrives within about a millisecond, so half a step is enough.
        sleep_until(began + STEP * step + STEP / 2).await;
        let newest = version(&client).await?;
        print!("{:>5.2}s {newest:>9}", began.elapsed().as_secs_f64());
        for cache in &caches {
            let shown = *cache.get_or_load(1, || version(&client)).await?;
            match shown == newest {
                true => print!(" {:>10}", "·"),
                false => print!(" {shown:>10}"),
            }
        }
        println!();
    }
    print!("{:>16}", "queries");
    caches
        .iter()
        .for_each(|cache| print!(" {:>10}", cache.stats().loads));
    println!();

    println!("{}", herald.shutdown(Duration::from_secs(5)).await?);
    client.batch_execute("DROP TABLE strategies_pages").await?;
    Ok(())
}
