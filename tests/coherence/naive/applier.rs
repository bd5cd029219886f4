//! The actor that applies events to a naive cache.

use std::future::ready;
use std::time::Duration;

use actix::{Actor, Context, Handler, ResponseFuture};
use pgherald::{Events, Key, Resync};
use pgherald_testkit::coherence::Reporter;
use tokio::time::sleep;

use super::{Flaw, Naive};

#[derive(Clone)]
pub(super) struct Applier {
    naive: Naive,
    reporter: Reporter,
}

impl Applier {
    pub(super) fn new(naive: Naive, reporter: Reporter) -> Self {
        Self { naive, reporter }
    }

    fn resync(&self, resync: &Resync) {
        let mut reasons = resync.reasons().iter();
        let overflow = reasons.all(|reason| reason.label() == "overflow");
        match self.naive.flaw {
            Flaw::IgnoresOverflow if overflow => return,
            Flaw::OnlyClaimsToFlush if overflow => {}
            _ => self.naive.state().flush(),
        }
        self.reporter.flushed();
    }

    fn apply(&self, events: &Events) {
        if let Some(resync) = events.resync() {
            self.resync(resync);
        }
        let events = events.events().iter();
        for (event, key) in events.filter_map(|event| Some((event, event.key()?))) {
            if let Some(key) = i64::from_row_key(key) {
                let transaction = event.transaction_id().unwrap_or(0);
                self.naive.state().invalidate(key, transaction);
                self.reporter.applied_event(event);
            }
        }
        self.naive.applied.send_modify(|count| *count += 1);
    }
}

impl Actor for Applier {
    type Context = Context<Self>;
}

impl Handler<Events> for Applier {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, events: Events, _: &mut Self::Context) -> Self::Result {
        if self.naive.flaw != Flaw::HearsLate {
            self.apply(&events);
            return Box::pin(ready(()));
        }
        let this = self.clone();
        Box::pin(async move {
            sleep(Duration::from_millis(2)).await;
            this.apply(&events);
        })
    }
}
