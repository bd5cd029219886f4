//! Each new user is enriched exactly once, although workers are killed.
//!
//! ```text
//! cargo run --example durable_enrichment
//! ```
//!
//! Users register in the table `enriched_users`, whose changes are recorded in the outbox. Two worker processes ask an HTTP
//! service for the company of each user, and write the answer in the transaction that acknowledges the event. This program
//! starts the service on the loopback interface; it is slow, and fails sometimes. Meanwhile this program repeatedly kills a
//! worker with SIGKILL and starts a new one. At the end it checks that each user was enriched once.
//!
//! Starts its own PostgreSQL server. With `DATABASE_URL` set, it uses that database. It removes table and group at the end.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::cell::Cell;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use pgherald::group::{Group, TransactionalHandler};
use pgherald::trigger::{self, TriggerSpec};
use pgherald::{
    Attempt, Backoff, ConnectConfig, DurableOptions, HandlerResult, Herald, Inserted, RetryPolicy,
    Table, TableName,
};
use pgherald_testkit::Database;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, Transaction};
use tracing_subscriber::EnvFilter;

const NEW_USERS: usize = 200;
const KILLS: usize = 6;
const GROUP: &str = "enrich-users";
type Failure = Box<dyn std::error::Error>;

#[derive(Table)]
#[table(name = "enriched_users", key = "id")]
struct User {
    #[allow(dead_code, reason = "names the column and its type")]
    id: i64,
}

#[derive(Serialize, Deserialize)]
struct Company {
    name: String,
}

/// Asks the service about a user, and writes the answer in the transaction that acknowledges the event.
struct Enrich {
    service: String,
}

impl TransactionalHandler for Enrich {
    type Event = Inserted<User>;

    async fn handle(
        &self,
        user: Inserted<User>,
        attempt: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> HandlerResult {
        let sql = "SELECT email FROM enriched_users WHERE id = $1";
        let Some(row) = transaction.query_opt(sql, &[&user.key]).await? else {
            return Ok(()); // the user was deleted
        };
        let email: &str = row.get(0);
        // The service may receive several requests for one event. With the key it can recognize them.
        let key = attempt.idempotency_key().map(ToString::to_string);
        let mut answer = awc::Client::default()
            .get(format!("{}/company?email={email}", self.service))
            .insert_header(("Idempotency-Key", key.unwrap_or_default()))
            .send()
            .await
            // awc's errors are not `Send`.
            .map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("the service answered {}", answer.status()).into());
        }
        let body = answer.body().await.map_err(|error| error.to_string())?;
        let company: Company = serde_json::from_slice(&body)?;
        // Deliberately not idempotent, so that a second execution would be visible.
        let sql =
            "UPDATE enriched_users SET company = $2, enrichments = enrichments + 1 WHERE id = $1";
        transaction
            .execute(sql, &[&user.key, &company.name])
            .await?;
        Ok(())
    }
}

async fn work(database: &str, service: String) -> Result<(), Failure> {
    let herald = Herald::builder(database.parse()?)
        .watch_with(TriggerSpec::of::<User>()?.outbox())
        .start()
        .await?;
    let options = DurableOptions::new(GROUP)
        // Short for this example: after a kill, the other worker waits until the lease has expired.
        .lease(Duration::from_secs(1))
        .timeout(Duration::from_secs(5))
        .retry(RetryPolicy::new(
            20,
            Backoff::new(Duration::from_millis(50), Duration::from_secs(1)),
        ));
    herald
        .start_transactional(options, move || Enrich {
            service: service.clone(),
        })
        .await?;
    println!("{}", herald.run_until_signal(Duration::from_secs(5)).await?);
    Ok(())
}

/// A worker process. Killed when this is dropped.
struct Worker(Child);

