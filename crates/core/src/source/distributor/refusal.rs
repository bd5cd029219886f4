//! Errors of a distributor, as errors of a source.

use std::io;

use serde::Deserialize;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::{Response, StatusCode};
use tokio_tungstenite::tungstenite::{self, protocol::CloseFrame};

use super::address::Address;
use crate::error::{Error, ErrorKind};
use crate::event::excerpt;

/// The close code of a token that has expired.
const EXPIRED: u16 = 4401;

/// The body of a refusal.
#[derive(Deserialize)]
struct Body {
    error: Detail,
}

#[derive(Deserialize)]
struct Detail {
    code: String,
    message: String,
}

/// The upgrade to a WebSocket failed.
pub(super) fn upgrade(from: &Address, has_token: bool, cause: tungstenite::Error) -> Error {
    match cause {
        tungstenite::Error::Http(response) => refused(from, has_token, &response),
        cause => failed(
            from,
            ErrorKind::Connect,
            "cannot open a WebSocket to",
            cause,
        ),
    }
}

/// The connection failed.
pub(super) fn broken(from: &Address, limit: usize, cause: tungstenite::Error) -> Error {
    match cause {
        tungstenite::Error::Capacity(cause) => {
            let message = format!(
                "a message of the distributor at {from} exceeds the limit of {limit} bytes; raise message_limit()"
            );
            Error::with_source(ErrorKind::Protocol, message, cause)
        }
        cause @ tungstenite::Error::Utf8(_) => failed(
            from,
            ErrorKind::Protocol,
            "no message, but other bytes from",
            cause,
        ),
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => ended(from),
        cause => failed(
            from,
            ErrorKind::Disconnected,
            "lost the connection to",
            cause,
        ),
    }
}

fn failed(from: &Address, kind: ErrorKind, what: &str, cause: tungstenite::Error) -> Error {
    let message = format!("{what} the distributor at {from}");
    match cause {
        // Its text repeats the cause.
        tungstenite::Error::Io(cause) => io_failed(kind, message, cause),
        cause => Error::with_source(kind, message, cause),
    }
}

/// A connection, or its TLS handshake, failed.
pub(super) fn io_failed(kind: ErrorKind, message: String, cause: io::Error) -> Error {
    let by_tls = cause
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>());
    let kind = if by_tls { ErrorKind::Tls } else { kind };
    Error::with_source(kind, message, cause)
}

/// The connection ended without a reason.
pub(super) fn ended(from: &Address) -> Error {
    let message = format!("the distributor at {from} has closed the connection");
    Error::new(ErrorKind::Disconnected, message)
}

/// Nothing has arrived for too long.
pub(super) fn silent(from: &Address, limit: std::time::Duration) -> Error {
    let message = format!("nothing from the distributor at {from} within {limit:?}");
    Error::new(ErrorKind::Disconnected, message)
}

/// The distributor is connected, but has lost its own source.
pub(super) fn down(from: &Address, reason: &str) -> Error {
    let (kind, why) = match reason {
        "triggers" => (
            ErrorKind::Triggers,
            "triggers of a watched table are missing or outdated",
        ),
        "disconnected" => (ErrorKind::Disconnected, "it has lost its database"),
        reason => (ErrorKind::Disconnected, &*excerpt(reason)),
    };
    Error::new(
        kind,
        format!("the distributor at {from} is not live: {why}"),
    )
}

/// The distributor has announced that it closes the connection.
pub(super) fn closed(from: &Address, reason: &str) -> Error {
    match reason {
        "expired" => expired(from),
        "shutdown" => {
            let message = format!("the distributor at {from} shuts down");
            Error::new(ErrorKind::Disconnected, message)
        }
        reason => {
            let message = format!(
                "the distributor at {from} closes the connection: {}",
                excerpt(reason)
            );
            Error::new(ErrorKind::Disconnected, message)
        }
    }
}

