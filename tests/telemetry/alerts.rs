//! `docs/alerts.yml` uses existing metrics, and its alerts fire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use pgherald::group::Group;
use pgherald::outbox;
use pgherald::trigger::{self, TriggerSpec};
use pgherald::{ConnectConfig, TableName};
use pgherald_testkit::Postgres;
use tokio_postgres::Client;

use super::dashboard::check_query;

const RULES: &str = include_str!("../../docs/alerts.yml");
const OPERATIONS: &str = include_str!("../../docs/operations.md");

#[derive(Debug, Default)]
struct Rule {
    name: String,
    expression: String,
    severity: String,
    summary: String,
}

/// The rules of the file. This parser reads only the kinds of lines that the file has.
fn rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in RULES.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once(':').unwrap();
        let value = value.trim().to_owned();
        let rule = rules.last_mut();
        match (name, rule) {
            ("- alert", _) => rules.push(Rule {
                name: value,
                ..Rule::default()
            }),
            ("expr", Some(rule)) => rule.expression = value,
            ("severity", Some(rule)) => rule.severity = value,
            ("summary", Some(rule)) => rule.summary = value,
            ("for", Some(_)) => assert!(value.ends_with('m'), "{line}"),
            ("groups" | "- name" | "rules", None) | ("labels" | "annotations", Some(_)) => {}
            _ => panic!("what is {line:?}?"),
        }
    }
    rules
}

#[test]
fn alerts_use_only_metrics_and_labels_that_exist() {
    let rules = rules();
    let mut names = BTreeSet::new();
    let mut metrics = BTreeSet::new();
    for rule in &rules {
        assert!(names.insert(&rule.name), "{rule:?} stands twice");
        assert!(
            ["critical", "warning"].contains(&&*rule.severity),
            "{rule:?}"
        );
        let found = check_query(&rule.expression);
        assert!(!found.is_empty(), "{rule:?}");
        metrics.extend(found);
        // The summary may only use labels that the expression keeps.
        for label in rule.summary.split("$labels.").skip(1) {
            let label = label.split([' ', '}']).next().unwrap();
            let kept = rule.expression.split("by (").nth(1).unwrap();
            let kept = kept.split(')').next().unwrap();
            assert!(
                kept.split(", ").any(|kept| kept == label),
                "{label} in {rule:?}"
            );
        }
        let row = format!("| `{}` |", rule.name);
        assert!(
            OPERATIONS.contains(&row),
            "{} is not in operations.md",
            rule.name
        );
    }
    // There is an alert for parked events, dead letters, lag, health, missing consumers, the size of the outbox, and relays.
    for metric in [
        "pgherald_group_failing_events",
        "pgherald_group_parked_events",
        "pgherald_group_dead_letters",
        "pgherald_group_lag_seconds",
        "pgherald_listeners_live",
        "pgherald_consumers_live",
        "pgherald_group_nodes",
        "pgherald_outbox_bytes",
        "pgherald_relay_lag_seconds",
        "pgherald_relay_batches_total",
        "pgherald_relay_resyncs_total",
        "pgherald_relay_stream_usage_ratio",
    ] {
        assert!(metrics.contains(metric), "no alert is about {metric}");
    }
}

/// The metrics that the status of all groups and of the outbox emits.
async fn recorded(client: &Client) -> BTreeMap<String, f64> {
    let groups = Group::all(client).await.unwrap();
    let outbox = outbox::status(client).await.unwrap();
    let recorder = DebuggingRecorder::new();
    metrics::with_local_recorder(&recorder, || {
        groups.iter().for_each(pgherald::group::GroupStatus::record);
        outbox.record();
    });
    let snapshot = recorder.snapshotter().snapshot().into_vec().into_iter();
    let value = |value| match value {
        DebugValue::Gauge(value) => value.0,
        other => panic!("{other:?}"),
    };
    snapshot
        .map(|(key, _, _, found)| (key.key().name().to_owned(), value(found)))
        .collect()
}

/// The firing alerts, among those that compare one recorded gauge with a number.
fn firing(recorded: &BTreeMap<String, f64>) -> Vec<String> {
    let mut firing = Vec::new();
    for rule in rules() {
        let words: Vec<&str> = rule.expression.split(' ').collect();
        let ["max", "by", "(group)", metric, comparison, number] = words[..] else {
            continue;
        };
        let metric = metric.trim_matches(['(', ')']);
        let (Some(value), Ok(number)) = (recorded.get(metric), number.parse::<f64>()) else {
            continue;
        };
        let holds = match comparison {
            ">" => *value > number,
            "==" => value.total_cmp(&number).is_eq(),
            other => panic!("{other} in {rule:?}"),
        };
        if holds {
            firing.push(rule.name);
        }
    }
    firing
}

#[tokio::test]
async fn alerts_fire_when_events_fail_and_when_no_consumer_runs() {
    let server = Postgres::start().await.unwrap();
    let config: ConnectConfig = server.create_database().await.unwrap().parse().unwrap();
    let client = Arc::new(config.client().await.unwrap());
    let run = async |sql: &str| client.batch_execute(sql).await.unwrap();
    run("CREATE TABLE orders (id bigint PRIMARY KEY)").await;
    let spec = TriggerSpec::new(TableName::new("public", "orders").unwrap()).outbox();
    let plan = trigger::plan(&client, &[spec]).await.unwrap();
    plan.apply(&client).await.unwrap();
    run("INSERT INTO pgherald.consumer_group (name, slices) VALUES ('mail', 1);
        INSERT INTO pgherald.consumer_cursor (group_name, slice, epoch, cursor)
            VALUES ('mail', 0, 0, pg_current_snapshot() || ' 0 0 0');
        INSERT INTO pgherald.consumer_node VALUES ('mail', 1, 'here', now() + interval '1 hour', '1 hour')")
    .await;
    let quiet = recorded(&client).await;
    assert_eq!(firing(&quiet), [""; 0], "{quiet:?}");
    assert_eq!(quiet["pgherald_outbox_max_bytes"], 10_737_418_240.0);
    assert!(quiet["pgherald_outbox_bytes"] > 0.0, "{quiet:?}");
    assert!(quiet["pgherald_group_status_timestamp_seconds"] > 1.0e9);

    // 2,000 of 4,000 events have failed.
    run("INSERT INTO pgherald.parked_event (group_name, id, slice, sent_at, relation, hash, operation, key, attempts, error)
        SELECT 'mail', id, 0, now(), 1, 1, 'I', '[' || id || ']', 1, '550 no such mailbox' FROM generate_series(1, 2000) AS id")
    .await;
    let failing = recorded(&client).await;
    assert_eq!(failing["pgherald_group_failing_events"], 2_000.0);
    assert_eq!(
        firing(&failing),
        ["PgheraldEventsFail", "PgheraldManyEventsFail"]
    );

    // The failed events become dead letters, a new event is unread, and no consumer runs.
    run(
        "UPDATE pgherald.parked_event SET dead_at = now(); DELETE FROM pgherald.consumer_node;
        INSERT INTO orders VALUES (1);
        UPDATE pgherald.outbox SET sent_at = sent_at - interval '10 min'",
    )
    .await;
    let alone = recorded(&client).await;
    let expected = ["PgheraldNoConsumer", "PgheraldDeadLetters", "PgheraldLag"];
    assert_eq!(firing(&alone), expected, "{alone:?}");
}
