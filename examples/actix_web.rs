//! A web application with cached responses that do not get stale.
//!
//! ```text
//! cargo run --example actix_web
//! curl -i localhost:8080/users/1
//! curl -i localhost:8080/users/1
//! curl -X PUT localhost:8080/users/1 -H 'content-type: application/json' -d '{"name":"Grace"}'
//! curl -i localhost:8080/users/1
//! curl localhost:8080/stats
//! ```
//!
//! `GET` is answered from a cache that depends on the row. `PUT` writes to the database, and waits until the cache has
//! applied the change. Changes by other programs invalidate the cache too (try it with psql).
//!
//! Starts its own PostgreSQL server and prints its URL. With `DATABASE_URL` set, it uses that database. `PORT` sets the port;
//! 0 means any free port. With `--check` it makes such requests itself, compares the answers, and ends.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::error::Error;
use std::io;
use std::iter::successors;
use std::net::TcpListener;
use std::time::Duration;

use actix_web::error::ErrorInternalServerError;
use actix_web::{App, HttpResponse, HttpServer, Result as WebResult, web};
use pgherald::{CacheBuilder, CacheHandle, ConnectConfig, Herald, Table, TableName, trigger};
use pgherald_testkit::Database;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::Client;
use tracing_subscriber::EnvFilter;

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug, Serialize, Deserialize, PartialEq, Table)]
#[table(name = "web_users", key = "id")]
struct User {
    id: i64,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct NewName {
    name: String,
}

/// A connection that is reopened when it was lost. A real application uses a pool instead.
struct Connection {
    config: ConnectConfig,
    client: Mutex<Client>,
}

impl Connection {
    async fn client(&self) -> pgherald::Result<MutexGuard<'_, Client>> {
        let mut client = self.client.lock().await;
        if client.is_closed() {
            *client = self.config.client().await?;
        }
        Ok(client)
    }
}

/// The state that the handlers share. The cache also stores that a user does not exist.
struct State {
    users: CacheHandle<i64, Option<User>>,
    database: Connection,
}

impl State {
    async fn load(&self, id: i64) -> Result<Option<User>, Failure> {
        let sql = "SELECT id, name FROM web_users WHERE id = $1";
        let client = self.database.client().await?;
        let row = client.query_opt(sql, &[&id]).await?;
        Ok(row.map(|row| User {
            id: row.get(0),
            name: row.get(1),
        }))
    }
}

