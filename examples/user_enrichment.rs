//! New users are enriched by an external service, even if the connection to the database is lost meanwhile.
//!
//! ```text
//! cargo run --example user_enrichment
//! ```
//!
//! Users are inserted into the table `users`. A handler asks an HTTP service for the company of each user, and writes the
//! answer to the table. This program starts the service on the loopback interface; it is slow, and fails sometimes. Half-way,
//! the listener's connection is terminated. At the end, every user is enriched.
//!
//! Starts its own PostgreSQL server. With `DATABASE_URL` set, it uses that database and keeps the users.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use pgherald::{
    Attempt, ConnectConfig, EphemeralOptions, EventHandler, GetReport, HandlerResult, Herald,
    Inserted, Resync, Table, TableName, trigger,
};
use pgherald_testkit::Database;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;
use tracing_subscriber::EnvFilter;

const NEW_USERS: usize = 24;
const LISTENER: &str = "user-enrichment";
type Failure = Box<dyn std::error::Error>;

struct User;

impl Table for User {
    const NAME: &'static str = "users";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

#[derive(Serialize, Deserialize)]
struct Company {
    name: String,
}

/// Asks the service about a user and writes the answer to the table.
///
/// It handles `Inserted<User>`, so it does not receive its own updates.
struct Enrich {
    database: Arc<Client>,
    service: String,
    log: Log,
}

impl Enrich {
    async fn enrich(&self, id: i64) -> HandlerResult {
        let sql = "SELECT email FROM users WHERE id = $1 AND company IS NULL";
        let row = self.database.query_opt(sql, &[&id]).await?;
        // Nothing to do: the user was deleted or is already enriched.
        let Some(row) = row else { return Ok(()) };
        let email: &str = row.get(0);
        // awc's errors are not `Send`, so only their text is returned.
        let mut answer = awc::Client::default()
            .get(format!("{}/company?email={email}", self.service))
            .send()
            .await
            .map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(format!("the service answered {}", answer.status()).into());
        }
        let company: Company =
            serde_json::from_slice(&answer.body().await.map_err(|error| error.to_string())?)?;
        // An attempt may be repeated, so its effect must be idempotent.
        let written = self
            .database
            .execute(
                "UPDATE users SET company = $2 WHERE id = $1 AND company IS NULL",
                &[&id, &company.name],
            )
            .await?;
        if written > 0 {
            self.log
                .line(&format!("{email} enriched: {}", company.name));
        }
        Ok(())
    }
}

impl EventHandler for Enrich {
    type Event = Inserted<User>;

    async fn handle(&self, user: Inserted<User>, attempt: Attempt) -> HandlerResult {
        if attempt.number() > 1 {
            self.log
                .line(&format!("user {} attempt {}", user.key, attempt.number()));
        }
        self.enrich(user.key).await
    }

    /// Enriches users whose events were missed.
    async fn resync(&self, resync: Resync) -> HandlerResult {
        let sql = "SELECT id FROM users WHERE company IS NULL ORDER BY id";
        let missed = self.database.query(sql, &[]).await?;
        self.log.line(&format!(
            "resync ({resync}): {} users to catch up with",
            missed.len()
        ));
        // Continue after a failure. The next attempt finds the remaining users.
        let mut failure = Ok(());
        for row in missed {
            if let Err(error) = self.enrich(row.get(0)).await {
                failure = Err(error);
            }
        }
        failure
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

/// Answers slowly, and fails every fourth request.
async fn company(
    query: web::Query<Vec<(String, String)>>,
    served: web::Data<Served>,
) -> HttpResponse {
    let number = served.requests.replace(served.requests.get() + 1);
    tokio::time::sleep(Duration::from_millis(20 + 30 * (number % 3))).await;
    if number % 4 == 3 {
        return HttpResponse::ServiceUnavailable().finish();
    }
    let email = query
        .iter()
        .find(|(name, _)| name == "email")
        .map_or("", |(_, email)| email);
    let name = email
        .split_once('@')
        .map_or("unknown", |(_, domain)| domain)
        .to_owned();
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

#[actix::main]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .init();
    let log = Log(Instant::now());
    let database = Database::from_env_or_start().await?;
    let config: ConnectConfig = database.url().parse()?;
    let application = config.client().await?;
    application
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS users (
                 id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
                 email text NOT NULL,
                 company text
             )",
        )
        .await?;

    let herald = Herald::builder(config.clone().application_name(LISTENER))
        .watch::<User>()?
        .install_triggers()
        .start()
        .await?;
    let service = start_service()?;
    let worker = Arc::new(config.client().await?);
    let options = EphemeralOptions::new("enrich-users").timeout(Duration::from_secs(2));
    let enrich = herald
        .start_handler(options, move || Enrich {
            database: Arc::clone(&worker),
            service: service.clone(),
            log,
        })
        .await?;
    log.line("live");

    for number in 0..NEW_USERS {
        let email = format!("user{number}@company{}.example", number % 5);
        application
            .execute("INSERT INTO users (email) VALUES ($1)", &[&email])
            .await?;
        log.line(&format!("{email} registered"));
        if number == NEW_USERS / 2 {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE application_name = $1 AND datname = current_database()";
            application.query(sql, &[&LISTENER]).await?;
            log.line("the listener's connection was terminated");
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }

    let all_enriched = async {
        let sql = "SELECT count(*) FROM users WHERE company IS NULL";
        while application.query_one(sql, &[]).await?.get::<_, i64>(0) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, tokio_postgres::Error>(())
    };
    tokio::time::timeout(Duration::from_secs(60), all_enriched).await??;
    log.line("every user is enriched");

    let failed = enrich.send(GetReport).await?.errors;
    log.line(&format!("{failed} attempts failed and were retried"));
    println!("{}", herald.shutdown(Duration::from_secs(5)).await?);

    // Keep the users, and remove the triggers.
    let users = [TableName::new(User::SCHEMA, User::NAME)?];
    trigger::plan_uninstall(&application, &users)
        .await?
        .apply(&application)
        .await?;
    Ok(())
}
