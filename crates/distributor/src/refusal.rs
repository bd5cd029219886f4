//! Why a request is refused: a status, a code for programs and a message for people.

use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use crate::telemetry;

/// The answer to a request that is not served.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Problem<'a>,
}

#[derive(Serialize)]
struct Problem<'a> {
    code: &'a str,
    message: &'a str,
}

/// The code of a token whose signature is wrong.
pub(crate) const BAD_SIGNATURE: &str = "bad_signature";

/// The number of seconds after which a client should try again.
const RETRY_AFTER_SECONDS: u64 = 5;

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    pub(crate) fn bad_filter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_filter", message)
    }

    pub(crate) fn unknown_table(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unknown_table", message)
    }

    pub(crate) fn bad_channel(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_channel", message)
    }

    /// The request has no credentials.
    pub(crate) fn unauthorized() -> Self {
        let message = "this distributor requires a token: send the header Authorization: Bearer TOKEN, or a ticket from POST \
            /v1/ticket in the query";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// No access is configured, and the client is on another machine or behind a proxy.
    pub(crate) fn not_local() -> Self {
        let message = "this distributor serves clients on its own machine only, without a proxy, because it has no tokens; configure \
            them: pgherald serve --tokens FILE, or DistributorBuilder::access";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    pub(crate) fn bad_token(problem: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "bad_token", problem)
    }

    /// A signed token that is not signed with this key, but may be with another one.
    pub(crate) fn bad_signature() -> Self {
        let message =
            "the signature of the token is not that of an accepted key with its algorithm";
        Self::new(StatusCode::UNAUTHORIZED, BAD_SIGNATURE, message)
    }

    pub(crate) fn bad_ticket() -> Self {
        let message = "the ticket is not known, has been used or has expired; get a new one from POST /v1/ticket for each connect";
        Self::new(StatusCode::UNAUTHORIZED, "bad_ticket", message)
    }

    pub(crate) fn too_many_tickets(lifetime: Duration) -> Self {
        let message =
            format!("too many tickets wait for their use; unused ones expire after {lifetime:?}");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_tickets", message)
    }

    pub(crate) fn no_random_numbers() -> Self {
        let message = "the operating system has no random numbers for a ticket";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    pub(crate) fn expired() -> Self {
        let message = "the token has expired; get a new one";
        Self::new(StatusCode::UNAUTHORIZED, "expired_token", message)
    }

    pub(crate) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(crate) fn bad_origin() -> Self {
        let message = "pages of this origin may not use the distributor; allow the origin: pgherald serve --origin URL, or \
            DistributorBuilder::origins";
        Self::new(StatusCode::FORBIDDEN, "bad_origin", message)
    }

    pub(crate) fn bad_host() -> Self {
        let message = "without tokens, the distributor answers only to localhost and loopback addresses as host; address it as \
            such, or configure tokens";
        Self::new(StatusCode::FORBIDDEN, "bad_host", message)
    }

    pub(crate) fn forbidden_channel() -> Self {
        let message = "this channel is not among those that the distributor serves";
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(crate) fn too_many_clients(limit: usize) -> Self {
        let message = format!("the limit of {limit} clients is reached; try again later");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_clients", message)
    }

    pub(crate) fn too_many_of_address(limit: usize) -> Self {
        let message = format!("the limit of {limit} clients for one address is reached");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_clients", message)
    }

    pub(crate) fn not_confirmed(limit: Duration) -> Self {
        let message =
            format!("the database has not confirmed the channel within {limit:?}; try again later");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    pub(crate) fn shutting_down() -> Self {
        let message = "the distributor is shutting down; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutdown", message)
    }

    pub(crate) fn no_metrics() -> Self {
        let message = "this distributor has no metrics";
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    pub(crate) fn no_upgrade() -> Self {
        let message = "this address is for WebSocket connections";
        Self::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        telemetry::refused(self.code);
        let mut response = HttpResponse::build(self.status);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        let error = Problem {
            code: self.code,
            message: &self.message,
        };
        response.json(Body { error })
    }
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    use super::Refusal;
    use crate::telemetry::REFUSALS;

    #[test]
    fn each_answer_is_counted_by_its_code() {
        let recorder = DebuggingRecorder::new();
        metrics::with_local_recorder(&recorder, || {
            let _ = Refusal::bad_host().error_response();
            let _ = Refusal::no_upgrade().error_response();
            let _ = Refusal::no_upgrade().error_response();
        });
        let found = recorder.snapshotter().snapshot().into_vec();
        let mut counted: Vec<_> = found
            .iter()
            .map(|(key, _, _, value)| {
                let labels = key.key().labels();
                let codes: Vec<_> = labels.map(|label| label.value()).collect();
                (key.key().name(), codes.join(","), value)
            })
            .collect();
        counted.sort_unstable_by_key(|(_, code, _)| code.clone());
        assert_eq!(
            counted,
            [
                (REFUSALS, "bad_host".to_owned(), &DebugValue::Counter(1)),
                (
                    REFUSALS,
                    "upgrade_required".to_owned(),
                    &DebugValue::Counter(2)
                ),
            ]
        );
    }
}
