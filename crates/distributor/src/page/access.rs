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

/// Refuses a request of which the sender may not operate, or that another site may have sent.
pub(super) fn operator(state: &Shared, request: &HttpRequest) -> Result<Grant, Refusal> {
    let grant = state.authorize(request)?;
    if !grant.may_operate() {
        return Err(Refusal::forbidden("the token lacks the right \"operate\""));
    }
    let header = request.headers().get(HEADER);
    match header.is_some_and(|value| value == "1") {
        true => Ok(grant),
        false => Err(Refusal::foreign(HEADER)),
    }
}
