//! A subscription that may be dropped anywhere.
//!
//! The library's own one spawns a task when it is dropped, and panics where no runtime runs. A source is dropped there when a program
//! or a test ends, for example.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_nats::{Client, Message, SubscribeError, Subscriber};
use futures_util::Stream as _;
use tokio::runtime::Handle;

pub(super) struct Subscription {
    /// `None` only while it is dropped.
    subscriber: Option<Subscriber>,
    runtime: Handle,
}

impl Subscription {
    pub(super) async fn new(client: &Client, subject: String) -> Result<Self, SubscribeError> {
        Ok(Self {
            subscriber: Some(client.subscribe(subject).await?),
            runtime: Handle::current(),
        })
    }

    /// Returns the next message. `None` if the connection has ended.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        match &mut self.subscriber {
            Some(subscriber) => Pin::new(subscriber).poll_next(cx),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // A runtime that has ended drops the task.
        let _entered = self.runtime.enter();
        self.subscriber = None;
    }
}
