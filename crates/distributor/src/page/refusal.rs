//! Why a request of the page is refused.

use actix_web::http::StatusCode;
use pgherald_core::Error;

use crate::refusal::Refusal;

impl Refusal {
    pub(super) fn no_file() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such file")
    }

    pub(crate) fn no_page() -> Self {
        let message = "this distributor has no live page";
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(super) fn no_database() -> Self {
        let message =
            "the live page has no database; give it one by LivePage::database to see groups";
        Self::new(StatusCode::NOT_FOUND, "no_database", message)
    }

    /// A request that changes something lacks the header that other sites cannot send.
    pub(super) fn foreign(header: &str) -> Self {
        let message = format!("requests that change something need the header {header}: 1");
        Self::new(StatusCode::FORBIDDEN, "missing_header", message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// The database refused an operation, or cannot be reached.
    pub(super) fn failed(error: &Error) -> Self {
        let (status, code) = match error.is_config() {
            true => (StatusCode::NOT_FOUND, "not_found"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "database"),
        };
        Self::new(status, code, error.chain())
    }
}
