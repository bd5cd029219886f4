//! The routes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream::{self, Stream, StreamExt};
use pgherald::prometheus::PrometheusHandle;
use pgherald::{Delivery, Filter, Herald, SubscriptionOptions, Table};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use crate::Failure;
use crate::shop::{Order, Product, Shop};

/// How long the database can serve all reads without the caches. After a longer outage of the listener, the process is not
/// ready.
const GRACE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct App {
    pub(crate) shop: Arc<Shop>,
    pub(crate) herald: Arc<Herald>,
    pub(crate) metrics: PrometheusHandle,
    /// Whether the process is shutting down.
    pub(crate) closing: watch::Receiver<bool>,
}

pub(crate) fn routes(app: App) -> Router {
    Router::new()
        .route("/products/{id}", get(get_product).put(put_product))
        .route("/orders", post(post_order))
        .route("/orders/{id}", get(get_order))
        .route("/events", get(events))
        .route("/live", get(async || StatusCode::OK))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(app)
}

/// An internal error, which is logged and hidden from the client.
struct Internal(Failure);

impl<E: Into<Failure>> From<E> for Internal {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Internal {
    fn into_response(self) -> Response {
        tracing::error!(error = %self.0, "request failed");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

async fn get_product(State(app): State<App>, Path(id): Path<i64>) -> Result<Response, Internal> {
    let product = app.shop.product(id).await?;
    Ok(found((*product).as_ref()))
}

async fn get_order(State(app): State<App>, Path(id): Path<i64>) -> Result<Response, Internal> {
    let summary = app.shop.summary(id).await?;
    Ok(found((*summary).as_ref()))
}

fn found(value: Option<&impl serde::Serialize>) -> Response {
    match value {
        Some(value) => Json(value).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[derive(Deserialize)]
struct NewPrice {
    name: String,
    price_cents: i64,
}

async fn put_product(
    State(app): State<App>,
    Path(id): Path<i64>,
    Json(new): Json<NewPrice>,
) -> Result<StatusCode, Internal> {
    app.shop
        .update_product(id, &new.name, new.price_cents)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct NewOrder {
    product_id: i64,
    quantity: i32,
}

async fn post_order(
    State(app): State<App>,
    Json(new): Json<NewOrder>,
) -> Result<Response, Internal> {
    let id = app.shop.order(new.product_id, new.quantity).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response())
}

/// Streams changes of products and orders as server-sent events.
async fn events(
    State(app): State<App>,
) -> Result<Sse<impl Stream<Item = Result<Message, Infallible>>>, Internal> {
    let filter = Filter::new()
        .table(Product::SCHEMA, Product::NAME)
        .table(Order::SCHEMA, Order::NAME);
    let subscription = app
        .herald
        .open(filter, SubscriptionOptions::new("browsers"))
        .await?;
    let deliveries = stream::unfold(subscription, async |mut subscription| {
        let delivery = subscription.recv().await?;
        Some((delivery, subscription))
    });
    let mut closing = app.closing.clone();
    let messages = deliveries
        .flat_map(|delivery| stream::iter(messages(&delivery)))
        // Otherwise the streams, and with them the graceful shutdown, would never end.
        .take_until(async move { closing.wait_for(|is_closing| *is_closing).await.is_ok() });
    Ok(Sse::new(messages.map(Ok)).keep_alive(KeepAlive::default()))
}

fn messages(delivery: &Delivery) -> Vec<Message> {
    let resync = delivery.resync().map(|resync| {
        // The browser has missed changes and must read the shown data again.
        Message::default().event("resync").data(resync.to_string())
    });
    let events = delivery.events().iter().map(|event| {
        let key = event.key().map(ToString::to_string);
        let data =
            json!({ "table": event.table(), "operation": event.operation().as_str(), "key": key });
        Message::default().event("change").data(data.to_string())
    });
    resync.into_iter().chain(events).collect()
}

/// Returns whether a load balancer may send requests. The process stays ready during a short outage of the listener, in which
/// reads go to the database.
async fn ready(State(app): State<App>) -> Response {
    let health = app.herald.health().borrow().clone();
    let is_ready = health.is_ready(GRACE) && !*app.closing.borrow();
    let status = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, health.to_string()).into_response()
}

async fn metrics(State(app): State<App>) -> String {
    app.metrics.render()
}
