//! The actor that owns the source.
//!
//! ```text
//!   Source ── signals ──► ListenerActor ── Router ──► queue ── pump ── Events ──► subscriber
//!                              │                                  ◄── handled ──
//!                              └── watch ── HealthChanged ──► actors that sent SubscribeHealth
//! ```
//!
//! States: running, then, after [`Shutdown`](crate::Shutdown), closed. A closed listener still answers messages. A listener
//! that is stopped without a shutdown delivers nothing more, and does not report undelivered events.
//!
//! Owner: the actor owns the source and the core's [`Listener`]. Each subscription has a *pump*: a task on the listener's
//! arbiter that takes a batch from the queue, sends it, and waits until it was handled. So an actor's mailbox never holds
//! more than one batch, and no subscriber waits for another one.
//!
//! The source is supervised ([`pgherald_core::supervise`]): it reconnects on its own, and is rebuilt if it panics.
//! actix's `Supervisor` is not used: it restarts at once and without backoff, and does not survive panics.

mod pump;

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{
    Actor, AsyncContext, Context, Handler, MessageResult, ResponseFuture, SpawnHandle,
    StreamHandler, WrapFuture,
};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared, join_all};
use pgherald_core::{Caches, Health, Listener, Signal, Signals, Source, SubscriptionId, supervise};
use tokio::sync::watch;

use pump::{Ended, Pump, health_pump};

use crate::messages::{
    GetStatus, OpenSubscription, Shutdown, Subscribe, SubscribeHealth, Unsubscribe, WatchHealth,
};
use crate::report::ShutdownReport;

/// Runs a source and sends its events to the subscribed actors.
///
/// ```no_run
/// use actix::Actor;
/// use pgherald_actors::{Events, ListenerActor, Subscribe};
/// use pgherald_core::{ConnectConfig, Filter, NotifySource};
///
/// struct Audit;
/// impl Actor for Audit {
///     type Context = actix::Context<Self>;
/// }
/// impl actix::Handler<Events> for Audit {
///     type Result = ();
///     fn handle(&mut self, events: Events, _: &mut Self::Context) {
///         for event in events.events().iter() {
///             println!("{event}");
///         }
///     }
/// }
///
/// # #[actix::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config: ConnectConfig = std::env::var("DATABASE_URL")?.parse()?;
/// let listener = ListenerActor::new(NotifySource::builder(config).factory()?).start();
/// let audit = Audit.start().recipient();
/// listener.send(Subscribe::to("audit", Filter::new(), audit)).await??;
/// # Ok(())
/// # }
/// ```
pub struct ListenerActor {
    signals: Option<Signals>,
    reading: Option<SpawnHandle>,
    listener: Listener,
    pumps: BTreeMap<SubscriptionId, Pump>,
    /// Events that were not handled because their subscriber had stopped.
    abandoned: u64,
    closing: Option<Closing>,
}

/// A shutdown that is running or has ended. Shared, so that all callers get the same report.
type Closing = Shared<LocalBoxFuture<'static, ShutdownReport>>;

impl ListenerActor {
    /// Makes a listener on a source. `build` makes the source when the listener starts, and again after each panic of it.
    pub fn new<S: Source>(build: impl Fn() -> S + Send + 'static) -> Self {
        Self {
            signals: Some(supervise(build)),
            reading: None,
            listener: Listener::new(),
            pumps: BTreeMap::new(),
            abandoned: 0,
            closing: None,
        }
    }

    /// Sets the latency (see [`Event::latency`](pgherald_core::Event::latency)) above which events are counted as late and a
    /// warning is logged, at most once a second. Default: 500 ms. `None` switches the warning off.
    #[must_use]
    pub fn latency_warning(mut self, threshold: Option<Duration>) -> Self {
        self.listener.set_latency_warning(threshold);
        self
    }

    /// Returns the listener's health, which can be read and awaited from any thread.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.listener.health()
    }

    /// Returns a handle on the subscribed caches; see [`DurableOptions::caches`](pgherald_core::DurableOptions::caches).
    #[must_use]
    pub fn caches(&self) -> Caches {
        self.listener.caches()
    }
}

