//! Issues tickets.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use crate::access::TICKET_LIFETIME;
use crate::distributor::Shared;
use crate::refusal::Refusal;

#[derive(Serialize)]
struct Ticket {
    ticket: String,
    expires_ms: u128,
}

/// A ticket with the rights of the token.
pub(crate) async fn ticket(
    state: web::Data<Shared>,
    request: HttpRequest,
) -> Result<HttpResponse, Refusal> {
    let grant = state.authorize(&request)?;
    let ticket = state.ticket(&grant)?;
    let expires_ms = TICKET_LIFETIME.as_millis();
    Ok(HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(Ticket { ticket, expires_ms }))
}
