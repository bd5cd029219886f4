//! What is said between actors.

use std::ops::Deref;
use std::time::Duration;

use actix::{Message, Recipient};
use pgherald_core::{
    Delivery, Filter, Health, ListenerStatus, Result, Subscription, SubscriptionId,
    SubscriptionOptions,
};

use crate::handler::HandlerReport;
use crate::listener::ShutdownReport;

/// Events, as subscribers get them: a batch, preceded by a resync if something is missing before it.
///
/// The next batch is sent when this one has been handled: when the handler returned, or, if it returns a
/// future, when that is done. So a slow subscriber's events wait in its queue, not in its mailbox.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Events(pub Delivery);

impl Deref for Events {
    type Target = Delivery;

    fn deref(&self) -> &Delivery {
        &self.0
    }
}

/// Asks a [`ListenerActor`](crate::ListenerActor) to send events to an actor.
///
/// Answered with the subscription's id. The subscription ends with [`Unsubscribe`], or when the actor has
/// stopped; the listener keeps its address, so an actor does not stop merely because nobody else has it.
///
/// An actor that fails with events in hand (a future it returned panicked, or it was restarted) is told so
/// by a resync in front of the next ones.
#[derive(Debug, Message)]
#[rtype(result = "Result<SubscriptionId>")]
pub struct Subscribe {
    pub(crate) filter: Filter,
    pub(crate) options: SubscriptionOptions,
    pub(crate) recipient: Recipient<Events>,
}

impl Subscribe {
    /// What `filter` matches, to `recipient`, under a name and with default options.
    pub fn to(name: impl Into<String>, filter: Filter, recipient: Recipient<Events>) -> Self {
        Self {
            filter,
            options: SubscriptionOptions::new(name),
            recipient,
        }
    }

    /// Replaces name and options.
    #[must_use]
    pub fn options(mut self, options: SubscriptionOptions) -> Self {
        self.options = options;
        self
    }
}

/// Asks a [`ListenerActor`](crate::ListenerActor) for a subscription that the caller reads, in place of an actor.
#[derive(Debug, Message)]
#[rtype(result = "Result<Subscription>")]
pub(crate) struct OpenSubscription {
    pub(crate) filter: Filter,
    pub(crate) options: SubscriptionOptions,
}

/// Ends a subscription. What waits in its queue is still delivered.
///
/// Answered with whether there was such a subscription.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct Unsubscribe(pub SubscriptionId);

/// The listener's health is now this. Of changes that follow each other quickly only the last is told.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct HealthChanged(pub Health);

/// Asks a listener to tell an actor about its health: now, and at every change.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SubscribeHealth(pub Recipient<HealthChanged>);

/// Asks a listener for its health as a value that can be looked at and waited for.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "tokio::sync::watch::Receiver<Health>")]
pub struct WatchHealth;

/// Asks a listener how it is doing.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "ListenerStatus")]
pub struct GetStatus;

/// Asks a listener to close its source, deliver what waits in the queues, and report. A second one is
/// answered with the report of the first.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "ShutdownReport")]
pub struct Shutdown {
    /// How long delivering may take; what is left then is dropped, and reported as such.
    pub deadline: Duration,
}

/// Asks a [`HandlerActor`](crate::HandlerActor) to take nothing more in, finish its tasks, report, and stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "HandlerReport")]
pub struct Drain {
    /// How long finishing may take; what is left then is dropped, and reported as such.
    pub deadline: Duration,
}

/// Asks a [`HandlerActor`](crate::HandlerActor) what it has done so far.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "HandlerReport")]
pub struct GetReport;
