//! Routes about the process: whether it answers, whether its source is live, and its metrics.

use std::fmt;
use std::sync::Arc;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse, web};
use pgherald_core::Health;
use serde::Serialize;

use crate::distributor::Shared;
use crate::refusal::Refusal;

type State = web::Data<Shared>;

/// Writes the metrics of the process.
#[derive(Clone)]
pub(crate) struct Render(Arc<dyn Fn() -> String + Send + Sync>);

impl Render {
    pub(crate) fn new(render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(render))
    }
}

impl fmt::Debug for Render {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Render")
    }
}

#[derive(Serialize)]
struct Ready {
    live: bool,
}

/// Whether the process answers. For a liveness probe: a restart does not help against a database that is down.
pub(crate) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().finish()
}

/// Whether the source is live and the distributor accepts clients. For a readiness probe and for load balancers.
pub(crate) async fn readyz(state: State) -> HttpResponse {
    let live = matches!(&*state.health().borrow(), Health::Live { .. }) && !state.is_off();
    let mut response = match live {
        true => HttpResponse::Ok(),
        false => HttpResponse::ServiceUnavailable(),
    };
    response.json(Ready { live })
}

/// The metrics of the process, for Prometheus.
pub(crate) async fn metrics(state: State, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    state.authorize(&request)?.require_observe()?;
    let Render(render) = state.metrics.as_ref().ok_or_else(Refusal::no_metrics)?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4"))
        .body(render()))
}
