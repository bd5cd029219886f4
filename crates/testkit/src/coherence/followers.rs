//! Handlers that read the keys of their events through the subject (R8).
//!
//! They are registered before the subject is made: one on the thread of the check, one on its own thread, and in outbox mode
//! a durable one with its own connection.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix::{Actor, Arbiter};
use pgherald_actors::{EphemeralOptions, HandlerActor};
use pgherald_core::group::{Consumer, ConsumerHandle};
use pgherald_core::{Attempt, DurableOptions, Event, EventHandler, Filter, HandlerResult, Resync};
use tokio::time::timeout;

use super::report::Rule;
use super::reporter::version_of;
use super::run::Run;
use super::stage::Stage;
use super::{Loader, Row, SENTINEL, Subject, key_of, number_of};
use crate::Error;

const FAILED: &str = "cannot start the handlers";

/// The time limit for the durable handler to drain.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

pub(super) struct Followers<S> {
    slot: Slot<S>,
    arbiter: Arbiter,
    consumer: Option<ConsumerHandle>,
}

/// The subject that the handlers read; empty until it is made.
type Slot<S> = Arc<OnceLock<(S, Loader)>>;

impl<S: Subject> Followers<S> {
    pub(super) async fn start(stage: &Stage) -> Result<Self, Error> {
        let slot = Slot::default();
        let make = Follower::factory(stage, &slot);
        let options = EphemeralOptions::new("follower").filter(Filter::new().table_of::<Row>());
        let here = HandlerActor::new(options.clone(), make.clone()).start();
        let arbiter = Arbiter::new();
        let elsewhere = options.clone();
        let elsewhere = HandlerActor::start_in_arbiter(&arbiter.handle(), move |_| {
            HandlerActor::new(elsewhere, make)
        });
        for addr in [here, elsewhere] {
            let subscribe = HandlerActor::subscription(&addr, &options);
            stage
                .herald
                .subscribe(subscribe)
                .await
                .map_err(Error::during(FAILED))?;
        }
        let consumer = match stage.run.settings.outbox {
            false => None,
            true => {
                let options = DurableOptions::new("followers")
                    .slices(4)
                    .filter(Filter::new().table_of::<Row>())
                    .caches(stage.caches.clone());
                let make = Follower::factory(stage, &slot);
                let consumer = Consumer::new(stage.config.clone(), options, make);
                let (handle, consumer) = consumer.map_err(Error::during(FAILED))?;
                actix::spawn(consumer.run());
                Some(handle)
            }
        };
        Ok(Self {
            slot,
            arbiter,
            consumer,
        })
    }

    /// Sets the subject that the handlers read.
    pub(super) fn follow(&self, subject: &S, loader: &Loader) {
        // Fails only if it was set before: there is one subject.
        let _ = self.slot.set((subject.clone(), loader.clone()));
    }

    pub(super) async fn stop(self) {
        if let Some(consumer) = &self.consumer {
            // The consumer ends at its deadline, but it may still be waiting for a server that does not answer.
            let _ = timeout(DRAIN_LIMIT * 2, consumer.drain(DRAIN_LIMIT)).await;
        }
        self.arbiter.stop();
    }
}

struct Follower<S> {
    run: Arc<Run>,
    slot: Slot<S>,
}

impl<S: Subject> Follower<S> {
    fn factory(stage: &Stage, slot: &Slot<S>) -> impl Fn() -> Self + Clone + Send + use<S> {
        let (run, slot) = (Arc::clone(&stage.run), Arc::clone(slot));
        move || Self {
            run: Arc::clone(&run),
            slot: Arc::clone(&slot),
        }
    }
}

impl<S: Subject> EventHandler for Follower<S> {
    type Event = Event;

    async fn handle(&self, event: Event, _: Attempt) -> HandlerResult {
        let Some((subject, loader)) = self.slot.get() else {
            return Ok(());
        };
        let Some(version) = version_of(&event) else {
            return Ok(());
        };
        let key = key_of(version);
        if key == SENTINEL || self.run.is_stopped() {
            return Ok(());
        }
        // A strategy that collects events may hold this event back, so that reads may return an older version.
        let is_held = self.run.floors.is_held(key, version);
        let limit = self.run.settings.deadline;
        let Ok(Ok(reading)) = timeout(limit, subject.read(key, loader.clone())).await else {
            // The database is probably unavailable.
            return Ok(());
        };
        self.run.tally.handler_reads.add(1);
        if reading.version < version && !is_held {
            self.run.tally.violation(Rule::Handler, || {
                let (read, event) = (number_of(reading.version), number_of(version));
                let place = match reading.from_memory {
                    true => "memory",
                    false => "a load",
                };
                format!(
                    "key {key}: a handler of the event of {event} read version {read} from {place}"
                )
            });
        }
        Ok(())
    }

    async fn resync(&self, _: Resync) -> HandlerResult {
        Ok(())
    }
}