/// Logs an error with all its causes, and hides them from the client.
fn internal(error: &(dyn Error + 'static)) -> actix_web::Error {
    let causes = successors(Some(error), |&error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    tracing::error!("{}", causes.join(": "));
    ErrorInternalServerError("internal error")
}

async fn get_user(id: web::Path<i64>, state: web::Data<State>) -> WebResult<HttpResponse> {
    let id = id.into_inner();
    let user = state
        .users
        .get_or_load(id, async || state.load(id).await.map_err(io::Error::other))
        .await
        .map_err(|error| internal(&error))?;
    Ok(match &*user {
        Some(user) => HttpResponse::Ok().json(user),
        None => HttpResponse::NotFound().finish(),
    })
}

async fn put_user(
    id: web::Path<i64>,
    new: web::Json<NewName>,
    state: web::Data<State>,
) -> WebResult<HttpResponse> {
    let token = state.users.write_token();
    let write = async {
        let mut client = state.database.client().await?;
        let transaction = client.transaction().await?;
        let sql = "INSERT INTO web_users (id, name) VALUES ($1, $2)
                   ON CONFLICT (id) DO UPDATE SET name = excluded.name";
        transaction.execute(sql, &[&*id, &new.name]).await?;
        token.announce(&transaction).await?;
        transaction.commit().await?;
        Ok::<_, Failure>(())
    };
    write.await.map_err(|error| internal(&*error))?;
    // From now on, GET requests to this process see the change. Other processes see it when they have received the event.
    if let Err(error) = token.applied(Duration::from_secs(2)).await {
        tracing::warn!(%error, "the cache has not confirmed the write");
        state.users.invalidate(&id);
    }
    Ok(HttpResponse::NoContent().finish())
}

async fn get_stats(state: web::Data<State>) -> HttpResponse {
    let stats = state.users.stats();
    HttpResponse::Ok().body(format!(
        "{} hits, {} queries, {} invalidated, {} in memory\n",
        stats.hits, stats.loads, stats.invalidated_by_event, stats.entries
    ))
}

fn listen(default_port: u16) -> Result<TcpListener, Failure> {
    let port = match std::env::var("PORT") {
        Ok(port) => port
            .parse()
            .map_err(|_| format!("PORT is {port:?}, but must be a number from 0 to 65535"))?,
        Err(_) => default_port,
    };
    TcpListener::bind(("127.0.0.1", port)).map_err(|error| {
        format!("cannot listen on 127.0.0.1:{port}: {error}; set PORT to another port").into()
    })
}

#[actix::main]
async fn main() -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .init();
    let check = std::env::args().any(|argument| argument == "--check");
    // First, so that a failure leaves nothing installed.
    let listener = listen(if check { 0 } else { 8080 })?;
    let database = Database::from_env_or_start().await?;
    let config: ConnectConfig = database.url().parse()?;
    let setup = config.client().await?;
    setup
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS web_users (id bigint PRIMARY KEY, name text NOT NULL);
             INSERT INTO web_users VALUES (1, 'Ada'), (2, 'Alan') ON CONFLICT DO NOTHING",
        )
        .await?;

    let herald = Herald::builder(config.clone())
        .watch::<User>()?
        .install_triggers()
        .start()
        .await?;
    let users = herald
        .start_cache(CacheBuilder::new("users").row_of::<User>().capacity(10_000))
        .await?;

    let state = web::Data::new(State {
        users,
        database: Connection {
            client: Mutex::new(setup),
            config: config.clone(),
        },
    });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .route("/users/{id}", web::get().to(get_user))
            .route("/users/{id}", web::put().to(put_user))
            .route("/stats", web::get().to(get_stats))
    })
    .workers(2)
    .listen(listener)?;
    let url = format!("http://{}", server.addrs()[0]);
    println!("the database is {}", database.url());
    println!("serving {url}/users/1, until Ctrl-C");
    let server = server.run();
    let handle = server.handle();
    let serving = actix::spawn(server);
    if check {
        check_answers(&url).await?;
        handle.stop(true).await;
    }
    serving.await??;
    println!("{}", herald.shutdown(Duration::from_secs(5)).await?);

    // Keep the users, and remove the triggers.
    let client = config.client().await?;
    let tables = [TableName::new(User::SCHEMA, User::NAME)?];
    trigger::plan_uninstall(&client, &tables)
        .await?
        .apply(&client)
        .await?;
    Ok(())
}

/// Makes requests like the curl commands above, and compares the answers.
async fn check_answers(url: &str) -> Result<(), Failure> {
    let path = format!("{url}/users/1");
    for name in ["Grace", "Barbara", "Ada"] {
        let written = awc::Client::default()
            .put(&path)
            .send_json(&NewName { name: name.into() })
            .await
            .map_err(|error| error.to_string())?;
        println!("PUT {name}: {}", written.status());
        for _ in 0..2 {
            let user = answer(&path).await?;
            println!("GET: {user}");
            let user: User = serde_json::from_str(&user)?;
            if user.name != name {
                return Err(format!("{name} was written, {} was read", user.name).into());
            }
        }
    }
    print!("{}", answer(&format!("{url}/stats")).await?);
    Ok(())
}

async fn answer(url: &str) -> Result<String, Failure> {
    // awc's errors are not `Send`, so only their text is returned.
    let mut answer = awc::Client::default()
        .get(url)
        .send()
        .await
        .map_err(|error| error.to_string())?;
    let body = answer.body().await.map_err(|error| error.to_string())?;
    Ok(String::from_utf8(body.to_vec())?)
}
