//! A subscription that can be dropped outside of a runtime.
//!
//! The client library's subscription spawns a task when it is dropped, and panics outside of a runtime. A source may be dropped
//! there when a program or a test ends, for example.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll};

use async_nats::{Client, Message, SubscribeError, Subscriber};
use futures_util::StreamExt as _;
use tokio::runtime::Handle;
use tokio::task::unconstrained;

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

    /// Returns the next message, or `None` if the connection has ended. Pending only if there is no message: the budget of the task
    /// is ignored.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        match &mut self.subscriber {
            Some(subscriber) => pin!(unconstrained(subscriber.next())).poll(cx),
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
