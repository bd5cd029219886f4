//! The scenes: PostgreSQL, a server, its clients and a writer.

use std::process::Command;
use std::time::{Duration, Instant};

use pgherald_core::ConnectConfig;
use pgherald_testkit::Postgres;
use tokio_postgres::Client;

use crate::dispatch;
use crate::process::Process;

/// How long each load lasts.
const LOAD: Duration = Duration::from_secs(20);

pub(crate) fn run(name: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = Postgres::builder()
            .setting("max_connections", "50")
            .start()
            .await
            .unwrap();
        let config: ConnectConfig = server.url().parse().unwrap();
        let client = config.client().await.unwrap();
        let sql = "CREATE TABLE items (id bigint PRIMARY KEY, shop bigint, at timestamptz);
            INSERT INTO items SELECT id, id % 100 FROM generate_series(0, 9999) AS id";
        client.batch_execute(sql).await.unwrap();
        if "keys".contains(name) {
            keys(&server, &client).await;
        }
        if "all".contains(name) {
            all(&server, &client).await;
        }
    });
    if "dispatch".contains(name) {
        dispatch::run();
    }
}

fn serve(server: &Postgres) -> (Process, String) {
    let mut process = Process::of_this_program(&["serve", &server.url()]);
    let port = process.line();
    (process, port)
}

fn connect(port: &str, count: usize, path: &str) -> Process {
    let mut clients = Process::of_this_program(&["connect", port, &count.to_string(), path]);
    assert_eq!(clients.line(), "1");
    clients
}

/// Runs `write` `per_second` times a second for the time of a load. Returns how often it ran.
async fn load(per_second: u32, mut write: impl AsyncFnMut(u64)) -> u64 {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < LOAD {
        ticks.tick().await;
        write(count).await;
        count += 1;
    }
    // For what is still under way.
    tokio::time::sleep(Duration::from_secs(2)).await;
    count
}

/// 10,000 clients with a key each, 2,000 events a second.
async fn keys(server: &Postgres, client: &Client) {
    const CLIENTS: usize = 10_000;
    /// Rows of one statement.
    const ROWS: i64 = 10;
    let (distributor, port) = serve(server);
    let before = distributor.memory();
    let mut clients = connect(&port, CLIENTS, "/v1/ws?table=public.items&key={}");
    let memory = (distributor.memory() - before) / CLIENTS as f64;
    let connections = client
        .query_one(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'distributor'",
            &[],
        )
        .await
        .unwrap();
    let connections: i64 = connections.get(0);
    clients.ask("");
    let started = distributor.time();
    let statement = client
        .prepare("UPDATE items SET at = clock_timestamp() WHERE id = ANY ($1)")
        .await
        .unwrap();
    let begun = Instant::now();
    let statements = load(200, async |count| {
        let first = count.cast_signed() * 7 * ROWS % 10_000;
        let ids: Vec<i64> = (first..first + ROWS).collect();
        client.execute(&statement, &[&ids]).await.unwrap();
    })
    .await;
    let events = statements * ROWS.cast_unsigned();
    let rate = events as f64 / (begun.elapsed().as_secs_f64() - 2.0);
    let answer = clients.ask("");
    let time = distributor.time() - started;
    println!(
        "{CLIENTS} clients with a key each on {connections} connection: {memory:.1} KiB per idle client; {rate:.0} events/s: {} of \
         {events} delivered, p50 {:.1} ms, p99 {:.1} ms, {:.1} us of server per event",
        answer[0],
        answer[1],
        answer[2],
        time.as_secs_f64() * 1e6 / events as f64
    );
}

