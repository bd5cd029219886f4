//! Sends messages to one client of Server-Sent Events.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodyStream, BoxBody};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Bytes;
use futures_util::stream;
use metrics::Counter;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::clients::Admission;
use crate::feed::{Closing, Feed, Next};
use crate::limits::Limits;
use crate::socket::Admitted;
use crate::telemetry;

/// The blocks that wait between the task and the connection.
const WAITING: usize = 16;

/// Starts to send.
pub(crate) fn start(admission: Admission, feed: Feed, limits: &Limits) -> HttpResponse {
    let (blocks, received) = mpsc::channel(WAITING);
    let messages = admission.transport().messages();
    actix_web::rt::spawn(run(feed, blocks, messages, limits.write));
    let body = stream::unfold(received, |mut received| async {
        let block = received.recv().await?;
        Some((Ok::<Bytes, Infallible>(block), received))
    });
    let body = Admitted {
        body: BodyStream::new(Box::pin(body)),
        admission,
    };
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        // nginx would otherwise collect the blocks.
        .insert_header(("x-accel-buffering", "no"))
        .body(BoxBody::new(body))
}

async fn run(mut feed: Feed, blocks: mpsc::Sender<Bytes>, messages: Counter, write: Duration) {
    loop {
        let next = tokio::select! {
            biased;
            () = blocks.closed() => return,
            next = feed.next() => next,
        };
        let (block, is_last) = match next {
            Next::Message(message) => (message.sse(), false),
            Next::Close(closing) => (last(closing), true),
        };
        let sent = timeout(write, blocks.send(block)).await;
        messages.increment(1);
        if is_last || !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// The last block. An `EventSource` reconnects by itself, after the time in the field `retry`.
fn last(closing: Closing) -> Bytes {
    telemetry::closed(closing.reason());
    let block = closing.message().sse();
    match closing {
        Closing::Shutdown { retry } => {
            let retry = format!("retry: {}\n", retry.as_millis());
            [retry.as_bytes(), &block].concat().into()
        }
        Closing::Lagged | Closing::Expired | Closing::Disconnected => block,
    }
}
