//! Who may see the page's data, and who may change groups.

use actix_web::HttpRequest;

use crate::access::Grant;
use crate::distributor::Shared;
use crate::refusal::Refusal;

/// The header of requests that change something. A form or an image of another site cannot send it, and a script of another site
/// only after a preflight request, which is refused.
pub(super) const HEADER: &str = "x-pgherald-operator";

/// Returns what the sender of a request may do, or refuses a request of a sender that may not see the state of the distributor.
pub(super) fn viewer(state: &Shared, request: &HttpRequest) -> Result<Grant, Refusal> {
    let grant = state.authorize(request)?;
    grant.require_observe()?;
    Ok(grant)
}

/// Returns what the sender of a request may do, or refuses a request of a sender that may not operate groups. Parked events have the
/// values of rows, whatever the tables of the sender, so to see them needs the same right as to change them.
pub(super) fn reader(state: &Shared, request: &HttpRequest) -> Result<Grant, Refusal> {
    let grant = state.authorize(request)?;
    match grant.may_operate() {
        true => Ok(grant),
        false => Err(Refusal::forbidden("the token lacks the right \"operate\"")),
    }
}

/// Like [`reader`], for a request that changes something. Refuses one that another site may have sent.
pub(super) fn operator(state: &Shared, request: &HttpRequest) -> Result<Grant, Refusal> {
    let grant = reader(state, request)?;
    let header = request.headers().get(HEADER);
    match header.is_some_and(|value| value == "1") {
        true => Ok(grant),
        false => Err(Refusal::foreign(HEADER)),
    }
}