/// The distributor has sent a close frame.
pub(super) fn close_frame(from: &Address, frame: Option<&CloseFrame>) -> Error {
    let Some(frame) = frame else {
        return ended(from);
    };
    if u16::from(frame.code) == EXPIRED {
        return expired(from);
    }
    let (code, reason) = (u16::from(frame.code), excerpt(&frame.reason));
    let message =
        format!("the distributor at {from} has closed the connection with code {code}: {reason}");
    Error::new(ErrorKind::Disconnected, message)
}

fn expired(from: &Address) -> Error {
    let message = format!("the token for the distributor at {from} has expired");
    Error::new(ErrorKind::Authentication, message)
}

/// A message cannot be read.
pub(super) fn not_a_message(from: &Address, text: &str, cause: serde_json::Error) -> Error {
    let message = format!(
        "the distributor at {from} has sent no message, but {}",
        excerpt(text)
    );
    Error::with_source(ErrorKind::Protocol, message, cause)
}

/// The first message is none that opens a stream.
pub(super) fn no_hello(from: &Address) -> Error {
    let message = format!("the first message of the distributor at {from} is not a hello");
    Error::new(ErrorKind::Protocol, message)
}

/// A request was answered by something other than an upgrade.
fn refused(from: &Address, has_token: bool, response: &Response<Option<Vec<u8>>>) -> Error {
    let status = response.status();
    let body = response.body().as_deref().unwrap_or_default();
    let detail = match serde_json::from_slice::<Body>(body) {
        Ok(Body { error }) => format!(": {}, {}", excerpt(&error.code), excerpt(&error.message)),
        Err(_) => String::new(),
    };
    let (kind, what) = match status {
        StatusCode::UNAUTHORIZED if has_token => (ErrorKind::Authentication, "refuses the token"),
        StatusCode::UNAUTHORIZED => (ErrorKind::Authentication, "requires a token"),
        StatusCode::FORBIDDEN => (ErrorKind::Authentication, "does not allow these events"),
        StatusCode::BAD_REQUEST => (ErrorKind::Config, "refuses the request"),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            (ErrorKind::Connect, "accepts no client now")
        }
        status if status.is_server_error() => (ErrorKind::Connect, "accepts no client now"),
        _ => (ErrorKind::Protocol, "has no stream at this URL"),
    };
    Error::new(
        kind,
        format!(
            "the distributor at {from} {what} (status {}{detail})",
            status.as_u16()
        ),
    )
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::http::Response;

    use super::super::address::Address;
    use super::{refused, upgrade};
    use crate::ErrorKind;

    fn from() -> Address {
        Address::parse("https://a.example/x").unwrap()
    }

    #[test]
    fn refusals_have_a_kind_and_the_distributors_own_words() {
        let body = r#"{"error":{"code":"bad_filter","message":"unknown\nparameter"}}"#;
        for (status, kind) in [
            (400, ErrorKind::Config),
            (401, ErrorKind::Authentication),
            (403, ErrorKind::Authentication),
            (302, ErrorKind::Protocol),
            (404, ErrorKind::Protocol),
            (426, ErrorKind::Protocol),
            (408, ErrorKind::Connect),
            (429, ErrorKind::Connect),
            (500, ErrorKind::Connect),
            (503, ErrorKind::Connect),
        ] {
            let response =
                |body: Option<Vec<u8>>| Response::builder().status(status).body(body).unwrap();
            let error = refused(&from(), true, &response(Some(body.into())));
            assert_eq!(error.kind(), kind, "{status}");
            assert!(error.to_string().contains("bad_filter"), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
            let bare = refused(&from(), false, &response(None)).to_string();
            assert!(bare.contains(&format!("(status {status})")), "{bare}");
        }
    }

    #[test]
    fn a_failed_upgrade_names_the_distributor() {
        let cause = std::io::Error::other("connection refused").into();
        let error = upgrade(&from(), false, cause);
        assert_eq!(error.kind(), ErrorKind::Connect);
        assert_eq!(
            error.chain(),
            "cannot open a WebSocket to the distributor at https://a.example/x: connection refused"
        );
    }
}
