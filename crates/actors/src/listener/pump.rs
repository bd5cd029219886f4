//! From a subscription's queue into an actor's mailbox, one batch at a time.

use std::cell::Cell;
use std::rc::Rc;

use actix::Recipient;
use pgherald_core::{Health, Subscription};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::messages::{Events, HealthChanged};

#[derive(Debug)]
pub(super) struct Pump {
    task: JoinHandle<()>,
    /// Events that were sent and not yet handled.
    in_flight: Rc<Cell<u64>>,
}

impl Pump {
    pub(super) fn start(subscription: Subscription, recipient: Recipient<Events>) -> Self {
        let in_flight = Rc::new(Cell::new(0));
        let task = actix::spawn(run(subscription, recipient, Rc::clone(&in_flight)));
        Self { task, in_flight }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until everything is handled, at most until `deadline`. Returns how many events were sent
    /// without anybody confirming that they were handled.
    ///
    /// The subscription must have been closed.
    pub(super) async fn drain(mut self, deadline: Instant) -> u64 {
        if timeout_at(deadline, &mut self.task).await.is_err() {
            self.task.abort();
        }
        self.in_flight.get()
    }
}

async fn run(
    mut subscription: Subscription,
    recipient: Recipient<Events>,
    in_flight: Rc<Cell<u64>>,
) {
    while let Some(delivery) = subscription.recv().await {
        in_flight.set(delivery.events().len() as u64);
        // Fails only if the actor has stopped; asking again would not help.
        if recipient.send(Events(delivery)).await.is_err() {
            let (name, id) = (subscription.name(), subscription.id());
            let count = in_flight.get() + subscription.stats().queued;
            tracing::warn!(subscription = name, %id, count, reason = "subscriber_gone",
                intentional = false, "subscriber has stopped, subscription ended");
            return;
        }
        in_flight.set(0);
    }
}

/// Tells `recipient` the current health, and every change, for as long as both live.
pub(super) async fn health_pump(
    mut health: watch::Receiver<Health>,
    recipient: Recipient<HealthChanged>,
) {
    loop {
        let current = health.borrow_and_update().clone();
        if recipient.send(HealthChanged(current)).await.is_err() || health.changed().await.is_err()
        {
            return;
        }
    }
}