impl std::fmt::Debug for ListenerActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListenerActor")
            .field("status", &self.listener.status())
            .finish_non_exhaustive()
    }
}

impl Actor for ListenerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.reading = self.signals.take().map(|signals| ctx.add_stream(signals));
    }
}

impl StreamHandler<Signal> for ListenerActor {
    fn handle(&mut self, signal: Signal, ctx: &mut Self::Context) {
        self.listener.publish(&signal);
        // The actor reads no signal, and answers no message, until the subscribers have room, or their budget is spent.
        if let Some(room) = self.listener.room() {
            ctx.wait(room.into_actor(self));
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {
        // The default would stop the actor. A supervised source does not end, but if it did, the actor must still answer.
    }
}

impl Handler<Subscribe> for ListenerActor {
    type Result = MessageResult<Subscribe>;

    fn handle(&mut self, message: Subscribe, ctx: &mut Self::Context) -> Self::Result {
        let Subscribe {
            filter,
            options,
            recipient,
        } = message;
        MessageResult(
            self.listener
                .subscribe(filter, options)
                .map(|subscription| {
                    let id = subscription.id();
                    tracing::debug!(subscription = subscription.name(), %id, "subscribed");
                    let listener = ctx.address().downgrade();
                    self.pumps
                        .insert(id, Pump::start(subscription, recipient, listener));
                    id
                }),
        )
    }
}

impl Handler<Ended> for ListenerActor {
    type Result = ();

    fn handle(&mut self, Ended(id): Ended, _: &mut Self::Context) {
        // What is left of a subscription would else stay until there is something to publish.
        self.listener.unsubscribe(id);
        if let Some(pump) = self.pumps.remove(&id) {
            self.abandoned += pump.unhandled();
        }
    }
}

impl Handler<OpenSubscription> for ListenerActor {
    type Result = MessageResult<OpenSubscription>;

    fn handle(&mut self, message: OpenSubscription, _: &mut Self::Context) -> Self::Result {
        let OpenSubscription { filter, options } = message;
        MessageResult(self.listener.subscribe(filter, options))
    }
}

impl Handler<Unsubscribe> for ListenerActor {
    type Result = bool;

    fn handle(&mut self, Unsubscribe(id): Unsubscribe, _: &mut Self::Context) -> bool {
        self.listener.unsubscribe(id)
    }
}

impl Handler<SubscribeHealth> for ListenerActor {
    type Result = ();

    fn handle(&mut self, SubscribeHealth(recipient): SubscribeHealth, _: &mut Self::Context) {
        actix_rt::spawn(health_pump(self.listener.health(), recipient));
    }
}

impl Handler<WatchHealth> for ListenerActor {
    type Result = MessageResult<WatchHealth>;

    fn handle(&mut self, _: WatchHealth, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.watch_health())
    }
}

impl Handler<GetStatus> for ListenerActor {
    type Result = MessageResult<GetStatus>;

    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.listener.status())
    }
}

impl Handler<Shutdown> for ListenerActor {
    type Result = ResponseFuture<ShutdownReport>;

    fn handle(&mut self, message: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        if let Some(closing) = &self.closing {
            return Box::pin(closing.clone());
        }
        if let Some(reading) = self.reading.take() {
            ctx.cancel_future(reading);
        }
        self.listener.close();
        // They have come to their end, but the message that says so has not arrived yet.
        self.pumps.retain(|_, pump| {
            let is_finished = pump.is_finished();
            if is_finished {
                self.abandoned += pump.unhandled();
            }
            !is_finished
        });
        let mut pumps: Vec<Pump> = std::mem::take(&mut self.pumps).into_values().collect();
        let (counts, abandoned) = (self.listener.status().counts, self.abandoned);
        let closing = async move {
            let finished = join_all(pumps.iter_mut().map(Pump::finished));
            // After a timeout, the reports show which events were not handled.
            let _ = tokio::time::timeout(message.deadline, finished).await;
            let subscriptions = pumps.iter().map(Pump::report).collect();
            ShutdownReport {
                counts,
                subscriptions,
                abandoned,
            }
        };
        let closing = closing.boxed_local().shared();
        self.closing = Some(closing.clone());
        Box::pin(closing)
    }
}
