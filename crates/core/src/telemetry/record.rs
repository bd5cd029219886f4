//! Handles to the installed recorder.

use metrics::{Counter, Gauge, Histogram, Label, Unit};

use super::names::{EVENTS_DROPPED, METRICS, MetricKind};

/// Registers the description and unit of each metric with the recorder. Call it once, after the recorder was installed.
pub fn describe() {
    for metric in METRICS {
        let unit = match metric.unit {
            "seconds" => Unit::Seconds,
            "bytes" => Unit::Bytes,
            _ => Unit::Count,
        };
        let (name, help) = (metric.name, metric.help);
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(name, unit, help),
            MetricKind::Gauge => metrics::describe_gauge!(name, unit, help),
            MetricKind::Histogram => metrics::describe_histogram!(name, unit, help),
        }
    }
}

/// Counts events that were received but not handled; see [`EVENTS_DROPPED`].
pub fn dropped(subscriber: &str, reason: &'static str, is_intentional: bool, count: u64) {
    if count > 0 {
        let intentional = if is_intentional { "true" } else { "false" };
        let labels = [
            ("subscriber", subscriber),
            ("reason", reason),
            ("intentional", intentional),
        ];
        counter(EVENTS_DROPPED, &labels).increment(count);
    }
}

pub(crate) fn counter(name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
    metrics::counter!(name, of(labels))
}

pub(crate) fn gauge(name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
    metrics::gauge!(name, of(labels))
}

pub(crate) fn histogram(name: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
    metrics::histogram!(name, of(labels))
}

fn of(labels: &[(&'static str, &str)]) -> Vec<Label> {
    let labels = labels.iter();
    labels
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect()
}

/// One of several addends of a gauge. Dropping it removes its value from the gauge.
#[derive(Debug)]
pub struct Level {
    gauge: Gauge,
    value: f64,
}

impl Level {
    /// Makes an addend of the gauge with this name and these labels. Its value is 0 at first.
    #[must_use]
    pub fn new(name: &'static str, labels: &[(&'static str, &str)]) -> Self {
        Self {
            gauge: gauge(name, labels),
            value: 0.0,
        }
    }

    /// Sets the value of the addend.
    #[expect(clippy::cast_precision_loss, reason = "what metrics are made of")]
    pub fn set(&mut self, value: usize) {
        let value = value as f64;
        if value.total_cmp(&self.value).is_ne() {
            self.gauge.increment(value - self.value);
            self.value = value;
        }
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.set(0);
    }
}
