//! The actor that runs a consumer of a group.
//!
//! Owner: the actor owns the consumer. The consumer reads the outbox, reconnects and survives its own panics without the
//! actor. The actor runs it on an arbiter, and answers messages about it.

use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Context, Handler, MessageResult, ResponseActFuture,
    WrapFuture,
};
use pgherald_core::group::{Consumer, ConsumerHandle};
use tokio::task::JoinHandle;

use crate::messages::{Drain, GetReport};
use crate::report::HandlerReport;

/// Runs a durable handler's [`Consumer`] on the current arbiter.
///
/// [`Herald::start_durable`](crate::Herald::start_durable), [`start_transactional`](crate::Herald::start_transactional) and
/// [`start_batches`](crate::Herald::start_batches) start this actor. Without a herald:
///
/// ```no_run
/// use actix::Actor;
/// use pgherald_actors::DurableActor;
/// use pgherald_core::group::Consumer;
/// use pgherald_core::{Attempt, ConnectConfig, DurableOptions, Event, EventHandler, HandlerResult};
///
/// struct Print;
/// impl EventHandler for Print {
///     type Event = Event;
///     async fn handle(&self, event: Event, _: Attempt) -> HandlerResult {
///         println!("{event}");
///         Ok(())
///     }
/// }
///
/// # #[actix::main]
/// # async fn main() -> pgherald_core::Result<()> {
/// let config: ConnectConfig = "postgresql://app@localhost/shop".parse()?;
/// let (handle, consumer) = Consumer::new(config, DurableOptions::new("print"), || Print)?;
/// let print = DurableActor::new(handle, consumer).start();
/// # let _ = print;
/// # Ok(())
/// # }
/// ```
///
/// States: running, then stopped. [`Drain`] stops it: the reply is sent when no attempt is running any more. If it is
/// stopped in another way, other consumers of the group take over its slices when its lease has expired.
#[derive(Debug)]
pub struct DurableActor {
    handle: ConsumerHandle,
    consumer: Option<Consumer>,
    running: Option<JoinHandle<()>>,
}

impl DurableActor {
    /// Makes an actor for a consumer and its handle.
    #[must_use]
    pub fn new(handle: ConsumerHandle, consumer: Consumer) -> Self {
        Self {
            handle,
            consumer: Some(consumer),
            running: None,
        }
    }

    /// Returns the consumer's handle, which has its full report and its health.
    #[must_use]
    pub fn handle(&self) -> &ConsumerHandle {
        &self.handle
    }
}

impl Actor for DurableActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        if let Some(consumer) = self.consumer.take() {
            self.running = Some(actix_rt::spawn(consumer.run()));
        }
    }
}

impl Drop for DurableActor {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

impl Handler<GetReport> for DurableActor {
    type Result = MessageResult<GetReport>;

    fn handle(&mut self, _: GetReport, _: &mut Self::Context) -> Self::Result {
        MessageResult(HandlerReport::from(self.handle.report()))
    }
}

impl Handler<Drain> for DurableActor {
    type Result = ResponseActFuture<Self, HandlerReport>;

    fn handle(&mut self, Drain { deadline }: Drain, _: &mut Self::Context) -> Self::Result {
        let handle = self.handle.clone();
        let drained = async move {
            // The consumer ends at the deadline, but it may still be waiting for a server that does not answer.
            let limit = deadline + Duration::from_secs(1);
            let report = tokio::time::timeout(limit, handle.drain(deadline)).await;
            HandlerReport::from(report.unwrap_or_else(|_| handle.report()))
        };
        Box::pin(drained.into_actor(self).map(|report, _, ctx| {
            ctx.stop();
            report
        }))
    }
}
