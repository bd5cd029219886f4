//! The way of events from the router to one subscription.

use std::sync::Arc;

use super::queue::Queue;
use crate::event::Event;
use crate::filter::Filter;
use crate::gate::Session;
use crate::signal::{Resync, ResyncReason};

#[derive(Debug)]
pub(super) struct Route {
    pub(super) filter: Filter,
    pub(super) queue: Arc<Queue>,
    /// Whether the subscription has received its first resync.
    pub(super) begun: bool,
}

impl Route {
    /// The source has become live in `session`.
    pub(super) fn set_live(&mut self, session: Session, number: u64) {
        if !std::mem::replace(&mut self.begun, true) {
            let started = Resync::new(ResyncReason::Started).beginning(session);
            self.push_resync(started, number);
        }
        self.queue.set_live(session);
    }

    pub(super) fn push_resync(&self, resync: Resync, number: u64) {
        self.queue
            .push(|backlog| backlog.push_resync(resync, number));
    }

    /// Queues events. Returns whether the source should wait for the subscriber.
    pub(super) fn push_events(&self, events: Arc<[Event]>, number: u64) -> bool {
        self.queue
            .push(|backlog| backlog.push_events(events, number))
    }
}
