//! Errors of a source on a stream.

use std::time::Duration;

use pgherald_core::__private::host::errors::nats;
use pgherald_core::{Error, ErrorKind};

use super::builder::Settings;
use super::liveness::Late;

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn disconnected(message: String) -> Error {
    nats(ErrorKind::Disconnected, message, None)
}

/// The stream cannot be looked up.
pub(super) fn no_stream(settings: &Settings, cause: impl Into<Cause>) -> Error {
    let message = format!(
        "cannot read the stream {} of NATS at {}: check its name, that a relay writes to it, and the permissions of the user",
        settings.stream, settings.config
    );
    nats(ErrorKind::Connect, message, Some(cause.into()))
}

/// The stream does not store the relay's subjects.
pub(super) fn other_subjects(settings: &Settings, subjects: &[String]) -> Error {
    let message = format!(
        "the stream {} does not store {}, but {}: check the prefix and the name of the stream",
        settings.stream,
        settings.prefix.all(),
        subjects.join(", ")
    );
    nats(ErrorKind::Protocol, message, None)
}

/// The stream is a mirror that filters its origin, or renames subjects.
pub(super) fn partial_mirror(settings: &Settings, origin: &str) -> Error {
    let message = format!(
        "the stream {} is a mirror of {origin} that leaves out or renames subjects, so announcements of lost changes may be missing: \
         mirror the whole stream, and select tables in the source",
        settings.stream
    );
    nats(ErrorKind::Protocol, message, None)
}

/// The stream deletes a message when later messages of its subject arrive.
pub(super) fn replaces_messages(settings: &Settings, limit: i64) -> Error {
    let message = format!(
        "the stream {} keeps {limit} messages of each subject, so the server may delete an event before it is read, and the source \
         would not detect that: remove the limit (`nats stream edit {} --max-msgs-per-subject=-1`)",
        settings.stream, settings.stream
    );
    nats(ErrorKind::Protocol, message, None)
}

/// The server refuses a consumer.
pub(super) fn no_consumer(settings: &Settings, cause: impl Into<Cause>) -> Error {
    let message = format!(
        "cannot create a consumer of the stream {}: check the permissions of the user, and the limits of the stream and its account",
        settings.stream
    );
    nats(ErrorKind::Connect, message, Some(cause.into()))
}

/// A request on a new connection has failed.
pub(super) fn no_subscription(settings: &Settings, cause: impl Into<Cause>) -> Error {
    let message = format!("cannot subscribe to NATS at {}", settings.config);
    nats(ErrorKind::Disconnected, message, Some(cause.into()))
}

/// The connection was lost.
pub(super) fn lost(settings: &Settings) -> Error {
    disconnected(format!(
        "the connection to NATS at {} was lost",
        settings.config
    ))
}

/// Deliveries of the consumer were lost on their way.
pub(super) fn gap(settings: &Settings, lost: u64) -> Error {
    disconnected(format!(
        "{lost} messages of the stream {} were lost on their way: the source was too slow, or the connection was interrupted",
        settings.stream
    ))
}

/// The position of the consumer has decreased.
pub(super) fn went_back(settings: &Settings, sequence: u64, before: u64) -> Error {
    disconnected(format!(
        "the position of the consumer in the stream {} has decreased from {before} to {sequence}: the server has lost the stream",
        settings.stream
    ))
}

/// The stream is a mirror whose origin was deleted and created again.
pub(super) fn stale_mirror(settings: &Settings) -> Error {
    let message = format!(
        "the stream {} is a mirror, and its origin was deleted and created again: the mirror does not receive the new messages; \
         delete the mirror, and create it again",
        settings.stream
    );
    nats(ErrorKind::Protocol, message, None)
}

/// The consumer is silent.
pub(super) fn silent(settings: &Settings, limit: Duration) -> Error {
    disconnected(format!(
        "the consumer of the stream {} has been silent for {limit:?}: the server has stopped or lost it, or the stream was deleted",
        settings.stream
    ))
}

/// The stream was deleted and created again.
pub(super) fn another_stream(settings: &Settings) -> Error {
    disconnected(format!(
        "the stream {} was deleted and created again",
        settings.stream
    ))
}

/// The relays do not keep up. `complaint` is the last error that the server has reported.
pub(super) fn late(settings: &Settings, late: &Late, complaint: Option<String>) -> Error {
    let limit = settings.max_lag;
    let mut message = match late {
        Late::Unheard => format!(
            "no heartbeat of a relay has arrived at {} within {limit:?}: start a relay of this prefix, or correct the prefix",
            settings.prefix.heartbeats()
        ),
        Late::Groups((one, slices), (other, of_other)) => format!(
            "relays of two groups, {one:?} with {slices} and {other:?} with {of_other} slices, send heartbeats at {}: give each group \
             its own prefix and stream, or stop the relays of one of them",
            settings.prefix.heartbeats()
        ),
        Late::Slices {
            count,
            first,
            of,
            is_behind,
        } => {
            let cause = match is_behind {
                true => "the source has not received the messages that they have stored",
                false => "their relay has stopped, is behind, or cannot reach PostgreSQL or NATS",
            };
            format!(
                "{count} of {of} slices are behind by {limit:?} or more, slice {first} among them: {cause}; see `pgherald status`"
            )
        }
    };
    if let Some(complaint) = complaint {
        message = format!("{message}. The server has reported: {complaint}");
    }
    nats(ErrorKind::Timeout, message, None)
}
