//! The requests and comparisons of `--check`.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::Failure;
use crate::shop::Summary;

const LIMIT: Duration = Duration::from_secs(20);

pub(crate) async fn run(url: &str, pool: &PgPool) -> Result<(), Failure> {
    let client = Client::builder().timeout(LIMIT).build()?;
    let get = async |path: &str| client.get(format!("{url}{path}")).send().await;
    expect(get("/live").await?.status() == StatusCode::OK, "alive")?;
    expect(get("/ready").await?.status() == StatusCode::OK, "ready")?;

    let mut events = get("/events").await?.bytes_stream();
    let mut streamed = String::new();
    while !streamed.contains("event: resync") {
        let bytes = events.next().await.ok_or("the stream has ended")??;
        streamed.push_str(&String::from_utf8_lossy(&bytes));
    }

    let before: Value = get("/products/1").await?.json().await?;
    expect(before["name"] == "Coffee", "the product as inserted")?;
    let again: Value = get("/products/1").await?.json().await?;
    expect(before == again, "the cached product")?;
    let new = json!({ "name": "Tea", "price_cents": 390 });
    let put = client.put(format!("{url}/products/1")).json(&new).send();
    expect(put.await?.status() == StatusCode::NO_CONTENT, "an update")?;
    let after: Value = get("/products/1").await?.json().await?;
    expect(after["name"] == "Tea", "the caller's own write")?;

    let order = json!({ "product_id": 1, "quantity": 2 });
    let post = client.post(format!("{url}/orders")).json(&order).send();
    let order: Value = post.await?.json().await?;
    let path = format!("/orders/{}", order["id"]);
    let summary: Summary = get(&path).await?.json().await?;
    expect(
        (summary.product.as_str(), summary.total_cents) == ("Tea", 780),
        "the join",
    )?;

    // A change by another program reaches the cached join as an event.
    sqlx::query("UPDATE shop_products SET price_cents = 400 WHERE id = 1")
        .execute(pool)
        .await?;
    until("the join after a change by another program", async || {
        let summary: Summary = get(&path).await?.json().await?;
        Ok(summary.total_cents == 800)
    })
    .await?;
    until("one receipt", async || {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM shop_receipts")
            .fetch_one(pool)
            .await?;
        Ok(count == 1)
    })
    .await?;
    while !(streamed.contains("shop_products") && streamed.contains("shop_orders")) {
        let bytes = events.next().await.ok_or("the stream has ended")??;
        streamed.push_str(&String::from_utf8_lossy(&bytes));
    }
    let metrics = get("/metrics").await?.text().await?;
    expect(
        metrics.contains("pgherald_listener_events_total"),
        "metrics of the listener",
    )?;
    println!("all answers are as expected");
    Ok(())
}

fn expect(is_met: bool, expectation: &str) -> Result<(), Failure> {
    match is_met {
        true => Ok(()),
        false => Err(format!("expected {expectation}").into()),
    }
}

/// Repeats `holds` until it is true.
async fn until(
    expectation: &str,
    holds: impl AsyncFn() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let attempts = async {
        while !holds().await? {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    let outcome = tokio::time::timeout(LIMIT, attempts).await;
    outcome.unwrap_or_else(|_| Err(format!("expected {expectation}").into()))
}
