//! A page that shows the rows of a table as SQL changes them. All browsers share one database connection.
//!
//! ```text
//! cargo run --example live_table
//! psql … -c "UPDATE live_items SET stock = stock - 1"
//! ```
//!
//! Starts its own PostgreSQL server and prints its URL. With `DATABASE_URL` set, it uses that database. `PORT` sets the port; 0 means
//! any free port. With `--check` it follows the changes itself, compares them, and ends.

#![allow(clippy::print_stdout, reason = "it is what an example is for")]

use std::sync::Arc;
use std::time::Duration;

use actix_web::error::ErrorInternalServerError;
use actix_web::{App, HttpResponse, HttpServer, Result as WebResult, web};
use futures_util::StreamExt;
use pgherald::trigger::{self, TriggerSpec};
use pgherald::{ConnectConfig, Herald, TableName};
use pgherald_distributor::Distributor;
use pgherald_testkit::Database;
use tokio_postgres::Client;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS live_items (id bigint PRIMARY KEY, name text, stock int);
    INSERT INTO live_items VALUES (1, 'Lamp', 12), (2, 'Chair', 7) ON CONFLICT DO NOTHING";

/// Reads all rows at `resync`, and applies each `event` to its row. Events that arrive during a read wait for it: a read has all
/// changes up to the `resync`, and an event that it has already may be applied again.
const PAGE: &str = r#"<!doctype html><html lang="en"><meta charset="utf-8"><title>Items</title>
<style>body{font:16px system-ui;margin:2rem}td,th{padding:.3rem 1rem;text-align:left}</style>
<h1>Items</h1><p id="state" role="status">connecting</p>
<table><thead><tr><th>Id<th>Name<th>Stock</thead><tbody id="rows"></tbody></table>
<script>
const body = document.getElementById("rows"), state = document.getElementById("state");
const stream = new EventSource("v1/events?table=public.live_items");
let reading, waiting = [];
function show(id, row) {
  const shown = document.getElementById(`row-${id}`);
  if (!row) return shown?.remove();
  const tr = shown ?? body.insertRow();
  tr.id = `row-${id}`;
  tr.replaceChildren();
  for (const value of [id, row.name, row.stock]) tr.insertCell().textContent = value;
}
function apply({ operation, keys, columns }) {
  if (keys) show(keys[0], operation === "delete" ? null : columns[0]);
  else read(); // the event is about the whole table
}
async function read() {
  const mine = reading = fetch("rows").then(answer => answer.json());
  waiting = [];
  const rows = await mine;
  if (mine !== reading) return;
  body.replaceChildren();
  for (const row of rows) show(row.id, row);
  reading = undefined;
  for (const event of waiting.splice(0)) apply(event);
}
stream.addEventListener("event", ({ data }) => reading ? waiting.push(JSON.parse(data).event) : apply(JSON.parse(data).event));
for (const type of ["resync", "lagged"]) stream.addEventListener(type, read);
for (const type of ["live", "down"]) stream.addEventListener(type, () => state.textContent = type);
stream.onerror = () => state.textContent = "reconnecting";
</script></html>"#;

async fn page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html").body(PAGE)
}

async fn rows(client: web::Data<Client>) -> WebResult<HttpResponse> {
    let sql = "SELECT coalesce(json_agg(i ORDER BY id), '[]')::text FROM live_items AS i";
    let row = client.query_one(sql, &[]).await;
    let rows: String = row.map_err(ErrorInternalServerError)?.get(0);
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .body(rows))
}

#[actix::main]
async fn main() -> Result<(), Failure> {
    let check = std::env::args().any(|argument| argument == "--check");
    let port = std::env::var("PORT").unwrap_or_else(|_| if check { "0" } else { "8080" }.into());
    let database = Database::from_env_or_start().await?;
    let config: ConnectConfig = database.url().parse()?;
    let client = web::Data::new(config.client().await?);
    client.batch_execute(TABLE).await?;
    let table = TableName::new("public", "live_items")?;
    let herald = Herald::builder(config.clone())
        .watch_with(TriggerSpec::new(table.clone()).columns(["name", "stock"]))
        .install_triggers()
        .start()
        .await?;
    let herald = Arc::new(herald);
    let distributor = Distributor::builder(Arc::clone(&herald)).build()?;
    let (routes, shared) = (distributor.clone(), client.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .route("/", web::get().to(page))
            .route("/rows", web::get().to(rows))
            .configure(|config| routes.configure(config))
    })
    .workers(2)
    .h1_allow_half_closed(false)
    .disable_signals()
    .bind(format!("127.0.0.1:{port}"))?;
    let url = format!("http://{}", server.addrs()[0]);
    println!("the database is {}", database.url());
    println!("serving {url}/, until Ctrl-C");
    let server = server.run();
    let handle = server.handle();
    let serving = actix::spawn(server);
    match check {
        true => follow(&url, &client).await?,
        false => actix_web::rt::signal::ctrl_c().await?,
    }
    distributor.shutdown(Duration::from_secs(5)).await;
    handle.stop(true).await;
    serving.await??;
    println!("{}", herald.shutdown(Duration::from_secs(5)).await?);
    // Keep the items, and remove the triggers.
    trigger::plan_uninstall(&client, &[table])
        .await?
        .apply(&client)
        .await?;
    Ok(())
}

/// Does what the page does: follows the events, and expects a change by SQL among them.
async fn follow(url: &str, client: &Client) -> Result<(), Failure> {
    let stream = awc::Client::default().get(format!("{url}/v1/events?table=public.live_items"));
    let mut stream = stream.send().await.map_err(|error| error.to_string())?;
    let mut received = String::new();
    while !received.contains(r#""stock":41"#) {
        let bytes = stream.next().await.ok_or("the stream has ended")??;
        received.push_str(std::str::from_utf8(&bytes)?);
        if received.contains(r#""type":"live""#) {
            client
                .execute("UPDATE live_items SET stock = 41 WHERE id = 1", &[])
                .await?;
        }
    }
    print!("{received}");
    Ok(())
}
