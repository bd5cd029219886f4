//! A distributor with a live page, in front of a server of its own, for the tests in a browser.
//!
//! Prints the addresses of the page as JSON, then reads one command per line: `sql STATEMENTS`, `read KEY` (of the cache), `correct`
//! (the handler succeeds from now on), `fail`, `stop`, `start`, `clients`. Each is answered by a line of JSON. It ends with its input.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a program for tests"
)]

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer};
use pgherald_actors::Herald;
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{
    Attempt, Backoff, CacheBuilder, CacheHandle, ConnectConfig, DurableOptions, Event,
    EventHandler, HandlerError, HandlerResult, Health, Table, TableName,
};
use pgherald_distributor::{Access, Distributor, LivePage, TokenLine};
use pgherald_testkit::Postgres;
use tokio::sync::mpsc;

/// What must be shown as text wherever it comes from.
const HOSTILE: &str = "<img src=x onerror=alert(1)>";

const TABLES: &str = r#"
CREATE TABLE orders (id bigint PRIMARY KEY, note text);
CREATE TABLE users (id bigint PRIMARY KEY, name text);
CREATE TABLE "<img src=x onerror=alert(1)>" (id text PRIMARY KEY, note text);
"#;

/// The errors of a handler are texts of programs, so they are hostile too.
struct Mail {
    is_corrected: Arc<AtomicBool>,
}

impl EventHandler for Mail {
    type Event = Event;

    async fn handle(&self, event: Event, _: Attempt) -> HandlerResult {
        let columns = event.columns_json().unwrap_or_default();
        if columns.contains("bad") && !self.is_corrected.load(Ordering::Relaxed) {
            let error = format!("the mail server refused {HOSTILE}");
            return Err(HandlerError::permanent(error));
        }
        Ok(())
    }
}

struct User;

impl Table for User {
    const NAME: &'static str = "users";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

#[actix_web::main]
async fn main() {
    let server = Postgres::start().await.unwrap();
    let url = server.create_database().await.unwrap();
    let config: ConnectConfig = url.parse().unwrap();
    config
        .client()
        .await
        .unwrap()
        .batch_execute(TABLES)
        .await
        .unwrap();
    let spec = |name: &str| TriggerSpec::new(TableName::new("public", name).unwrap());
    let herald = Herald::builder(config.clone().application_name("scene"))
        .watch_with(spec("orders").columns(["note"]).outbox())
        .watch_with(spec("users").columns(["name"]))
        .watch_with(spec(HOSTILE).columns(["note"]))
        .install_triggers()
        .source(|source| {
            let backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
            let heartbeat = Duration::from_millis(500);
            source
                .backoff(backoff)
                .heartbeat(heartbeat, Duration::from_secs(10))
        })
        .start()
        .await
        .unwrap();
    let is_corrected = Arc::new(AtomicBool::new(false));
    for group in ["mailer", HOSTILE] {
        let options = DurableOptions::new(group)
            .slices(4)
            .filter(pgherald_core::Filter::new().table("public", "orders"));
        let is_corrected = Arc::clone(&is_corrected);
        let handler = move || Mail {
            is_corrected: Arc::clone(&is_corrected),
        };
        herald.start_durable(options, handler).await.unwrap();
    }
    let users: CacheHandle<i64, String> = herald
        .start_cache(CacheBuilder::new("users").row_of::<User>().capacity(1_000))
        .await
        .unwrap();
    let herald = Arc::new(herald);
    let page = LivePage::new().database(config.clone()).cache(&users);
    let distributor = Distributor::builder(Arc::clone(&herald))
        .page(page)
        .build()
        .unwrap();
    let (address, server_handle) = serve(&distributor);

    // Another one, that asks for tokens.
    let rights = |json| serde_json::from_str(json).unwrap();
    let token = |name, json| TokenLine::generate(name, rights(json), None).unwrap();
    let (observer, first) = token("observer", r#"{"observe":true,"tables":["*"]}"#);
    let (operator, second) = token("operator", r#"{"operate":true,"tables":["*"]}"#);
    let tokens = server.data_dir().join("tokens.jsonl");
    std::fs::write(
        &tokens,
        format!("{}\n{}\n", first.to_json(), second.to_json()),
    )
    .unwrap();
    let locked = Distributor::builder(Arc::clone(&herald))
        .access(Access::new().tokens(&tokens).unwrap())
        .page(LivePage::new().database(config.clone()))
        .build()
        .unwrap();
    let (locked_address, locked_handle) = serve(&locked);
    answer(&serde_json::json!({
        "page": address,
        "locked": locked_address,
        "observer": observer,
        "operator": operator,
    }));

    let mut commands = commands();
    while let Some(line) = commands.recv().await {
        let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let done = match command {
            "sql" => sql(&config, argument).await,
            "read" => read(&users, argument).await,
            "correct" | "fail" => {
                is_corrected.store(command == "correct", Ordering::Relaxed);
                Ok(())
            }
            "stop" => server.stop().await.map_err(|error| error.to_string()),
            "start" => start(&server, &herald).await,
            "clients" => {
                answer(&serde_json::json!({ "clients": distributor.clients() }));
                continue;
            }
            _ => Err(format!("unknown command {command:?}")),
        };
        answer(&serde_json::json!({ "error": done.err() }));
    }
    for (distributor, handle) in [(distributor, server_handle), (locked, locked_handle)] {
        distributor.shutdown(Duration::from_secs(1)).await;
        handle.stop(false).await;
    }
    herald.shutdown(Duration::from_secs(2)).await.unwrap();
}

/// Serves a distributor on a free port. Returns its address.
fn serve(distributor: &Distributor) -> (String, ServerHandle) {
    let routes = distributor.clone();
    let http = HttpServer::new(move || App::new().configure(|config| routes.configure(config)))
        .workers(1)
        .disable_signals()
        .h1_allow_half_closed(false)
        .bind("127.0.0.1:0")
        .unwrap();
    let address = format!("http://{}/", http.addrs()[0]);
    let http = http.run();
    let handle = http.handle();
    actix_web::rt::spawn(http);
    (address, handle)
}

fn answer(json: &serde_json::Value) {
    println!("{json}");
    std::io::stdout().flush().unwrap();
}

fn commands() -> mpsc::Receiver<String> {
    let (lines, commands) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if line.is_err() || lines.blocking_send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    commands
}

async fn sql(config: &ConnectConfig, sql: &str) -> Result<(), String> {
    let client = config.client().await.map_err(|error| error.to_string())?;
    client
        .batch_execute(sql)
        .await
        .map_err(|error| error.to_string())
}

async fn read(users: &CacheHandle<i64, String>, key: &str) -> Result<(), String> {
    let load = async || Ok::<_, std::io::Error>("a user".to_owned());
    let key = key.parse().map_err(|_| format!("{key:?} is no key"))?;
    let read = users.get_or_load(key, load).await;
    read.map(drop).map_err(|error| error.to_string())
}

/// Starts the server again, and waits until the herald is live.
async fn start(server: &Postgres, herald: &Herald) -> Result<(), String> {
    server
        .start_again()
        .await
        .map_err(|error| error.to_string())?;
    let mut health = herald.health();
    let live = health.wait_for(Health::is_live).await;
    live.map(drop).map_err(|error| error.to_string())
}
