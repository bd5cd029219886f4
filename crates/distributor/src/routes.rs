//! The routes.

use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, Result, Route, web};
use pgherald_core::ChannelName;

use crate::distributor::Shared;
use crate::front::front;
use crate::page;
use crate::refusal::Refusal;
use crate::socket::{self, Channel, check_upgrade};
use crate::telemetry::Transport;
use crate::{process, sse, ticket};

type State = web::Data<Shared>;

pub(crate) fn configure(state: &State, config: &mut web::ServiceConfig) {
    config.app_data(State::clone(state));
    // Probes are not logged: they are frequent, and carry no information.
    config
        .route("/up", web::get().to(process::healthz))
        .route("/healthz", web::get().to(process::healthz))
        .route("/readyz", web::get().to(process::readyz));
    add(config, "/v1/events", web::get().to(events));
    add(config, "/v1/ws", web::get().to(ws));
    add(config, "/v1/ticket", web::post().to(ticket::ticket));
    if state.channels.is_some() {
        add(config, "/pgpubsub/{channel}", web::get().to(pgpubsub));
    }
    if state.metrics.is_some() {
        add(config, "/metrics", web::get().to(process::metrics));
    }
    if state.page().is_ok() {
        page::configure(config);
    }
}

/// Adds a route with what surrounds every route.
pub(crate) fn add(config: &mut web::ServiceConfig, path: &str, route: Route) {
    config.service(web::resource(path).route(route).wrap(from_fn(front)));
}

/// The payloads of one channel, as in PGCacheWatch.
async fn pgpubsub(
    state: State,
    request: HttpRequest,
    channel: web::Path<String>,
    body: web::Payload,
) -> Result<HttpResponse> {
    check_upgrade(&request)?;
    let grant = state.authorize(&request)?;
    let channel = ChannelName::new(&*channel);
    let channel = channel.map_err(|error| Refusal::bad_channel(error.chain()))?;
    let channels = state.channels.as_ref();
    let (channels, allowed) = channels.ok_or_else(Refusal::forbidden_channel)?;
    if !allowed.allow(channel.as_str()) {
        return Err(Refusal::forbidden_channel().into());
    }
    grant.require_channel(channel.as_str())?;
    let admission = state.admit(&request, Transport::Channel)?;
    let limit = state.limits.upgrade;
    let mut switch = state.switch(&grant);
    // The socket is accepted after the server has confirmed LISTEN, so the client misses nothing after its connect.
    let confirmed = tokio::select! {
        closing = switch.off() => return Err(closing.refusal().into()),
        confirmed = tokio::time::timeout(limit, channels.listen(channel)) => confirmed,
    };
    let confirmed = confirmed.map_err(|_| Refusal::not_confirmed(limit))?;
    let payloads = confirmed.map_err(|error| Refusal::bad_channel(error.to_string()))?;
    let outgoing = Channel { payloads, switch };
    socket::start(&request, body, admission, outgoing, &state.limits)
}

/// Events as Server-Sent Events.
async fn events(state: State, request: HttpRequest) -> Result<HttpResponse> {
    let (admission, feed) = state.open(&request, Transport::Sse).await?;
    Ok(sse::start(admission, feed, &state.limits))
}

/// Events over WebSocket.
async fn ws(state: State, request: HttpRequest, body: web::Payload) -> Result<HttpResponse> {
    check_upgrade(&request)?;
    let (admission, feed) = state.open(&request, Transport::WebSocket).await?;
    socket::start(&request, body, admission, feed, &state.limits)
}