impl Worker {
    fn start(database: &str, service: &str) -> std::io::Result<Self> {
        let program = std::env::current_exe()?;
        Command::new(program)
            .args(["worker", database, service])
            .spawn()
            .map(Self)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Sends SIGKILL. Fails if the process has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prints lines with the time since the start.
#[derive(Clone, Copy)]
struct Log(Instant);

impl Log {
    fn line(&self, text: &str) {
        println!("{:6.3}s  {text}", self.0.elapsed().as_secs_f64());
    }
}

/// Answers slowly, and fails every tenth request.
async fn company(request: HttpRequest, served: web::Data<Served>) -> HttpResponse {
    let number = served.requests.replace(served.requests.get() + 1);
    tokio::time::sleep(Duration::from_millis(5 + 10 * (number % 3))).await;
    if number % 10 == 9 {
        return HttpResponse::ServiceUnavailable().finish();
    }
    let domain = request
        .query_string()
        .split_once('@')
        .map(|(_, domain)| domain);
    let name = domain.unwrap_or("unknown").to_owned();
    HttpResponse::Ok().json(Company { name })
}

#[derive(Default)]
struct Served {
    requests: Cell<u64>,
}

fn start_service() -> std::io::Result<String> {
    let server = HttpServer::new(|| {
        App::new()
            .app_data(web::Data::new(Served::default()))
            .route("/company", web::get().to(company))
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", 0))?;
    let url = format!("http://{}", server.addrs()[0]);
    actix::spawn(server.run());
    Ok(url)
}

async fn install(client: &Client) -> Result<(), Failure> {
    let sql = "CREATE TABLE enriched_users (
            id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
            email text NOT NULL,
            company text,
            enrichments integer NOT NULL DEFAULT 0
        )";
    client.batch_execute(sql).await?;
    let spec = TriggerSpec::of::<User>()?.outbox();
    trigger::plan(client, &[spec]).await?.apply(client).await?;
    Ok(())
}

#[actix::main]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, database, service] = &arguments[..]
        && word == "worker"
    {
        return work(database, service.clone()).await;
    }
    let log = Log(Instant::now());
    let database = Database::from_env_or_start().await?;
    let config: ConnectConfig = database.url().parse()?;
    let client = std::sync::Arc::new(config.client().await?);
    install(&client).await?;
    let service = start_service()?;
    let start = || Worker::start(database.url(), &service);
    let mut workers = vec![start()?, start()?];
    let group = Group::new(&client, GROUP);
    while group.status().await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await; // the first worker creates the group
    }
    log.line("two workers have started");

    for number in 0..NEW_USERS {
        let email = format!("user{number}@company{}.example", number % 5);
        let sql = "INSERT INTO enriched_users (email) VALUES ($1)";
        client.execute(sql, &[&email]).await?;
        if number % (NEW_USERS / KILLS) == NEW_USERS / KILLS - 1 {
            workers[fastrand::usize(..2)] = start()?;
            let status = group.status().await?;
            log.line(&format!(
                "{} users registered, {} events not read yet; a worker was killed and replaced",
                number + 1,
                status.lag_events
            ));
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(5..30))).await;
    }
    log.line(&format!("{NEW_USERS} users registered"));

    let all_enriched = async {
        let sql = "SELECT count(*) FROM enriched_users WHERE enrichments = 0";
        while client.query_one(sql, &[]).await?.get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, tokio_postgres::Error>(())
    };
    tokio::time::timeout(Duration::from_secs(60), all_enriched).await??;
    drop(workers);
    let sql = "SELECT count(*) FILTER (WHERE enrichments = 1), count(*) FROM enriched_users";
    let row = client.query_one(sql, &[]).await?;
    let (once, all): (i64, i64) = (row.get(0), row.get(1));
    log.line(&format!("{once} of {all} users were enriched exactly once"));

    group.delete().await?;
    let users = [TableName::new(User::SCHEMA, User::NAME)?];
    trigger::plan_uninstall(&client, &users)
        .await?
        .apply(&client)
        .await?;
    client.batch_execute("DROP TABLE enriched_users").await?;
    match once == all {
        true => Ok(()),
        false => Err("some users were not enriched exactly once".into()),
    }
}
