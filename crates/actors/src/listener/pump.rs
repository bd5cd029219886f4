//! Moves events from a subscription's queue into an actor's mailbox, one batch at a time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix::{Message, Recipient, WeakAddr};

use pgherald_core::__private::host::events::{Receive, SubscriptionObserver};
use pgherald_core::__private::host::telemetry::dropped;
use pgherald_core::{Backoff, Health, Subscription, SubscriptionId};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ListenerActor;

use crate::messages::{Events, HealthChanged};
use crate::report::SubscriptionReport;

/// The delay before the next batch is sent to a subscriber that failed.
const PAUSE: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(5));

/// The pump of this subscription has come to its end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Ended(pub(super) SubscriptionId);

#[derive(Debug)]
pub(super) struct Pump {
    task: JoinHandle<()>,
    observer: SubscriptionObserver,
    /// The number of events in the delivery that was sent and not yet handled.
    in_flight: Rc<Cell<Option<u64>>>,
}

impl Pump {
    /// Starts a pump, which sends [`Ended`] to `listener` at its end.
    pub(super) fn start(
        subscription: Subscription,
        recipient: Recipient<Events>,
        listener: WeakAddr<ListenerActor>,
    ) -> Self {
        let in_flight = Rc::new(Cell::new(None));
        let (observer, ended) = (subscription.observer(), Ended(subscription.id()));
        let running = run(subscription, recipient, Rc::clone(&in_flight));
        let task = actix_rt::spawn(async move {
            running.await;
            if let Some(listener) = listener.upgrade() {
                // An error means that the listener has stopped.
                let _ = listener.send(ended).await;
            }
        });
        Self {
            task,
            observer,
            in_flight,
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Returns the number of events that a finished pump did not get handled. The events of a closed cache do not count.
    pub(super) fn unhandled(&self) -> u64 {
        match self.observer.is_of_closed_cache() {
            true => 0,
            false => self.report().unhandled(),
        }
    }

    pub(super) fn report(&self) -> SubscriptionReport {
        let stats = self.observer.stats();
        let in_flight = self.in_flight.get();
        SubscriptionReport {
            resync_pending: stats.resync_queued || in_flight.is_some(),
            unconfirmed: in_flight.unwrap_or(0),
            stats,
        }
    }

    /// Waits until all events are handled. Returns only if the subscription was closed or its subscriber has stopped.
    pub(super) async fn finished(&mut self) {
        // The task does not panic, and only `drop` aborts it.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    mut subscription: Subscription,
    recipient: Recipient<Events>,
    in_flight: Rc<Cell<Option<u64>>>,
) {
    let mut failures = 0;
    while let Some(delivery) = subscription.recv().await {
        let count = delivery.events().len() as u64;
        in_flight.set(Some(count));
        let handled = recipient.send(Events(delivery)).await.is_ok();
        if !handled && !recipient.connected() {
            let (name, id) = (subscription.name(), subscription.id());
            let count = count + subscription.stats().queued;
            dropped(name, "subscriber_gone", false, count);
            tracing::warn!(subscription = name, %id, count, reason = "subscriber_gone",
                intentional = false, "subscriber has stopped, subscription ended");
            return;
        }
        if !handled && count == 0 && subscription.is_closed() {
            // Only a resync is left, and the subscriber has failed to handle it.
            return;
        }
        in_flight.set(None);
        if handled {
            failures = 0;
        } else {
            // The actor is alive, but did not finish this delivery: its future panicked, or the actor was restarted.
            let (name, id) = (subscription.name(), subscription.id());
            tracing::warn!(subscription = name, %id, count, reason = "subscriber_failed",
                intentional = false, "subscriber failed while it handled events");
            subscription.take_back();
            tokio::time::sleep(PAUSE.ceiling(failures)).await;
            failures = failures.saturating_add(1);
        }
    }
}

/// Sends the current health and each change to `recipient`, until the listener or the recipient has stopped.
pub(super) async fn health_pump(
    mut health: watch::Receiver<Health>,
    recipient: Recipient<HealthChanged>,
) {
    while recipient.connected() {
        let current = health.borrow_and_update().clone();
        // If the recipient fails to handle this, it still gets the next change.
        let _ = recipient.send(HealthChanged(current)).await;
        if health.changed().await.is_err() {
            return;
        }
    }
}
