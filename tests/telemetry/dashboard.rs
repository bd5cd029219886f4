//! `docs/grafana.json` uses existing metrics and labels.

use std::collections::BTreeSet;

use pgherald::telemetry::{METRICS, Metric, MetricKind};
use pgherald_nats::telemetry as relay;
use serde_json::Value;

const DASHBOARD: &str = include_str!("../../docs/grafana.json");

/// The metrics of relays, with their labels. A test of the command checks that a relay records them so.
const RELAY_METRICS: [(&str, &[&str]); 6] = [
    (relay::RELAY_BATCHES, &["group", "result"]),
    (relay::RELAY_EVENTS, &["group"]),
    (relay::RELAY_RESYNCS, &["group", "reason"]),
    (relay::RELAY_TRUNCATED_EVENTS, &["group"]),
    (relay::RELAY_LAG_SECONDS, &["group"]),
    (relay::RELAY_STREAM_USAGE, &["group", "discard"]),
];

/// The metric of a name in a query.
fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| match metric.kind {
        MetricKind::Histogram => ["_bucket", "_sum", "_count"]
            .iter()
            .any(|suffix| name.strip_suffix(suffix) == Some(metric.name)),
        _ => metric.name == name,
    })
}

fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "expr" || name == "query" => {
                        found.push(text.clone());
                    }
                    _ => expressions(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// Fails unless every metric and label of a query exists. Returns the metrics.
pub(crate) fn check_query(query: &str) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut labels = vec!["le", "instance", "job"];
    for name in words(query).filter(|word| word.starts_with("pgherald")) {
        let of_relay = RELAY_METRICS.iter().find(|(known, _)| *known == name);
        let (name, its_labels) = of_relay.copied().unwrap_or_else(|| {
            let metric = metric(name).unwrap_or_else(|| panic!("{name} in {query}"));
            (metric.name, metric.labels)
        });
        labels.extend(its_labels);
        found.insert(name);
    }
    // Labels in `by (…)` and in `{…}`.
    for part in query.split("by (").skip(1) {
        for label in words(part.split(')').next().unwrap()) {
            assert!(labels.contains(&label), "{label} in {query}");
        }
    }
    for part in query.split('{').skip(1) {
        for matcher in part.split('}').next().unwrap().split(',') {
            let label = words(matcher).next().unwrap();
            assert!(labels.contains(&label), "{label} in {query}");
        }
    }
    found
}

#[test]
fn dashboard_queries_use_only_existing_metrics_and_labels() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = Vec::new();
    expressions(&dashboard, &mut queries);
    let mut shown = BTreeSet::new();
    for query in &queries {
        let found = check_query(query);
        assert!(!found.is_empty() || query == "prometheus", "{query}");
        shown.extend(found);
    }
    assert!(shown.len() > 20, "{shown:?}");
    for (name, _) in RELAY_METRICS {
        assert!(shown.contains(name), "{name} is not shown");
    }
}

#[test]
fn dashboard_panels_have_unique_titles_units_and_places() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(panel["title"].is_string(), "{panel}");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        if panel["type"] != "row" {
            assert!(
                panel["fieldConfig"]["defaults"]["unit"].is_string(),
                "{panel}"
            );
            assert!(panel["description"].is_string(), "{panel}");
        }
    }
}
