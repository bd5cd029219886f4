//! Derives health, counts, metrics and log lines from the signals of a source.

use std::time::{Duration, Instant, SystemTime};

use super::metrics::ListenerMetrics;
use crate::error::Error;
use crate::event::Event;
use crate::signal::{Health, Resync, Signal};

/// The shortest interval between two warnings about late events.
const WARNING_PAUSE: Duration = Duration::from_secs(1);

/// Counts since the listener was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerCounts {
    /// Events received.
    pub events: u64,
    /// Batches received.
    pub batches: u64,
    /// Events whose latency was above the threshold.
    pub late: u64,
    /// Payloads, and rows of the outbox, that failed to decode.
    pub undecodable: u64,
    /// How often the source became live.
    pub connected: u64,
    /// How often the source stopped being live.
    pub disconnected: u64,
    /// Attempts to become live that failed.
    pub failed_attempts: u64,
}

#[derive(Debug)]
pub(super) struct Monitor {
    counts: ListenerCounts,
    latency_warning: Option<Duration>,
    last_warning: Option<Instant>,
    metrics: ListenerMetrics,
}

impl Monitor {
    pub(super) fn new() -> Self {
        Self {
            counts: ListenerCounts::default(),
            latency_warning: Some(Duration::from_millis(500)),
            last_warning: None,
            metrics: ListenerMetrics::new(),
        }
    }

    pub(super) fn set_latency_warning(&mut self, threshold: Option<Duration>) {
        self.latency_warning = threshold;
    }

    pub(super) fn close(&mut self) {
        self.metrics.close();
    }

    pub(super) fn counts(&self) -> ListenerCounts {
        self.counts
    }

    /// Records a signal. Returns the new health if it changes.
    pub(super) fn observe(&mut self, signal: &Signal, health: &Health) -> Option<Health> {
        match signal {
            Signal::Events(batch) => {
                self.counts.batches += 1;
                self.counts.events += batch.len() as u64;
                self.metrics.received(batch);
                self.check_latency(batch);
                None
            }
            Signal::Resync(resync) => {
                self.observe_resync(resync);
                None
            }
            Signal::Resumed => {
                tracing::info!("caught up on the changes since the connection was lost");
                None
            }
            Signal::Live => {
                self.counts.connected += 1;
                self.metrics.connected();
                tracing::info!("listener live");
                Some(Health::Live {
                    since: SystemTime::now(),
                })
            }
            Signal::Down(error) => Some(self.observe_down(error, health)),
        }
    }

    fn observe_resync(&mut self, resync: &Resync) {
        self.metrics.resync(resync);
        self.counts.undecodable += resync.undecodable();
        if resync.undecodable() == 0 {
            tracing::info!(reason = %resync, "resync announced");
        }
    }

    fn observe_down(&mut self, error: &Error, health: &Health) -> Health {
        let (error_chain, hint) = (error.chain(), error.hint());
        match health {
            Health::Live { .. } => {
                self.counts.disconnected += 1;
                self.metrics.disconnected();
                tracing::warn!(error = %error_chain, hint, "listener no longer live");
            }
            Health::Connecting => {
                self.count_failure();
                tracing::warn!(error = %error_chain, hint, "listener could not become live");
            }
            Health::Degraded { .. } => {
                self.count_failure();
                tracing::info!(error = %error_chain, hint, "listener still not live");
            }
        }
        health.degraded_by(error.clone())
    }

    fn count_failure(&mut self) {
        self.counts.failed_attempts += 1;
        self.metrics.failed();
    }

    fn check_latency(&mut self, batch: &[Event]) {
        let Some(threshold) = self.latency_warning else {
            return;
        };
        let late = |event: &&Event| event.latency() > threshold;
        let Some(first) = batch.iter().find(late) else {
            return;
        };
        let late = batch.iter().filter(late).count();
        self.counts.late += late as u64;
        self.metrics.late(late as u64);
        if self
            .last_warning
            .is_none_or(|last| last.elapsed() >= WARNING_PAUSE)
        {
            self.last_warning = Some(Instant::now());
            let latency = first.latency();
            tracing::warn!(late, ?latency, ?threshold, event = %first, "events arrive late");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use crate::{Event, Health, Operation, Signal};

    use super::Monitor;

    #[test]
    fn late_events_are_counted() {
        let mut monitor = Monitor::new();
        let now = SystemTime::now();
        let after = |delay| {
            Event::builder("public", "t", Operation::Insert)
                .sent_at(now)
                .received_at(now + Duration::from_millis(delay))
                .build()
        };
        let batch = Signal::Events([after(501), after(10), after(900)].into());
        monitor.observe(&batch, &Health::Connecting);
        assert_eq!((monitor.counts().events, monitor.counts().late), (3, 2));
        monitor.set_latency_warning(None);
        monitor.observe(&batch, &Health::Connecting);
        assert_eq!((monitor.counts().events, monitor.counts().late), (6, 2));
    }
}
