//! Looks at the stream from time to time.
//!
//! Messages may be removed from a stream before they are read: by its limits, or by an operator who purges it. No delivery shows
//! that. But the first sequence of the stream does: if it is beyond what the source had received at the look before, messages were
//! removed that were stored since then. So a stream has to keep its messages for longer than the interval of inspections.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::jetstream::stream::{Info, Stream};
use pgherald_core::Result;
use tokio::time::{Instant, Sleep, sleep_until};

use super::builder::Settings;
use super::refusal;
use super::stream;

const INTERVAL: Duration = Duration::from_secs(10);

type Request = Pin<Box<dyn Future<Output = Option<Info>> + Send>>;

pub(super) struct Inspection {
    settings: Arc<Settings>,
    stream: Stream,
    /// What the source had received at the last look.
    position: u64,
    stage: Stage,
}

enum Stage {
    Waiting(Pin<Box<Sleep>>),
    Asking(Request),
}

impl Inspection {
    pub(super) fn new(settings: Arc<Settings>, stream: Stream, position: u64) -> Self {
        Self {
            settings,
            stream,
            position,
            stage: waiting(),
        }
    }

    /// Ready when a look has shown something: that messages were removed before they were read, or an error if the stream is
    /// another one, or its configuration does not fit any more. `position` is what the source has received.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, position: u64) -> Poll<Result<()>> {
        loop {
            match &mut self.stage {
                Stage::Waiting(timer) => {
                    std::task::ready!(timer.as_mut().poll(cx));
                    self.stage = Stage::Asking(ask(self.stream.clone()));
                }
                Stage::Asking(request) => {
                    let info = std::task::ready!(request.as_mut().poll(cx));
                    self.stage = waiting();
                    if let Some(shown) = info.and_then(|info| self.compare(&info, position)) {
                        return Poll::Ready(shown);
                    }
                }
            }
        }
    }

    fn compare(&mut self, info: &Info, position: u64) -> Option<Result<()>> {
        if info.created != self.stream.cached_info().created {
            return Some(Err(refusal::another_stream(&self.settings)));
        }
        if let Err(error) = stream::check(&self.settings, &info.config) {
            return Some(Err(error));
        }
        let before = std::mem::replace(&mut self.position, position);
        (info.state.first_sequence > before.saturating_add(1)).then_some(Ok(()))
    }
}

fn waiting() -> Stage {
    Stage::Waiting(Box::pin(sleep_until(Instant::now() + INTERVAL)))
}

/// `None` if there is no answer. A server that does not answer is noticed by other means.
fn ask(stream: Stream) -> Request {
    Box::pin(async move { stream.get_info().await.ok() })
}
