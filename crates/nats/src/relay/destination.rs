//! A stream of JetStream as the destination of a group.

use std::sync::Arc;

use async_nats::jetstream::stream::RawMessageErrorKind;
use async_nats::jetstream::{self, ErrorCode};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use jetstream_extra::batch_publish::{BatchPublishError, BatchPublishErrorKind, BatchPublishExt};
use pgherald_core::__private::host::errors;
use pgherald_core::__private::host::group::{
    Batch, Destination, Identity, Last, LastMessage, Outcome, SliceState, State,
};
use pgherald_core::{Error, ErrorKind, Result};

use super::heartbeats::Slices;
use super::messages::{build, read_identity, read_mark};
use super::metrics::Metrics;
use super::options::RelayOptions;
use super::session::Connector;

/// The maximum number of messages that a server accepts in an atomic batch.
const MAX_BATCH: usize = 1_000;
/// The errors of a batch whose expected sequence is not the last one. The second code has a message without the actual sequence.
const WRONG_LAST: [ErrorCode; 2] = [
    ErrorCode::STREAM_WRONG_LAST_SEQUENCE,
    ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT,
];
/// The errors of a server that has no room. It has then stored no message of the batch.
const NO_ROOM: [ErrorCode; 6] = [
    ErrorCode::STREAM_STORE_FAILED,
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::MEMORY_RESOURCES_EXCEEDED,
    ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED,
];

pub(super) struct JetStream {
    pub(super) connector: Arc<Connector>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) slices: Arc<Slices>,
}

/// Returns the description of the destination, which the group stores.
pub(super) fn name(options: &RelayOptions) -> String {
    format!(
        "stream {} of NATS, prefix {}",
        options.stream, options.prefix
    )
}

impl Destination for JetStream {
    fn name(&self) -> String {
        name(&self.connector.options)
    }

    fn max_batch(&self) -> usize {
        MAX_BATCH
    }

    fn state(&self) -> LocalBoxFuture<'static, Result<State>> {
        let connector = Arc::clone(&self.connector);
        async move {
            let opened = connector.open().await?;
            Ok(State {
                incarnation: opened.incarnation,
                sequence: opened.sequence,
                usage: opened.status.usage_until_refusal(),
                first: opened.first,
                is_limited: opened.is_limited,
            })
        }
        .boxed_local()
    }

    fn last(&self, slice: i32) -> LocalBoxFuture<'static, Result<Last>> {
        let connector = Arc::clone(&self.connector);
        async move {
            let opened = connector.open().await?;
            let subject = connector.options.prefix.slice(number(slice));
            let found = opened
                .stream
                .raw_message_builder()
                .last_by_subject(&subject)
                .send()
                .await;
            let message = match found {
                Ok(message) => Some(LastMessage {
                    sequence: message.sequence,
                    stored_at: message.time.into(),
                    mark: read_mark(&message.headers),
                }),
                Err(cause) if matches!(cause.kind(), RawMessageErrorKind::NoMessageFound) => None,
                Err(cause) => return Err(unread(&subject, cause)),
            };
            Ok(Last {
                incarnation: opened.incarnation,
                message,
                max_age: opened.status.max_age,
            })
        }
        .boxed_local()
    }

    fn stored(
        &self,
        slice: i32,
        (first, last): (u64, u64),
        limit: usize,
    ) -> LocalBoxFuture<'static, Result<Option<Vec<Identity>>>> {
        let connector = Arc::clone(&self.connector);
        async move {
            let opened = connector.open().await?;
            let subject = connector.options.prefix.slice(number(slice));
            let (mut stored, mut next) = (Vec::new(), first);
            // Read each message from the leader, because a replica that lags behind would leave some out.
            while next <= last {
                let request = opened.stream.raw_message_builder();
                let found = request
                    .sequence(next)
                    .next_by_subject(&subject)
                    .send()
                    .await;
                let message = match found {
                    Ok(message) if message.sequence <= last => message,
                    Ok(_) => break,
                    Err(cause) if matches!(cause.kind(), RawMessageErrorKind::NoMessageFound) => {
                        break;
                    }
                    Err(cause) => return Err(unread(&subject, cause)),
                };
                stored.extend(read_identity(&message.headers));
                if stored.len() > limit {
                    return Ok(None);
                }
                next = message.sequence + 1;
            }
            Ok(Some(stored))
        }
        .boxed_local()
    }

    fn store(&self, batch: Batch) -> LocalBoxFuture<'static, Outcome> {
        let (connector, metrics) = (Arc::clone(&self.connector), Arc::clone(&self.metrics));
        async move {
            let outcome = store(&connector, &metrics, &batch).await;
            match &outcome {
                Outcome::Stored(_) => metrics.batch(&metrics.stored, "stored"),
                Outcome::Fenced => metrics.batch(&metrics.fenced, "fenced"),
                Outcome::Refused(_) => metrics.batch(&metrics.refused, "refused"),
                Outcome::Unknown(_) => metrics.batch(&metrics.unknown, "unknown"),
            }
            outcome
        }
        .boxed_local()
    }

    fn observe(&self, slices: Vec<SliceState>) {
        self.slices.set(slices);
    }
}

