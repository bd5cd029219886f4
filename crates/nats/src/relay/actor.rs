//! The actor that runs a relay.

use std::time::Duration;

use actix_rt::task::JoinHandle;
use pgherald_actors::actix::{
    Actor, ActorContext, ActorFutureExt, Context, Handler, MessageResult, ResponseActFuture,
    WrapFuture,
};
use pgherald_actors::{Drain, GetReport, HandlerReport};

use super::{Relay, RelayHandle};

/// Runs a [`Relay`] on the current arbiter.
///
/// ```no_run
/// use actix::Actor;
/// use pgherald_nats::{NatsConfig, Relay, RelayActor, RelayOptions};
///
/// # #[actix::main]
/// # async fn main() -> pgherald_core::Result<()> {
/// let database = "postgresql://app@localhost/shop".parse()?;
/// let nats = NatsConfig::new("nats://localhost")?;
/// let (handle, relay) = Relay::new(database, nats, RelayOptions::new("fleet", "CHANGES"))?;
/// let relay = RelayActor::new(handle, relay).start();
/// # let _ = relay;
/// # Ok(())
/// # }
/// ```
///
/// States: running, then stopped. The relay reconnects, and restarts after a panic of its consumer, without the actor. [`Drain`]
/// stops the actor: it replies when no batch is in flight, or after the deadline. If the actor is stopped in another way, other
/// relays of the group take over its slices when the lease has expired. The reports have the counts of the group's consumer;
/// [`handle`](Self::handle) has those of the relay.
#[derive(Debug)]
pub struct RelayActor {
    handle: RelayHandle,
    relay: Option<Relay>,
    running: Option<JoinHandle<()>>,
}

impl RelayActor {
    /// Makes an actor for a relay and its handle.
    #[must_use]
    pub fn new(handle: RelayHandle, relay: Relay) -> Self {
        Self {
            handle,
            relay: Some(relay),
            running: None,
        }
    }

    /// Returns the relay's handle.
    #[must_use]
    pub fn handle(&self) -> &RelayHandle {
        &self.handle
    }
}

impl Actor for RelayActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        if let Some(relay) = self.relay.take() {
            self.running = Some(actix_rt::spawn(relay.run()));
        }
    }
}

impl Drop for RelayActor {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

impl Handler<GetReport> for RelayActor {
    type Result = MessageResult<GetReport>;

    fn handle(&mut self, _: GetReport, _: &mut Self::Context) -> Self::Result {
        MessageResult(HandlerReport::from(self.handle.report().consumer))
    }
}

impl Handler<Drain> for RelayActor {
    type Result = ResponseActFuture<Self, HandlerReport>;

    fn handle(&mut self, Drain { deadline }: Drain, _: &mut Self::Context) -> Self::Result {
        let handle = self.handle.clone();
        let drained = async move {
            // The relay ends at the deadline, but it may still be waiting for a server that does not answer.
            let limit = deadline + Duration::from_secs(1);
            let report = tokio::time::timeout(limit, handle.drain(deadline)).await;
            let report = report.unwrap_or_else(|_| handle.report());
            HandlerReport::from(report.consumer)
        };
        Box::pin(drained.into_actor(self).map(|report, _, ctx| {
            ctx.stop();
            report
        }))
    }
}
