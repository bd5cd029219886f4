//! `pgherald demo`: starts a temporary server, registers users, and enriches them with a durable handler.
//!
//! ```text
//! register ── INSERT, each second ──► users ── trigger ──► outbox ──► Consumer ──► Enrich ──► users.company
//!    └──────────────────────────── steps ──────────────────────────────────┴──────────► standard output
//! ```

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use pgherald_core::group::{Consumer, TransactionalHandler};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{
    Attempt, Backoff, ConnectConfig, DurableOptions, HandlerError, HandlerResult, Inserted,
    RetryPolicy, Table,
};
use pgherald_testkit::Postgres;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_postgres::{Client, Transaction};

use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::output::Output;
use crate::words;

const GROUP: &str = "enrich-users";
/// The time that the service takes to answer.
const ANSWER: Duration = Duration::from_millis(200);

pub(crate) async fn run(output: &mut Output) -> Result<ExitCode, Failure> {
    let local = LocalSet::new();
    // Handle Ctrl-C from the beginning, so that it also removes a server that is starting.
    tokio::select! {
        biased;
        done = interrupted() => done?,
        failed = local.run_until(run_scenario(output)) => failed?,
    }
    print_step(
        output,
        &Step::new("ended", "The server and its data were removed."),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the server, the handler and the registrations. Returns only with an error.
async fn run_scenario(output: &mut Output) -> Result<(), Failure> {
    print_step(output, &Step::new("starting", "Starting a server …"))?;
    let server = Postgres::start().await.map_err(|error| refusal(&error))?;
    let config: ConnectConfig = server.url().parse()?;
    let client = config.client().await?;
    client.batch_execute(include_str!("sql/demo.sql")).await?;
    let spec = TriggerSpec::of::<User>()?.columns(["email"]).outbox();
    trigger::plan(&client, &[spec])
        .await?
        .apply(&client)
        .await?;
    introduce(output, &server.url())?;

    let (steps, mut received) = mpsc::channel(64);
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
    let options = DurableOptions::new(GROUP)
        .from_beginning()
        .retry(RetryPolicy::new(5, backoff));
    let handler = steps.clone();
    let factory = move || Enrich {
        steps: handler.clone(),
    };
    let (_handle, consumer) = Consumer::transactional(config, options, factory)?;
    tokio::task::spawn_local(consumer.run());

    let mut clock = interval(Duration::from_secs(1));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(step) = received.recv() => print_step(output, &step)?,
            _ = clock.tick() => print_step(output, &register(&client).await?)?,
        }
    }
}

fn refusal(error: &pgherald_testkit::Error) -> Failure {
    let hint = match error.is_binaries_missing() {
        true => {
            "install PostgreSQL's server, or name the directory of its programs in PGHERALD_PG_BIN"
        }
        false => "check that the directory for temporary files is writable and has free space",
    };
    Failure::problem(format!("{error:?}")).hint(hint)
}

/// Prints commands to try in another terminal.
fn introduce(output: &mut Output, url: &str) -> io::Result<()> {
    if output.is_json() {
        return print_step(output, &Step::new("started", url));
    }
    let text = format!(
        "Users register, and group {GROUP} enriches them. Try these commands in another terminal:

  export DATABASE_URL={url}
  pgherald watch
  pgherald status --watch
  psql \"$DATABASE_URL\" -c \"INSERT INTO users (email) VALUES ('you@example.org')\"
  pgherald group pause {GROUP}
  pgherald group resume {GROUP}
  pgherald dead-letters list

Press Ctrl-C to end the demo.
"
    );
    for line in text.split('\n') {
        output.line(line)?;
    }
    output.flush()
}

/// Inserts a new user. Every tenth user has an address that belongs to no company.
async fn register(client: &Client) -> Result<Step, Failure> {
    let sql = "INSERT INTO users (email) SELECT 'user' || n || CASE
            WHEN n % 10 = 0 THEN '@nowhere.invalid' ELSE '@company' || n % 7 || '.example' END
        FROM (SELECT count(*) + 1 AS n FROM users) AS u RETURNING id, email";
    let row = client.query_one(sql, &[]).await?;
    let (id, email): (i64, &str) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Step::new("registered", format!("user {id}: {email}")))
}

/// One step of the demo.
#[derive(Debug, Serialize)]
struct Step {
    what: &'static str,
    text: String,
}

impl Step {
    fn new(what: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { what, text }
    }
}

fn print_step(output: &mut Output, step: &Step) -> io::Result<()> {
    match output.is_json() {
        true => output.object(step)?,
        false => output.line(&format!("{:<10}  {}", step.what, step.text))?,
    }
    output.flush()
}

/// The type of the rows of `users`.
#[derive(Debug)]
struct User;

impl Table for User {
    const NAME: &'static str = "users";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

/// The handler. It queries a service about a user, and writes the answer in the transaction that also stores the progress.
#[derive(Debug)]
struct Enrich {
    steps: mpsc::Sender<Step>,
}

impl Enrich {
    async fn report(&self, what: &'static str, text: String) {
        // The receiver is gone if the demo is ending.
        let _ = self.steps.send(Step::new(what, text)).await;
    }
}

impl TransactionalHandler for Enrich {
    type Event = Inserted<User>;

    async fn handle(
        &self,
        user: Inserted<User>,
        attempt: Attempt,
        transaction: &mut Transaction<'_>,
    ) -> HandlerResult {
        let (id, number) = (user.key, attempt.number());
        let sql = "SELECT email FROM users WHERE id = $1";
        let Some(row) = transaction.query_opt(sql, &[&id]).await? else {
            return Ok(()); // deleted meanwhile
        };
        let answer = company(row.try_get(0)?, id, number).await;
        let company = match answer {
            Ok(company) => company,
            Err(error) => {
                let next = match error.is_permanent() {
                    true => "the event is a dead letter now",
                    false => "the event will be retried",
                };
                let text = format!("user {id}, attempt {number}: {}; {next}", error.cause());
                self.report("failed", text).await;
                return Err(error);
            }
        };
        let sql = "UPDATE users SET company = $2 WHERE id = $1";
        transaction.execute(sql, &[&id, &company]).await?;
        let attempts = words::count(number, "attempt");
        self.report(
            "enriched",
            format!("user {id}: {company}, after {attempts}"),
        )
        .await;
        Ok(())
    }
}

/// The service. It is slow, and fails once for every fourth user.
async fn company(email: &str, id: i64, attempt: u32) -> Result<String, HandlerError> {
    sleep(ANSWER).await;
    match email.split_once('@') {
        Some((_, "nowhere.invalid")) | None => Err(HandlerError::permanent(format!(
            "no company has the address {email}"
        ))),
        Some(_) if id % 4 == 0 && attempt == 1 => Err("the service answered 503".into()),
        Some((_, domain)) => Ok(domain.to_owned()),
    }
}
