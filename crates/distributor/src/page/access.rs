//! Who may see the page's data, and who may change groups.

use actix_web::HttpRequest;

use crate::distributor::Shared;
use crate::refusal::Refusal;

/// The header of requests that change something. A form or an image of another site cannot send it, and a script of another site
/// only after a preflight request, which is refused.
pub(super) const HEADER: &str = "x-pgherald-operator";

/// A person who may see the page's data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Viewer {
    pub(super) may_operate: bool,
}

/// Returns what the sender of a request may do.
pub(super) fn viewer(_state: &Shared, _request: &HttpRequest) -> Result<Viewer, Refusal> {
    Ok(Viewer { may_operate: true })
}

/// Refuses a request of which the sender may not operate, or that another site may have sent.
pub(super) fn operator(state: &Shared, request: &HttpRequest) -> Result<(), Refusal> {
    if request
        .headers()
        .get(HEADER)
        .is_none_or(|value| value != "1")
    {
        return Err(Refusal::foreign(HEADER));
    }
    viewer(state, request).map(drop)
}
