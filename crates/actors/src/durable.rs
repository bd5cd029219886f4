//! The actor that runs a consumer of a group.
//!
//! Owner: the actor owns the consumer, which does everything by itself: it reads, reconnects, and outlives its own panics.
//! The actor gives it a place to run, and speaks for it.

use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Context, Handler, MessageResult, ResponseActFuture,
    WrapFuture,
};
use pgherald_core::group::{Consumer, ConsumerHandle};
use tokio::task::JoinHandle;

use crate::handler::HandlerReport;
use crate::messages::{Drain, GetReport};

/// Runs a [`Consumer`] on the current arbiter: a durable handler, as an actor.
///
/// [`Herald::durable`](crate::Herald::durable) and its like do all of this:
///
/// ```no_run
/// use actix::Actor;
/// use pgherald_actors::DurableActor;
/// use pgherald_core::group::Consumer;
/// use pgherald_core::{Attempt, ConnectConfig, Durable, Event, EventHandler, HandlerResult};
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
/// let (handle, consumer) = Consumer::new(config, Durable::new("print"), || Print)?;
/// let print = DurableActor::new(handle, consumer).start();
/// # let _ = print;
/// # Ok(())
/// # }
/// ```
///
/// States: running; after a [`Drain`], which is answered when nothing is under way any more, stopped. When it is stopped
/// without one, others take over when its lease is over.
#[derive(Debug)]
pub struct DurableActor {
    handle: ConsumerHandle,
    consumer: Option<Consumer>,
    running: Option<JoinHandle<()>>,
}

impl DurableActor {
    /// An actor for a consumer and its handle.
    #[must_use]
    pub fn new(handle: ConsumerHandle, consumer: Consumer) -> Self {
        Self {
            handle,
            consumer: Some(consumer),
            running: None,
        }
    }

    /// The consumer's handle: its report in full, its health.
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
            // It ends at its deadline, but for its last words to a server that does not answer.
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
