//! The metrics of a relay.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::{
    RELAY_BATCHES, RELAY_EVENTS, RELAY_LAG_SECONDS, RELAY_RESYNCS, RELAY_TRUNCATED_EVENTS,
};

/// Counts of a relay, which are also recorded as metrics.
#[derive(Debug)]
pub(super) struct Metrics {
    group: Arc<str>,
    pub(super) stored: AtomicU64,
    pub(super) fenced: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) events: AtomicU64,
    pub(super) resyncs: AtomicU64,
    pub(super) truncated: AtomicU64,
}

impl Metrics {
    pub(super) fn new(group: &str) -> Self {
        Self {
            group: group.into(),
            stored: AtomicU64::new(0),
            fenced: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            events: AtomicU64::new(0),
            resyncs: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
        }
    }

    pub(super) fn batch(&self, count: &AtomicU64, result: &'static str) {
        count.fetch_add(1, Ordering::Relaxed);
        let group = self.group.to_string();
        metrics::counter!(RELAY_BATCHES, "group" => group, "result" => result).increment(1);
    }

    pub(super) fn events(&self, count: usize) {
        self.events.fetch_add(count as u64, Ordering::Relaxed);
        metrics::counter!(RELAY_EVENTS, "group" => self.group.to_string()).increment(count as u64);
    }

    pub(super) fn resync(&self, reason: &str) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
        let (group, reason) = (self.group.to_string(), reason.to_owned());
        metrics::counter!(RELAY_RESYNCS, "group" => group, "reason" => reason).increment(1);
    }

    pub(super) fn truncated(&self, count: usize) {
        let count = count as u64;
        self.truncated.fetch_add(count, Ordering::Relaxed);
        metrics::counter!(RELAY_TRUNCATED_EVENTS, "group" => self.group.to_string())
            .increment(count);
    }

    pub(super) fn lag(&self, lag: Duration) {
        metrics::gauge!(RELAY_LAG_SECONDS, "group" => self.group.to_string())
            .set(lag.as_secs_f64());
    }
}