async fn store(connector: &Connector, metrics: &Metrics, batch: &Batch) -> Outcome {
    let session = match connector.session().await {
        Ok(session) => session,
        Err(error) => return Outcome::Refused(error),
    };
    let mut built = build(batch, &connector.options.prefix, &session);
    let Some(last) = built.messages.pop() else {
        return Outcome::Refused(errors::bad_nats("a batch without messages".to_owned()));
    };
    // One round trip: the response to the last message is the outcome of the whole batch.
    let mut publish = session.context.batch_publish().ack_first(false).build();
    for message in built.messages {
        if let Err(cause) = publish.add_message(message).await {
            return concluded(connector, cause);
        }
    }
    match publish.commit_message(last).await {
        Ok(stored) => {
            metrics.events(built.events);
            metrics.truncated(built.truncated);
            for reason in built.resyncs {
                metrics.resync(reason);
            }
            Outcome::Stored(stored.sequence)
        }
        Err(cause) => concluded(connector, cause),
    }
}

/// Returns the outcome of a batch that was not acknowledged. In doubt the outcome is unknown, and the relay reads from the stream
/// whether the batch is stored.
fn concluded(connector: &Connector, cause: BatchPublishError) -> Outcome {
    let name = &connector.options.stream;
    let code = std::error::Error::source(&cause)
        .and_then(|cause| cause.downcast_ref::<jetstream::Error>())
        .map(jetstream::Error::error_code);
    if code.is_some_and(|code| WRONG_LAST.contains(&code)) {
        return Outcome::Fenced;
    }
    if code.is_some_and(|code| NO_ROOM.contains(&code)) {
        let message = format!(
            "stream {name:?} is full, or the server has no room for it: raise its limits, or delete messages"
        );
        return Outcome::Refused(errors::nats(
            ErrorKind::Destination,
            message,
            Some(cause.into()),
        ));
    }
    // The server ignores the messages of a batch that it does not accept, and reports it only when the batch ends.
    if let BatchPublishErrorKind::BatchPublishIncomplete
    | BatchPublishErrorKind::BatchPublishTooManyInflight = cause.kind()
    {
        let message = format!(
            "stream {name:?} has not kept the messages of a batch: it has as many unfinished batches as its server accepts, or another \
             server has become its leader; run fewer relays, or lower their concurrency, if this goes on"
        );
        return Outcome::Refused(errors::nats(
            ErrorKind::Destination,
            message,
            Some(cause.into()),
        ));
    }
    let (kind, what) = match cause.kind() {
        BatchPublishErrorKind::BatchPublishNotEnabled => (
            ErrorKind::Destination,
            "does not allow atomic batches any more (`nats stream edit --allow-batch`)",
        ),
        _ => (ErrorKind::Disconnected, "has not acknowledged a batch"),
    };
    let message = format!("stream {name:?} {what}");
    Outcome::Unknown(errors::nats(kind, message, Some(cause.into())))
}

fn unread(subject: &str, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let message = format!("cannot read a message of {subject}");
    errors::nats(ErrorKind::Disconnected, message, Some(cause.into()))
}

fn number(slice: i32) -> u16 {
    u16::try_from(slice).unwrap_or(u16::MAX)
}
