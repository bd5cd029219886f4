//! Inspects the stream at intervals.
//!
//! The limits of a stream, or an operator who purges it, may remove messages before they are read. Deliveries do not show that, but
//! the first sequence of the stream does. If it is beyond the position of the source at the previous inspection, messages that were
//! stored since then were removed. So a stream has to keep its messages for longer than the interval of inspections.

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
    /// The position of the source at the last inspection.
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

    /// Ready if messages may have been removed before they were read. Ready with an error if the stream was created again, or its
    /// configuration no longer fits. `position` is the present position of the source.
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

/// Returns `None` if the server does not answer. The session detects a silent server.
fn ask(stream: Stream) -> Request {
    Box::pin(async move { stream.get_info().await.ok() })
}
