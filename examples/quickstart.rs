//! An actor that receives the changes of a table.
//!
//! ```text
//! cargo run --example quickstart
//! ```
//!
//! Starts its own PostgreSQL server. With `DATABASE_URL` set, it uses that database. It creates a table `quickstart_users`
//! and drops it at the end.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::time::Duration;

use actix::{Actor, Context, Handler};
use pgherald::trigger::{self, TriggerSpec};
use pgherald::{ConnectConfig, Events, Filter, Herald, Subscribe, Table, TableName};
use pgherald_testkit::Database;
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

/// Ties a Rust type to a table, so that filters and handlers can name it.
struct User;

impl Table for User {
    const NAME: &'static str = "quickstart_users";
    const KEY: &'static [&'static str] = &["id"];
    type Key = i64;
}

/// Any actor can subscribe: it only has to handle `Events`.
struct Printer {
    printed: mpsc::Sender<usize>,
}

impl Actor for Printer {
    type Context = Context<Self>;
}

impl Handler<Events> for Printer {
    type Result = actix::ResponseFuture<()>;

    fn handle(&mut self, events: Events, _: &mut Self::Context) -> Self::Result {
        if let Some(resync) = events.resync() {
            println!("resync: {resync} (for earlier changes, read the tables)");
        }
        for event in events.events().iter() {
            let columns = event.columns_json().unwrap_or_default();
            println!("{event} {columns} after {:?}", event.latency());
        }
        let printed = self.printed.clone();
        Box::pin(async move {
            // Fails if the main program has ended.
            let _ = printed.send(events.events().len()).await;
        })
    }
}

#[actix::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .init();
    let database = Database::from_env_or_start().await?;
    let config: ConnectConfig = database.url().parse()?;
    let client = config.client().await?;
    client
        .batch_execute(
            "DROP TABLE IF EXISTS quickstart_users;
             CREATE TABLE quickstart_users (id bigint PRIMARY KEY, email text NOT NULL)",
        )
        .await?;

    // Triggers announce each change, with the key and the column `email`.
    let spec = TriggerSpec::of::<User>()?.columns(["email"]);
    let herald = Herald::builder(config)
        .watch_with(spec)
        .install_triggers()
        .start()
        .await?;
    let (printed, mut prints) = mpsc::channel(16);
    let printer = Printer { printed }.start().recipient();
    let users = Filter::new().table_of::<User>();
    herald
        .subscribe(Subscribe::to("printer", users, printer))
        .await?;

    // Any other program could make these changes, without pgherald.
    for sql in [
        "INSERT INTO quickstart_users VALUES (1, 'ada@example.org'), (2, 'alan@example.org')",
        "UPDATE quickstart_users SET email = 'ada@lovelace.example' WHERE id = 1",
        "DELETE FROM quickstart_users WHERE id = 2",
        "TRUNCATE quickstart_users",
    ] {
        println!("> {sql}");
        client.batch_execute(sql).await?;
    }

    let mut missing = 5;
    while missing > 0 {
        let next = tokio::time::timeout(Duration::from_secs(10), prints.recv()).await?;
        missing -= next.ok_or("the printer has stopped")?;
    }
    println!("{}", herald.shutdown(Duration::from_secs(5)).await?);

    let users = [TableName::new(User::SCHEMA, User::NAME)?];
    trigger::plan_uninstall(&client, &users)
        .await?
        .apply(&client)
        .await?;
    client.batch_execute("DROP TABLE quickstart_users").await?;
    Ok(())
}
