//! The metrics of a listener.

use metrics::{Counter, Histogram};

use crate::event::Event;
use crate::signal::Resync;
use crate::telemetry::{
    EVENT_LATENCY_SECONDS, LISTENER_BATCHES, LISTENER_CONNECTIONS, LISTENER_DISCONNECTS,
    LISTENER_EVENTS, LISTENER_FAILED_ATTEMPTS, LISTENER_LATE_EVENTS, LISTENER_RESYNCS, LISTENERS,
    LISTENERS_LIVE, Level,
};

#[derive(Debug)]
pub(super) struct ListenerMetrics {
    running: Level,
    live: Level,
    events: Counter,
    batches: Counter,
    late: Counter,
    connections: Counter,
    disconnects: Counter,
    failed_attempts: Counter,
    latency: Histogram,
}

impl ListenerMetrics {
    pub(super) fn new() -> Self {
        let mut running = Level::new(LISTENERS, &[]);
        running.set(1);
        Self {
            running,
            live: Level::new(LISTENERS_LIVE, &[]),
            events: metrics::counter!(LISTENER_EVENTS),
            batches: metrics::counter!(LISTENER_BATCHES),
            late: metrics::counter!(LISTENER_LATE_EVENTS),
            connections: metrics::counter!(LISTENER_CONNECTIONS),
            disconnects: metrics::counter!(LISTENER_DISCONNECTS),
            failed_attempts: metrics::counter!(LISTENER_FAILED_ATTEMPTS),
            latency: metrics::histogram!(EVENT_LATENCY_SECONDS),
        }
    }

    pub(super) fn received(&self, batch: &[Event]) {
        self.batches.increment(1);
        self.events.increment(batch.len() as u64);
        for event in batch {
            self.latency.record(event.latency());
        }
    }

    pub(super) fn late(&self, count: u64) {
        self.late.increment(count);
    }

    pub(super) fn resync(&self, resync: &Resync) {
        for reason in resync.reasons() {
            metrics::counter!(LISTENER_RESYNCS, "reason" => reason.label()).increment(1);
        }
    }

    pub(super) fn connected(&mut self) {
        self.live.set(1);
        self.connections.increment(1);
    }

    pub(super) fn disconnected(&mut self) {
        self.live.set(0);
        self.disconnects.increment(1);
    }

    pub(super) fn failed(&self) {
        self.failed_attempts.increment(1);
    }

    pub(super) fn close(&mut self) {
        self.live.set(0);
        self.running.set(0);
    }
}
