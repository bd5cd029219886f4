//! The messages between actors.

use std::ops::Deref;
use std::time::Duration;

use actix::{Message, Recipient};
use pgherald_core::{
    Delivery, Filter, Health, ListenerStatus, Result, Subscription, SubscriptionId,
    SubscriptionOptions,
};

use crate::report::{HandlerReport, ShutdownReport};

/// A batch of events for a subscriber. If events before it are missing, the batch begins with a resync.
///
/// The listener sends the next batch when the subscriber has handled this one: when its `handle` has returned and, if it
/// returned a future, that future has finished. So the events of a slow subscriber wait in its queue, not in its mailbox.
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
/// The reply is the subscription's id. The subscription ends with [`Unsubscribe`], or when the actor has stopped. It keeps
/// the actor's address, so an actor does not stop because all other addresses were dropped.
///
/// If an actor fails while it handles a batch (its future panicked, or it was restarted), its next batch begins with a
/// resync.
#[derive(Debug, Message)]
#[rtype(result = "Result<SubscriptionId>")]
pub struct Subscribe {
    pub(crate) filter: Filter,
    pub(crate) options: SubscriptionOptions,
    pub(crate) recipient: Recipient<Events>,
}

impl Subscribe {
    /// Subscribes `recipient` to the events that `filter` matches, with default options. The name appears in logs, metrics
    /// and reports.
    pub fn to(name: impl Into<String>, filter: Filter, recipient: Recipient<Events>) -> Self {
        Self {
            filter,
            options: SubscriptionOptions::new(name),
            recipient,
        }
    }

    /// Replaces the options, which include the name.
    #[must_use]
    pub fn options(mut self, options: SubscriptionOptions) -> Self {
        self.options = options;
        self
    }
}

/// Asks a [`ListenerActor`](crate::ListenerActor) for a subscription that the caller reads, without an actor.
#[derive(Debug, Message)]
#[rtype(result = "Result<Subscription>")]
pub(crate) struct OpenSubscription {
    pub(crate) filter: Filter,
    pub(crate) options: SubscriptionOptions,
}

/// Ends a subscription. The events in its queue are still delivered.
///
/// The reply is whether the subscription existed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub struct Unsubscribe(pub SubscriptionId);

/// The listener's current health. If several changes follow each other quickly, only the last one is sent.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct HealthChanged(pub Health);

/// Asks a listener to send its health to an actor: now, and after each change.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct SubscribeHealth(pub Recipient<HealthChanged>);

/// Asks a listener for a `watch` receiver of its health.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "tokio::sync::watch::Receiver<Health>")]
pub struct WatchHealth;

/// Asks a listener for its health, counts and subscriptions.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "ListenerStatus")]
pub struct GetStatus;

/// Asks a listener to close its source, deliver the events in the queues, and report. Further such messages get the same
/// report.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "ShutdownReport")]
pub struct Shutdown {
    /// The time limit of the delivery. Events that are left then are dropped, and reported as such.
    pub deadline: Duration,
}

/// Asks a [`HandlerActor`](crate::HandlerActor) or [`DurableActor`](crate::DurableActor) to take no more events, finish its
/// tasks, report, and stop.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "HandlerReport")]
pub struct Drain {
    /// The time limit. A handler drops the tasks that are left then, and reports them as such. A durable handler leaves them
    /// to another consumer of its group.
    pub deadline: Duration,
}

/// Asks a [`HandlerActor`](crate::HandlerActor) or [`DurableActor`](crate::DurableActor) for its report so far.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "HandlerReport")]
pub struct GetReport;