/// The same events for each of many clients. Of each server, the highest load that it can hold counts: it delivers all events, but
/// for one in a hundred.
async fn all(server: &Postgres, client: &Client) {
    let writer = Writer::new(client).await;
    for path in ["/pgpubsub/all", "/v1/ws"] {
        for rate in [200, 100, 50, 25, 10] {
            let (distributor, port) = serve(server);
            let clients = connect(&port, 5_000, path);
            let scene = Scene {
                name: "pgherald",
                path,
                clients: 5_000,
                rate,
            };
            if scene.holds(distributor, clients, &writer).await {
                break;
            }
        }
    }
    let Ok(python) = std::env::var("PGHERALD_PYTHON") else {
        println!("PGCacheWatch was not measured: PGHERALD_PYTHON is not set");
        return;
    };
    for count in [400, 200, 100, 50, 25] {
        let port = free_port();
        let process = Process::start(uvicorn(&python, server, &port));
        until_up(&port).await;
        let path = "/pgpubsub/all";
        let clients = connect(&port, count, path);
        let scene = Scene {
            name: "PGCacheWatch",
            path,
            clients: count,
            rate: 200,
        };
        if scene.holds(process, clients, &writer).await {
            break;
        }
    }
}

/// Writes the events of all clients.
struct Writer<'a> {
    client: &'a Client,
    notify: tokio_postgres::Statement,
    update: tokio_postgres::Statement,
    payload: String,
}

impl<'a> Writer<'a> {
    async fn new(client: &'a Client) -> Self {
        let notify = client.prepare("SELECT pg_notify('all', $1)").await;
        let sql = "UPDATE items SET at = clock_timestamp() WHERE id = $1";
        let update = client.prepare(sql).await;
        Self {
            client,
            notify: notify.unwrap(),
            update: update.unwrap(),
            payload: "x".repeat(200),
        }
    }

    async fn write(&self, path: &str, count: u64) {
        let id = (count % 10_000).cast_signed();
        let written = match path {
            "/v1/ws" => self.client.execute(&self.update, &[&id]).await,
            _ => self.client.execute(&self.notify, &[&self.payload]).await,
        };
        written.unwrap();
    }
}

struct Scene {
    name: &'static str,
    path: &'static str,
    clients: usize,
    rate: u32,
}

impl Scene {
    /// Runs a load and prints what it cost. Returns whether the server held it.
    async fn holds(&self, server: Process, mut clients: Process, writer: &Writer<'_>) -> bool {
        let Self {
            name,
            path,
            clients: count,
            rate,
        } = self;
        clients.ask("");
        let started = server.time();
        let events = load(*rate, async |number| writer.write(path, number).await).await;
        let time = server.time() - started;
        let [delivered, p50, p99, closed] = clients.ask("")[..] else {
            panic!("another answer");
        };
        let share = delivered / (events as f64 * *count as f64);
        println!(
            "{name} {path}, {count} clients, {rate} events/s: {:.1} % delivered, {closed} clients closed, {:.0} deliveries per second \
             of processor time, p50 {p50:.1} ms, p99 {p99:.1} ms",
            share * 100.0,
            delivered / time.as_secs_f64(),
        );
        share > 0.99
    }
}

fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn uvicorn(python: &str, server: &Postgres, port: &str) -> Command {
    let config: ConnectConfig = server.url().parse().unwrap();
    let config = config.postgres_config();
    let tokio_postgres::config::Host::Tcp(host) = &config.get_hosts()[0] else {
        panic!("a server without TCP");
    };
    let mut command = Command::new(python);
    command
        .stderr(std::process::Stdio::null())
        .args([
            "-m",
            "uvicorn",
            "pgcachewatch.pg_event_distributor:main",
            "--factory",
        ])
        .args(["--port", port, "--log-level", "warning"])
        .env("PGHOST", host)
        .env("PGPORT", config.get_ports()[0].to_string())
        .env("PGUSER", config.get_user().unwrap_or_default())
        .env("PGDATABASE", config.get_dbname().unwrap_or_default())
        .env(
            "PGPASSWORD",
            String::from_utf8_lossy(config.get_password().unwrap_or_default()).as_ref(),
        );
    command
}

async fn until_up(port: &str) {
    let limit = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_err() {
        assert!(Instant::now() < limit, "uvicorn does not listen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
