//! What surrounds every route: the headers for pages of other origins (CORS), the access log, and the span of a request.

use std::time::Instant;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse, web};
use tracing::Instrument;

use crate::access::{Name, Origins};
use crate::distributor::Shared;
use crate::telemetry::{ACCESS_LOG, SPAN_REQUEST};

/// Answers preflights, adds the headers for pages of allowed origins, and logs the answer. The log has the path without the query,
/// because a query may have a ticket.
pub(crate) async fn front<B: MessageBody>(
    state: web::Data<Shared>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let began = Instant::now();
    let origins = state.origins();
    let origin = allowed_origin(request.headers(), origins);
    let span = tracing::info_span!(
        target: "pgherald_distributor",
        SPAN_REQUEST,
        method = %request.method(),
        path = request.path(),
    );
    let mut response = if is_preflight(&request) {
        let status = match origin {
            Some(_) => StatusCode::NO_CONTENT,
            None => StatusCode::FORBIDDEN,
        };
        request
            .into_response(HttpResponse::new(status))
            .map_into_right_body()
    } else {
        next.call(request)
            .instrument(span)
            .await?
            .map_into_left_body()
    };
    let is_preflight = response.request().method() == Method::OPTIONS;
    add_headers(response.headers_mut(), origin, is_preflight, origins);
    log(&response, began);
    Ok(response)
}

/// The value of `Origin`, if pages of this origin are allowed.
fn allowed_origin(headers: &HeaderMap, origins: &Origins) -> Option<HeaderValue> {
    let origin = headers.get(ORIGIN)?;
    let is_allowed = origin.to_str().is_ok_and(|origin| origins.allow(origin));
    is_allowed.then(|| origin.clone())
}

/// Whether a browser asks whether a page of another origin may send a request.
fn is_preflight(request: &ServiceRequest) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn add_headers(
    headers: &mut HeaderMap,
    origin: Option<HeaderValue>,
    is_preflight: bool,
    origins: &Origins,
) {
    if !origins.is_empty() {
        // Caches must not give one page the answer for another.
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
    let Some(origin) = origin else { return };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if is_preflight {
        let permitted = [
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
            (
                ACCESS_CONTROL_ALLOW_HEADERS,
                "authorization, cache-control, content-type, last-event-id",
            ),
            (ACCESS_CONTROL_MAX_AGE, "600"),
        ];
        for (name, value) in permitted {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}

fn log<B>(response: &ServiceResponse<B>, began: Instant) {
    let request = response.request();
    let name = request.extensions().get::<Name>().cloned();
    tracing::info!(
        target: ACCESS_LOG,
        method = %request.method(),
        path = request.path(),
        status = response.status().as_u16(),
        peer = request.peer_addr().map(|peer| peer.to_string()),
        client = name.as_ref().map(|Name(name)| &**name),
        milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        "answered"
    );
}
