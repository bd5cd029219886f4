//! A role that may only connect can send any notification. None becomes an event or moves a group.

use std::time::Duration;

use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{OutboxSource, Signal, Source, TableName};

use crate::support::{Log, Scene, all_well, connect, drained, local, options, shown};

/// Notifications that any role may send on the outbox channel.
fn payloads() -> Vec<String> {
    let event = r#"{"v":1,"operation":"insert","schema":"public","table":"jobs","sent_at":"2026-01-02T03:04:05Z","key":["id"],"keys":[7]}"#;
    let fixed = [
        "",
        " ",
        "control",
        "control ",
        "control g",
        "control g\n",
        "control h",
        "CONTROL g",
        "resync",
        "trimmed",
        "null",
        event,
    ];
    let long = ["x".repeat(7_999), format!("control {}", "g".repeat(7_900))];
    fixed.map(str::to_owned).into_iter().chain(long).collect()
}

#[tokio::test]
async fn notifications_of_a_role_without_rights_cause_no_events_and_move_no_group() {
    local(async {
        let scene = Scene::new().await;
        let role = format!("stranger_{}", fastrand::u64(..));
        scene.run(&format!("CREATE ROLE {role} LOGIN")).await;
        let stranger = connect(&format!("{}?user={role}", scene.url)).await;
        let log = Log::default();
        let options = options("g").lease(Duration::from_secs(30));
        let handle = scene.start(options, &log, all_well());
        let table = TableName::new("public", "jobs").unwrap();
        let watched = TriggerSpec::new(table).every_column().outbox();
        let source = OutboxSource::builder(scene.config()).watch(watched);
        let mut source = source.build().unwrap();
        while !matches!(source.next().await, Signal::Live) {}
        scene.run("INSERT INTO jobs VALUES (1, 1)").await;
        log.has(1).await;
        let state = "SELECT revision + trimmed + is_paused::int FROM pgherald.consumer_group";
        let before = scene.number(state).await;

        for payload in payloads() {
            for channel in ["pgherald_outbox", "pgherald"] {
                let sql = "SELECT pg_notify($1, $2)";
                stranger.execute(sql, &[&channel, &payload]).await.unwrap();
            }
        }
        // The role has no rights on the outbox itself.
        let refused = stranger.execute("SELECT FROM pgherald.outbox", &[]).await;
        assert!(refused.is_err());
        scene.run("INSERT INTO jobs VALUES (2, 1)").await;

        log.has(2).await;
        let mut seen = Vec::new();
        while seen.len() < 2 {
            match source.next().await {
                Signal::Events(events) => seen.extend(events.iter().map(shown)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(seen, ["1=1", "2=1"]);
        drained(&handle).await;
        assert_eq!(log.lines(), ["1=1#1", "2=1#1"]);
        assert_eq!(scene.number(state).await, before);
        scene.run(&format!("DROP ROLE {role}")).await;
    })
    .await;
}
